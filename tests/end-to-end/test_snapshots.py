"""Snapshots: made, gone back to and deleted, of guests that run and that don't; and what is left when
a command, its keeper or QEMU is killed at any step of that.

What a disk holds is compared whole: blocks of a stopped guest's disk, which is small and blank, are
written by qemu-io; those of a running one by itself, into its first partition, which nothing in `tiny`
uses. Of the steps at which something is killed while a guest runs a few are tried; LODGE_TEST_ALL=1 has
all of them tried.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess

import pytest

from lodge import BUILD, EXISTS, NOT_FOUND, UNSUPPORTED, alive, wait_until


def has_faults():
    options = json.loads((BUILD / "meson-info/intro-buildoptions.json").read_text())
    return any(option["name"] == "faults" and option["value"] for option in options)


with_faults = pytest.mark.skipif(not has_faults(), reason="not built with -Dfaults=true, as tests/run does")


def tool(*words):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def halted(lodge, *words, step):
    """A command that stands still at @step until the block ends. Its Result is in the list then."""
    outcome = []
    process = lodge.begin(*words, env={"LODGE_TEST_FAULT": f"{step}:STOP"})
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), process.communicate()
    try:
        yield outcome
    finally:
        process.send_signal(signal.SIGCONT)
    outcome.append(lodge.end(process))


def kill_and_wait(pid):
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), 10, f"the end of {pid}")


def make_blank(lodge, name, *words):
    """A guest that is never started: its disk is small, and quickly compared."""
    lodge.make(name, *words)
    tool("qemu-img", "create", "-q", "-f", "qcow2", lodge.guest_folder(name) / "root.qcow2", "8M")


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
    make_blank(lodge, "web1")
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
        ["a", "b", "├─ lost", "└─ c *"]
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
    make_blank(lodge, "web1")
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


def test_renamed_and_deleted(lodge):
    make_blank(lodge, "web1")
    for number, name in enumerate("ab", 1):
        write(lodge, "web1", number, number)
        lodge("snapshot", "create", "web1", name)
    at_a = of_snapshot(lodge, "web1", "a")
    lodge("rename", "web1", "web2")
    assert list(snapshots(lodge, "web2")) == ["a", "b"] and of_snapshot(lodge, "web2", "a") == at_a
    lodge("snapshot", "restore", "web2", "a", "--yes")
    assert content(lodge, "web2") == at_a
    lodge("snapshot", "delete", "web2", "a", "--yes")
    assert content(lodge, "web2") == at_a
    assert_nothing_nameless(lodge, "web2")
    lodge("delete", "web2", "--yes")
    assert not lodge.guest_folder("web2").exists() and not lodge.leftovers()


def test_raw_and_uefi(lodge):
    make_blank(lodge, "web1", "--firmware", "uefi")
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


STOPPED = [(*words.split(), step)
           for words, steps in [
               ("create new", "create-begun layers-planned layers-made create-prepared create-named "
                              "create-whole create-published"),
               ("delete a", "delete-given-up delete-handed-on delete-unnamed merge-begin merge-committed "
                            "merge-written merge-repointed"),
               ("delete b", "delete-given-up delete-unnamed merge-committed merge-repointed"),
               ("restore a", "layers-planned layers-made restore-prepared restore-killed restore-named")]
           for step in steps.split()]


@pytest.fixture(scope="module")
def template(shared):
    """The folder of a guest with two snapshots, and what its disk and those hold."""
    make_blank(shared, "web1")
    write(shared, "web1", 1, 1)
    for number, name in enumerate("ab", 2):
        shared("snapshot", "create", "web1", name)
        write(shared, "web1", number, number)
    kept = {name: of_snapshot(shared, "web1", name) for name in "ab"}
    path = shared.folder.parent / "template"
    tool("cp", "-a", shared.guest_folder("web1"), path)
    return path, content(shared, "web1"), kept


def confirmed(verb):
    return [] if verb == "create" else ["--yes"]


def begin_anew(lodge, template):
    folder = lodge.guest_folder("web1")
    shutil.rmtree(folder)
    tool("cp", "-a", template[0], folder)


def assert_in_order(lodge, template, verb, name, words):
    """After whatever became of the command @words."""
    _, before, kept = template
    there = snapshots(lodge, "web1")
    for one in set(there) & set(kept):
        assert of_snapshot(lodge, "web1", one) == kept[one]
    assert set("ab") - {name if verb == "delete" else ""} <= set(there)
    assert content(lodge, "web1") in ([before, kept["a"]] if verb == "restore" else [before])
    assert_nothing_nameless(lodge, "web1")
    # what was interrupted can be done again
    if (name in there) == (verb != "create"):
        lodge(*words)
    for one in list(snapshots(lodge, "web1")):
        lodge("snapshot", "delete", "web1", one, "--yes")
    assert not (lodge.guest_folder("web1") / "layers").exists()
    lodge("disk", "check", "web1")


@with_faults
@pytest.mark.parametrize("verb,name,step", STOPPED)
def test_killed_while_stopped(shared, template, verb, name, step):
    begin_anew(shared, template)
    words = ["snapshot", verb, "web1", name, *confirmed(verb)]
    shared(*words, status=-signal.SIGKILL, env={"LODGE_TEST_FAULT": step})
    shared("check", "web1", "--repair")
    assert_in_order(shared, template, verb, name, words)


INTERRUPTED = [("create", "new", "layers-made"), ("delete", "a", "merge-begin"), ("restore", "a", "restore-prepared")]


@with_faults
@pytest.mark.parametrize("verb,name,step", STOPPED if os.environ.get("LODGE_TEST_ALL") == "1" else INTERRUPTED)
def test_interrupted_while_stopped(shared, template, verb, name, step):
    """Ctrl-C: the command itself leaves things in order, done or not; nobody repairs."""
    begin_anew(shared, template)
    words = ["snapshot", verb, "web1", name, *confirmed(verb)]
    done = shared(*words, status=None, env={"LODGE_TEST_FAULT": f"{step}:INT"})
    assert done.status in (0, 130), done
    assert_in_order(shared, template, verb, name, words)


def fill(path):
    """Until its file system has no byte left."""
    with pytest.raises(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


FULL = [("create", "new", "create-begun"), ("create", "new", "create-prepared"), ("delete", "a", "merge-begin"),
        ("delete", "a", "merge-committed"), ("restore", "a", "layers-planned")]


@with_faults
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a small file system")
@pytest.mark.parametrize("verb,name,step", STOPPED if os.environ.get("LODGE_TEST_ALL") == "1" else FULL)
def test_full_disk_while_stopped(shared, template, verb, name, step):
    """The guest's file system fills up just then; it has space again afterwards."""
    begin_anew(shared, template)
    folder = shared.guest_folder("web1")
    words = ["snapshot", verb, "web1", name, *confirmed(verb)]
    tool("mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "none", folder)
    try:
        tool("cp", "-a", f"{template[0]}/.", folder)
        filler = folder / "filler"
        with halted(shared, *words, step=step) as outcome:
            fill(filler)
        done = outcome[0]
        assert done.status in (0, 1), done
        assert done.status == 0 or "No space left" in done.err, done
        filler.unlink()
        shared("check", "web1", "--repair")
        assert_in_order(shared, template, verb, name, words)
    finally:
        tool("umount", folder)
        tool("cp", "-a", f"{template[0]}/.", folder)


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


@with_faults
def test_file_systems_rest_by_lodge_agent(running):
    """QEMU's is not asked; and they go on when who had them rest is killed."""
    lodge = running
    sh(lodge, "killall -STOP qemu-ga")
    made = lodge("snapshot", "create", "run", "calm", "--disks-only", "--json").json
    assert made["kind"] == "frozen"
    lodge("snapshot", "create", "run", "never", "--disks-only", status=-signal.SIGKILL,
          env={"LODGE_TEST_FAULT": "create-frozen"})
    sh(lodge, "echo again > /data/written && sync")
    lodge("pause", "run")
    assert lodge("snapshot", "create", "run", "still", "--disks-only", "--json").json["kind"] == "plug"
    lodge("resume", "run")
    sh(lodge, "killall -CONT qemu-ga")
    clear(lodge)


# Steps that leave the same as another here, or as one of a stopped guest, are not among them.
LIVE = [(*words.split(), step)
        for words, steps in [
            ("lodge create new", "create-migrating create-stopped create-named create-switched "
                                 "create-resumed"),
            ("lodge create new --disks-only", "create-stopped create-switched"),
            ("lodge delete b", "live-ready live-stopped live-turned live-repointed"),
            ("lodge delete a", "live-between"),
            ("lodge restore b", "restore-killed restore-marked restore-loading restore-loaded"),
            ("int create new", "create-migrating create-stopped create-switched"),
            ("int delete b", "live-ready live-stopped live-turned live-repointed"),
            ("int delete a", "live-between"),
            ("int restore b", "restore-prepared restore-marked restore-loading restore-loaded"),
            ("keeper create new", "create-stopped create-switched"),
            ("keeper delete b", "live-turned"),
            ("qemu create new", "create-stopped create-switched"),
            ("qemu delete b", "live-ready live-turned"),
            ("new-keeper restore b", "restore-loading restore-loaded"),
            ("new-qemu restore b", "restore-loading restore-loaded")]
        for step in steps.split()]
LIVE_FEW = [("lodge", "create", "new", "create-named"), ("lodge", "delete", "b", "live-turned"),
            ("lodge", "delete", "a", "live-between"), ("lodge", "restore", "b", "restore-marked"),
            ("new-keeper", "restore", "b", "restore-loading"),
            ("int", "delete", "b", "live-ready"), ("int", "delete", "a", "live-between"),
            ("int", "create", "new", "create-migrating"),
            ("keeper", "create", "new", "create-switched"), ("qemu", "delete", "b", "live-turned")]


def kill_at(lodge, victim, words, step):
    """Have @victim die when the command has come to @step."""
    if victim.startswith("new-"):  # those that run then; there may have been others before
        with halted(lodge, "snapshot", words[0], "run", *words[1:], *confirmed(words[0]), step=step) as outcome:
            kill_and_wait(getattr(lodge, victim.removeprefix("new-"))("run"))
        assert outcome[0].status == 0 or victim == "new-qemu", outcome[0]
        return
    fault = (step if victim == "lodge" else f"{step}:INT" if victim == "int"
             else f"{step}:{getattr(lodge, victim)('run')}")
    done = lodge("snapshot", words[0], "run", *words[1:], *confirmed(words[0]), status=None,
                 env={"LODGE_TEST_FAULT": fault})
    assert (done.status == -signal.SIGKILL if victim == "lodge" else done.status in (0, 130) if victim == "int"
            else victim == "keeper" or done.status), done


@with_faults
@pytest.mark.parametrize("verb,name,step", [("create", "by-itself", "create-stopped"),
                                            ("create", "by-itself", "create-switched"),
                                            ("delete", "by-itself", "live-turned")])
def test_goes_on_by_itself(running, verb, name, step):
    """Its command dies while the guest stands still for it: nobody need give another."""
    lodge = running
    if verb == "delete":
        lodge("snapshot", "create", "run", name, "--disks-only")
    before = change(lodge, 15)
    seen = len(lodge.events("run"))
    kill_at(lodge, "lodge", [verb, name], step)
    lodge.wait_event("run", "resumed", seen)
    wait_until(lambda: not list(lodge.guest_folder("run").glob("snapshots/.[!g]*")), what="an end of mending")
    assert blocks(lodge) == before
    assert name not in snapshots(lodge, "run")
    assert_nothing_nameless(lodge, "run")


@with_faults
@pytest.mark.parametrize("case", LIVE if os.environ.get("LODGE_TEST_ALL") == "1" else LIVE_FEW, ids="-".join)
def test_killed_while_running(running, case):
    """One guest goes through all: killed while something is done to it, and found in order."""
    lodge = running
    victim, *words, step = case
    # b above a, as the steps want them
    if {name: one["parent"] for name, one in snapshots(lodge, "run").items()} != {"a": None, "b": "a"}:
        clear(lodge)
        for name in "ab":
            lodge("snapshot", "create", "run", name, "--disks-only")
            change(lodge, 15)
    if words[0] == "restore" and snapshots(lodge, "run")["b"]["kind"] != "running":
        lodge("snapshot", "delete", "run", "b", "--yes")
        lodge("snapshot", "create", "run", "b")
    before = change(lodge, LIVE.index(case) % 15)
    kill_at(lodge, victim, words, step)
    if victim != "int":  # who is interrupted leaves nothing to repair
        lodge("check", "run", "--repair")
    assert_nothing_nameless(lodge, "run")
    if victim == "qemu" or words[0] == "restore":
        wait_until(lambda: lodge.state("run") != "stopping", what="an end")
        if lodge.state("run") != "running":
            lodge("start", "run")
    assert lodge.state("run") == "running"
    assert words[0] == "restore" or blocks(lodge) == before
    if "new" in snapshots(lodge, "run"):
        lodge("snapshot", "delete", "run", "new", "--yes")


def test_all_in_one_file_at_the_end(running):
    """Whatever the tests before did to this guest."""
    lodge = running
    before = blocks(lodge)
    clear(lodge)
    assert blocks(lodge) == before and top(lodge, "run").name == "root.qcow2"
    lodge("kill", "run")
    lodge("disk", "check", "run")
    lodge("start", "run")
    assert blocks(lodge) == before


def test_disks_that_came_while_it_ran(running):
    """Who reads its memory has them where they were; so has who reads that one's."""
    lodge = running
    lodge("disk", "create", "run", "more", "--size", "4M")
    wait_until(lambda: "vdb" in sh(lodge, "ls /sys/block"), what="the disk in the guest")
    boot = sh(lodge, "cat /proc/sys/kernel/random/boot_id; head -c 4096 /dev/urandom > /tmp/data; md5sum < /tmp/data")
    write = "dd if=/tmp/data of=/dev/vdb bs=4096 conv=fsync 2>/dev/null"
    read = "dd if=/dev/vdb bs=4096 count=1 iflag=direct 2>/dev/null | md5sum"
    for name in ["came", "again"]:
        sh(lodge, write)
        lodge("snapshot", "create", "run", name)
        sh(lodge, write.replace("/tmp/data", "/dev/zero") + " count=1")
        lodge("snapshot", "restore", "run", name, "--yes")
        wait_until(lambda: lodge.show("run")["agent"], what="the agent's port")
        assert sh(lodge, f"cat /proc/sys/kernel/random/boot_id; {read}") == boot
    clear(lodge)
