"""QEMU without anybody around it: the line that a manager used, run once more by ourselves."""

import json
import os
import re
import signal
import socket

import measure


class Line:
    """The argv of a running QEMU, and the descriptors that it was handed.

    Files of -add-fd sets: a log if its name is that of a log, else the disk. Sockets: listening.
    """

    def __init__(self, pid, folder, disk, monitor):
        words = open(f"/proc/{pid}/cmdline", "rb").read().decode().split("\0")[:-1]
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.disk = disk
        self.monitor = folder / monitor
        self.words = [self.own_secret(word) for word in words]

    def own_secret(self, word):
        """libvirt hands over a key in a file of its own, which goes when its guest ends."""
        if '"masterKey0"' not in word:
            return word
        path = self.folder / "key"
        path.write_bytes(os.urandom(32))
        return json.dumps(json.loads(word) | {"file": str(path)})

    def open_all(self):
        """(descriptor here, number there) of everything that the line expects to be open."""
        logs = set(re.findall(r"(?:logfile|path)=/dev/fdset/(\d+)", "\n".join(self.words)))
        handed = []
        for word in self.words:
            given = dict(part.split("=", 1) for part in word.split(",") if "=" in part)
            if not re.match(r"(fd|set)=\d+,|socket,", word) or "fd" not in given:
                continue
            if word.startswith("socket,"):
                fd = self.listen(given["id"])
            elif given["set"] in logs:
                fd = os.open(self.folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            else:
                fd = os.open(self.disk, os.O_RDWR)
            handed.append((fd, int(given["fd"])))
        return handed

    def listen(self, name):
        path = self.folder / name
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            return listener.detach()

    def start(self):
        """Milliseconds until QMP answers, and the machine. What it inherits is made before."""
        handed = self.open_all()
        # Above all targets first, so that none is overwritten before it is copied.
        spare = max((number for _, number in handed), default=9) + 200
        actions = list(measure.NULL)
        for i, (fd, number) in enumerate(handed):
            actions.append((os.POSIX_SPAWN_DUP2, fd, spare + i))
        for i, (fd, number) in enumerate(handed):
            actions.append((os.POSIX_SPAWN_DUP2, spare + i, number))
            actions.append((os.POSIX_SPAWN_CLOSE, spare + i))
        begin = measure.now_ms()
        pid = os.posix_spawn(self.words[0], self.words, os.environ, file_actions=actions)
        machine = Machine(pid, self.monitor)
        took = measure.now_ms() - begin
        for fd, _ in handed:
            os.close(fd)
        return took, machine


class Machine:
    """A QEMU of ours that answered."""

    def __init__(self, pid, monitor):
        self.pid = pid
        try:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(30)
            self.socket.connect(str(monitor))
            self.stream = self.socket.makefile("rw", encoding="utf-8")
            self.stream.readline()  # the greeting
            self.ask("qmp_capabilities")
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def ask(self, command):
        self.stream.write(json.dumps({"execute": command}) + "\n")
        self.stream.flush()
        for line in self.stream:
            if "return" in json.loads(line):
                return
        raise RuntimeError(f"QEMU closed its monitor before it answered {command}")

    def quit(self):
        """Milliseconds from the request to the end of the process."""
        begin = measure.now_ms()
        self.ask("quit")
        measure.wait(self.pid)
        took = measure.now_ms() - begin
        self.stream.close()
        self.socket.close()
        return took
