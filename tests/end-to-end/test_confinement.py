"""As root, QEMU owns nothing: a user of its own, no groups, a seccomp filter, and only its own files."""

import os
import re
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from lodge import wait_until

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def two(shared):
    for name in ("a", "b"):
        shared.make(name, "--memory", "64M", "--firmware", "uefi" if name == "b" else "bios")
        shared("start", name, "--no-wait")
    return shared


def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def descriptors(pid):
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(link.name)] = os.readlink(link)
        except OSError:
            pass
    return found


def test_qemu_has_no_privilege(two):
    uids = set()
    for name in ("a", "b"):
        facts = status(two.qemu(name))
        [uid] = set(facts["Uid"])
        uids.add(uid)
        assert int(uid) > 1 << 30 and set(facts["Gid"]) == {uid}
        kvm = [str(os.stat("/dev/kvm").st_gid)] if os.path.exists("/dev/kvm") else []
        assert facts["Groups"] in ([], kvm)
        for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(facts[kind][0], 16) == 0, kind
        assert facts["NoNewPrivs"] == ["1"]
        assert facts["Seccomp"] == ["2"]
    assert len(uids) == 2, "each guest's QEMU is a stranger to the other's"
    with pytest.raises(KeyError):
        import pwd
        pwd.getpwuid(int(uids.pop()))


def test_all_threads_are_filtered(two):
    for task in Path(f"/proc/{two.qemu('a')}/task").iterdir():
        text = (task / "status").read_text()
        assert re.search(r"^Seccomp:\s+2$", text, re.M), task


def test_qemu_has_a_session_of_its_own(two):
    fields = Path(f"/proc/{two.qemu('a')}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[3]) == two.qemu("a") and fields[4] == "0", "no terminal reaches it"


def test_open_files_are_the_guest_s_own(two):
    for name in ("a", "b"):
        allowed = [str(two.guest_folder(name)) + "/", str(two.folder / "images/tiny") + "/",
                   str(two.run_folder / "guests" / name) + "/", "/dev/null", "/dev/urandom", "/dev/kvm",
                   "/usr/share/", "/memfd:", "socket:", "pipe:", "anon_inode:"]
        for fd, target in descriptors(two.qemu(name)).items():
            assert any(target.startswith(prefix) for prefix in allowed), (fd, target)


def test_images_are_open_for_reading_only(two):
    for name in ("a", "b"):
        pid, seen = two.qemu(name), 0
        for fd, target in descriptors(pid).items():
            if "/images/" in target or target.startswith("/usr/"):
                flags = int(re.search(r"flags:\s+(\d+)",
                                      Path(f"/proc/{pid}/fdinfo/{fd}").read_text())[1], 8)
                assert flags & os.O_ACCMODE == os.O_RDONLY, target
                seen += 1
        assert seen >= 1


def as_user(uid, *words):
    return subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *words],
                          capture_output=True, text=True)


def test_its_user_can_open_nothing_of_anybody_s(two):
    """What a QEMU that was taken over could do with files."""
    [uid] = set(status(two.qemu("a"))["Uid"])
    for path in [two.guest_folder("a"), two.guest_folder("b"), two.conf("b"),
                 two.guest_folder("b") / "root.qcow2", two.guest_folder("b") / "seed.txt",
                 two.folder / "ssh/id_ed25519", two.run_path("a", "jobs.qmp"),
                 two.run_path("b", "jobs.qmp"), two.run_path("b", "events.qmp"),
                 two.run_path("b", "qemu.log")]:
        assert path.exists()
        for letter in ("r", "w"):
            if letter == "w" or not path.is_dir():
                assert as_user(uid, "test", f"-{letter}", str(path)).returncode == 1, (letter, path)
    for folder in (two.folder, two.run_folder, two.run_folder / "guests/a", two.folder / "images/tiny"):
        assert as_user(uid, "test", "-w", str(folder)).returncode == 1, folder
    assert as_user(uid, "kill", "-0", str(two.qemu("b"))).returncode != 0
    assert as_user(uid, "kill", "-0", str(two.keeper("a"))).returncode != 0


def test_modes_of_what_is_on_disk(two):
    modes = {two.guest_folder("a"): 0o700, two.conf("a"): 0o600, two.folder / "ssh": 0o700,
             two.folder / "ssh/id_ed25519": 0o600, two.run_path("a", "jobs.qmp"): 0o600,
             two.run_path("a", "events.qmp"): 0o600, two.run_path("a", "agent.sock"): 0o600,
             two.run_path("a", "console.sock"): 0o600, two.run_path("a", "qemu.log"): 0o600,
             two.guest_folder("a") / "console.log": 0o600}
    for path, mode in modes.items():
        info = path.lstat()
        assert stat.S_IMODE(info.st_mode) & 0o077 == mode & 0o077, (path, oct(info.st_mode))
        assert info.st_uid == 0
    for path in two.guest_folder("a").iterdir():
        assert path.lstat().st_mode & 0o007 == 0 or path.parent.lstat().st_mode & 0o007 == 0


def test_nothing_listens_but_on_loopback(two):
    ports = {two.show(name)["ssh_port"] for name in ("a", "b")}
    assert len(ports) == 2
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        if state == "0A":
            address, port = local.split(":")
            found.setdefault(int(port, 16), set()).add(
                socket.inet_ntoa(bytes.fromhex(address)[::-1]))
    for port in ports:
        assert found[port] == {"127.0.0.1"}


def test_the_keeper_is_small(two):
    """It stays as long as its guest does, many times over."""
    rollup = Path(f"/proc/{two.keeper('a')}/smaps_rollup").read_text()
    private = sum(int(value) for value in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.M))
    assert private < 3000, f"{private} KiB"
    threads = list(Path(f"/proc/{two.keeper('a')}/task").iterdir())
    assert len(threads) == 1


def test_processes_are_named(two):
    for name in ("a", "b"):
        words = Path(f"/proc/{two.qemu(name)}/cmdline").read_text().split("\0")
        assert f"guest={name},debug-threads=on" in words
        assert Path(f"/proc/{two.keeper(name)}/cmdline").read_text().split("\0")[-2] == name


def test_logs_and_secrets_of_a_guest_are_not_in_the_command_line(two):
    words = Path(f"/proc/{two.qemu('a')}/cmdline").read_text()
    assert "ssh-ed25519" not in words and "authorized" not in words


def test_dead_qemu_leaves_no_descriptor_behind(two):
    keeper = two.keeper("b")
    before = len(descriptors(keeper))
    two.set("b", "guest", **{"on-crash": "restart"})
    two("kill", "b")
    two("start", "b", "--no-wait")
    keeper = two.keeper("b")
    wait_until(lambda: two.state("b") == "running")
    for _ in range(3):
        mark = len(two.events("b"))
        os.kill(two.qemu("b"), 9)
        two.wait_event("b", "started", after=mark)
    wait_until(lambda: len(descriptors(keeper)) <= before, 10, "as few descriptors as at first")
