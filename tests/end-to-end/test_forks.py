"""Guests that begin as a parked machine, and guests made of guests: quick, each its own, and nothing
left when a command is killed on the way.

Booting is what costs here: the machine is parked once for all tests, and few guests boot.
"""

import contextlib
import json
import os
import re
import signal
from pathlib import Path

import pytest

from lodge import BUSY, INTERRUPTED, LONG_S, fake, wait_until
from test_snapshots import assert_nothing_nameless, halted, kill_and_wait, with_faults

ALL = os.environ.get("LODGE_TEST_ALL") == "1"

BEGINS = "begins as the parked machine"
FACTS = """
cat /etc/machine-id 2>/dev/null || echo none
hostname
cat /sys/class/net/eth0/address
head -c 16 /dev/urandom | hexdump -e '16/1 "%02x" "\\n"'
base64 -w 0 /etc/dropbear/dropbear_ed25519_host_key; echo
"""
# Is the host key on tiny's disk, where the next boot finds it?
KEPT = """
place=$(grep -l '^PARTNAME=host-key$' /sys/class/block/*/uevent); place=${place%/uevent}
grep -qF "$(base64 -w 0 /etc/dropbear/dropbear_ed25519_host_key)" "/dev/${place##*/}"
"""


@pytest.fixture(scope="module")
def parked(shared):
    shared("image", "park", "tiny", "--network", "user", timeout_s=2 * LONG_S)
    assert len(shared("image", "show", "tiny", "--json").json["parked"]) == 1
    return shared


def facts(lodge, name):
    names = ["machine-id", "hostname", "mac", "random", "host-key"]
    return dict(zip(names, lodge("exec", name, "--", "sh", "-c", FACTS).out.split(), strict=True))


def create(lodge, name, *words, **more):
    return lodge("create", name, "--os", "tiny", "--network", "user", *words, **more)


def remove(lodge, *names):
    lodge("delete", *names, "--yes", "--force")


def await_key(lodge, name):
    wait_until(lambda: lodge("exec", name, "--", "sh", "-c", KEPT, status=None).status == 0,
               what="its key is kept")


def memory_of(lodge, name):
    """The files that its QEMU maps as memory, by inode."""
    maps = Path(f"/proc/{lodge.qemu(name)}/maps").read_text()
    return set(re.findall(r" (\d+) +/memfd:lodge-memory", maps))


def holders(lodge):
    """Processes of the store's that hold somebody's memory."""
    found = set()
    for pid in lodge.processes():
        with contextlib.suppress(OSError):  # it ended just now
            if any("lodge-memory" in os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()):
                found.add(pid)
    return found


def captures(lodge):
    """Snapshots that forks were begun with."""
    return [one["name"] for one in lodge("snapshot", "list", "web", "--json").json]


def assert_all_differ(all_facts):
    for key in all_facts[0]:
        values = [one[key] for one in all_facts]
        assert len(set(values)) == len(values), f"{key} is shared: {values}"


def test_each_is_its_own(parked):
    results = [create(parked, name) for name in ("a", "b")]
    assert all(BEGINS in result.err for result in results)
    found = [facts(parked, name) for name in ("a", "b")]
    assert_all_differ(found)
    assert [one["hostname"] for one in found] == ["a", "b"]
    assert [one["mac"] for one in found] == \
        [parked.show(name)["nics"][0]["mac"] for name in ("a", "b")]
    # what is known of it from outside is what it says inside
    wait_until(lambda: parked.show("a")["inside"]["hostname"] == "a", what="its name is told")
    assert parked("ssh", "a", "hostname").out == "a\n"
    # and it stays what it is when it boots
    await_key(parked, "a")
    parked("restart", "a")
    again = facts(parked, "a")
    assert (again["hostname"], again["mac"], again["host-key"]) == \
        ("a", found[0]["mac"], found[0]["host-key"])
    remove(parked, "a", "b")


def test_a_running_guest_is_forked(parked):
    create(parked, "web")
    parked("exec", "web", "--", "sh", "-c", "echo here >/tmp/word")
    made = parked("fork", "web", "copy", "--count", "2", "--json").json
    assert made["names"] == ["copy-1", "copy-2"] and 0 < made["pause_ms"] < 10000
    names = ["web", *made["names"]]
    assert all(parked("exec", name, "cat", "/tmp/word").out == "here\n" for name in names)
    found = [facts(parked, name) for name in names]
    assert_all_differ(found)
    assert [one["hostname"] for one in found] == names
    # one memory for all, which is no file's, and gone with the last of them
    memories = [memory_of(parked, name) for name in made["names"]]
    assert len(memories[0]) == 1 and memories[0] == memories[1] != memory_of(parked, "web")
    assert captures(parked) == []
    assert "copy-" in parked("delete", "web", "--yes", "--force", status=BUSY).message
    # a fork of a fork, and what each is when it boots
    parked("fork", "copy-1", "third", "--no-wait")
    assert parked("exec", "third", "cat", "/tmp/word").out == "here\n"
    assert memory_of(parked, "third").isdisjoint(memories[0])
    await_key(parked, "copy-2")
    parked("restart", "copy-2")
    again = facts(parked, "copy-2")
    assert [again[key] for key in ("hostname", "mac", "host-key")] == \
        [found[2][key] for key in ("hostname", "mac", "host-key")]
    remove(parked, "third")
    remove(parked, *made["names"], "web")


def test_one_of_several_fails(parked, switches):
    """The others are made, and the error names it."""
    create(parked, "web")
    broken = fake(switches, "ssh-keygen",
                  'case "$*" in *copy-2*) echo no key for it >&2; exit 1 ;; esac; '
                  'exec /usr/bin/ssh-keygen "$@"')
    failed = parked("fork", "web", "copy", "--count", "3", "--no-wait", env=broken, status=1)
    assert "guest copy-2:" in failed.message and "copy-1" not in failed.message, failed
    assert sorted(parked.names()) == ["copy-1", "copy-3", "web"] and captures(parked) == []
    assert {facts(parked, name)["hostname"] for name in parked.names()} == {"copy-1", "copy-3", "web"}
    remove(parked, "copy-1", "copy-3")
    remove(parked, "web")


def test_several_are_interrupted(parked):
    """What was made stays, what was begun goes."""
    create(parked, "web")
    began = parked.begin("fork", "web", "part", "--count", "9", "--no-wait")
    parked.wait_event("part-3", "forked")  # so another is made
    os.killpg(began.pid, signal.SIGINT)
    assert parked.end(began).status == INTERRUPTED
    copies = [name for name in parked.names() if name != "web"]
    assert copies and "part-9" not in copies and captures(parked) == []
    assert {facts(parked, name)["hostname"] for name in copies} == set(copies)
    remove(parked, *copies)
    remove(parked, "web")


def test_a_stopped_guest_is_forked(parked):
    parked.make("web")
    parked("fork", "web", "linked")
    parked("fork", "web", "whole", "--full")
    below = {name: parked("disk", "info", f"{name}/root", "--json").json["chain"]
             for name in ("linked", "whole")}
    assert len(below["whole"]) == 1 and len(below["linked"]) > 2
    assert "forked-from=web/root.qcow2" in parked.conf("linked").read_text()
    seeds = [(parked.guest_folder(name) / "seed.txt").read_text().splitlines()
             for name in ("linked", "whole")]
    assert [seed[0] for seed in seeds] == ["hostname=linked", "hostname=whole"]
    assert all(seed[1].startswith("identity=") for seed in seeds) and seeds[0][1] != seeds[1][1]
    parked("start", "linked", "--no-wait")
    assert "linked" in parked("delete", "web", "--yes", status=BUSY).message
    remove(parked, "linked", "whole")
    remove(parked, "web")


def test_what_differs_boots(parked, switches):
    """Another shape, another QEMU, or whoever wants it so."""
    other = fake(switches, "qemu-system-x86_64", 'exec /usr/bin/qemu-system-x86_64 "$@"')
    for words, env in [(["--cpus", "2"], {}), (["--memory", "200M"], {}), (["--cold"], {}), ([], other)]:
        made = create(parked, "c", "--no-wait", *words, env=env)
        assert BEGINS not in made.err, made
        remove(parked, "c")
    assert BEGINS in create(parked, "c", "--size", "80M").err
    size = parked("exec", "c", "cat", "/sys/block/vda/size").out
    assert int(size) * 512 == 80 << 20
    remove(parked, "c")


@with_faults
def test_killed_while_it_begins(parked):
    for step in ["fork-marked", "fork-running", "fork-identified"]:
        killed = create(parked, "k", env={"LODGE_TEST_FAULT": step}, status=None)
        assert killed.status == -signal.SIGKILL, killed
        if step != "fork-running":
            remove(parked, "k")
            continue
        # nobody yet, so it is ended, and boots as one of its own
        parked("start", "k")
        assert facts(parked, "k")["hostname"] == "k"
        assert not (parked.guest_folder("k") / "forking").exists()
        remove(parked, "k")
    assert parked.leftovers() == []


KILLED = ["create-migrating", "create-stopped", "create-switched", "fork-captured", "forked", "fork-marked",
          "keeper-told", "fork-running", "fork-identified", "fork-whole"]
if not ALL:
    KILLED = ["create-switched", "forked", "keeper-told", "fork-running"]


def assert_it_goes_on(lodge, own):
    """Whatever became of its fork k: the source is what it was, k is gone or one of its own, and
    nobody holds anything for it."""
    lodge("check", "web", "--repair")
    assert lodge.state("web") == "running"
    assert facts(lodge, "web")["host-key"] == own["host-key"]
    if "k" in lodge.names():
        lodge("start", "k")
        assert_all_differ([own, facts(lodge, "k")])
        assert lodge("exec", "k", "cat", "/proc/1/comm").out and not (lodge.guest_folder("k") / "forking").exists()
        remove(lodge, "k")
    for name in captures(lodge):
        lodge("snapshot", "delete", "web", name, "--yes")
    known = {lodge.qemu("web"), lodge.keeper("web")}
    wait_until(lambda: holders(lodge) <= known, 10, "nobody holds the copy of its memory")
    assert_nothing_nameless(lodge, "web")


@with_faults
def test_killed_while_a_running_guest_is_forked(parked):
    create(parked, "web")
    own = facts(parked, "web")
    for step in KILLED:
        env = {"LODGE_TEST_FAULT": step}
        assert parked("fork", "web", "k", env=env, status=None).status == -signal.SIGKILL, step
        if not ALL and step != "fork-running" and "k" in parked.names():
            remove(parked, "k")  # whether it boots is tried for one of them
        assert_it_goes_on(parked, own)
    # of several, each in a process of its own: those that die leave nothing
    failed = parked("fork", "web", "k", "--count", "2", env={"LODGE_TEST_FAULT": "fork-running"}, status=1)
    assert "guest k-1:" in failed.message and "guest k-2:" in failed.message
    assert parked.names() == ["web"] and captures(parked) == []
    remove(parked, "web")
    assert parked.leftovers() == []


INTERRUPTED_AT = KILLED if ALL else ["fork-captured", "fork-identified"]


@with_faults
def test_interrupted_while_a_running_guest_is_forked(parked):
    """Ctrl-C: the command itself removes what it began, and nobody repairs. Forked as soon as it is there:
    its keeper has not heard of its agent yet."""
    create(parked, "web", "--no-wait")
    parked("fork", "web", "k", "--no-wait")
    remove(parked, "k")
    own = facts(parked, "web")
    for step in INTERRUPTED_AT:
        done = parked("fork", "web", "k", env={"LODGE_TEST_FAULT": f"{step}:INT"}, status=None)
        assert done.status in (0, INTERRUPTED), done
        assert captures(parked) == [] and ("k" in parked.names()) == (done.status == 0), done
        assert_it_goes_on(parked, own)
    remove(parked, "web")
    assert parked.leftovers() == []


# Who dies at which step, and whether the fork comes to be all the same
OTHERS = [("web", "keeper", "create-switched", True), ("web", "keeper", "fork-captured", True),
          ("web", "qemu", "create-stopped", False), ("web", "qemu", "fork-captured", True),
          ("k", "keeper", "fork-running", True), ("k", "keeper", "fork-whole", True),
          ("k", "qemu", "fork-running", False), ("k", "qemu", "fork-identified", False),
          ("k", "qemu", "fork-whole", False)]
OTHERS = OTHERS if ALL else [("web", "qemu", "fork-captured", True), ("k", "keeper", "fork-running", True),
                             ("k", "qemu", "fork-running", False)]


@with_faults
def test_keeper_or_qemu_dies_while_a_running_guest_is_forked(parked):
    create(parked, "web")
    await_key(parked, "web")
    for guest, victim, step, comes in OTHERS:
        own = facts(parked, "web")
        with halted(parked, "fork", "web", "k", step=step) as outcome:
            kill_and_wait(getattr(parked, victim)(guest))
        done = outcome[0]
        assert (done.status == 0) == comes, f"{guest} {victim} {step}: {done}"
        assert comes or "k" not in parked.names(), done
        if (guest, victim) == ("web", "qemu"):
            parked("start", "web")
            own = facts(parked, "web") | {"host-key": own["host-key"]}
        assert_it_goes_on(parked, own)
    remove(parked, "web")
    assert parked.leftovers() == []


def parked_machines(lodge):
    return lodge("image", "show", "tiny", "--json").json["parked"]


def assert_nothing_parked(lodge, count=0):
    """QEMU ended with who parked, and whoever looks next removes its folder."""
    wait_until(lambda: not lodge.processes(), 10, "its QEMU ended with it")
    assert len(parked_machines(lodge)) == count
    if count == 0:
        def swept():
            lodge("image", "unpark", "tiny")
            return not list((lodge.folder / "images/tiny").glob("warm/*"))
        wait_until(swept, 30, "its folder goes with the lock that QEMU held")


PARKING = ["park-begun", "park-booted", "park-saved", "park-whole"]


@with_faults
@pytest.mark.parametrize("how", ["killed", "interrupted", "QEMU"] if ALL else ["killed"])
def test_ended_while_it_is_parked(lodge, how):
    steps = PARKING if ALL else ["park-begun", "park-booted", "park-saved"]
    for step in steps:
        words = ["image", "park", "tiny", "--network", "user"]
        whole = step == "park-whole"
        if how == "QEMU":
            if step not in ("park-booted", "park-saved"):
                continue
            with halted(lodge, *words, step=step) as outcome:
                for pid in lodge.processes():
                    if b"qemu-system" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        kill_and_wait(pid)
            whole = step == "park-saved"  # all of it is on disk
            assert outcome[0].status == (0 if whole else 1), outcome[0]
        else:
            fault = step if how == "killed" else f"{step}:INT"
            done = lodge(*words, env={"LODGE_TEST_FAULT": fault}, status=None, timeout_s=2 * LONG_S)
            assert done.status in ((-signal.SIGKILL,) if how == "killed" else (0, INTERRUPTED)), done
            whole = whole or done.status == 0
        assert_nothing_parked(lodge, int(whole))
        if whole:
            assert BEGINS in create(lodge, "begun").err
            remove(lodge, "begun")
            lodge("image", "unpark", "tiny")
    lodge("image", "delete", "tiny", "--yes")
