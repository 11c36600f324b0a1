"""Disks and discs of guests that run: plugged in and out, grown, limited, booted from once.

Own fixtures: one `tiny` guest for what a guest must see, and guests without any system, whose disks
hold a boot sector that says its name on the serial console.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from lodge import describe, processes_with

TOP = Path(__file__).resolve().parents[2]
PROGRAM = TOP / "build" / "lodge"
PATIENCE_S = 120


class Store:
    """A store of its own, with the images of a kept one if there is any."""

    def __init__(self, folder):
        self.folder = folder
        self.env = dict(os.environ, LODGE_DIR=str(folder))

    def __call__(self, *words, status=0):
        result = subprocess.run([PROGRAM, *map(str, words)], env=self.env, text=True, timeout=PATIENCE_S,
                                stdin=subprocess.DEVNULL, capture_output=True)
        assert result.returncode == status, (words, result.returncode, result.stdout, result.stderr)
        return result.stdout if status == 0 else result.stderr

    def json(self, *words):
        return json.loads(self(*words, "--json"))

    def guest(self, name, file=""):
        return self.folder / "guests" / name / file

    def sh(self, name, text):
        return self("exec", name, "--", "sh", "-c", text)

    def qmp(self, name, command, **arguments):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.folder / "run/guests" / name / "jobs.qmp"))
            lines = connection.makefile("rw")
            lines.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                lines.write(json.dumps(request))
                lines.flush()
                answer = {"event": ""}
                while "event" in answer:
                    answer = json.loads(lines.readline())
            return answer["return"]


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def store():
    folder = Path(tempfile.mkdtemp(prefix="lodge-disks-"))
    folder.chmod(0o755)
    store = Store(folder)
    kept = os.environ.get("LODGE_TEST_IMAGES")
    if kept and (Path(kept) / "images/tiny").exists():
        shutil.copytree(Path(kept) / "images/tiny", folder / "images/tiny")
    yield store
    names = store("list", "--names").split()
    if names:
        store("delete", "--yes", "--force", *names)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def tiny(store):
    store("create", "t1", "--os", "tiny")
    return "t1"


def boot_code(words, reset):
    """Real-mode code that writes `words` to the serial port, then stops or resets the machine."""
    end = b"\xb0\x06\xba\xf9\x0c\xee\xf4\xeb\xfd" if reset else b"\xfa\xf4\xeb\xfd"
    start, loop = b"\x31\xc0\x8e\xd8\xbe", b"\xba\xf8\x03\xac\x84\xc0\x74\x03\xee\xeb\xf8"
    message = 0x7c00 + len(start) + 2 + len(loop) + len(end)
    return start + message.to_bytes(2, "little") + loop + end + words.encode() + b"\n\0"


def boot_disk(path, words):
    path.write_bytes(boot_code(words, False).ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))


def boot_disc(path, words):
    """An El Torito disc, with nothing on it but a boot sector."""
    sectors = [bytes(2048)] * 64
    sectors[16] = (b"\x01CD001\x01" + b"\0" * 73 + (64).to_bytes(4, "little") +
                   (64).to_bytes(4, "big")).ljust(2048, b"\0")
    sectors[17] = (b"\0CD001\x01EL TORITO SPECIFICATION".ljust(71, b"\0") +
                   (19).to_bytes(4, "little")).ljust(2048, b"\0")
    sectors[18] = b"\xffCD001\x01".ljust(2048, b"\0")
    validation = bytearray(b"\x01\0\0\0".ljust(30, b"\0") + b"\x55\xaa")
    check = -sum(int.from_bytes(validation[i:i + 2], "little") for i in range(0, 32, 2)) & 0xffff
    validation[28:30] = check.to_bytes(2, "little")
    entry = b"\x88\0\0\0\0\0" + (4).to_bytes(2, "little") + (20).to_bytes(4, "little")
    sectors[19] = (bytes(validation) + entry).ljust(2048, b"\0")
    sectors[20] = boot_code(words, True).ljust(2048, b"\0")
    path.write_bytes(b"".join(sectors))


def wait_disk(store, guest):
    """A guest takes a moment to notice what is plugged in; a command in it may be quicker."""
    wait_for(lambda: "vdb" in store.sh(guest, "ls /dev").split(), "vdb")


def test_disk_life(store, tiny):
    """create, the guest sees it; resize, it sees that; detach, it is gone; nothing stays in QEMU."""
    before = store.qmp(tiny, "query-fdsets")
    conf = store.guest(tiny, "guest.conf")
    conf.write_text("# my own words\n" + conf.read_text())
    assert store.json("disk", "create", tiny, "data", "--size", "1G")["outcome"] == "live"
    wait_disk(store, tiny)
    assert store.sh(tiny, "cat /sys/class/block/vdb/size").strip() == str(1 << 21)
    store("disk", "resize", tiny, "data", "+1G")
    wait_for(lambda: store.sh(tiny, "cat /sys/class/block/vdb/size").strip() == str(1 << 22), "2 GiB")
    assert "disks only grow" in store("disk", "resize", tiny, "data", "1G", status=2)
    view = store.json("disk", "info", f"{tiny}/data")
    assert (view["size_bytes"], view["format"], view["depth"]) == (2 << 30, "qcow2", 1)
    store.sh(tiny, "echo kept >/dev/vdb")
    assert "in use" in store("disk", "check", tiny, status=5)
    store("disk", "detach", tiny, "data")
    assert "vdb" not in store.sh(tiny, "ls /sys/class/block").split()
    assert store.qmp(tiny, "query-fdsets") == before
    assert not [n for n in store.qmp(tiny, "query-named-block-nodes") if n["node-name"].startswith("d1")]
    store("disk", "attach", tiny, store.guest(tiny, "data.qcow2"))
    wait_disk(store, tiny)
    assert store.sh(tiny, "head -c 4 /dev/vdb") == "kept"
    assert "file=data.qcow2" in conf.read_text() and "# my own words" in conf.read_text()
    store("disk", "detach", tiny, "data", "--delete")
    assert not store.guest(tiny, "data.qcow2").exists()


def test_disk_limits_live(store, tiny):
    store("set", tiny, "disk.root.iops=200", "disk.root.bytes-write=1M")
    limits = store.qmp(tiny, "qom-get", path="/objects/limit-root", property="limits")
    assert (limits["iops-total"], limits["bps-write"]) == (200, 1 << 20)
    store("set", tiny, "disk.root.iops=", "disk.root.bytes-write=")
    limits = store.qmp(tiny, "qom-get", path="/objects/limit-root", property="limits")
    assert (limits["iops-total"], limits["bps-write"]) == (0, 0)


def test_disk_by_nbd(store, tiny, tmp_path):
    """A disk on another machine; here that machine is this one."""
    image = tmp_path / "image"
    image.write_bytes(b"far away".ljust(1 << 20, b"\0"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pid_file = tmp_path / "pid"
    subprocess.run(["qemu-nbd", "--fork", f"--pid-file={pid_file}", "--persistent", "--bind=127.0.0.1",
                    f"--port={port}", "--format=raw", "--export-name=a", image], check=True)
    try:
        store("disk", "attach", tiny, f"nbd://127.0.0.1:{port}/a", "--name", "far")
        wait_disk(store, tiny)
        assert store.sh(tiny, "head -c 8 /dev/vdb") == "far away"
        assert "far" in store("disk", "list", tiny)
        store("disk", "detach", tiny, "far")
    finally:
        os.kill(int(pid_file.read_text()), signal.SIGTERM)


def test_disk_usb_and_scsi(store, tiny, tmp_path):
    """Other buses take disks too, and a full host of ports is said."""
    stick = tmp_path / "stick.img"
    stick.write_bytes(bytes(1 << 20))
    tmp_path.chmod(0o755)
    assert store.json("disk", "attach", tiny, stick, "--bus", "usb")["outcome"] == "live"
    assert store.json("disk", "create", tiny, "s", "--size", "8M", "--bus", "scsi")["outcome"] == "live"
    assert "QEMU USB MSD" in store.qmp(tiny, "human-monitor-command", **{"command-line": "info usb"})
    assert store.json("disk", "create", tiny, "slow", "--size", "8M", "--bus", "sata")["outcome"] == "pending"
    assert "disk.slow.bus" in store("show", tiny)
    assert "is disk stick of guest t1" in store("disk", "attach", tiny, stick, status=5)
    for name in ("stick", "s", "slow"):
        store("disk", "detach", tiny, name)


def test_disk_refusals(store, tiny):
    """Errors name what is wrong, and leave nothing behind."""
    before = store.guest(tiny, "guest.conf").read_text(), sorted(os.listdir(store.guest(tiny)))
    assert "has a disk root already" in store("disk", "create", tiny, "root", "--size", "1G", status=4)
    assert "booted from it" in store("disk", "detach", tiny, "root", status=5)
    assert "no metadata" in store("disk", "create", tiny, "a", "--size", "1M", "--format", "raw",
                                  "--preallocation", "metadata", status=2)
    assert "no disk “rot”" in store("disk", "resize", tiny, "rot", "1G", status=3)
    assert "No such file" in store("disk", "attach", tiny, "/nonexistent", status=3)
    assert "nbd://HOST" in store("disk", "attach", tiny, "nbd:x", status=1)
    store("pause", tiny)
    store("disk", "create", tiny, "a", "--size", "1M")
    assert "lodge resume" in store("disk", "detach", tiny, "a", status=5)
    store("resume", tiny)
    store("disk", "detach", tiny, "a", "--delete")
    assert before == (store.guest(tiny, "guest.conf").read_text(), sorted(os.listdir(store.guest(tiny))))


def test_cdrom(store, tiny, tmp_path):
    tmp_path.chmod(0o755)
    for name in "ab":
        (tmp_path / f"{name}.iso").write_bytes(f"disc {name}\n".encode().ljust(2048 * 64, b"\0"))
    before = len(store.qmp(tiny, "query-fdsets"))
    store("cdrom", tiny, "insert", tmp_path / "a.iso", "--bus", "scsi")
    store.sh(tiny, "modprobe virtio_scsi; modprobe sr_mod; :")
    wait_for(lambda: "sr0" in store.sh(tiny, "ls /sys/class/block"), "a drive")
    assert store.sh(tiny, "head -1 /dev/sr0") == "disc a\n"
    store.sh(tiny, "sleep 1000 </dev/sr0 >/dev/null 2>&1 &")
    assert "tray locked" in store("cdrom", tiny, "insert", tmp_path / "b.iso", status=5)
    assert store.json("cdrom", tiny, "list")[0]["file"].endswith("a.iso")
    store.sh(tiny, "killall sleep")
    store("cdrom", tiny, "insert", tmp_path / "b.iso")
    assert store.sh(tiny, "head -1 /dev/sr0") == "disc b\n"
    assert len(store.qmp(tiny, "query-fdsets")) == before + 1
    store("cdrom", tiny, "eject")
    assert store.json("cdrom", tiny, "list") == [{"name": "cd", "bus": "scsi", "file": None}]
    assert len(store.qmp(tiny, "query-fdsets")) == before


def test_boot_once(store, tmp_path):
    """From the disc once; when that resets the machine, from the disk."""
    tmp_path.chmod(0o755)
    boot_disk(tmp_path / "disk.img", "from the disk")
    boot_disc(tmp_path / "disc.iso", "from the disc")
    store("create", "b1", "--disk", tmp_path / "disk.img", "--no-start")
    assert "has no CD drive" in store("start", "b1", "--boot-once", "cdrom", "--no-wait", status=3)
    store("cdrom", "b1", "insert", tmp_path / "disc.iso")
    assert "none of disk, cdrom, net" in store("start", "b1", "--boot-once", "usb", status=2)
    store("start", "b1", "--boot-once", "cdrom", "--no-wait")
    log = store.guest("b1", "console.log")
    wait_for(lambda: "from the disk" in log.read_text(errors="replace"), "the disk boots")
    words = [line for line in log.read_text(errors="replace").splitlines() if "from the" in line]
    assert [word[word.index("from"):] for word in words] == ["from the disc", "from the disk"]
    store("kill", "b1")
    log.unlink()
    store("start", "b1", "--no-wait")
    wait_for(lambda: "from the" in log.read_text(errors="replace"), "it boots again")
    assert "from the disc" not in log.read_text(errors="replace")
    assert "boot=" not in store.guest("b1", "guest.conf").read_text()


def test_cdrom_of_bios_guest(store, tmp_path):
    """A drive that was there at start takes discs while the guest runs, and in what state ever."""
    tmp_path.chmod(0o755)
    (tmp_path / "a.iso").write_bytes(bytes(2048 * 64))
    store("cdrom", "b1", "insert", tmp_path / "a.iso")
    drive = [b for b in store.qmp("b1", "query-block") if "cdrom-cd" in b.get("qdev", "")][0]
    assert drive["inserted"]["image"]["virtual-size"] == 2048 * 64
    assert drive["tray_open"] is False


def test_disk_convert(store, tmp_path):
    raw = tmp_path / "a.raw"
    boot_disk(raw, "x")
    store("disk", "convert", raw, tmp_path / "b.qcow2")
    assert store.json("disk", "info", tmp_path / "b.qcow2")["format"] == "qcow2"
    store("disk", "check", tmp_path / "b.qcow2")
    store("disk", "convert", tmp_path / "b.qcow2", tmp_path / "c.img")
    assert (tmp_path / "c.img").read_bytes() == raw.read_bytes()
    assert "exists" in store("disk", "convert", raw, tmp_path / "c.img", status=4)


@pytest.fixture
def usb_host(store, tmp_path, monkeypatch):
    """A made-up host with one USB device. What stands for its node is no device, so QEMU gets as far
    as to refuse the descriptor that it was passed."""
    attributes = {"bDeviceClass": "00", "busnum": "1", "devnum": "4", "idVendor": "0781", "idProduct": "5567",
                  "speed": "480", "serial": "4C53", "manufacturer": "SanDisk", "product": "Blade"}
    device = tmp_path / "sys/bus/usb/devices/1-2"
    (device / "1-2:1.0").mkdir(parents=True)
    (device / "1-2:1.0/driver").symlink_to("../../../drivers/usb-storage")
    for name, value in attributes.items():
        (device / name).write_text(value + "\n")
    node = tmp_path / "dev/bus/usb/001/004"
    node.parent.mkdir(parents=True)
    node.write_text("no device")
    monkeypatch.setitem(store.env, "LODGE_SYSROOT", str(tmp_path))
    return tmp_path


def test_usb_rules(store, tiny, usb_host):
    """Rules come, are shown, and go; the descriptor of a device reaches QEMU."""
    device = store.json("usb", "list")[0]
    assert (device["device"], device["drivers"], device["guest"]) == ("0781:5567", "usb-storage", None)
    before = store.guest(tiny, "guest.conf").read_text()
    assert "failed to open host usb device /dev/fdset/" in store("usb", "attach", tiny, "1-2", status=1)
    assert store.guest(tiny, "guest.conf").read_text() == before
    assert store.json("usb", "attach", tiny, "1234:5678", "--name", "later")["outcome"] == "pending"
    assert "no USB device 1.9" in store("usb", "attach", tiny, "1.9", status=3)
    assert "VENDOR:PRODUCT" in store("usb", "attach", tiny, "stick", status=2)
    boot_disk(usb_host / "disk.img", "x")
    usb_host.chmod(0o755)
    store("create", "u1", "--disk", usb_host / "disk.img", "--no-start")
    store("usb", "attach", "u1", "0781:5567:4C53")
    assert store.json("usb", "list")[0]["guest"] == "u1"
    assert "sandisk-blade of guest u1" in store("usb", "attach", tiny, "1-2", status=5)
    store("usb", "plugged", "1-2")
    store("start", "u1", "--no-wait")
    wait_for(lambda: "usb-failed" in (store.folder / "run/events.jsonl").read_text(), "the keeper tries")
    assert "failed to open host usb device" in store("usb", "plugged", "1-2", status=1)
    store("usb", "plugged", "1-2:1.0")
    store("usb", "detach", "u1", "1.4")
    store("delete", "u1", "--yes", "--force")
    store("usb", "detach", tiny, "later")


@pytest.fixture
def pci_host(store, tmp_path, monkeypatch):
    """A made-up host with an IOMMU: a card of two functions, which vfio-pci has already (writing to
    files moves no driver), and a network card that the host uses, in a group with one more."""
    (tmp_path / "dev/vfio").mkdir(parents=True)
    (tmp_path / "sys/bus/pci/drivers/vfio-pci").mkdir(parents=True)
    devices = [("0000:01:00.0", "0x030000", "vfio-pci", 7), ("0000:01:00.1", "0x040300", "vfio-pci", 7),
               ("0000:02:00.0", "0x020000", None, 8), ("0000:02:00.1", "0x020000", "igb", 8)]
    for address, kind, driver, group in devices:
        device = tmp_path / "sys/bus/pci/devices" / address
        device.mkdir(parents=True)
        for name, value in {"class": kind, "vendor": "0x10de", "device": "0x1c03", "driver_override": ""}.items():
            (device / name).write_text(value + "\n")
        (device / "iommu_group").symlink_to(f"../../../kernel/iommu_groups/{group}")
        if driver:
            (device / "driver").symlink_to(f"../../drivers/{driver}")
        (tmp_path / f"dev/vfio/{group}").write_text("")
    tmp_path.chmod(0o755)
    boot_disk(tmp_path / "disk.img", "x")
    monkeypatch.setitem(store.env, "LODGE_SYSROOT", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives devices away")
def test_pci_rules(store, tiny, pci_host):
    """Whole groups come, are shown, and go; what fails leaves the definition and the host as they were."""
    store("create", "p1", "--disk", pci_host / "disk.img", "--no-start")
    assert "--group" in store("pci", "attach", "p1", "02:00.0", status=5)
    assert "no PCI device 0000:09" in store("pci", "attach", "p1", "09:00.0", status=3)
    assert "0000:01:00.0" in store("pci", "attach", "p1", "card", status=2)
    assert store.json("pci", "attach", "p1", "01:00.0", "--group")["name"] == "display, multimedia"
    assert "[pci display]\ndevice=0000:01:00.0" in store.guest("p1", "guest.conf").read_text()
    assert [device["guest"] for device in store.json("pci", "list")] == ["p1", "p1", None, None]
    assert "of guest p1" in store("pci", "attach", tiny, "01:00.0", status=5)
    # QEMU finds no such device on the real host, or, in a container, may not lock memory for it.
    assert "0000:01:00.0" in (error := store("start", "p1", "--no-wait", status=1)) or "PCI" in error
    assert not (store.folder / "run/guests/p1/pci").exists() and (pci_host / "dev/vfio/7").stat().st_uid == 0
    store("pci", "detach", "p1", "multimedia")
    store("pci", "detach", "p1", "01:00.0")
    before = store.guest(tiny, "guest.conf").read_text()
    assert "PCI device" in store("pci", "attach", tiny, "01:00.0", status=1)
    assert store.guest(tiny, "guest.conf").read_text() == before
    assert not (store.folder / "run/guests" / tiny / "pci").exists()
    store("delete", "p1", "--yes")


@pytest.mark.skipif(shutil.which("swtpm") is None or not Path("/usr/share/OVMF").exists(),
                    reason="swtpm or OVMF is not installed")
def test_windows_profile(store, tmp_path):
    """Secure boot, and a TPM whose state stays from one start to the next, goes back with snapshots, into
    forks, and away with the guest."""
    tmp_path.chmod(0o755)
    boot_disk(tmp_path / "disk.img", "x")
    store("create", "w1", "--disk", tmp_path / "disk.img", "--profile", "windows", "--no-start")
    shutil.move(tmp_path / "disk.img", store.guest("w1", "disk.img"))
    conf = store.guest("w1", "guest.conf")
    conf.write_text(conf.read_text().replace(f"{tmp_path}/", ""))
    state = Path(store.guest("w1", "tpm/tpm2-00.permall"))
    store("start", "w1", "--no-wait")
    [tpm] = store.qmp("w1", "query-tpm")
    assert tpm["model"] == "tpm-crb"
    assert store.qmp("w1", "qom-get", path="/machine", property="smm") == "on"
    wait_for(state.exists, "the TPM's state")
    inode = store.guest("w1", "tpm").stat().st_ino
    store("snapshot", "create", "w1", "s")
    kept = store.guest("w1", "snapshots/s/tpm").read_bytes()
    assert "swtpm" in describe(processes_with(f"={store.folder}"))
    store("kill", "w1")
    assert "swtpm" not in describe(processes_with(f"={store.folder}"))
    store("start", "w1", "--no-wait")
    assert store.qmp("w1", "query-tpm") and store.guest("w1", "tpm").stat().st_ino == inode
    wait_for(lambda: state.read_bytes() != kept, "it counts its starts")
    store("snapshot", "restore", "w1", "s", "--yes")
    assert store.qmp("w1", "query-status")["status"] == "running" and store.qmp("w1", "query-tpm")
    store("kill", "w1")
    store("snapshot", "restore", "w1", "s", "--cold", "--yes")
    [state] = store.guest("w1").glob("tpm*/tpm2-00.permall")
    assert state.read_bytes() == kept
    store("fork", "w1", "w2")
    assert store.guest("w2", "tpm/tpm2-00.permall").read_bytes() == kept
    store("start", "w2", "--no-wait")
    assert store.qmp("w2", "query-tpm")
    store("delete", "w2", "w1", "--yes", "--force")
    assert not state.exists()


def test_usb_stick(store, tiny, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "stick.img").write_bytes(bytes(1 << 20))
    for bus in ("virtio", "scsi"):
        store("disk", "attach", tiny, tmp_path / "stick.img", "--read-only", "--bus", bus)
        store("disk", "detach", tiny, "stick")
    store("usb", "storage", tiny, tmp_path / "stick.img", "--read-only")
    assert "QEMU USB MSD" in store.qmp(tiny, "human-monitor-command", **{"command-line": "info usb"})
    store("disk", "detach", tiny, "stick")
    assert "QEMU USB MSD" not in store.qmp(tiny, "human-monitor-command", **{"command-line": "info usb"})


def test_a_start_with_a_stick(store, tmp_path):
    """It is there from the machine's first moment; a start that fails leaves none of it."""
    tmp_path.chmod(0o755)
    (tmp_path / "drivers.img").write_bytes(bytes(1 << 20))
    (tmp_path / "blank.raw").write_bytes(bytes(1 << 20))
    store("create", "stick", "--disk", tmp_path / "blank.raw", "--memory", "64M", "--no-start")
    assert "one guest" in store("start", "stick", "b1", "--usb-storage", tmp_path / "drivers.img",
                                status=2)
    store("set", "stick", "kernel=/nonexistent")
    assert "/nonexistent" in store("start", "stick", "--no-wait", "--usb-storage",
                                   tmp_path / "drivers.img", status=3)
    store("set", "stick", "kernel=")
    assert "drivers" not in store.guest("stick", "guest.conf").read_text()
    store("start", "stick", "--no-wait", "--usb-storage", tmp_path / "drivers.img")
    assert "QEMU USB MSD" in store.qmp("stick", "human-monitor-command", **{"command-line": "info usb"})
    store("kill", "stick")
    store("disk", "detach", "stick", "drivers")
    store("delete", "stick", "--yes")


def test_hung_qemu(store):
    """A QEMU that doesn't answer makes the command end at its deadline, and nothing is left."""
    pid = int((store.folder / "run/guests/b1/qemu.lock").read_text())
    before = store.guest("b1", "guest.conf").read_text()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert store.json("disk", "list", "b1")
        assert "b1" in store("disk", "create", "b1", "n", "--size", "1M", status=1)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert store.guest("b1", "guest.conf").read_text() == before
    assert not list(store.guest("b1").glob("n.*"))
