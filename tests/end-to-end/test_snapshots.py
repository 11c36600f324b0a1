"""Snapshots: made, gone back to and deleted, of guests that run and that don't; and what is left when
a command, its keeper or QEMU is killed at any step of that.

What a disk holds is compared whole: blocks of a stopped guest's disk are written by qemu-io, those of
a running one by itself, into its first partition, which nothing in `tiny` uses.
"""

import json
import signal
import subprocess

import pytest

from lodge import BUILD, EXISTS, NOT_FOUND, UNSUPPORTED, wait_until


def has_faults():
    options = json.loads((BUILD / "meson-info/intro-buildoptions.json").read_text())
    return any(option["name"] == "faults" and option["value"] for option in options)


with_faults = pytest.mark.skipif(not has_faults(), reason="not built with -Dfaults=true, as tests/run does")


def tool(*words):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def top(lodge, name):
    """The file that the definition has for the guest's disk."""
    return lodge.guest_folder(name) / lodge("disk", "info", f"{name}/root", "--json").json["file"]


def write(lodge, name, megabyte, pattern):
    tool("qemu-io", "-f", "qcow2", "-c", f"write -P {pattern} {megabyte}M 1M", top(lodge, name))


def content(lodge, name, file=None):
    """A checksum of the disk as a guest sees it, at rest."""
    path = lodge.folder.parent / "content.raw"
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", file or top(lodge, name), path)
    return tool("sha256sum", path).split()[0]


def of_snapshot(lodge, guest, name):
    disk = lodge("snapshot", "show", guest, name, "--json").json["disks"][0]
    return content(lodge, guest, lodge.guest_folder(guest) / disk["file"])


def snapshots(lodge, name):
    return {one["name"]: one for one in lodge("snapshot", "list", name, "--json").json}


def assert_nothing_nameless(lodge, name):
    """Each file in layers/ has a name, or a list says that it is to go; and nothing is half done."""
    folder = lodge.guest_folder(name)
    text = lodge.conf(name).read_text()
    text += "".join(path.read_text() for path in folder.glob("snapshots/*/snapshot.conf"))
    given_up = folder / "snapshots/.given-up"
    text += given_up.read_text() if given_up.exists() else ""
    for path in folder.glob("layers/*"):
        assert f"layers/{path.name}\n" in text, f"{path} is nobody's"
    hidden = [path.name for path in folder.glob("snapshots/.*")]
    assert set(hidden) <= {".given-up"}, hidden


# Guests that don't run


def test_tree(lodge):
    lodge.make("web1")
    lodge("snapshot", "create", "web1", "a", "-d", "as new")
    write(lodge, "web1", 1, 11)
    lodge("snapshot", "create", "web1", "b")
    write(lodge, "web1", 2, 22)
    at_b = of_snapshot(lodge, "web1", "b")
    lodge("set", "web1", "memory=128M")
    assert [(row["what"], row.get("before"), row.get("after"))
            for row in lodge("snapshot", "diff", "web1", "b", "--json").json][0] == ("memory", "256M", "128M")
    lodge("snapshot", "create", "web1", "lost")
    lodge("snapshot", "restore", "web1", "b", "--yes")
    assert content(lodge, "web1") == at_b and lodge.show("web1")["memory_bytes"] == 256 << 20
    lodge("snapshot", "create", "web1", "c")
    lines = lodge("snapshot", "list", "web1").out.splitlines()
    assert [line.split("  2")[0].rstrip() for line in lines[1:]] == \
        ["a", "└─ b", "   ├─ lost", "   └─ c *"]
    assert "as new" in lines[1]
    # whatever goes, in any order, the others stay what they are
    left = {name: of_snapshot(lodge, "web1", name) for name in "abc"}
    for gone in ["b", "a", "lost", "c"]:
        lodge("snapshot", "delete", "web1", gone, "--yes")
        left.pop(gone, None)
        assert {name: of_snapshot(lodge, "web1", name) for name in left} == left
        assert content(lodge, "web1") == at_b
        assert_nothing_nameless(lodge, "web1")
    # and at the end all is in the one file that it began with
    assert top(lodge, "web1").name == "root.qcow2"
    assert not (lodge.guest_folder("web1") / "layers").exists()


def test_refused(lodge):
    lodge.make("web1")
    lodge("snapshot", "create", "web1", "first")
    assert "already" in lodge("snapshot", "create", "web1", "first", status=EXISTS).message
    assert "did you mean “first”" in lodge("snapshot", "restore", "web1", "fisrt", "--yes",
                                           status=NOT_FOUND).message
    foreign = lodge.folder.parent / "foreign.qcow2"
    tool("qemu-img", "create", "-f", "qcow2", foreign, "8M")
    lodge("disk", "attach", "web1", foreign)
    assert str(foreign) in lodge("snapshot", "create", "web1", "b", status=UNSUPPORTED).message
    assert list(snapshots(lodge, "web1")) == ["first"]
    assert_nothing_nameless(lodge, "web1")


def test_raw_and_uefi(lodge):
    lodge.make("web1", "--firmware", "uefi")
    lodge("disk", "create", "web1", "data", "--size", "4M", "--format", "raw")
    data, variables = (lodge.guest_folder("web1") / name for name in ("data.img", "nvram.qcow2"))
    lodge("snapshot", "create", "web1", "a")
    before, kept = data.read_bytes(), content(lodge, "web1", variables)
    tool("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M",
         lodge.guest_folder("web1") / "layers/data-1.qcow2")
    tool("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 64k", variables)
    lodge("snapshot", "restore", "web1", "a", "--yes")
    assert data.read_bytes() == before
    now = lodge.guest_folder("web1") / "layers/variables-1.qcow2"
    assert "variables=layers/variables-1.qcow2\n" in lodge.conf("web1").read_text()
    assert content(lodge, "web1", now) == kept
    tool("qemu-io", "-f", "qcow2", "-c", "write -P 9 1M 1M",
         lodge.guest_folder("web1") / "layers/data-2.qcow2")
    lodge("snapshot", "delete", "web1", "a", "--yes")
    # merged into the raw file, whose format the definition has again
    assert data.read_bytes() == before[:1 << 20] + b"\x09" * (1 << 20) + before[2 << 20:]
    text = lodge.conf("web1").read_text()
    assert "file=data.img" in text and "format=raw" in text


STOPPED = [(words, step)
           for words, steps in [
               (("create", "new"), "create-begun layers-planned layers-made create-prepared create-named "
                                   "create-whole create-published"),
               (("delete", "a", "--yes"), "delete-given-up delete-handed-on delete-unnamed merge-begin "
                                          "merge-committed merge-written merge-repointed"),
               (("delete", "b", "--yes"), "delete-given-up delete-unnamed merge-committed merge-repointed"),
               (("restore", "a", "--yes"), "layers-planned layers-made restore-prepared restore-killed "
                                           "restore-named")]
           for step in steps.split()]


@with_faults
@pytest.mark.parametrize("words,step", STOPPED, ids=[f"{words[0]}-{words[1]}-{step}" for words, step in STOPPED])
def test_killed_while_stopped(lodge, words, step):
    lodge.make("web1")
    write(lodge, "web1", 1, 1)
    for number, name in enumerate("ab", 2):
        lodge("snapshot", "create", "web1", name)
        write(lodge, "web1", number, number)
    before = content(lodge, "web1")
    kept = {name: of_snapshot(lodge, "web1", name) for name in "ab"}
    verb, name, *_ = words
    lodge("snapshot", verb, "web1", *words[1:], status=-signal.SIGKILL, env={"LODGE_TEST_FAULT": step})
    lodge("check", "web1", "--repair")
    there = snapshots(lodge, "web1")
    for one in set(there) & set(kept):
        assert of_snapshot(lodge, "web1", one) == kept[one]
    assert set("ab") - {name if verb == "delete" else ""} <= set(there)
    assert content(lodge, "web1") in ([before, kept["a"]] if verb == "restore" else [before])
    assert_nothing_nameless(lodge, "web1")
    # what was interrupted can be done again
    if (name in there) == (verb != "create"):
        lodge("snapshot", verb, "web1", *words[1:])
    for one in list(snapshots(lodge, "web1")):
        lodge("snapshot", "delete", "web1", one, "--yes")
    assert not (lodge.guest_folder("web1") / "layers").exists()
    lodge("disk", "check", "web1")


# Guests that run


@pytest.fixture(scope="module")
def running(shared):
    shared.make("run", start=True)
    return shared


def sh(lodge, text):
    return lodge("exec", "run", "--", "sh", "-c", text, timeout_s=60).out.strip()


def blocks(lodge):
    """What the guest itself reads of its disk, past its cache."""
    return sh(lodge, "dd if=/dev/vda1 bs=256k count=16 iflag=direct 2>/dev/null | md5sum")


def change(lodge, place):
    """Write one of sixteen places; what all of them hold then."""
    sh(lodge, f"dd if=/dev/urandom of=/dev/vda1 bs=64k seek={place * 4} count=1 conv=fsync 2>/dev/null")
    return blocks(lodge)


def clear(lodge):
    for one in snapshots(lodge, "run"):
        lodge("snapshot", "delete", "run", one, "--yes")
    assert_nothing_nameless(lodge, "run")


def test_back_with_memory(running):
    lodge = running
    at_first = change(lodge, 1)
    sh(lodge, "echo once > /tmp/mark")
    boot = sh(lodge, "cat /proc/sys/kernel/random/boot_id")
    made = lodge("snapshot", "create", "run", "live", "--json").json
    assert made["kind"] == "running" and made["memory_bytes"] > 1 << 20 and made["pause_ms"] > 0
    assert change(lodge, 2) != at_first
    sh(lodge, "rm /tmp/mark")
    lodge("snapshot", "restore", "run", "live", "--yes")
    wait_until(lambda: lodge.show("run")["agent"], what="the agent's port")
    # the same boot, a file that was in memory alone, and the disk of then
    assert sh(lodge, "cat /tmp/mark /proc/sys/kernel/random/boot_id").split() == ["once", boot]
    assert blocks(lodge) == at_first
    lodge("snapshot", "restore", "run", "live", "--yes", "--cold")
    assert lodge.state("run") == "stopped"
    lodge("start", "run")
    assert sh(lodge, "cat /proc/sys/kernel/random/boot_id") != boot and blocks(lodge) == at_first
    clear(lodge)


def test_layers_merge_while_it_runs(running):
    lodge = running
    for number, name in enumerate(["one", "two", "three"]):
        lodge("snapshot", "create", "run", name, *(["--disks-only"] if name == "two" else []))
        before = change(lodge, 4 + number)
    assert snapshots(lodge, "run")["two"]["kind"] == "frozen"
    for name in ["two", "three", "one"]:
        lodge("snapshot", "delete", "run", name, "--yes")
        assert blocks(lodge) == before and lodge.state("run") == "running"
        assert_nothing_nameless(lodge, "run")
    assert top(lodge, "run").name == "root.qcow2"


LIVE = [(words, step)
        for words, steps in [
            (("create", "new"), "create-prepared create-migrating create-stopped create-named create-switched "
                                "create-resumed create-whole create-published"),
            (("create", "new", "--disks-only"), "create-stopped create-named create-switched create-resumed"),
            (("delete", "b", "--yes"), "delete-unnamed live-ready live-stopped live-turned live-repointed"),
            (("delete", "a", "--yes"), "delete-unnamed live-between"),
            (("restore", "b", "--yes"), "restore-prepared restore-killed restore-named restore-marked "
                                        "restore-loading restore-loaded")]
        for step in steps.split()]


@with_faults
@pytest.mark.parametrize("victim", ["lodge", "keeper", "qemu"])
def test_killed_while_running(running, victim):
    """One guest goes through all: killed while something is done to it, and found in order."""
    lodge = running
    steps = LIVE if victim == "lodge" else [
        one for one in LIVE if one[1] in ("create-stopped", "create-switched", "live-ready", "live-turned")]
    for number, (words, step) in enumerate(steps):
        what = f"{victim} at {' '.join(words)}, {step}"
        # b above a, as the steps want them
        if {name: one["parent"] for name, one in snapshots(lodge, "run").items()} != {"a": None, "b": "a"}:
            clear(lodge)
            for name in "ab":
                lodge("snapshot", "create", "run", name)
                change(lodge, 15)
        before = change(lodge, number % 15)
        fault = step if victim == "lodge" else f"{step}:{getattr(lodge, victim)('run')}"
        done = lodge("snapshot", words[0], "run", *words[1:], status=None, env={"LODGE_TEST_FAULT": fault})
        assert victim != "lodge" or done.status == -signal.SIGKILL, f"{what}\n{done}"
        if victim == "qemu":
            assert done.status != 0, f"{what}\n{done}"
        lodge("check", "run", "--repair")
        assert_nothing_nameless(lodge, "run")
        if victim == "qemu" or (words[0] == "restore" and lodge.state("run") != "running"):
            if lodge.state("run") == "paused":
                lodge("resume", "run")
            else:
                lodge("start", "run")
        assert lodge.state("run") == "running", what
        if words[0] != "restore":
            assert blocks(lodge) == before, what
        if "new" in snapshots(lodge, "run"):
            lodge("snapshot", "delete", "run", "new", "--yes")
    before = blocks(lodge)
    clear(lodge)
    assert blocks(lodge) == before
    lodge("kill", "run")
    lodge("disk", "check", "run")
    lodge("start", "run")
    assert blocks(lodge) == before
