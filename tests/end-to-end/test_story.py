"""What the README tells, in its order, with one guest."""

import os
import re
import signal
import subprocess

import pytest

from lodge import BUSY, INTERRUPTED, NOT_FOUND, USAGE, alive, read_until, tree


@pytest.fixture(scope="module")
def box(shared):
    """A guest that answers. Tests leave it running."""
    result = shared("create", "box", "--os", "tiny", "--description", "for looks")
    assert re.search(r"✓ QEMU starts +\d", result.err), result
    assert re.search(r"^box answers, after [\d.]+ s", result.err, re.M), result
    return shared


def test_list_shows_it(box):
    titles, row = box("list").out.splitlines()
    assert titles.split() == ["NAME", "STATE", "OS", "CPUS", "MEMORY", "SSH", "UPTIME", "NOTE"]
    port = str(box.show("box")["ssh_port"])
    assert re.fullmatch(rf"box +running +tiny +1 +256 MiB +{port} +\d+ s +for looks", row), row


def test_list_and_show_as_json(box):
    [listed] = box("list", "--json").json
    shown = box.show("box")
    # Its disk grows while we look: it keeps its host key just after it has answered.
    assert {**shown, "disks": None} == {**listed, "disks": None}
    expected = {"name": "box", "state": "running", "reason": None, "keeper": True, "agent": True,
                "job": None, "accel": "tcg", "cpus": 1, "memory_bytes": 256 << 20, "os": "tiny",
                "image": "tiny", "user": "root", "firmware": "bios", "on-crash": "stop",
                "autostart": False, "description": "for looks"}
    assert {key: shown[key] for key in expected} == expected
    assert shown["pid"] == box.qemu("box")
    [disk] = shown["disks"]
    assert disk["name"] == "root" and disk["size_bytes"] == 64 << 20
    assert disk["allocated_bytes"] <= os.stat(disk["file"]).st_blocks * 512
    [nic] = shown["nics"]
    assert nic["network"] == "user" and re.fullmatch(r"52:54:00(:[0-9a-f]{2}){3}", nic["mac"])


def test_show_as_page(box):
    page = box("show", "box").out
    for words in ("box\n", "running for", "agent there", "lodge ssh box", "1 CPU, 256 MiB, BIOS",
                  "for looks", str(box.conf("box"))):
        assert words in page, page


def test_ssh_runs_commands_and_carries_their_status(box):
    assert box("ssh", "box", "hostname").out == "box\n"
    assert box("ssh", "box", "cat; exit 7", input=b"a\0b", status=7).out == "a\0b"
    assert box("ssh", "--user", "root", "box", "id", "-u").out == "0\n"


def test_ssh_trusts_the_host_key_seen_first(box):
    known = box.guest_folder("box") / "known_hosts"
    text = known.read_text()
    other = (box.folder / "ssh/id_ed25519.pub").read_text().split()[1]
    known.write_text(text.replace(text.split()[-1], other))
    assert "host key" in box("ssh", "box", "true", status=255).err.lower()
    known.write_text(text)


def test_exec_keeps_streams_apart(box):
    result = box("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 3", status=3)
    assert (result.out, result.err) == ("out\n", "err\n")


def test_exec_tells_a_signal_as_a_shell_does(box):
    assert box("exec", "box", "--", "sh", "-c", "kill -9 $$", status=None).status == 128 + 9


def test_exec_hands_words_over_unchanged(box):
    words = ["a b", "$HOME", "*", "", "'\"\\", "ü", "--json"]
    result = box("exec", "box", "printf", "%s|", *words)
    assert result.out == "".join(word + "|" for word in words)


def test_exec_input_is_binary_safe(box):
    data = bytes(range(256)) * 400
    result = box("exec", "box", "cat", input=data, text=False)
    assert result.out == data


def test_exec_takes_a_pipe_unless_told_not_to(box):
    assert box("exec", "-n", "box", "cat", input=b"unread", text=False).out == b""
    assert "contradicts" in box("exec", "-n", "-i", "box", "cat", status=USAGE).message


def test_exec_of_an_absent_program(box):
    result = box("exec", "box", "no-such-program", status=127)
    assert "guest box" in result.message and "no-such-program" in result.message


def test_exec_has_a_deadline_and_leaves_the_agent_usable(box):
    result = box("exec", "--timeout", "1s", "box", "sleep", "30", status=1)
    assert result.seconds < 15 and "box" in result.message, result
    assert box("exec", "box", "echo", "there").out == "there\n"


def test_two_execs_at_once_wait_for_each_other(box):
    both = [box.begin("exec", "box", "--", "sh", "-c", f"sleep 0.5; echo {i}") for i in range(2)]
    assert [box.end(process).out for process in both] == ["0\n", "1\n"]


def test_exec_ends_on_ctrl_c(box):
    process = box.begin("exec", "box", "sleep", "61")
    box("ssh", "box", "until pidof sleep; do usleep 100000; done")
    assert box.end(process, signal.SIGINT).status == INTERRUPTED
    assert box("exec", "box", "echo", "there").out == "there\n"


def test_log(box):
    everything = box("log", "box").out
    assert "Linux version" in everything or "console" in everything
    assert box("log", "box", "--lines", "1").out.strip() == everything.splitlines()[-1].strip()
    assert box("log", "box", "--qemu").status == 0


def test_log_follows(box):
    process = box.begin("log", "box", "--lines", "1", "--follow")
    read_until(process.stdout, "console.")
    box("exec", "box", "--", "sh", "-c", "echo line-of-the-test >/dev/ttyS0")
    read_until(process.stdout, "line-of-the-test")
    assert box.end(process, signal.SIGINT).status == 0


def test_log_on_a_terminal_drops_what_a_terminal_obeys(box):
    box("exec", "box", "--", "sh", "-c", r"printf 'a\033[31mred\033]0;title\007\rb\n' >/dev/ttyS0")
    _, shown = box.on_terminal("log", "box")
    assert "ared" in shown and "\033" not in shown and "\007" not in shown
    assert "\033[31m" in box("log", "box").out, "a pipe gets all"


def test_pause_and_resume(box):
    box("pause", "box")
    assert box.state("box") == "paused"
    result = box("exec", "box", "true", status=BUSY)
    assert "paused" in result.message
    box("resume", "box")
    box.wait_state("box", "running")
    assert box("exec", "box", "echo", "awake").out == "awake\n"


def test_start_of_a_running_guest_changes_nothing(box):
    qemu = box.qemu("box")
    box("start", "box")
    assert box.qemu("box") == qemu


def test_create_takes_keys_of_the_definition(shared):
    shared("create", "keys", "--os", "tiny", "--no-start", "limits.cpu=50%", "disk.root.iops=100",
           "nic.net.mac=52:54:00:00:00:77", "firmware=uefi")
    definition = shared("show", "keys", "--definition").out
    shared("delete", "keys", "--yes")
    for line in ("cpu=50%", "iops=100", "mac=52:54:00:00:00:77", "firmware=uefi"):
        assert line in definition.splitlines()
    assert "kernel=" not in definition, "UEFI boots from the disk"


def test_delete_refuses_a_running_guest(box):
    result = box("delete", "box", "--yes", status=BUSY)
    assert "lodge stop box" in result.message and "--force" in result.message
    # Nobody is asked about what can't be.
    result = box("delete", "box", status=BUSY)
    assert "lodge stop box" in result.message and "root.qcow2" not in result.err
    assert box.state("box") == "running"


def test_delete_needs_somebody_to_ask(box):
    result = box("delete", "box", "--force", status=USAGE)
    assert "--yes" in result.message


def test_delete_asks_and_takes_no_for_an_answer(box):
    status, shown = box.on_terminal("delete", "box", "--force",
                                    answers=[("Delete? [y/N]", "n\n")])
    assert status != 0 and "nothing was done" in shown
    assert str(box.guest_folder("box")) in shown and "root.qcow2" in shown
    assert box.state("box") == "running"


def test_stop_start_restart_kill(box):
    box("stop", "box")
    assert box.state("box") == "stopped"
    assert "stopped" in box.event_words("box") and "crashed" not in box.event_words("box")
    assert box.processes() == []
    assert "stopped" in box("exec", "box", "true", status=BUSY).message
    assert "lodge start box" in box("ssh", "box", "true", status=BUSY).message
    box("stop", "box")
    box("start", "box")
    qemu = box.qemu("box")
    box("restart", "box", "--force")
    assert not alive(qemu) and box.qemu("box") != qemu
    result = box("kill", "box")
    assert box.state("box") == "stopped" and box.processes() == []
    assert result.seconds < 5
    box("kill", "box")


def test_ssh_after_a_restart(box):
    box("start", "box")
    box("ssh", "box", "true")
    box("restart", "box")
    box("ssh", "box", "true")


def test_start_paused_of_a_running_guest_is_no_success(box):
    box("start", "box")
    assert "lodge pause box" in box("start", "box", "--paused", status=BUSY).message
    box("kill", "box")


def test_start_paused_then_resume(box):
    box("start", "box", "--paused")
    assert box.state("box") == "paused"
    assert box("show", "box").out.count("paused for") == 1
    box("resume", "box")
    box.wait_event("box", "agent-up", after=len(box.events("box")))


def test_yes_on_a_terminal_deletes_all(shared):
    """Last of this module: what was there before the guest is there after it, and nothing else."""
    for name in shared.names():
        shared("delete", name, "--yes", "--force")
    before = tree(shared.folder)
    shared.make("gone", start=True)
    shared("ssh", "gone", "true")
    shared("stop", "gone")
    status, shown = shared.on_terminal("delete", "gone", answers=[("Delete? [y/N]", "y\n")])
    assert status == 0, shown
    after = tree(shared.folder)
    after["run/events.jsonl"] = before["run/events.jsonl"]
    assert after == before
    assert shared.processes() == []
    assert shared("show", "gone", status=NOT_FOUND).message


def test_stop_says_what_to_do_when_a_guest_will_not(lodge):
    """A guest that never started to boot hears nothing: no agent, no ACPI."""
    lodge.make("deaf")
    lodge("start", "deaf", "--no-wait")
    result = lodge("stop", "deaf", "--timeout", "300ms", status=1)
    for words in ("guest deaf", "still runs after", "lodge log deaf", "lodge kill deaf"):
        assert words in result.message, result
    lodge("kill", "deaf")


def test_uninstalled_it_runs_from_anywhere(lodge):
    done = subprocess.run(lodge.argv(["image", "list"]), env=lodge.env, cwd="/",
                          capture_output=True, text=True, check=True)
    assert "debian-12" in done.stdout
