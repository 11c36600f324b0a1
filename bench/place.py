"""A folder that nobody else uses, and Lodge in it."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import measure

TOP = Path(__file__).resolve().parent.parent
LODGE = str(TOP / "build" / "lodge")

DEFINITION = """\
[guest]
description=a guest that is only listed
os=debian-12
image=debian-12
user=debian
cpus=2
memory=1G
agent=yes
provision=lodge

[disk root]
file=root.qcow2
size=20G

[nic net]
network=user
mac=52:54:00:00:{high:02x}:{low:02x}
forward=8080:80
"""


class Store:
    """A LODGE_DIR of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = os.environ | {"LODGE_DIR": str(folder), "LODGE_PARK": "off"}

    def lodge_ms(self, *words):
        return measure.run_ms([LODGE, *words], self.environment)

    def lodge_cpu_ms(self, *words):
        return measure.run_cpu_ms([LODGE, *words], self.environment)

    def lodge(self, *words):
        done = subprocess.run([LODGE, *words], env=self.environment, text=True, capture_output=True)
        if done.returncode != 0:
            raise measure.Failed([LODGE, *words], done.returncode, done.stderr)
        return done.stdout

    def pid(self, guest, lock):
        return int((self.folder / "run" / "guests" / guest / lock).read_text())

    def define(self, count):
        """Guests that are only listed: a definition each."""
        for i in range(count):
            folder = self.folder / "guests" / f"guest{i:04}"
            folder.mkdir(parents=True)
            text = DEFINITION.format(high=i // 256, low=i % 256)
            (folder / "guest.conf").write_text(text, encoding="ascii")

    def close(self):
        guests = self.folder / "run" / "guests"
        names = os.listdir(guests) if guests.is_dir() else []
        if names:
            subprocess.run([LODGE, "kill", *names], env=self.environment, check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Place:
    """The temporary folder. When it is left, what runs in it ends and the folder goes."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="lodge-bench-"))
        self.folder.chmod(0o711)  # libvirt's QEMU opens its disk by path, as a user of its own
        self.at_end = []
        self.images = None
        return self

    def __exit__(self, *_):
        for function in reversed(self.at_end):
            function()
        shutil.rmtree(self.folder, ignore_errors=True)

    def store(self, name):
        store = Store(Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder)))
        store.folder.chmod(0o755)
        self.at_end.append(store.close)
        return store

    def image_store(self):
        """The store whose images all themes share."""
        self.images = self.images or self.store("images")
        return self.images

    def disk(self, name):
        path = self.folder / name
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1G"], check=True)
        return path
