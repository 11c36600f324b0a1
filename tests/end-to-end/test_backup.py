"""Backups: full, then what changed, of guests that run and that don't; read without Lodge, verified,
thinned out, restored; and what is left when a command is killed at any step of that.

What a point holds is compared whole with what the guest had then. LODGE_TEST_ALL=1 has all steps tried.
"""

import calendar
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lodge import BUSY, EXISTS, NOT_FOUND, USAGE, fake, wait_until
from test_snapshots import assert_nothing_nameless, content, make_blank, tool, top, with_faults, write


@pytest.fixture
def target(folder, request):
    """A folder for backups."""
    path = folder / f"backups-{request.node.name.split('[')[0]}"
    path.mkdir()
    yield path
    for left in path.glob("view/*.raw"):
        subprocess.run(["umount", "-l", left], capture_output=True)
    shutil.rmtree(path)


def backup(lodge, name, target, *words):
    return lodge("backup", name, target, *words, "--json").json


def points(lodge, target):
    return [one["point"] for one in lodge("backup", "--list", target, "--json").json]


def in_point(lodge, target, name, point):
    """What qemu-img alone reads of a point."""
    return content(lodge, name, target / name / point / "root.qcow2")


def assert_nothing_half(target, name):
    hidden = [path.name for path in (target / name).glob(".*")]
    assert not hidden, hidden


# Guests that don't run


def test_what_changed(lodge, target):
    make_blank(lodge, "web1")
    made, held = [], []

    def step(full, why=None):
        point = backup(lodge, "web1", target)
        assert point["full"] == full, point
        assert (point["disks"][0]["why"] or "").startswith(why) if why else not point["disks"][0]["why"], point
        made.append(point["point"])
        held.append(content(lodge, "web1"))
        for name, then in zip(made, held):
            assert in_point(lodge, target, "web1", name) == then
        return point

    write(lodge, "web1", 1, 1)
    step(True)
    write(lodge, "web1", 2, 2)
    assert step(False)["copied_bytes"] == 1 << 20
    assert step(False)["copied_bytes"] == 0
    # zeroes and what is discarded are changes too
    tool("qemu-io", "-f", "qcow2", "-c", "write -z 1M 64k", "-c", "discard 1088k 64k", top(lodge, "web1"))
    step(False)
    # layers of snapshots, below which the bitmap is; one that goes hands it on
    lodge("snapshot", "create", "web1", "a")
    write(lodge, "web1", 3, 3)
    lodge("snapshot", "create", "web1", "b")
    write(lodge, "web1", 4, 4)
    assert step(False)["copied_bytes"] == 2 << 20
    write(lodge, "web1", 5, 5)
    lodge("snapshot", "create", "web1", "c")
    write(lodge, "web1", 6, 6)
    for name in "acb":
        lodge("snapshot", "delete", "web1", name, "--yes")
    assert top(lodge, "web1").name == "root.qcow2"
    assert step(False)["copied_bytes"] == 2 << 20
    # a state from before the point, and one from after it
    lodge("snapshot", "create", "web1", "old")
    write(lodge, "web1", 7, 7)
    step(False)
    lodge("snapshot", "restore", "web1", "old", "--yes")
    write(lodge, "web1", 0, 8)
    step(True, "what changed")
    lodge("snapshot", "create", "web1", "young")
    write(lodge, "web1", 1, 9)
    lodge("snapshot", "restore", "web1", "young", "--yes")
    write(lodge, "web1", 2, 10)
    step(False)
    lodge("disk", "resize", "web1", "root", "12M")
    step(False)
    assert backup(lodge, "web1", target, "--full")["full"]
    assert_nothing_half(target, "web1")
    lodge("backup", "--verify", target)
    assert lodge("backup", "--verify", target / "web1", made[2], "--json").json["points"] == 1


def test_restore_and_thin_out(lodge, target):
    make_blank(lodge, "web1")
    write(lodge, "web1", 1, 1)
    for number in range(4):
        write(lodge, "web1", number + 2, number + 2)
        last = backup(lodge, "web1", target)["point"]
    then = content(lodge, "web1")
    # what else belongs to it
    lodge("disk", "create", "web1", "data", "--size", "4M")
    data = lodge.guest_folder("web1") / "data.qcow2"
    tool("qemu-io", "-f", "qcow2", "-c", "write -P 5 1M 1M", data)
    both = backup(lodge, "web1", target)
    assert [(disk["name"], disk["full"]) for disk in both["disks"]] == [("root", False), ("data", True)]
    last = both["point"]
    tool("qemu-io", "-f", "qcow2", "-c", "write -P 6 2M 1M", data)
    lodge("set", "web1", "tpm=yes")
    tpm = lodge.guest_folder("web1") / "tpm/tpm2-00.permall"
    tpm.parent.mkdir()
    tpm.write_text("state")
    # all but the newest of the day go: their content goes into those that stay
    write(lodge, "web1", 7, 77)
    assert "backup.target" in lodge("backup", "web1", status=USAGE).message
    assert "write" in lodge("set", "web1", "backup.keep=sometimes", status=None).message
    lodge("set", "web1", f"backup.target={target}", "backup.keep=1d")
    assert not backup(lodge, "web1", target, "--keep", "all")["removed"]
    kept = lodge("backup", "web1", "--json").json
    assert last in kept["removed"] and kept["folder"] == str(target / "web1") and points(lodge, target) == [kept["point"]]
    assert lodge("backup", "--list", target, "--json").json[0]["full"]
    assert in_point(lodge, target, "web1", kept["point"]) == content(lodge, "web1") != then
    lodge("backup", "--verify", target)
    # under its own name only after asking, and with what it was
    now = content(lodge, "web1")
    write(lodge, "web1", 0, 99)
    assert lodge("restore", target, status=USAGE).message
    status, shown = lodge.on_terminal("restore", target / "web1", answers=[("?", "y\n")])
    assert status == 0 and "Replace guest web1" in shown
    assert content(lodge, "web1") == now
    assert backup(lodge, "web1", target, "--keep", "all")["full"]
    # under another: nothing that only one can have
    mac = lodge.show("web1")["nics"][0]["mac"]
    lodge("restore", target / "web1", "--as", "web2", "--point", kept["point"])
    assert content(lodge, "web2") == now and lodge.show("web2")["nics"][0]["mac"] != mac
    assert content(lodge, "web2", lodge.guest_folder("web2") / "data.qcow2") == content(lodge, "web1", data)
    assert (lodge.guest_folder("web2") / "tpm/tpm2-00.permall").read_text() == "state"
    assert "hostname=web2\n" in (lodge.guest_folder("web2") / "seed.txt").read_text()
    assert lodge("restore", target / "web1", "--point", "1999", status=NOT_FOUND).message


def test_mount(lodge, target):
    make_blank(lodge, "web1")
    write(lodge, "web1", 1, 1)
    first = backup(lodge, "web1", target)["point"]
    then = content(lodge, "web1")
    write(lodge, "web1", 2, 2)
    backup(lodge, "web1", target)
    view = target / "view"
    view.mkdir()
    assert "no backup mounted" in lodge("backup", "unmount", view, status=NOT_FOUND).message
    assert "begin with" in lodge("backup", "mount", target, "2", view, status=USAGE).message
    done = lodge("backup", "mount", target, first, view, "--nbd", "--json").json
    raw = target / "by-nbd.raw"
    tool("qemu-img", "convert", "-f", "raw", "-O", "raw", *done["disks"], raw)
    assert done["by"] == "nbd" and tool("sha256sum", raw).split()[0] == then
    assert lodge("backup", "mount", target, first, view, status=EXISTS).message
    lodge("backup", "unmount", view)
    assert not list(view.iterdir())
    done = lodge("backup", "mount", target, first, view, "--json").json
    if done["by"] == "nbd":  # no FUSE here
        lodge("backup", "unmount", view)
        return
    assert done["disks"] == [str(view / "root.raw")] and tool("sha256sum", view / "root.raw").split()[0] == then
    assert lodge("backup", "mount", target, first, view, status=EXISTS).message
    with pytest.raises(OSError):
        (view / "root.raw").write_bytes(b"x")
    lodge("backup", "unmount", view)
    assert not list(view.iterdir())
    # one whose server was killed is taken away as well
    lodge("backup", "mount", target, first, view)
    server = next(pid for pid in lodge.processes() if b"storage-daemon" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(server, signal.SIGKILL)
    lodge("backup", "unmount", view)
    assert not list(view.iterdir())


@pytest.mark.root
def test_a_block_device(lodge, target):
    """Copied whole each time, by what changed in the copy; restored as a file, the device as it is."""
    file = target / "device.raw"
    file.write_bytes(os.urandom(2 << 20))
    attached = subprocess.run(["losetup", "--find", "--show", file], capture_output=True, text=True)
    if attached.returncode:
        pytest.skip(f"no loop devices here: {attached.stderr}")
    device = Path(attached.stdout.strip())
    try:
        make_blank(lodge, "web1")
        lodge("disk", "attach", "web1", device, "--name", "data")
        first, then = backup(lodge, "web1", target), device.read_bytes()
        with open(device, "r+b") as disk:
            disk.write(b"changed")
        second, now = backup(lodge, "web1", target), device.read_bytes()
        assert [disk["full"] for disk in second["disks"]] == [False, True] and now != then
        for point, content_then in ((first, then), (second, now)):
            said = lodge("restore", target, "--as", "web2", "--point", point["point"]).err
            assert f"data is written as data.raw ({device} stays as it is)" in said
            assert (lodge.guest_folder("web2") / "data.raw").read_bytes() == content_then
            assert f"{device}" not in lodge.conf("web2").read_text() and device.read_bytes() == now
            lodge("delete", "web2", "--yes")
    finally:
        tool("losetup", "--detach", device)


def test_damage_is_found(lodge, target):
    make_blank(lodge, "web1")
    write(lodge, "web1", 1, 1)
    first = backup(lodge, "web1", target)["point"]
    write(lodge, "web1", 2, 2)
    backup(lodge, "web1", target)
    file = target / "web1" / first / "root.qcow2"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert str(file) in lodge("backup", "--verify", target, status=1).message
    # so the second, which stands on it, is not restored either, and no half guest is left
    assert str(file) in lodge("restore", target, "--as", "web2", status=1).message
    assert lodge.names() == ["web1"] and not lodge("list", "--json").json[0].get("job")
    # nothing outside of the folder is ever read for it
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", top(lodge, "web1"),
         target / "web1" / points(lodge, target)[1] / "root.qcow2")
    assert "stands on" in lodge("restore", target, "--as", "web2", status=1).message


def test_no_room_no_folder(lodge, target):
    make_blank(lodge, "web1")
    assert "mounted" in lodge("backup", "web1", target / "none", status=NOT_FOUND).message
    assert lodge("backup", "web1", lodge.guest_folder("web1"), status=USAGE).message
    small = target / "small"
    small.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root for a small file system")
    tool("mount", "-t", "tmpfs", "-o", "size=4m", "none", small)
    try:
        write(lodge, "web1", 1, 1)
        point = backup(lodge, "web1", small)["point"]
        noise = target / "noise"
        noise.write_bytes(os.urandom(6 << 20))
        tool("qemu-io", "-f", "qcow2", "-c", f"write -s {noise} 2M 6M", top(lodge, "web1"))
        assert "No space left" in lodge("backup", "web1", small, status=1).message
        assert points(lodge, small) == [point]
        assert_nothing_half(small, "web1")
        tool("mount", "-o", "remount,size=32m", small)
        later = backup(lodge, "web1", small)
        assert not later["full"] and later["copied_bytes"] == 6 << 20
        assert in_point(lodge, small, "web1", later["point"]) == content(lodge, "web1")
    finally:
        tool("umount", small)


# Guests that run


@pytest.fixture(scope="module")
def running(shared):
    """Two guests: one has snapshots made by its keeper, which is looked at when a minute has passed."""
    for name in ["run", "minute"]:
        shared.make(name, start=True)
    shared("set", "minute", "snapshots=every 1m keep 2 disks-only")
    return shared


@pytest.fixture(scope="module")
def place(folder):
    path = folder / "backups-of-run"
    path.mkdir()
    return path


def sh(lodge, text, name="run"):
    return lodge("exec", name, "--", "sh", "-c", text, timeout_s=60).out.strip()


# Numbered blocks with a checksum each, one after the other, as long as the file /tmp/go is there. In the
# first partition, which nothing in `tiny` uses; 256 blocks of 4 KiB, over and over.
WRITER = r"""
dd if=/dev/zero of=/dev/vda1 bs=1M count=1 conv=fsync,notrunc 2>/dev/null
touch /tmp/go
n=0
while [ -e /tmp/go ]; do
    n=$((n + 1))
    head=$(printf '%08d' $n)
    sum=$(echo "$head" | md5sum | cut -c1-32)
    { printf '%s %s\n' "$head" "$sum"; head -c 4054 /dev/zero; } |
        dd of=/dev/vda1 bs=4096 seek=$((n % 256)) count=1 iflag=fullblock conv=fsync,notrunc 2>/dev/null
done
echo $n > /tmp/last
"""

CHECKSUM = "dd if=/dev/vda1 bs=1M count=1 iflag=direct 2>/dev/null | md5sum"


def numbers(text):
    """Those of all blocks that were written; each must be whole."""
    found = []
    for line in text.replace("\0", "").splitlines():
        head, _, digest = line.partition(" ")
        if head.isdigit() and len(head) == 8:
            assert hashlib.md5(f"{head}\n".encode()).hexdigest() == digest, line
            found.append(int(head))
    return found


def read_point(lodge, place, point, start):
    """What the writer had written by then, as qemu-img alone reads it."""
    raw = place / "raw"
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", place / "run" / point / "root.qcow2", raw)
    data = raw.read_bytes()[start:start + (1 << 20)]
    raw.unlink()
    return numbers("".join(data[at:at + 41].decode("ascii") + "\n" for at in range(0, 1 << 20, 4096)))


def begin_writing(lodge):
    lodge("exec", "run", "--", "sh", "-c", "rm -f /tmp/last; cat > /tmp/writer; sh /tmp/writer >/dev/null 2>&1 &",
          input=WRITER.encode())


def end_writing(lodge, name="run"):
    """The number of the last block."""
    sh(lodge, "rm /tmp/go; while [ ! -e /tmp/last ]; do usleep 10000; done", name)
    return int(sh(lodge, "cat /tmp/last", name))


def assert_all_written(lodge, last, name="run"):
    """On its disk are the last block and all before it that it did not write over."""
    data = sh(lodge, "dd if=/dev/vda1 bs=1M count=1 iflag=direct 2>/dev/null | tr -d '\\0'", name)
    assert sorted(numbers(data)) == list(range(max(last - 256, 0) + 1, last + 1))


def test_forked_and_restored_while_it_writes(running):
    """It writes on, in its fork too, and when it has gone back: nothing that was written is missing."""
    lodge = running
    begin_writing(lodge)
    wait_until(lambda: sh(lodge, CHECKSUM) != sh(lodge, CHECKSUM), what="it writes")
    lodge("fork", "run", "writes-too")
    lodge("snapshot", "create", "run", "then")
    of_fork = end_writing(lodge, "writes-too")
    assert_all_written(lodge, of_fork, "writes-too")
    later = end_writing(lodge)
    assert_all_written(lodge, later)
    lodge("snapshot", "restore", "run", "then", "--yes")
    wait_until(lambda: lodge.show("run")["agent"], what="the agent's port")
    assert sh(lodge, "ls /tmp/go /tmp/last 2>/dev/null; :") == "/tmp/go"
    lodge("delete", "writes-too", "--yes", "--force")
    lodge("snapshot", "delete", "run", "then", "--yes")
    again = end_writing(lodge)
    assert_all_written(lodge, again)
    lodge("kill", "run")
    lodge("disk", "check", "run")
    assert_nothing_nameless(lodge, "run")
    lodge("start", "run")


def test_while_it_writes(running, place):
    lodge = running
    begin_writing(lodge)
    made = [backup(lodge, "run", place)]
    # snapshots come and go between; the layer between a and b, which goes first, has the bitmap then
    lodge("snapshot", "create", "run", "a", "--disks-only")
    lodge("snapshot", "create", "run", "b")
    made.append(backup(lodge, "run", place))
    lodge("snapshot", "create", "run", "c", "--disks-only")
    for name in "bac":
        lodge("snapshot", "delete", "run", name, "--yes")
    made.append(backup(lodge, "run", place))
    last = end_writing(lodge)
    made.append(backup(lodge, "run", place))
    assert [one["full"] for one in made] == [True] + [False] * 3, made
    assert all(one["kind"] == "frozen" and one["pause_ms"] > 0 for one in made)
    assert lodge.state("run") == "running" and top(lodge, "run").name == "root.qcow2"
    assert_nothing_nameless(lodge, "run")
    lodge("backup", "--verify", place)
    there = sh(lodge, CHECKSUM)
    start = int(sh(lodge, "cat /sys/class/block/vda1/start")) * 512
    highest = 0
    for one in made:
        found = sorted(read_point(lodge, place, one["point"], start))
        newest = max(found, default=0)
        # what was on disk at that moment: the newest, and all before it that it did not write over
        assert found == list(range(max(newest - 256, 0) + 1, newest + 1)) and newest >= highest
        highest = newest
    assert highest == last
    # and it boots
    lodge("restore", place / "run", "--as", "again", "--point", made[-1]["point"])
    lodge("start", "again")
    assert sh(lodge, CHECKSUM, "again") == there
    lodge("delete", "again", "--yes", "--force")


def test_when_qemu_ends(running, place):
    lodge = running
    backup(lodge, "run", place)
    # the same bitmaps go on when its plug was pulled, and when it runs again
    lodge("kill", "run")
    assert not backup(lodge, "run", place)["full"]
    lodge("start", "run")
    later = backup(lodge, "run", place)
    assert not later["full"]
    # a QEMU that was killed did not say what changed
    os.kill(lodge.qemu("run"), signal.SIGKILL)
    lodge.wait_state("run", "crashed")
    lodge("start", "run")
    after = backup(lodge, "run", place)
    assert after["full"] and "QEMU was killed" in after["disks"][0]["why"]
    assert not backup(lodge, "run", place)["full"]


# Killed at each step

ALL = os.environ.get("LODGE_TEST_ALL") == "1"
STOPPED = [("", "backup-begun backup-opened backup-noted backup-copied backup-whole backup-published "
                "backup-recorded"),
           ("--keep 1d", "backup-merging backup-merged backup-renamed backup-dropped")]
STOPPED = [(words, step) for words, steps in STOPPED for step in steps.split()]
STOPPED_FEW = [("", "backup-copied"), ("", "backup-published"), ("--keep 1d", "backup-merged")]


@with_faults
@pytest.mark.parametrize("words,step", STOPPED if ALL else STOPPED_FEW)
def test_killed_while_stopped(lodge, target, words, step):
    make_blank(lodge, "web1")
    held = {}
    for number in range(2):
        write(lodge, "web1", number, number + 1)
        held[backup(lodge, "web1", target)["point"]] = content(lodge, "web1")
    write(lodge, "web1", 2, 3)
    now = content(lodge, "web1")
    lodge("backup", "web1", target, *words.split(), status=-signal.SIGKILL, env={"LODGE_TEST_FAULT": step})
    assert content(lodge, "web1") == now
    write(lodge, "web1", 3, 4)
    last = backup(lodge, "web1", target)
    assert not last["full"] or step == "backup-published"
    lodge("backup", "--verify", target)
    assert_nothing_half(target, "web1")
    for point in points(lodge, target):
        assert in_point(lodge, target, "web1", point) == held.get(point, now if point != last["point"] else
                                                                  content(lodge, "web1"))
    if not words:
        assert set(held) <= set(points(lodge, target))


@with_faults
@pytest.mark.parametrize("how", ["", ":INT"], ids=["killed", "interrupted"])
def test_a_restore_that_is_ended(lodge, target, how):
    make_blank(lodge, "web1")
    write(lodge, "web1", 1, 1)
    backup(lodge, "web1", target)
    done = lodge("restore", target, "--as", "web2", status=None, env={"LODGE_TEST_FAULT": f"restore-filled{how}"})
    assert done.status in ((0, 130) if how else (-signal.SIGKILL,)), done
    if done.status != 0:
        assert lodge.names() == ["web1"]
        lodge("restore", target, "--as", "web2")
    assert content(lodge, "web2") == content(lodge, "web1")
    assert not [path for path in (lodge.folder / "guests").glob(".*") if path.is_dir()]


LIVE = [("lodge", step) for step in ("create-stopped create-named create-switched backup-covered backup-copied "
                                     "backup-published live-ready live-turned live-repointed").split()]
LIVE += [("keeper", "backup-covered"), ("qemu", "create-switched"), ("qemu", "backup-copied"), ("qemu", "live-turned")]
LIVE_FEW = [("lodge", "create-switched"), ("lodge", "backup-copied"), ("qemu", "live-turned")]


@with_faults
@pytest.mark.parametrize("victim,step", LIVE if ALL else LIVE_FEW)
def test_killed_while_running(running, place, victim, step):
    """One guest goes through all: its disk is what it was, and so is each point."""
    lodge = running
    sh(lodge, "dd if=/dev/urandom of=/dev/vda1 bs=64k seek=2 count=2 conv=fsync,notrunc 2>/dev/null")
    before = sh(lodge, CHECKSUM)
    fault = step if victim == "lodge" else f"{step}:{getattr(lodge, victim)('run')}"
    done = lodge("backup", "run", place, status=None, env={"LODGE_TEST_FAULT": fault})
    assert victim != "lodge" or done.status == -signal.SIGKILL, done
    lodge("check", "run", "--repair")
    assert_nothing_nameless(lodge, "run")
    if victim == "qemu":
        wait_until(lambda: lodge.state("run") != "stopping", what="an end")
        if lodge.state("run") != "running":
            lodge("start", "run")
    assert lodge.state("run") == "running" and sh(lodge, CHECKSUM) == before
    assert not lodge("snapshot", "list", "run", "--json").json
    last = backup(lodge, "run", place)
    start = int(sh(lodge, "cat /sys/class/block/vda1/start")) * 512
    raw = place / "raw"
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", place / "run" / last["point"] / "root.qcow2", raw)
    assert hashlib.md5(raw.read_bytes()[start:start + (1 << 20)]).hexdigest() == before.split()[0]
    raw.unlink()
    assert_nothing_half(place, "run")
    lodge("backup", "--verify", place / "run", last["point"])


# What goes on beside a backup, and disks that are elsewhere


@contextlib.contextmanager
def held_backup(lodge, name, place, folder, outcome):
    """A backup that stands still before it copies, until the block ends. Its end comes into @outcome."""
    switches = folder / "switches"
    gate, held = folder / "gate", folder / "held"
    switches.mkdir(exist_ok=True)
    gate.unlink(missing_ok=True)
    held.unlink(missing_ok=True)
    os.mkfifo(gate)
    real = shutil.which("qemu-storage-daemon")
    process = lodge.begin("backup", name, place, "--json",
                          env=fake(switches, "qemu-storage-daemon", f'touch {held}; read go < {gate}; exec {real} "$@"'))
    wait_until(lambda: held.exists() or process.poll() is not None, what="the copying")
    yield process
    if process.poll() is None:
        gate.write_text("go\n")
    outcome.append(lodge.end(process))


def test_beside(shared, place, folder):
    lodge, name, ended = shared, "beside", []
    raw, qcow2 = folder / "elsewhere.raw", folder / "elsewhere.qcow2"
    lodge.make(name, start=True)
    tool("qemu-img", "create", "-q", "-f", "raw", raw, "8M")
    tool("qemu-img", "create", "-q", "-f", "qcow2", qcow2, "8M")
    lodge("disk", "attach", name, raw, "--name", "raw")
    lodge("disk", "attach", name, qcow2, "--name", "qcow2")
    conf = set(lodge.conf(name).read_text().split()) - {"format=qcow2"}

    # a guest sees a disk a moment after it was plugged in
    wait_until(lambda: sh(lodge, "ls /sys/class/block", name).split().count("vdc") == 1, what="its disks are there")

    def put(word):
        sh(lodge, f"for disk in b c; do echo {word} | dd of=/dev/vd$disk conv=fsync 2>/dev/null; done", name)

    def there(point=None):
        root = place / name / point if point else None
        files = [(root / "raw.qcow2", "qcow2"), (root / "qcow2.qcow2", "qcow2")] if root else [(raw, "raw"), (qcow2, "qcow2")]
        words = []
        for path, form in files:
            tool("qemu-img", "convert", "-U", "-f", form, "-O", "raw", path, folder / "look")
            words.append((folder / "look").read_bytes()[:8].split(b"\n")[0].decode())
        return words

    def check(number, held):
        point = ended[number].json
        assert set(lodge.conf(name).read_text().split()) == conf and not list((lodge.guest_folder(name)).glob("layers/*"))
        assert_nothing_nameless(lodge, name)
        assert there(point["point"]) == [held] * 2
        return {disk["name"]: disk["full"] for disk in point["disks"]}

    # what changes its disks waits; what starts and ends it does not
    put("one")
    with held_backup(lodge, name, place, folder, ended):
        assert lodge.show(name)["job"] == "backup"
        for words in (["snapshot", "create", name], ["fork", name, "other"], ["delete", name, "--yes", "--force"]):
            assert "ends the backup" in lodge(*words, status=BUSY).message
        assert "lodge backup" in lodge("backup", name, place, status=BUSY).message
        put("two")
        lodge("pause", name)
    assert lodge.state(name) == "paused" and check(0, "one") == {"root": True, "raw": True, "qcow2": True}
    lodge("resume", name)
    with held_backup(lodge, name, place, folder, ended):
        put("three")
        lodge("kill", name)
    assert check(1, "two") == {"root": False, "raw": True, "qcow2": False} and there() == ["three"] * 2
    # a guest that is stopped starts meanwhile
    with held_backup(lodge, name, place, folder, ended):
        lodge("start", name)
        put("four")
    check(2, "three")
    with held_backup(lodge, name, place, folder, ended):
        lodge("stop", name)
        lodge("start", name, "--no-wait")
    assert check(3, "four") == {"root": False, "raw": True, "qcow2": False}
    # ended by a signal, and killed
    lodge("start", name)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with held_backup(lodge, name, place, folder, ended) as process:
            put(number.name)
            process.send_signal(number)
            process.wait()
        assert ended.pop().status != 0
        lodge("check", name, "--repair")
        assert points(lodge, place / name) == [one.json["point"] for one in ended]
        assert there() == [number.name] * 2
        assert set(lodge.conf(name).read_text().split()) == conf and lodge.state(name) == "running"
        assert_nothing_nameless(lodge, name)
    lodge("delete", name, "--yes", "--force")


# Snapshots by themselves


def test_rewind(running):
    lodge = running
    assert "no schedule" in lodge("snapshot", "create", "run", "--scheduled", status=USAGE).message
    assert "write it like" in lodge("set", "run", "snapshots=hourly", status=None).message
    lodge("set", "run", "snapshots=every 1h keep 2")
    made = []
    for number in range(3):
        sh(lodge, f"echo {number} > /tmp/mark")
        made.append(lodge("snapshot", "create", "run", "--scheduled", "--json").json["name"])
        second = int(time.time())
        wait_until(lambda: int(time.time()) > second)  # names are of seconds
    there = [one["snapshot"] for one in lodge("rewind", "run", "--json").json]
    assert there == made[1:] == sorted(there)
    sh(lodge, "rm /tmp/mark")
    assert there[0] in lodge("rewind", "run", "--to", "1h", status=NOT_FOUND).message
    assert lodge("rewind", "run", "--to", "now", status=USAGE).message
    status, shown = lodge.on_terminal("rewind", "run", "--to", "0s", answers=[("?", "y\n")])
    assert status == 0 and there[1] in shown
    wait_until(lambda: lodge.show("run")["agent"], what="the agent's port")
    assert sh(lodge, "cat /tmp/mark") == "2"
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(point_time(there[0])))
    assert lodge("rewind", "run", "--to", at, "--yes", "--cold", "--json").json["snapshot"] == there[0]
    lodge("set", "run", "snapshots=")
    for name in there:
        lodge("snapshot", "delete", "run", name, "--yes")
    lodge("start", "run")


def point_time(name):
    return calendar.timegm(time.strptime(name.removeprefix("auto-"), "%Y%m%d-%H%M%S"))


def test_by_the_keeper(running):
    lodge = running
    wait_until(lambda: lodge("rewind", "minute", "--json").json, what="a snapshot by itself")
    assert "snapshot-created" in lodge.event_words("minute") and lodge.state("minute") == "running"
