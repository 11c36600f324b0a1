"""Limits, memory and `lodge top`, with real guests and real control groups."""

import csv
import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
LODGE = TOP / "build" / "lodge"


class Box:
    """A store of its own with one running guest of `tiny`, called t1."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = dict(os.environ, LODGE_DIR=str(folder), LC_ALL="C.UTF-8")

    def run(self, *words, status=0, timeout=120):
        done = subprocess.run([LODGE, *words], env=self.environment, text=True, timeout=timeout,
                              capture_output=True, stdin=subprocess.DEVNULL)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done

    def json(self, *words):
        return json.loads(self.run(*words, "--json").stdout)

    def run_file(self, name):
        return self.folder / "run" / "guests" / "t1" / name

    def qemu(self):
        return self.json("show", "t1")["pid"]

    def wait_for_state(self, state):
        """The keeper hears of it from QEMU, and publishes it a moment later."""
        deadline = time.monotonic() + 10
        while self.json("show", "t1")["state"] != state:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def cgroups(self):
        """{controller: folder} of t1, as its keeper published it; {} if it has none."""
        lines = self.run_file("cgroup").read_text().splitlines()
        return {} if lines[0].startswith("none ") else dict(line.split(" ", 1) for line in lines)


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    kept = Path(os.environ.get("LODGE_TEST_IMAGES", ""), "images", "tiny")
    if kept.is_absolute() and kept.is_dir():
        shutil.copytree(kept, folder / "images" / "tiny")
    box = Box(folder)
    box.run("create", "t1", "--os", "tiny", "--quiet", timeout=300)
    yield box
    subprocess.run([LODGE, "delete", "t1", "--yes", "--force", "--quiet"], env=box.environment,
                   check=False)


def used_us(box):
    return box.json("limits", "t1")["throttled"]["cpu_used_us"]


def needs_cgroups(box):
    groups = box.cgroups()
    if not groups:
        pytest.skip(box.run_file("cgroup").read_text().strip())
    return groups


def busy(box):
    """Keep both CPUs of the guest busy until the returned process is ended."""
    words = "for i in 1 2; do (timeout 8 sh -c 'while :; do :; done') & done; wait"
    return subprocess.Popen([LODGE, "exec", "t1", "--", "sh", "-c", words], env=box.environment,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_own_group(limited):
    groups = needs_cgroups(limited)
    pid = str(limited.qemu())
    for folder in groups.values():
        assert Path(folder, "cgroup.procs").read_text().split() == [pid]


def test_cpu_limit_holds(limited):
    needs_cgroups(limited)
    limited.run("limits", "t1", "--cpu", "50%")
    worker = busy(limited)
    time.sleep(2)
    begin, before = time.monotonic(), used_us(limited)
    time.sleep(4)
    share = (used_us(limited) - before) / 1e6 / (time.monotonic() - begin)
    report = limited.json("limits", "t1")
    limited.run("limits", "t1", "--cpu", "0")
    worker.wait(timeout=30)
    assert share <= 0.6
    assert report["asked"]["cpu_percent"] == report["holds"]["cpu_percent"] == 50
    assert report["throttled"]["cpu_throttled"] > 0
    assert limited.json("limits", "t1")["holds"]["cpu_percent"] == 0


def test_set_and_read_back(limited):
    needs_cgroups(limited)
    definition = limited.folder / "guests" / "t1" / "guest.conf"
    definition.write_text("# mine\n" + definition.read_text())
    limited.run("limits", "t1", "--cpu", "150", "--cpu-weight", "50", "--memory-max", "1200M",
                "--pids-max", "300")
    text = definition.read_text()
    assert text.startswith("# mine\n") and "cpu=150%" in text
    report = limited.json("limits", "t1")
    assert report["holds"] == report["asked"] | {"io_weight": report["holds"]["io_weight"]}
    assert report["holds"]["memory_max_bytes"] == 1200 << 20
    table = limited.run("limits", "t1").stdout
    assert re.search(r"cpu +150% +150%", table)
    assert report["disks"][0]["holds"]["iops"] == 0


def test_refusals(limited):
    before = (limited.folder / "guests" / "t1" / "guest.conf").read_text()
    assert "not a percentage" in limited.run("limits", "t1", "--cpu", "fast", status=2).stderr
    assert "at least" in limited.run("limits", "t1", "--memory-max", "100M", status=1).stderr
    assert "at most" in limited.run("limits", "t1", "--memory", "900G", status=2).stderr
    assert (limited.folder / "guests" / "t1" / "guest.conf").read_text() == before


def test_memory_now(limited):
    limited.run("exec", "t1", "--", "modprobe", "virtio_balloon")
    size = limited.json("limits", "t1")["memory_bytes"]
    limited.run("limits", "t1", "--memory", str(size // 2))
    deadline = time.monotonic() + 20
    while limited.json("limits", "t1")["memory_now_bytes"] != size // 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    limited.run("limits", "t1", "--memory", str(size))


def test_top_json(limited):
    value = limited.json("top")
    assert {"cpus", "memory_bytes", "ksm_saved_bytes", "ballooned_bytes"} <= value["host"].keys()
    guest = value["guests"][0]
    assert guest["name"] == "t1" and guest["state"] == "running"
    assert guest["cpu_percent"] >= 0 and guest["rss_bytes"] > 0
    # While top watches, the keeper publishes what the guest itself reads and writes.
    lines = limited.run("top", "--json", "-n", "3", "-i", "1s").stdout.splitlines()
    assert json.loads(lines[-1])["guests"][0]["disk_source"] == "guest"
    assert limited.run_file("stats.json").exists()


def test_top_batch_and_csv(limited):
    table = limited.run("top", "--batch", "t1").stdout.splitlines()
    assert table[1].split()[:3] == ["NAME", "STATE", "CPU%"] and table[2].startswith("t1 ")
    rows = list(csv.DictReader(io.StringIO(limited.run("top", "--csv").stdout)))
    assert rows[0]["name"] == "t1" and float(rows[0]["cpu_percent"]) >= 0
    assert "no guest" in limited.run("top", "--batch", "nosuch", status=3).stderr
    assert "terminal" in limited.run("top", status=2).stderr


def test_hung_guest_delays_nothing(limited):
    pid = limited.qemu()
    os.kill(pid, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        rows = limited.run("top", "--batch", "-n", "2", "-i", "200ms", timeout=10).stdout
        assert time.monotonic() - begin < 3 and "t1 " in rows
        begin = time.monotonic()
        report = limited.json("limits", "t1")
        assert time.monotonic() - begin < 5 and report["disks"][0]["holds"] is None
    finally:
        os.kill(pid, signal.SIGCONT)


class Screen:
    """`lodge top` in a terminal of 24 lines of 120 characters."""

    def __init__(self, box):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(box.environment, TERM="xterm")
            os.execv(LODGE, ["lodge", "top", "-i", "500ms"])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))

    def wait(self, words, timeout=20):
        deadline = time.monotonic() + timeout
        while words not in self.text:
            assert time.monotonic() < deadline, (words, self.text[-2000:])
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += os.read(self.fd, 65536).decode("utf-8", "replace")
        self.text = ""

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def end(self):
        """Its exit status."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        raise AssertionError("it does not end")


def test_top_screen(limited):
    screen = Screen(limited)
    screen.wait("t1 ")
    screen.press("?")
    screen.wait("what the guest calls steal")
    screen.press("x")
    screen.wait("NAME")
    screen.press("\n")
    screen.wait("on the host")
    screen.press("p")
    screen.wait("t1 is paused")
    limited.wait_for_state("paused")
    screen.press("p")
    screen.wait("t1 runs")
    screen.press("K")
    screen.wait("Pull the plug of t1?")
    screen.press("n")
    screen.press("q")
    assert screen.end() == 0
    limited.wait_for_state("running")


def test_top_screen_has_arrows(limited):
    limited.run("create", "zz", "--os", "tiny", "--network", "user", "--no-start")
    try:
        screen = Screen(limited)
        screen.wait("zz")
        screen.press("\x1bOB")
        screen.press("K")
        screen.wait("Pull the plug of zz?")
        screen.press("nq")
        assert screen.end() == 0
    finally:
        limited.run("delete", "zz", "--yes")


def test_ksm_status(limited):
    value = limited.json("host", "ksm")
    assert value["mode"] == "off" and value["guests"] == 1
    assert "not one of" in limited.run("host", "ksm", "perhaps", status=2).stderr


def test_group_goes_with_guest(limited):
    """After the keeper was killed too: the one that adopts the guest knows the group."""
    groups = needs_cgroups(limited)
    keeper = int(limited.run_file("keeper.lock").read_text())
    os.kill(keeper, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while limited.json("show", "t1")["keeper"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    limited.run("kill", "t1")
    assert not any(Path(folder).exists() for folder in groups.values())
    # Both killed: the next command sweeps.
    limited.run("start", "t1", "--no-wait")
    groups = limited.cgroups()
    keeper = int(limited.run_file("keeper.lock").read_text())
    qemu = limited.qemu()
    os.kill(keeper, signal.SIGKILL)
    os.kill(qemu, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while limited.json("show", "t1")["state"] == "running" or Path(f"/proc/{qemu}/stat").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert all(Path(folder).exists() for folder in groups.values())
    limited.run("stop", "t1")
    assert not any(Path(folder).exists() for folder in groups.values())


def allowed(box):
    """Where the kernel lets each virtual CPU's thread run: {"CPU 0/TCG": "0-1"}."""
    found = {}
    for task in Path(f"/proc/{box.qemu()}/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name.startswith("CPU "):
            found[name] = re.search(r"Cpus_allowed_list:\t(.*)", (task / "status").read_text())[1]
    return found


def test_pin(limited):
    """Live, and back; what this host has not is stored, and said."""
    online = Path("/sys/devices/system/cpu/online").read_text().strip()
    limited.run("start", "t1", "--no-wait")
    free = allowed(limited)
    limited.run("set", "t1", "pin=0")
    assert set(allowed(limited).values()) == {"0"} and len(allowed(limited)) == len(free)
    assert f"this host has CPUs {online}, not 8000" in limited.run("set", "t1", "pin=8000").stderr
    assert set(allowed(limited).values()) == {"0"}
    limited.run("set", "t1", "pin=")
    assert allowed(limited) == free
    assert "0-3,8" in limited.run("set", "t1", "pin=first", status=1).stderr
