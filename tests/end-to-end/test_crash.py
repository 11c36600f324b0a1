"""Processes that die or hang at any moment, and what the next command makes of it."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from lodge import BUSY, INTERRUPTED, alive, describe, fake, wait_until

# Reading must not wait for anybody. The machine may be busy; a hung QEMU costs seconds.
AT_ONCE_S = 0.5

def kill(pid, number=signal.SIGKILL):
    os.kill(pid, number)
    if number == signal.SIGKILL:
        wait_until(lambda: not alive(pid), what=f"end of {pid}")


def kill_keeper(lodge, name):
    pid = lodge.keeper(name)
    kill(pid)
    return pid


def begin(lodge, *options):
    """A guest that has started, no matter how far it is."""
    lodge.make("g", "--memory", "128M")
    for option in options:
        section, key, value = option
        lodge.set("g", section, **{key: value})
    lodge("start", "g", "--no-wait")
    return "g"


def steady(shown):
    """What the guest writes meanwhile, and which addresses it still gets, is its own affair."""
    kept = {key: value for key, value in shown.items() if key not in ("disks", "inside")}
    return kept, (shown["inside"] or {}).get("hostname")


def is_adopted(lodge, name):
    return "adopted" in lodge.event_words(name)


# The keeper dies


def test_without_keeper_it_runs_on_and_the_next_verb_adopts(lodge):
    """One guest through all of it: adoption keeps the state, events go on, stop works."""
    lodge.make("g", start=True)
    qemu, before = lodge.qemu("g"), lodge.show("g")
    kill_keeper(lodge, "g")
    shown = lodge.show("g")
    assert (shown["state"], shown["keeper"], shown["agent"]) == ("running", False, True)
    assert not is_adopted(lodge, "g"), "reading adopts nothing"
    assert lodge("ssh", "g", "echo", "alive").out == "alive\n", "ssh needs no keeper"
    assert lodge("exec", "g", "echo", "hello").out == "hello\n"
    assert is_adopted(lodge, "g") and lodge.qemu("g") == qemu and alive(lodge.keeper("g"))
    assert steady(lodge.show("g")) == steady(before)

    mark = len(lodge.events("g"))
    lodge("pause", "g")
    lodge.wait_event("g", "paused", after=mark)
    lodge("resume", "g")
    lodge.wait_event("g", "resumed", after=mark)
    lodge("ssh", "g", "reboot", status=None)
    lodge.wait_event("g", "agent-down", after=mark)
    lodge.wait_event("g", "agent-up", after=mark)
    assert lodge.show("g")["agent"]

    kill_keeper(lodge, "g")
    lodge("stop", "g")
    assert lodge.state("g") == "stopped" and not alive(qemu)
    assert lodge.event_words("g")[-1] == "stopped"


@pytest.mark.parametrize("verb", ["start", "pause", "kill", "restart", "delete"])
def test_every_verb_adopts(lodge, verb):
    begin(lodge)
    qemu = lodge.qemu("g")
    kill_keeper(lodge, "g")
    words = {"start": ["--no-wait"], "restart": ["--force", "--timeout", "60s"],
             "delete": ["--yes", "--force"]}.get(verb, [])
    lodge(verb, "g", *words)
    assert alive(qemu) == (verb in ("start", "pause"))
    if verb in ("start", "pause"):
        assert is_adopted(lodge, "g") and alive(lodge.keeper("g"))


# What each verb leaves if its keeper dies while it is at work: states that are right, whichever side
# of the death the verb's effect fell on.
MIDDLE = {
    "start --no-wait": ["running"],
    "pause": ["paused"],
    "resume": ["running"],
    "stop --timeout 300ms": ["running", "stopping"],
    "kill": ["stopped"],
    "restart --force --timeout 300ms": ["running"],
    "delete --yes --force": ["gone"],
    "set limits.cpu=50%": ["running"],
    "set nic.net.ssh-port=2222": ["running"],
    "limits --memory 100M": ["running"],
    "disk create data --size 1M": ["running"],
    "usb attach 1234:5678": ["running"],
    "screenshot PICTURE": ["running"],
    "monitor info status": ["running"],
}


@pytest.mark.parametrize("moment", ["hung before", "as the job begins"])
def test_the_keeper_dies_in_the_middle_of_every_verb(lodge, moment):
    """The verb finds the keeper alive, and loses it: it ends, says how, and the next one works."""
    lodge.make("g", "--memory", "128M")
    for verb, states in MIDDLE.items():
        if "g" not in lodge.names():
            lodge.make("g", "--memory", "128M")
        lodge("start", "g", "--no-wait")
        word, *rest = [value.replace("PICTURE", str(lodge.folder / "g.png")) for value in verb.split()]
        if word == "resume":
            lodge("pause", "g")
        elif word == "disk":
            word, rest = "disk create", rest[1:]
        elif word == "usb":
            word, rest = "usb attach", rest[1:]
        keeper = lodge.keeper("g")
        mark = lodge.run_path("g", "job.json")
        if moment == "hung before":
            os.kill(keeper, signal.SIGSTOP)
        process = lodge.begin(*word.split(), "g", *rest)
        wait_until(lambda: mark.exists() or process.poll() is not None, what="the job")
        kill(keeper)
        result = lodge.end(process)
        assert result.status in (0, 1), result
        assert result.status == 0 or word in ("stop", "restart"), result
        state = lodge.state("g") if "g" in lodge.names() else "gone"
        assert state in states, (verb, state, str(result))
        if state != "gone":
            lodge("start", "g", "--no-wait")
            lodge("resume", "g")
            shown = lodge.show("g")
            assert shown["keeper"] and shown["state"] in ("running", "stopping"), (verb, shown)
            assert len(lodge.processes()) == 2, describe(lodge.processes())


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_the_keeper_dies_before_qemu_has_greeted(lodge, switches, verb):
    lodge.make("g", "--memory", "128M")
    real = shutil.which("qemu-system-x86_64")
    switches.chmod(0o777)
    env = fake(switches, "qemu-system-x86_64",
               f'case "$1" in -name) exec sleep 600 ;; esac\nexec {real} "$@"')
    process = lodge.begin(verb, "g", env=env)
    lock = lodge.run_path("g", "qemu.lock")
    wait_until(lambda: lodge.state("g") == "starting" and lock.exists() and lock.read_text(),
               what="QEMU, whose lock is there a moment before its id is in it")
    kill(lodge.keeper("g"))
    result = lodge.end(process)
    assert result.status == 1 and "lodge-keeper was killed" in result.message, result
    lodge("kill", "g")
    assert lodge.state("g") == "stopped" and not lodge.processes()
    lodge("start", "g", "--no-wait")
    assert lodge.state("g") == "running"


def test_keepers_die_again_and_again(lodge):
    begin(lodge)
    qemu = lodge.qemu("g")
    for _ in range(5):
        kill_keeper(lodge, "g")
        lodge("start", "g", "--no-wait")
        assert lodge.qemu("g") == qemu and lodge.show("g")["keeper"]
    assert lodge.event_words("g").count("adopted") == 5


def test_a_guest_that_ended_without_keeper_is_stopped(lodge):
    begin(lodge)
    kill_keeper(lodge, "g")
    kill(lodge.qemu("g"))
    shown = lodge.show("g")
    assert (shown["state"], shown["keeper"], shown["ssh_port"]) == ("stopped", False, None)
    lodge("start", "g", "--no-wait")
    assert lodge.state("g") == "running"


def test_two_keepers_never(lodge):
    """Two commands at once find the keeper dead: one adopts, the other is told or finds it done."""
    begin(lodge)
    for _ in range(3):
        kill_keeper(lodge, "g")
        both = [lodge.begin("start", "g", "--no-wait") for _ in range(2)]
        results = [lodge.end(process) for process in both]
        statuses = sorted(result.status for result in results)
        assert statuses in ([0, 0], [0, BUSY]), "\n".join(map(str, results))
        assert len(lodge.processes()) == 2


# QEMU dies


def test_a_killed_qemu_is_a_crash_with_its_reason(lodge):
    lodge.make("g", "--memory", "128M", "--cpus", "2")
    lodge("start", "g", "--no-wait")
    keeper = lodge.keeper("g")
    kill(lodge.qemu("g"))
    event = lodge.wait_event("g", "crashed")
    assert "signal 9" in event["reason"]
    wait_until(lambda: not alive(keeper), what="the keeper's end")
    shown = lodge.show("g")
    assert shown["state"] == "crashed" and "signal 9" in shown["reason"] and shown["pid"] == 0
    assert re.search(r"because +QEMU was ended by signal 9 \(Killed\)", lodge("show", "g").out)
    lodge("start", "g", "--no-wait")
    assert lodge.show("g")["reason"] is None
    # what QEMU does to itself may be what is known of it
    words = subprocess.check_output(["qemu-system-x86_64", "--version"], text=True)
    version = re.search(r"version (\d+)\.(\d+)", words)
    told = len(lodge.events("g"))
    kill(lodge.qemu("g"), signal.SIGABRT)
    reason = lodge.wait_event("g", "crashed", after=told)["reason"]
    assert ("cpus=1 avoids it" in reason) == (tuple(map(int, version.groups())) < (8, 2)), reason


def test_on_crash_restart_brings_it_back_and_gives_up_at_last(lodge):
    begin(lodge, ("guest", "on-crash", "restart"))
    keeper = lodge.keeper("g")
    for crash in range(1, 6):
        qemu = lodge.qemu("g")
        kill(qemu)
        wait_until(lambda: lodge.event_words("g").count("started") == crash + 1, what="a restart")
        assert lodge.state("g") == "running" and lodge.qemu("g") != qemu
        assert lodge.keeper("g") == keeper
    kill(lodge.qemu("g"))
    wait_until(lambda: not alive(keeper), what="the keeper gives up")
    assert lodge.state("g") == "crashed"
    assert lodge.event_words("g").count("started") == 6


def test_restart_after_a_crash_that_cannot_start_says_why(lodge):
    begin(lodge, ("guest", "on-crash", "restart"))
    keeper = lodge.keeper("g")
    lodge.set("g", "guest", kernel="/nonexistent")
    text = lodge.conf("g").read_text().splitlines(True)
    first = [line for line in text if line.startswith("kernel=")]
    lodge.conf("g").write_text("".join(line for line in text if line not in first[1:]))
    kill(lodge.qemu("g"))
    wait_until(lambda: not alive(keeper), what="the keeper's end")
    assert "/nonexistent" in lodge.show("g")["reason"]


# Nobody answers


def test_a_stopped_qemu_holds_up_no_reader_and_can_be_killed(lodge):
    begin(lodge)
    qemu = lodge.qemu("g")
    kill(qemu, signal.SIGSTOP)
    for words in (["list"], ["list", "--json"], ["show", "g"], ["show", "g", "--json"],
                  ["log", "g"]):
        times = [lodge(*words).seconds for _ in range(3)]
        assert min(times) < AT_ONCE_S, (words, times)
    assert lodge.state("g") == "running"

    result = lodge("stop", "g", "--timeout", "1s", status=1)
    assert result.seconds < 6, result
    for words in ("guest g", "lodge kill g"):
        assert words in result.message, result
    result = lodge("exec", "g", "true", status=None)
    assert result.status != 0

    stopping = lodge.begin("stop", "g", "--timeout", "30s")
    lodge_job = lodge.run_path("g", "job.json")
    wait_until(lambda: lodge_job.exists(), what="the job")
    assert lodge.show("g")["job"] == "stop"
    assert "(stop)" in lodge("list").out
    refused = lodge("pause", "g", status=BUSY)
    assert f"process {stopping.pid}" in refused.message and "lodge stop" in refused.message
    assert lodge.end(stopping, signal.SIGINT).status == INTERRUPTED

    result = lodge("kill", "g")
    assert result.seconds < 10 and not alive(qemu), result
    assert lodge.show("g")["state"] == "stopped", "asked for: no crash"


def test_a_stopped_qemu_without_keeper(lodge):
    begin(lodge)
    qemu = lodge.qemu("g")
    kill(qemu, signal.SIGSTOP)
    kill_keeper(lodge, "g")
    assert lodge.state("g") == "running"
    result = lodge("kill", "g")
    assert result.seconds < 15 and not alive(qemu), result
    assert lodge.state("g") == "stopped"


def test_a_stopped_keeper_holds_up_nobody_for_ever(lodge):
    begin(lodge)
    keeper, qemu = lodge.keeper("g"), lodge.qemu("g")
    kill(keeper, signal.SIGSTOP)
    assert min(lodge("list").seconds for _ in range(3)) < AT_ONCE_S
    result = lodge("kill", "g")
    assert result.seconds < 20 and not alive(qemu) and not alive(keeper), result
    assert lodge.state("g") == "stopped"
    lodge("start", "g", "--no-wait")
    assert lodge.state("g") == "running"


# Files


DAMAGE = {
    "state.json deleted": lambda run: (run / "state.json").unlink(),
    "state.json garbage": lambda run: (run / "state.json").write_bytes(b"\0\xff{]"),
    "state.json another shape": lambda run: (run / "state.json").write_text(
        '{"state": 7, "pid": "x", "agent": "yes", "ssh_port": -1, "reason": []}'),
    "state.json an array": lambda run: (run / "state.json").write_text("[1]"),
    "state.json a folder": lambda run: ((run / "state.json").unlink(),
                                        (run / "state.json").mkdir()),
    "state.json huge": lambda run: (run / "state.json").write_text("9" * (1 << 20)),
    "job.json garbage": lambda run: (run / "job.json").write_text("{{{"),
    "lock files deleted": lambda run: [path.unlink() for path in run.glob("*.lock")],
    "lock files garbage": lambda run: [path.write_text("none\n") for path in run.glob("*.lock")],
    "a pipe instead of a file": lambda run: ((run / "state.json").unlink(),
                                             os.mkfifo(run / "state.json")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_run_files_do_not_stop_reading(lodge, damage):
    begin(lodge)
    pids = lodge.qemu("g"), lodge.keeper("g")
    DAMAGE[damage](lodge.run_path("g", "."))
    result = lodge("list")
    assert result.seconds < AT_ONCE_S and "g " in result.out
    assert lodge("list", "--json").json[0]["name"] == "g"
    lodge("show", "g")
    for pid in pids:
        kill(pid)
    state = lodge.run_path("g", "state.json")
    if state.is_dir():
        state.rmdir()
    lodge("start", "g", "--no-wait")
    assert lodge.state("g") == "running", "the next start mends it"


def test_what_changed_without_a_keeper_is_asked_at_adoption(lodge):
    lodge.make("g", start=True)
    kill_keeper(lodge, "g")
    lodge("ssh", "g", "rm /usr/sbin/lodge-agent; killall lodge-agent qemu-ga")
    assert lodge.show("g")["agent"], "nobody has noticed"
    lodge("start", "g", "--no-wait")
    wait_until(lambda: not lodge.show("g")["agent"], what="the end of both agents is seen")
    assert "no agent has its port open" in lodge("exec", "g", "true", status=BUSY).message
    kill_keeper(lodge, "g")
    lodge.run_path("g", "state.json").unlink()
    lodge("start", "g", "--no-wait")
    assert lodge.state("g") == "running"


def test_lost_locks_never_give_a_disk_to_two(lodge):
    """Somebody deletes the lock files of a running guest: QEMU's own locks still hold."""
    begin(lodge)
    qemu = lodge.qemu("g")
    keeper = lodge.keeper("g")
    DAMAGE["lock files deleted"](lodge.run_path("g", "."))
    result = lodge("start", "g", "--no-wait", status=1)
    assert "another process using the image" in result.message and alive(qemu)
    for pid in (keeper, qemu):
        kill(pid)


def test_run_folder_lost(lodge):
    """As after the host's restart: all locks and states are gone, all guests stopped."""
    begin(lodge)
    pids = lodge.keeper("g"), lodge.qemu("g")
    for pid in pids:
        kill(pid)
    for path in sorted(lodge.run_folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    lodge.run_folder.rmdir()
    assert lodge.state("g") == "stopped"
    lodge("start", "g", "--no-wait")


# The guest panics


# What the kernel's driver does when it panics: 1 to the port of the pvpanic device.
PANIC = """#include <sys/io.h>
int main(void) { return ioperm(0x505, 1, 1) ? 1 : (outb(1, 0x505), 0); }
"""


def panic(lodge, on_crash):
    program = lodge.folder.parent / "panic"
    subprocess.run(["cc", "-static", "-O1", "-x", "c", "-", "-o", program], input=PANIC.encode(),
                   check=True)
    lodge("create", "g", "--os", "tiny", "--no-start")
    lodge.set("g", "guest", **{"on-crash": on_crash})
    lodge("start", "g")
    lodge("ssh", "g", "cat >/tmp/panic; chmod +x /tmp/panic", input=program.read_bytes())
    lodge("exec", "--timeout", "2s", "g", "/tmp/panic", status=None)


@pytest.mark.parametrize("on_crash,state", [("stop", "crashed"), ("pause", "paused")])
def test_panic(lodge, on_crash, state):
    panic(lodge, on_crash)
    assert "panicked" in lodge.wait_event("g", "panicked", timeout_s=20)["reason"]
    lodge.wait_state("g", state)
    assert "panicked" in lodge.show("g")["reason"]


def test_panic_with_restart(lodge):
    panic(lodge, "restart")
    mark = len(lodge.events("g"))
    lodge.wait_event("g", "panicked", timeout_s=20)
    lodge.wait_event("g", "agent-up", after=mark)
    assert lodge.state("g") == "running"
