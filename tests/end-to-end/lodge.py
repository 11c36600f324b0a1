"""The program under test, and what it leaves on the host: folders, locks, processes."""

import dataclasses
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("LODGE_TEST_BUILD", TOP / "build"))
PROGRAM = BUILD / "lodge"

# Everything here has to answer in seconds, but on two busy cores: deadlines are for what hangs.
LONG_S = 120
PAUSE_S = 0.01
ENDING_S = 5  # for a process that nobody waits for any more

USAGE, NOT_FOUND, EXISTS, BUSY, UNSUPPORTED, INTERRUPTED = 2, 3, 4, 5, 6, 130


@dataclasses.dataclass
class Result:
    words: tuple
    status: int
    out: str
    err: str
    seconds: float

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def message(self):
        """The error alone, without the progress before it."""
        return "".join(line for line in self.err.splitlines(True) if line.startswith("lodge:"))

    def __str__(self):
        return (f"lodge {' '.join(map(str, self.words))}: status {self.status} after "
                f"{self.seconds:.2f} s\n--- stdout\n{self.out}\n--- stderr\n{self.err}")


def wait_until(condition, timeout_s=LONG_S, what="a condition"):
    """Look until it holds; its value. For what nobody reports: ends of foreign processes, files."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(PAUSE_S)


def alive(pid):
    """Does the process live, or any of its threads? One that nobody has reaped yet does not."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    for thread in threads:
        try:
            stat = Path(f"/proc/{pid}/task/{thread}/stat").read_text()
            if stat.rpartition(")")[2].split()[0] not in "ZX":
                return True
        except OSError:
            pass
    return False


def processes_with(text):
    """Ids of all processes that have @text in their environment: whatever a store's lodge began."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and text.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass
    return sorted(pid for pid in found if pid != os.getpid() and alive(pid))


def describe(pids):
    words = []
    for pid in pids:
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            line = "(ended)"
        words.append(f"{pid} {line[:160]}")
    return "\n".join(words)


def read_until(stream, text, timeout_s=LONG_S):
    """Read from a pipe until @text has come; all that was read."""
    seen, end = "", time.monotonic() + timeout_s
    while text not in seen:
        ready, _, _ = select.select([stream], [], [], max(0, end - time.monotonic()))
        data = os.read(stream.fileno(), 65536) if ready else b""
        assert data, f"“{text}” did not come: {seen}"
        seen += data.decode(errors="replace")
    return seen


def fake(switches, name, script):
    """A program of that name in a folder for the front of PATH; the environment that has it."""
    path = switches / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{switches}:{os.environ['PATH']}"}


def tree(folder):
    """All names below @folder, with the size of files."""
    return {str(path.relative_to(folder)): path.lstat().st_size if path.is_file() else None
            for path in sorted(folder.rglob("*"))}


class Lodge:
    """One LODGE_DIR, and commands run in it."""

    def __init__(self, folder, program=PROGRAM, prefix=(), env=None):
        self.folder = Path(folder)
        self.run_folder = self.folder / "run"
        self.program = program
        self.prefix = list(map(str, prefix))
        self.env = {key: value for key, value in os.environ.items()
                    if key not in ("NO_COLOR", "SUDO_USER", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")}
        self.env.update({"LODGE_DIR": str(folder), "LODGE_PARK": "off", "HOME": str(self.folder.parent),
                         "LC_ALL": "C.UTF-8", "TERM": "xterm"}, **(env or {}))

    # Commands

    def argv(self, words):
        return [*self.prefix, str(self.program), *map(str, words)]

    def __call__(self, *words, status=0, timeout_s=LONG_S, input=None, env=None, text=True):
        """Run one command to its end. @status None: any will do."""
        began = time.monotonic()
        done = subprocess.run(self.argv(words), env={**self.env, **(env or {})}, timeout=timeout_s,
                              input=input, stdin=subprocess.DEVNULL if input is None else None,
                              capture_output=True)
        out, err = done.stdout, done.stderr
        result = Result(words, done.returncode, out.decode() if text else out,
                        err.decode(errors="replace") if text else err, time.monotonic() - began)
        assert status is None or result.status == status, f"wanted status {status}\n{result}"
        return result

    def begin(self, *words, env=None):
        """Start a command in a process group of its own, and go on."""
        return subprocess.Popen(self.argv(words), env={**self.env, **(env or {})}, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, start_new_session=True)

    def end(self, process, number=None, timeout_s=LONG_S):
        """The Result of a command that was begun; @number: a signal to send it first."""
        began = time.monotonic()
        if number is not None:
            process.send_signal(number)
        out, err = process.communicate(timeout=timeout_s)
        return Result(tuple(process.args), process.returncode, out, err, time.monotonic() - began)

    def on_terminal(self, *words, answers=(), env=None, timeout_s=LONG_S):
        """Run a command on a terminal of its own; (text, answer) pairs are typed when the text has
        come. Returns (exit status, all that was shown)."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execvpe(self.argv(words)[0], self.argv(words), {**self.env, **(env or {})})
        shown, end = "", time.monotonic() + timeout_s
        answers = list(answers)
        while True:
            ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"nothing more came: {shown}"
            try:
                data = os.read(fd, 65536)
            except OSError:
                data = b""
            if not data:
                break
            shown += data.decode(errors="replace")
            if answers and answers[0][0] in shown:
                os.write(fd, answers.pop(0)[1].encode())
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown

    # What is there

    def show(self, name):
        return self("show", name, "--json").json

    def state(self, name):
        return self.show(name)["state"]

    def names(self):
        return self("list", "--names").out.split()

    def guest_folder(self, name):
        return self.folder / "guests" / name

    def conf(self, name):
        return self.guest_folder(name) / "guest.conf"

    def run_path(self, name, file):
        return self.run_folder / "guests" / name / file

    def set(self, name, section, **values):
        """Edit a definition as a person would."""
        text = self.conf(name).read_text()
        lines = "".join(f"{key.replace('_', '-')}={value}\n" for key, value in values.items())
        assert f"[{section}]\n" in text
        self.conf(name).write_text(text.replace(f"[{section}]\n", f"[{section}]\n{lines}"))

    def pid(self, name, lock):
        """0: the lock is taken, and its holder's id not written yet."""
        return int(self.run_path(name, lock).read_text() or 0)

    def qemu(self, name):
        return self.pid(name, "qemu.lock")

    def keeper(self, name):
        return self.pid(name, "keeper.lock")

    def published(self, name):
        """What the keeper last wrote; {} if nothing."""
        try:
            return json.loads(self.run_path(name, "state.json").read_text())
        except OSError:
            return {}

    def events(self, name):
        try:
            lines = (self.run_folder / "events.jsonl").read_text().splitlines()
        except OSError:
            return []
        return [event for event in map(json.loads, lines) if event["guest"] == name]

    def event_words(self, name):
        return [event["event"] for event in self.events(name)]

    def wait_event(self, name, word, after=0, timeout_s=LONG_S):
        """The first event @word among those behind the first @after ones."""
        return wait_until(lambda: next((event for event in self.events(name)[after:]
                                        if event["event"] == word), None),
                          timeout_s, f"event {word} of {name}")

    def wait_state(self, name, word, timeout_s=LONG_S):
        wait_until(lambda: self.state(name) == word, timeout_s, f"{name} is {word}")

    def processes(self):
        return processes_with(f"={self.folder}")

    def leftovers(self):
        """All that a store without guests should not have. A keeper lets go of its guest before it
        ends: what is only ending may take its moment."""
        end = time.monotonic() + ENDING_S
        while self.processes() and time.monotonic() < end:
            time.sleep(PAUSE_S)
        found = [str(path) for place in ("guests", "run/guests")
                 if (self.folder / place).is_dir()
                 for path in (self.folder / place).iterdir()]
        images = self.folder / "images"
        found += [str(path) for path in (images.iterdir() if images.is_dir() else [])
                  if path.name.startswith(".")]
        return found + describe(self.processes()).splitlines()

    # Making and removing

    def make(self, name, *words, os_name="tiny", start=False):
        """A guest; by default one that is not started."""
        self("create", name, "--os", os_name, *([] if start else ["--no-start"]), *words)
        return name

    def share_images(self, other):
        """Have the images of another store by hard links: nobody writes to them."""
        for image in (other.folder / "images").iterdir():
            if not image.name.startswith("."):
                shutil.copytree(image, self.folder / "images" / image.name, copy_function=os.link)

    def remove(self):
        """Delete all guests by Lodge itself, and say what is left of them."""
        names = self.names()
        if names:
            self("delete", *names, "--yes", "--force", status=None)
        wait_until(lambda: not self.processes(), 10, f"end of {describe(self.processes())}")
        return self.leftovers()

    def destroy(self):
        """By force, whatever it is doing."""
        for _ in range(100):
            pids = self.processes()
            if not pids:
                break
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(PAUSE_S)
        shutil.rmtree(self.folder, ignore_errors=True)
