"""Guests that begin as a parked machine, and guests made of guests: quick, each its own, and nothing
left when a command is killed on the way.

Booting is what costs here: the machine is parked once for all tests, and few guests boot.
"""

import json
import signal

import pytest

from lodge import BUSY, LONG_S, fake, wait_until
from test_snapshots import with_faults

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
    wait_until(lambda: parked("exec", "a", "--", "sh", "-c", KEPT, status=None).status == 0,
               what="its key is kept")
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
    assert parked("snapshot", "list", "web", "--json").json == []
    assert "copy-" in parked("delete", "web", "--yes", "--force", status=BUSY).message
    remove(parked, *made["names"], "web")


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
    for words, env in [(["--cpus", "1"], {}), (["--memory", "200M"], {}), (["--cold"], {}), ([], other)]:
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


@with_faults
def test_killed_while_it_is_parked(lodge):
    for step in ["park-begun", "park-saved"]:
        killed = lodge("image", "park", "tiny", env={"LODGE_TEST_FAULT": step}, status=None,
                       timeout_s=2 * LONG_S)
        assert killed.status == -signal.SIGKILL, killed
        wait_until(lambda: not lodge.processes(), 10, "its QEMU ended with it")
        assert lodge("image", "show", "tiny", "--json").json["parked"] == []
    lodge("image", "unpark", "tiny")
    lodge("image", "delete", "tiny", "--yes")
