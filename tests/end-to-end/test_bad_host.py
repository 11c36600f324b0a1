"""A host that lacks what guests need, or has it broken: QEMU absent, old, ending at once or talking
nonsense; folders that can't be written; disks that are full."""

import os
import re
import shutil
import subprocess

import pytest

from lodge import EXISTS, NOT_FOUND, TOP, UNSUPPORTED, USAGE, Lodge, fake

FAILED = 1


def test_qemu_absent(lodge, switches):
    lodge.make("g")
    for tool in ("true", "env"):
        (switches / tool).symlink_to(shutil.which(tool))
    message = lodge("start", "g", env={"PATH": str(switches)}, status=UNSUPPORTED).message
    assert "qemu-system-x86_64 is not installed" in message and "lodge check" in message


def test_qemu_too_old(lodge, switches):
    lodge.make("g")
    env = fake(switches, "qemu-system-x86_64", "echo 'QEMU emulator version 6.2.0 (old)'")
    message = lodge("start", "g", env=env, status=UNSUPPORTED).message
    for words in ("QEMU 6.2.0", "7.0", str(switches / "qemu-system-x86_64")):
        assert words in message
    check = lodge("check", env=env, status=UNSUPPORTED)
    assert "6.2.0" in check.out
    lodge("start", "g", "--no-wait"), "the version is not remembered for another file"


QEMU_ENDS = {
    "silently": ("exit 3", "QEMU"),
    "with a word": ("echo 'qemu: it is Monday' >&2; exit 1", "it is Monday"),
    "by a signal": ("kill -SEGV $$", "signal 11"),
}


@pytest.mark.parametrize("how", QEMU_ENDS)
def test_qemu_ends_at_once(lodge, switches, how):
    lodge.make("g")
    script, words = QEMU_ENDS[how]
    env = fake(switches, "qemu-system-x86_64",
               f'case $1 in --version) echo "QEMU emulator version 8.1" ;; *) {script} ;; esac')
    result = lodge("start", "g", env=env, status=FAILED)
    assert words in result.message and result.seconds < 10
    assert words in lodge.show("g")["reason"] and lodge.processes() == []


def stand_in(lodge, switches, **scripts):
    """A QEMU whose monitors, events and jobs, follow scripts."""
    steps = lodge.folder.parent / "script"
    steps.write_text("".join(f"[{name}]\n{script}\n" for name, script in scripts.items()))
    env = fake(switches, "qemu-system-x86_64",
               f'exec /usr/bin/python3 {TOP}/src/qmp/tests/fake-qemu.py "$@"')
    return {**env, "FAKE_QEMU_SCRIPT": str(steps)}


GREETINGS = {
    "garbage": (r"raw garbage\n\xff\x00\n", "JSON"),
    "another protocol": (r'raw {"SSH": 2}\n', ""),
    "its end": ("close", ""),
}


@pytest.mark.root
@pytest.mark.parametrize("what", GREETINGS)
def test_a_monitor_that_greets_with(lodge, switches, what):
    lodge.make("g")
    script, words = GREETINGS[what]
    env = stand_in(lodge, switches, events=script + "\nsilence")
    result = lodge("start", "g", env=env, status=FAILED)
    assert "guest g" in result.message and words in result.message and result.seconds < 20
    assert lodge.state("g") == "stopped" and lodge.processes() == []


ANSWERS = {
    "a refusal": ("ready\nexpect stop\nerror GenericError not on a Monday\npolite", "not on a Monday"),
    "garbage": (r"ready\nexpect stop\nraw ]]]\n\nsilence", "guest g"),
    "its end": ("ready\nexpect stop\nclose", "guest g"),
}


@pytest.mark.root
@pytest.mark.parametrize("what", ANSWERS)
def test_a_monitor_that_answers_with(lodge, switches, what):
    lodge.make("g")
    script, words = ANSWERS[what]
    env = stand_in(lodge, switches, jobs=script)
    lodge("start", "g", "--no-wait", env=env)
    result = lodge("pause", "g", status=FAILED)
    assert words in result.message and result.seconds < 20, result
    assert lodge.state("g") == "running"
    result = lodge("kill", "g")
    assert result.seconds < 10 and lodge.processes() == [], result
    assert lodge.state("g") == "stopped"


def test_folder_is_relative(lodge):
    message = lodge("list", env={"LODGE_DIR": "relative"}, status=USAGE).message
    assert "LODGE_DIR=relative must be an absolute path" in message


def test_folder_is_a_file(lodge):
    path = lodge.folder.parent / "file"
    path.write_text("")
    result = lodge("create", "g", "--os", "tiny", env={"LODGE_DIR": str(path)}, status=None)
    assert result.status in (FAILED, NOT_FOUND, EXISTS) and str(path) in result.message


def in_namespace(lodge, mount):
    """A Lodge whose folder is another mount, which goes with the command."""
    return Lodge(lodge.folder, prefix=["unshare", "--mount", "sh", "-ec", f'{mount}\nexec "$@"', "-"])


def needs_mounts():
    return pytest.mark.skipif(
        subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0,
        reason="mounting is not allowed here")


@pytest.mark.root
@needs_mounts()
def test_read_only_folder(lodge):
    lodge.make("g")
    there = in_namespace(lodge, f"mount --bind {lodge.folder} {lodge.folder}\n"
                                f"mount -o remount,ro,bind {lodge.folder}")
    assert there("list").out.count("g ") == 1
    assert there.show("g")["name"] == "g"
    for words in (["start", "g"], ["create", "h", "--os", "tiny"], ["delete", "g", "--yes"]):
        message = there(*words, status=FAILED).message
        assert "Read-only file system" in message and str(lodge.folder) in message


@pytest.mark.root
@needs_mounts()
@pytest.mark.parametrize("size", ["64k", "256k", "1M"])
def test_full_disk(lodge, size):
    """All but the images stands on a small file system."""
    guests = lodge.folder / "guests"
    guests.mkdir()
    there = in_namespace(
        lodge, f"mount -t tmpfs -o size={size} none {guests}\n"
               f"head -c 100M /dev/zero >{guests}/full 2>/dev/null || true\n"
               f"truncate -s -4096 {guests}/full")
    result = there("create", "g", "--os", "tiny", "--no-start", status=FAILED)
    assert "No space left" in result.message and "free some" in result.message, result
    assert lodge.leftovers() == []


@pytest.mark.root
@needs_mounts()
def test_full_disk_while_importing(lodge):
    disk = lodge.folder.parent / "disk.raw"
    disk.write_bytes(os.urandom(4 << 20)[:510] + b"\x55\xaa" + os.urandom(4 << 20)[:(4 << 20) - 512])
    small = lodge.folder / "images"
    there = in_namespace(lodge, f"mount -t tmpfs -o size=2M none {small}")
    result = there("image", "import", "big", disk, status=FAILED)
    assert re.search("space|free", result.message), result
    assert lodge.leftovers() == []
