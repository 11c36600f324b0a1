"""A disk that fills up in the midst of things: a clear message, what was there before is there still and
whole, nothing is left over, and the same command works as soon as there is room.

Guests, images and backups are each on a small file system of their own, which is made as small as what is
in it: so the next byte that is written finds it full. What a guest does that has no room is in
test_images.py, and snapshots of stopped guests are in test_snapshots.py.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from lodge import tree, wait_until
from test_snapshots import assert_nothing_nameless, halted, tool, with_faults

pytestmark = [pytest.mark.root,
              pytest.mark.skipif(os.geteuid() != 0, reason="needs root for small file systems")]

ALL = os.environ.get("LODGE_TEST_ALL") == "1"
ROOM = "2g"
NO_ROOM = "No space left"


class Small:
    """A file system at @path that can be full."""

    def __init__(self, path):
        self.path = path
        path.mkdir(exist_ok=True)
        tool("mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=755", "none", path)

    def fill(self, left=0):
        info = os.statvfs(self.path)
        size = (info.f_blocks - info.f_bfree) * info.f_frsize + left
        tool("mount", "-o", f"remount,size={max(size, 4096)}", self.path)  # none would be no limit

    def make_room(self):
        tool("mount", "-o", f"remount,size={ROOM}", self.path)

    @contextlib.contextmanager
    def full(self, left=0):
        self.fill(left)
        try:
            yield
        finally:
            self.make_room()

    def remove(self):
        tool("umount", "--lazy", self.path)


@pytest.fixture(scope="module")
def guests(shared):
    small = Small(shared.folder / "guests")
    shared.make("run", "--memory", "128M", start=True)
    yield small
    shared("delete", *shared.names(), "--yes", "--force")
    small.remove()


@pytest.fixture
def store(lodge):
    """All of a store, in which no guest runs."""
    small = Small(lodge.folder.parent / "small")
    shutil.copytree(lodge.folder, small.path, dirs_exist_ok=True)
    tool("mount", "--bind", small.path, lodge.folder)
    yield small
    lodge.remove()
    tool("umount", "--lazy", lodge.folder)
    small.remove()


@pytest.fixture
def place(folder):
    small = Small(Path(tempfile.mkdtemp(prefix="place-", dir=folder)))
    yield small
    small.remove()
    small.path.rmdir()


def sh(lodge, text, name="run"):
    return lodge("exec", name, "--", "sh", "-c", text, timeout_s=60).out.strip()


def mark(lodge, word):
    """In memory and on disk."""
    sh(lodge, f"echo {word} >/tmp/mark; echo {word} | dd of=/dev/vda1 bs=4096 conv=fsync,notrunc,sync 2>/dev/null")


def marks(lodge, name="run"):
    return sh(lodge, "cat /tmp/mark; dd if=/dev/vda1 bs=4096 count=1 iflag=direct 2>/dev/null | tr -d '\\0'", name)


def runs_on(lodge):
    """As before, once there is room: a guest that met a full disk goes on by itself, and what could
    not be written to put things in order is now."""
    lodge("check", "run", "--repair")
    wait_until(lambda: lodge.state("run") == "running", what="it runs")
    assert_nothing_nameless(lodge, "run")


def walk(lodge, small, words, steps, status=1):
    """The command at each step that its disk fills up at; it has room again when it has failed."""
    for step in steps:
        with halted(lodge, *words, step=step) as outcome:
            small.fill()
        small.make_room()
        done = outcome[0]
        assert done.status in (0, status) and (done.status == 0 or NO_ROOM in done.message), f"{step}: {done}"
        yield step, done


def steps(few, more=""):
    return (few + " " + more).split() if ALL else few.split()


@with_faults
def test_snapshot_with_memory(shared, guests):
    lodge = shared
    mark(lodge, "one")
    words = ["snapshot", "create", "run", "live"]
    for step, done in walk(lodge, guests, words, steps("create-begun create-migrating create-stopped",
                                                       "layers-made create-prepared create-switched create-resumed")):
        runs_on(lodge)
        assert marks(lodge) == "one\none"
        there = lodge("snapshot", "list", "run", "--json").json
        assert bool(there) == (done.status == 0), f"{step}: {done}"
        if there:
            lodge("snapshot", "delete", "run", "live", "--yes")
    lodge(*words)
    mark(lodge, "two")
    for step, done in walk(lodge, guests, ["snapshot", "restore", "run", "live", "--yes"],
                           steps("layers-planned restore-killed", "restore-prepared restore-marked restore-loading")):
        if lodge.state("run") == "stopped":
            lodge("start", "run")
            assert sh(lodge, "echo one >/tmp/mark") == ""
        else:
            assert marks(lodge) in ("one\none", "two\ntwo")
        runs_on(lodge)
    lodge("snapshot", "restore", "run", "live", "--yes")
    assert marks(lodge) == "one\none"
    lodge("snapshot", "delete", "run", "live", "--yes")
    runs_on(lodge)


@with_faults
def test_fork_of_a_guest_that_runs(shared, guests):
    lodge = shared
    mark(lodge, "one")
    for step, done in walk(lodge, guests, ["fork", "run", "copy"],
                           steps("create-begun fork-captured forked", "create-prepared fork-marked fork-running")):
        runs_on(lodge)
        assert ("copy" in lodge.names()) == (done.status == 0), f"{step}: {done}"
        if done.status == 0:
            wait_until(lambda: lodge.state("copy") == "running", what="it goes on")
            assert marks(lodge, "copy") == "one\none"
            lodge("delete", "copy", "--yes", "--force")
        assert not lodge("snapshot", "list", "run", "--json").json and marks(lodge) == "one\none"
    lodge("fork", "run", "copy")
    assert marks(lodge, "copy") == "one\none"
    lodge("delete", "copy", "--yes", "--force")


@with_faults
@pytest.mark.parametrize("where", ["place", "guest"])
def test_backup_of_a_guest_that_runs(shared, guests, place, where):
    """Where it goes, or where the guest is, has no room."""
    lodge = shared
    mark(lodge, "one")
    words = ["backup", "run", place.path]
    if where == "place":
        at = steps("backup-opened backup-copied", "backup-begun backup-whole")
    else:
        at = steps("create-begun backup-covered", "backup-copied backup-published")
    made = 0
    for step, done in walk(lodge, place if where == "place" else guests, words, at):
        runs_on(lodge)
        assert marks(lodge) == "one\none"
        made += done.status == 0
        points = [one["point"] for one in lodge("backup", "--list", place.path, "--json").json] if made else []
        assert len(points) == made, f"{step}: {done}"
        assert not [path for path in (place.path / "run").glob(".*")], step
    lodge(*words)
    lodge("backup", "--verify", place.path)
    runs_on(lodge)
    lodge("check", "run", "--repair")
    assert not list(lodge.guest_folder("run").glob("layers/*"))


@with_faults
def test_park(lodge, store):
    words = ["image", "park", "tiny", "--network", "user", "--memory", "128M"]
    before = set(tree(store.path / "images"))
    with store.full(1 << 20):
        assert "disk space" in lodge(*words, status=1).message
    for step, done in walk(lodge, store, words, steps("park-saved", "park-begun park-booted park-whole")):
        assert not lodge.processes()
        parked = lodge("image", "show", "tiny", "--json").json["parked"]
        assert len(parked) == (done.status == 0), f"{step}: {done}"
        if parked:
            lodge("image", "unpark", "tiny")
        assert set(tree(store.path / "images")) - {"tiny/warm"} == before, step
    if ALL:
        lodge(*words)


def test_images(lodge, store, tmp_path):
    raw = tmp_path / "noise.raw"
    raw.write_bytes(os.urandom(8 << 20))
    qcow2 = tmp_path / "noise.qcow2"
    tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
    for words in (["image", "import", "noise", qcow2], ["image", "build", "tiny"]):
        before = set(tree(store.path / "images"))
        for left in (0, 1 << 20):
            with store.full(left):
                said = lodge(*words, status=1).err
            assert NO_ROOM in said or "is free" in said, said
            assert set(tree(store.path / "images")) == before and not lodge.processes()
    lodge("image", "import", "noise", qcow2)


def test_export(lodge, place):
    out = place.path / "tiny.qcow2"
    for left in (0, 1 << 20):
        with place.full(left):
            said = lodge("image", "export", "tiny", out, status=1).message
        assert NO_ROOM in said or "is free" in said, said
        assert not os.listdir(place.path)
    lodge("image", "export", "tiny", out)
    assert os.listdir(place.path) == ["tiny.qcow2"]


def test_create(shared, guests):
    lodge = shared
    before = set(tree(guests.path))
    with guests.full():
        done = lodge("create", "new", "--os", "tiny", status=1)
        assert NO_ROOM in done.message, done
        assert lodge.names() == ["run"] and set(tree(guests.path)) == before
        assert "run" in lodge("create", "run", "--os", "tiny", status=None).message
    runs_on(lodge)
    lodge.make("new", start=ALL)
    lodge("delete", "new", "--yes", "--force")
