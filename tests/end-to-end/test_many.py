"""Many guests at once."""

import os

import pytest

from lodge import alive, wait_until

COUNT = 50


@pytest.fixture
def crowd(lodge):
    """Guests with a blank disk each: their firmware finds nothing to boot, and rests."""
    for i in range(COUNT):
        disk = lodge.folder.parent / f"{i}.raw"
        with open(disk, "wb") as file:
            file.truncate(1 << 20)
        lodge("create", f"g{i}", "--disk", disk, "--memory", "64M", "--cpus", "1", "--no-start")
    return [f"g{i}" for i in range(COUNT)]


def test_fifty_starts_at_once(lodge, crowd):
    results = [lodge.end(process)
               for process in [lodge.begin("start", name, "--no-wait") for name in crowd]]
    assert all(result.status == 0 for result in results), "\n".join(
        str(result) for result in results if result.status)
    listed = lodge("list", "--json").json
    assert {guest["state"] for guest in listed} == {"running"}
    assert len({guest["ssh_port"] for guest in listed}) == COUNT
    assert len({guest["pid"] for guest in listed}) == COUNT
    assert all(alive(guest["pid"]) and guest["keeper"] for guest in listed)
    assert min(lodge("list").seconds for _ in range(3)) < 0.5

    # Half of the keepers die; all guests can be paused all the same, which asks each QEMU.
    for name in crowd[::2]:
        os.kill(lodge.keeper(name), 9)
    lodge("pause", *crowd)
    wait_until(lambda: {guest["state"] for guest in lodge("list", "--json").json} == {"paused"},
               what="all are paused")

    lodge("kill", *crowd)
    assert {guest["state"] for guest in lodge("list", "--json").json} == {"stopped"}
    assert lodge.processes() == []
    lodge("delete", *crowd, "--yes")


def test_several_names_go_on_after_a_failure(lodge):
    for name in ("a", "c"):
        lodge.make(name, "--memory", "64M")
    result = lodge("start", "a", "b", "c", "--no-wait", status=3)
    assert "no guest “b”" in result.err
    assert [lodge.state(name) for name in ("a", "c")] == ["running", "running"]
    result = lodge("stop", "--all", "--timeout", "200ms", status=1)
    assert "guest a" in result.err and "guest c" in result.err
    lodge("kill", "a", "c")


def test_autostart(lodge):
    for name in ("a", "b"):
        lodge.make(name, "--memory", "64M")
    lodge.set("b", "guest", autostart="yes")
    lodge("start", "--autostart", "--no-wait")
    assert [lodge.state(name) for name in ("a", "b")] == ["stopped", "running"]
    lodge("kill", "b")
