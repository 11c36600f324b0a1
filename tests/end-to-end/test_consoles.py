"""The ways to a guest's serial console, screen, keys and monitor, and the story of its events.

One guest serves them all, so they are in an order; the last ones end it.
"""

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import termios
import time
from pathlib import Path

import pytest

from rfb import Viewer

TOP = Path(__file__).resolve().parent.parent.parent
PROGRAM = str(TOP / "build" / "lodge")
LONG_S = 120
PNG = b"\x89PNG\r\n\x1a\n"


class Desk:
    """A store of its own with one running guest, c1."""

    def __init__(self, folder):
        self.folder = folder
        self.run_folder = folder / "run/guests/c1"
        self.env = {key: value for key, value in os.environ.items()
                    if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
        self.env.update(LODGE_DIR=str(folder), TERM="xterm", XDG_STATE_HOME=str(folder / "state"),
                        NO_COLOR="1")

    def __call__(self, *words, status=0, text=None, raw=False):
        done = subprocess.run([PROGRAM, *map(str, words)], env=self.env, capture_output=True,
                              input=text.encode() if text is not None else b"", timeout=LONG_S)
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout if raw else done.stdout.decode() + done.stderr.decode()

    def begin(self, *words, env=None):
        return subprocess.Popen([PROGRAM, *map(str, words)], env={**self.env, **(env or {})},
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, desk, *words):
        self.master, slave = pty.openpty()
        self.slave_name = os.ttyname(slave)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen([PROGRAM, *map(str, words)], env=desk.env, stdin=slave,
                                        stdout=slave, stderr=slave, start_new_session=True)
        self.seen = b""

    def expect(self, text, timeout_s=LONG_S):
        end = time.monotonic() + timeout_s
        while text.encode() not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            assert ready, f"{text!r} never came; there was {self.seen!r}"
            self.seen += os.read(self.master, 65536)
        at = self.seen.index(text.encode()) + len(text.encode())
        seen, self.seen = self.seen[:at], self.seen[at:]
        return seen

    def send(self, text):
        os.write(self.master, text.encode())

    def end(self, status=0):
        """Wait for the end. The terminal must be as it was."""
        while self.process.poll() is None:
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)
        assert self.process.returncode == status, self.seen
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture(scope="module")
def desk():
    folder = Path(tempfile.mkdtemp(prefix="lodge-consoles-"))
    folder.chmod(0o755)
    desk = Desk(folder)
    kept = os.environ.get("LODGE_TEST_IMAGES")
    if kept and (Path(kept) / "images/tiny").exists():
        shutil.copytree(Path(kept) / "images/tiny", folder / "images/tiny")
    try:
        desk("create", "c1", "--os", "tiny", "--timeout", "4m")
        yield desk
    finally:
        desk("delete", "c1", "--force", "--yes")
        shutil.rmtree(folder)


def wait_for(condition, what, timeout_s=LONG_S):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def read_until(process, text, timeout_s=LONG_S):
    """What a process printed until @text came."""
    end, seen = time.monotonic() + timeout_s, b""
    while text.encode() not in seen:
        ready, _, _ = select.select([process.stdout], [], [], max(0, end - time.monotonic()))
        assert ready, f"{text!r} never came; there was {seen!r}"
        more = os.read(process.stdout.fileno(), 65536)
        assert more, f"it ended without {text!r}: {seen!r}"
        seen += more
    return seen.decode()


def finish(process, number=signal.SIGINT, status=0):
    process.send_signal(number)
    out, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == status, out
    return out.decode()


# --- The serial console -------------------------------------------------------------------------


def test_console_by_pipe(desk):
    desk("console", "c1", text="\n")
    wait_for(lambda: "~ #" in desk("log", "c1"), "no shell came")
    out = desk("console", "c1", text="echo four-$((2+2))\n")
    assert "four-4" in out
    began = time.monotonic()
    desk("console", "c1", "--timeout", "2s", text="\n")
    assert time.monotonic() - began > 1.9
    assert "four-4" in desk("console", "c1", "--log")
    assert desk("console", "c1", "--log") == desk("log", "c1")


def test_console_on_a_terminal(desk):
    terminal = Terminal(desk, "console", "c1")
    terminal.expect("Ctrl-]")
    terminal.send("echo five-$((2+3))\r")
    terminal.expect("five-5")
    os.kill(terminal.process.pid, signal.SIGWINCH)
    # one process says that it runs and sleeps: between two, Ctrl-C would be the shell's
    terminal.send("sh -c 'echo run-$((1)); exec sleep 600'\r")
    terminal.expect("run-1")
    terminal.send("\x03")  # the guest's
    terminal.send("echo six-$((3+3))\r")
    terminal.expect("six-6")
    terminal.send("\x1d")
    terminal.end()


def test_one_writer_many_watchers(desk):
    writer = Terminal(desk, "console", "c1")
    writer.expect("Ctrl-]")
    watcher = Terminal(desk, "console", "c1", "--watch")
    second = Terminal(desk, "console", "c1")
    second.expect(f"Process {writer.process.pid} writes to c1's console")
    assert f"process {writer.process.pid}" in desk("console", "c1", status=5, text="echo no-$((1))\n")
    second.send("echo not-$((1+0))\r")  # is not written
    writer.send("echo seven-$((3+4))\r")
    for one in (writer, watcher, second):
        assert b"not-1" not in one.expect("seven-7")
    for one in (watcher, second, writer):
        one.send("\x1d")
        one.end()


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 130), (signal.SIGHUP, 130),
                                            (signal.SIGQUIT, -signal.SIGQUIT),
                                            (signal.SIGSEGV, -signal.SIGSEGV)])
def test_the_terminal_comes_back(desk, number, status):
    terminal = Terminal(desk, "console", "c1")
    terminal.expect("~ #")
    assert termios.tcgetattr(terminal.slave) != terminal.before
    os.kill(terminal.process.pid, number)
    terminal.end(status)


def test_console_log_is_rotated(desk):
    log = desk.folder / "guests/c1/console.log"
    watcher = desk.begin("console", "c1", "--watch")
    read_until(watcher, "seven-7")
    with open(log, "a") as file:
        file.write("x" * (8 << 20) + "\nlast-of-old\n")
    wait_for(lambda: log.stat().st_size < 1 << 20, "the log was not rotated")
    old = Path(f"{log}.1")
    assert old.stat().st_size > 8 << 20 and stat.S_IMODE(old.stat().st_mode) == 0o600
    desk("console", "c1", text="echo eight-$((4+4))\n")
    seen = read_until(watcher, "eight-8")
    assert seen.index("last-of-old") < seen.index("eight-8")
    assert log.stat().st_size < 4096
    finish(watcher, status=130)


# --- The screen and the keys --------------------------------------------------------------------


def size_of(png):
    assert png.startswith(PNG) and png.endswith(b"IEND\xae\x42\x60\x82")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def test_screenshot(desk):
    file = desk.folder / "now.png"
    facts = json.loads(desk("screenshot", "c1", file, "--json"))
    assert size_of(file.read_bytes()) == (facts["width"], facts["height"])
    assert size_of(desk("screenshot", "c1", "-", raw=True)) == (facts["width"], facts["height"])
    desk("screenshot", "c1", desk.folder / "nowhere/now.png", status=3)
    assert sorted(path.name for path in desk.folder.glob("*now*")) == ["now.png"]


def test_type(desk):
    text = "The quick (brown) fox jumps: 0123456789 ~!@#$%^&*_+-=`'\"{}[]|\\;,.<>/? aaBBcc"
    desk("type", "c1", "--keys", "enter")
    # Only once the shell is there does it see what is typed.
    for _ in range(60):
        desk("type", "c1", "echo", "ready", ">/tmp/ready", "--enter")
        if "ready" in desk("exec", "c1", "--", "sh", "-c", "cat /tmp/ready || true"):
            break
        time.sleep(0.3)
    desk("type", "c1", "-", text=f"cat >/tmp/typed\n{text}\n")
    desk("type", "c1", "--keys", "ctrl-d")
    wait_for(lambda: text in desk("exec", "c1", "--", "cat", "/tmp/typed"), "it was not typed right",
             20)


def test_the_screens_text(desk):
    desk("type", "c1", "clear; echo nine-$((4+5))", "--enter")
    wait_for(lambda: "\nnine-9\n" in "\n" + desk("screenshot", "c1", "--text"), "no text was read", 20)
    facts = json.loads(desk("screenshot", "c1", "--text", "--json"))
    assert facts["columns"] >= 80 and facts["rows"] >= 25 and "nine-9" in facts["text"]
    terminal = Terminal(desk, "console", "c1", "--screen")
    terminal.expect("nine-9")
    terminal.send("echo ten-$((5+5))\r")
    terminal.expect("ten-10")
    terminal.send("echo  eleven-$((5+6))\x1b[H\x1b[C\x1b[C\x1b[C\x1b[C\x1b[3~\x1b[F\r")  # moves, deletes
    terminal.expect("eleven-11")
    terminal.send("sleep 600\r")
    terminal.expect("sleep 600")
    terminal.send("\x03\x1d")
    terminal.end()
    wait_for(lambda: "^C" in desk("screenshot", "c1", "--text"), "no Ctrl-C came", 20)
    desk("console", "c1", "--screen", status=2)


def test_type_refuses(desk):
    assert "“ü”" in desk("type", "c1", "grün", status=2)
    assert "“del”" in desk("type", "c1", "--keys", "ctrl-alt-dell", status=2)
    assert "--keys" in desk("type", "c1", status=2)


def test_vnc_unix(desk):
    process = desk.begin("vnc", "c1")
    said = read_until(process, "localhost:1")
    path = str(desk.run_folder / "vnc.sock")
    assert path in said and stat.S_IMODE(os.stat(path).st_mode) == 0o600
    viewers = [Viewer(path), Viewer(path)]
    for viewer in viewers:
        assert viewer.security == [1] and viewer.come_in()
    width, height = viewers[0].size()
    assert (width, height) == size_of(desk("screenshot", "c1", "-", raw=True))
    w, h, data = viewers[0].pixels(width, height)
    assert (w, h) != (0, 0) and any(data)
    # A second command needs no door of its own.
    other = desk.begin("vnc", "c1")
    read_until(other, "localhost:1")
    finish(other)
    assert os.path.exists(path)
    finish(process, signal.SIGTERM)
    assert not os.path.exists(path)
    for viewer in viewers:
        viewer.close()


def test_vnc_listen(desk):
    secret = desk.folder / "secret"
    secret.write_text("opensaysme\n")
    assert "at most" in desk("vnc", "--help") and "10" in desk(
        "vnc", "c1", "--listen", "127.0.0.1:0", "--password-file", secret, status=2)
    desk("vnc", "c1", "--listen", "127.0.0.1", status=2)
    desk("vnc", "c1", "--listen", "nobody", "--password-file", secret, status=2)
    assert "Unix socket" in desk("vnc", "c1", "--tls", status=2)
    secret.write_text("sesame12\nrest\n")
    process = desk.begin("vnc", "c1", "--listen", "127.0.0.1:0", "--password-file", secret, "--json")
    port = json.loads(read_until(process, "}"))["port"]
    right, wrong = Viewer(("127.0.0.1", port)), Viewer(("127.0.0.1", port))
    assert right.security == [2] and right.come_in("sesame12") and right.size()[0] >= 640
    assert not wrong.come_in("sesame13")
    late = Viewer(("127.0.0.1", port))
    finish(process)
    assert not late.come_in("sesame12")
    for viewer in (right, wrong, late):
        viewer.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_vnc_tls(desk):
    """Encrypted by a certificate that stays the same; nobody gets in without TLS, or the password."""
    secret = desk.folder / "secret"
    secret.write_text("sesame12\n")
    assert "server-cert.pem" in desk("vnc", "c1", "--listen", "127.0.0.1:0", "--password-file", secret,
                                     "--tls-folder", desk.folder, status=3)
    process = desk.begin("vnc", "c1", "--listen", "127.0.0.1:0", "--password-file", secret, "--tls", "--json")
    said = json.loads(read_until(process, "}"))
    place = ("127.0.0.1", said["port"])
    right, wrong, plain = Viewer(place), Viewer(place), Viewer(place)
    right.encrypt(said["certificate"])
    assert right.come_in("sesame12")
    width, height = right.size()
    assert len(right.pixels(width, height)[2]) == width * height * 4
    wrong.encrypt(said["certificate"])
    assert not wrong.come_in("sesame13")
    plain.socket.sendall(b"\2")
    with pytest.raises((EOFError, ConnectionError)):
        plain.take(16)
    before = open(said["certificate"], "rb").read()
    finish(process)
    assert right.pixels(width, height), "who is in stays"
    process = desk.begin("vnc", "c1", "--listen", "127.0.0.1:0", "--password-file", secret, "--tls")
    assert "encrypted" in read_until(process, "localhost:1")
    finish(process)
    assert open(said["certificate"], "rb").read() == before
    for viewer in (right, wrong, plain):
        viewer.close()


def test_vnc_opens_a_viewer(desk):
    programs = desk.folder / "programs"
    programs.mkdir()
    viewer = programs / "remote-viewer"
    viewer.write_text(f"#!/usr/bin/python3\nimport sys\nsys.path.insert(0, '{Path(__file__).parent}')\n"
                      "from rfb import Viewer\n"
                      "port = int(sys.argv[1].removeprefix('vnc://127.0.0.1:'))\n"
                      "viewer = Viewer(('127.0.0.1', port))\n"
                      f"open('{desk.folder}/saw', 'w').write(str((viewer.security, viewer.come_in(),"
                      " viewer.size())))\n")
    viewer.chmod(0o755)
    process = desk.begin("vnc", "c1", env={"DISPLAY": ":9", "PATH": f"{programs}:{desk.env['PATH']}"})
    out, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 0 and b"remote-viewer" in out
    assert re.match(r"\(\[1\], True, \(\d+, \d+\)\)", (desk.folder / "saw").read_text())


# --- The monitor --------------------------------------------------------------------------------


def test_monitor(desk):
    assert desk("monitor", "c1", "info status") == "VM status: running\n"
    assert "running" in json.loads(desk("monitor", "c1", "info", "status", "--json"))["output"]
    assert "unknown command" in desk("monitor", "c1", "infu", status=1)
    assert "running" in desk("monitor", "c1", text="info status\n\n")
    assert json.loads(desk("monitor", "c1", "--qmp", "query-status"))["running"]
    assert json.loads(desk("monitor", "c1", "--qmp", '{"execute": "query-version"}'))["qemu"]
    assert "no-such" in desk("monitor", "c1", "--qmp", "no-such", status=6)


def test_monitor_qmp_lines(desk):
    out = desk("monitor", "c1", "--qmp", text='{"execute": "stop"}\n{"execute": "cont", "id": 7}\n{bad\n'
               'qom-get {"path": "/machine", "property": "type"}')
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["event"] for line in lines if "event" in line] == ["STOP", "RESUME"]
    answers = [line for line in lines if "event" not in line]
    assert answers[0] == {"return": {}} and answers[1] == {"return": {}, "id": 7}
    assert "error" in answers[2] and "machine" in answers[3]["return"]


def test_monitor_prompt(desk):
    terminal = Terminal(desk, "monitor", "c1")
    terminal.expect("c1> ")
    terminal.send("info sta\x15info status\r")
    terminal.expect("VM status: running")
    terminal.expect("c1> ")
    terminal.send("info statu\t\r")
    terminal.expect("VM status: running")
    terminal.send("quit\r")
    terminal.expect("Ctrl-D leaves")
    terminal.send("nonsense\r")
    terminal.expect("unknown command")
    terminal.send("\x10\x10\x10\r")  # thrice back in the history
    terminal.expect("VM status: running")
    # Between two commands the monitor is free.
    assert json.loads(desk("monitor", "c1", "--qmp", "query-status"))["running"]
    terminal.send("\x04")
    terminal.end()
    assert "info status" in (desk.folder / "state/lodge/monitor-history").read_text().replace("\\040", " ")


def ask(connection, command):
    connection.settimeout(30)
    file = connection.makefile("rw")
    greeting = json.loads(file.readline())
    for line in ("qmp_capabilities", command):
        file.write(json.dumps({"execute": line}) + "\n")
        file.flush()
        answer = json.loads(file.readline())
    file.close()
    return greeting, answer


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_monitor_socket(desk, kind):
    path = str(desk.folder / "own.qmp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = desk.begin("monitor", "c1", "--socket", path if kind == "unix" else f"127.0.0.1:{port}")
    read_until(process, "Ctrl-C")
    for first in (True, False):
        with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as connection:
            connection.connect(path if kind == "unix" else ("127.0.0.1", port))
            greeting, answer = ask(connection, "query-status")
            assert "QMP" in greeting and answer["return"]["running"]
            if first and kind == "unix":
                assert f"process {process.pid} has its monitor" in desk("screenshot", "c1", status=5)
    assert desk("monitor", "c1", "info status")
    finish(process)
    assert not os.path.exists(path)
    desk("monitor", "c1", "--socket", "0.0.0.0:0", status=2)


def test_looks_while_a_verb_works(desk):
    """The job lock is held: by a command that waits for a guest, say."""
    holder = subprocess.Popen(["python3", "-c",
                               "import fcntl, json, os, struct, sys, time\n"
                               "file = open(sys.argv[1] + '.lock', 'r+')\n"
                               "fcntl.fcntl(file, 37, struct.pack('hhqqi4x', 1, 0, 0, 0, 0))\n"
                               "file.truncate()\n"
                               "print(os.getpid(), file=file, flush=True)\n"
                               "with open(sys.argv[1] + '.json', 'w') as job:\n"
                               "    json.dump({'verb': 'start', 'stage': '', 'pid': os.getpid()}, job)\n"
                               "print('held', flush=True)\ntime.sleep(600)",
                               desk.run_folder / "job"], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        desk("pause", "c1", status=5)
        assert desk("screenshot", "c1", "-", raw=True).startswith(PNG)
        assert "running" in desk("monitor", "c1", "info status")
    finally:
        holder.kill()
        holder.wait()


# --- Events, and the end ------------------------------------------------------------------------


def test_events(desk):
    follower = desk.begin("events", "--follow")
    read_until(follower, "agent-up")
    desk("pause", "c1")
    read_until(follower, "paused")
    os.rename(desk.folder / "run/events.jsonl", desk.folder / "run/events.jsonl.1")
    desk("resume", "c1")
    read_until(follower, "resumed")
    finish(follower)
    lines = [json.loads(line) for line in desk("events", "c1", "--json").splitlines()]
    names = [line["event"] for line in lines]
    assert names[:2] == ["created", "started"] or names[:1] == ["started"]
    assert names[-2:] == ["paused", "resumed"] and all(line["guest"] == "c1" for line in lines)
    assert "resumed" in desk("events", "--since", "1h")
    assert desk("events", "--since", "0s") == ""
    desk("events", "nobody", status=3)
    desk("events", "--since", "yesterday", status=2)


def test_a_hung_qemu(desk):
    """Commands end at their deadline and say so."""
    pid = json.loads((desk.run_folder / "state.json").read_text())["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert "c1" in desk("screenshot", "c1", status=1)
        assert time.monotonic() - began < 20
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "running" in desk("monitor", "c1", "info status")


def test_the_guest_ends(desk):
    terminal = Terminal(desk, "console", "c1")
    terminal.expect("Ctrl-]")
    watcher = Terminal(desk, "console", "c1", "--watch")
    watcher.expect("Ctrl-]")
    vnc = desk.begin("vnc", "c1")
    read_until(vnc, "localhost:1")
    desk("kill", "c1")
    for one in (terminal, watcher):
        one.expect("guest c1 has ended")
        one.end()
    out, _ = vnc.communicate(timeout=LONG_S)
    assert vnc.returncode == 1 and b"guest c1 has ended" in out
    for words in (["console", "c1"], ["vnc", "c1"], ["screenshot", "c1"], ["type", "c1", "x"],
                  ["monitor", "c1", "info status"], ["console", "c1", "--watch"]):
        assert "lodge start c1" in desk(*words, status=5)
