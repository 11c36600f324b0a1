#!/usr/bin/python3
"""A QEMU that does what a script says, to try what a real one does once in a thousand runs.

fake-qemu.py --fd N --script TEXT    speak on the connected socket N; exit 0 if all went as written
fake-qemu.py [QEMU's arguments]      stand in for qemu-system-x86_64: listens on the sockets of -qmp
    and -chardev socket, writes -pidfile. Each monitor answers politely; FAKE_QEMU_SCRIPT may name a
    file with one section a socket ("[jobs.qmp]", its file name) that is followed instead.

A script has one step a line; JSON is on one line; empty lines and those with # are skipped:
  greet                   the greeting
  ready                   greet, expect qmp_capabilities, return {}
  expect COMMAND          read a message; it must be this command
  arguments JSON          … with these arguments
  descriptor TEXT         … with a descriptor: TEXT is written to it
  nothing                 nothing may have come
  return JSON             reply to the last command; `return-again` to the one before it
  error CLASS TEXT        refuse it; `error-no-id` without an id
  event NAME [JSON]       an event
  raw TEXT                bytes; Python's escapes (\\n \\xff); no newline of its own
  repeat N STEP           "#" in the step becomes the number of the round
  values N                an event with N values
  huge N                  begin a message of N bytes, without an end
  sync                    the guest agent: expect guest-sync-delimited, answer it with the mark
  bytewise on|off         send one byte a write
  wait MS
  silence                 read and drop until the peer closes
  polite                  answer anything in the obvious way until `quit` or the peer closes
  close                   end, also at the script's end
"""

import array
import json
import os
import select
import socket
import sys
import threading
import time

VERSION = {"qemu": {"major": 7, "minor": 2, "micro": 14}, "package": "fake"}


class Mismatch(Exception):
    pass


class Speaker:
    """One connection, and the steps of a script as its methods."""

    def __init__(self, connection):
        self.connection = connection
        self.input = b""
        self.commands = []
        self.descriptors = []
        self.bytewise = False

    # Bytes

    def send(self, data):
        if self.bytewise:
            for i in range(len(data)):
                self.connection.sendall(data[i : i + 1])
        else:
            self.connection.sendall(data)

    def send_json(self, message):
        self.send(json.dumps(message).encode() + b"\r\n")

    def receive(self):
        """Read once; False at the end."""
        data, ancillary, _, _ = self.connection.recvmsg(65536, socket.CMSG_SPACE(64))
        for level, kind, rights in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(rights[: len(rights) - len(rights) % numbers.itemsize])
                self.descriptors.extend(numbers)
        self.input += data
        return bool(data)

    def read_command(self):
        while b"\n" not in self.input:
            if not self.receive():
                return None
        line, self.input = self.input.split(b"\n", 1)
        self.commands.append(json.loads(line.lstrip(b"\xff")))
        return self.commands[-1]

    def reply(self, command, message):
        if "id" in command:
            message["id"] = command["id"]
        self.send_json(message)

    # Steps

    def step_greet(self, _):
        self.send_json({"QMP": {"version": VERSION, "capabilities": ["oob"]}})

    def step_ready(self, _):
        self.step_greet("")
        self.step_expect("qmp_capabilities")
        self.step_return("{}")

    def step_expect(self, name):
        command = self.read_command()
        if command is None or command.get("execute") != name:
            raise Mismatch(f"expected {name}, got {command}")

    def step_arguments(self, text):
        if self.commands[-1].get("arguments") != json.loads(text):
            raise Mismatch(f"expected arguments {text}, got {self.commands[-1]}")

    def step_descriptor(self, text):
        if not self.descriptors:
            raise Mismatch("no descriptor came")
        with os.fdopen(self.descriptors.pop(), "wb") as target:
            target.write(text.encode())

    def step_nothing(self, _):
        if self.input or select.select([self.connection], [], [], 0)[0]:
            raise Mismatch("something came")

    def step_return(self, text):
        self.reply(self.commands[-1], {"return": json.loads(text)})

    def step_return_again(self, text):
        self.reply(self.commands[-2], {"return": json.loads(text)})

    def step_error(self, text):
        kind, description = text.split(" ", 1)
        self.reply(self.commands[-1], {"error": {"class": kind, "desc": description}})

    def step_error_no_id(self, text):
        kind, description = text.split(" ", 1)
        self.send_json({"error": {"class": kind, "desc": description}})

    def step_event(self, text):
        name, _, data = text.partition(" ")
        event = {"event": name, "timestamp": {"seconds": int(time.time()), "microseconds": 0}}
        if data:
            event["data"] = json.loads(data)
        self.send_json(event)

    def step_raw(self, text):
        self.send(text.encode().decode("unicode_escape").encode("latin-1"))

    def step_repeat(self, text):
        count, step = text.split(" ", 1)
        for number in range(int(count)):
            self.step(step.replace("#", str(number)))

    def step_values(self, text):
        self.send(b'{"event":"X","data":{"a":[' + b"[]," * int(text) + b"1]}}\n")

    def step_huge(self, text):
        self.send(b'{"event":"' + b"x" * int(text))

    def step_sync(self, _):
        self.step_expect("guest-sync-delimited")
        number = self.commands[-1]["arguments"]["id"]
        self.send(b"\xff" + json.dumps({"return": number}).encode() + b"\n")

    def step_bytewise(self, text):
        self.bytewise = text == "on"

    def step_wait(self, text):
        time.sleep(int(text) / 1000)

    def step_silence(self, _):
        while self.receive():
            self.input = b""

    def step_close(self, _):
        self.connection.close()

    def step_polite(self, _):
        state = "running"
        while (command := self.read_command()) is not None:
            name = command.get("execute", "")
            events, result = [], {}
            if name == "query-version":
                result = VERSION
            elif name == "query-status":
                result = {"status": state, "running": state == "running"}
            elif name in ("stop", "cont"):
                state = "paused" if name == "stop" else "running"
                events = [("STOP" if name == "stop" else "RESUME", {})]
            elif name == "system_powerdown":
                events = [("POWERDOWN", {}), ("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})]
            elif name == "quit":
                events = [("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})]
            self.reply(command, {"return": result})
            for event, data in events:
                self.step_event(f"{event} {json.dumps(data)}")
            if name == "quit" or ("SHUTDOWN", True) in [(e, d.get("guest")) for e, d in events]:
                return True
        return False

    def step(self, line):
        verb, _, rest = line.partition(" ")
        return getattr(self, "step_" + verb.replace("-", "_"))(rest)

    def follow(self, script):
        """True if QEMU is to end."""
        ends = False
        for line in script.splitlines():
            if line.strip() and not line.startswith("#"):
                ends = self.step(line.lstrip()) or ends
        return ends


def listen(path):
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    return listener


def serve(listener, script):
    """One client at a time, as QEMU does; the whole process ends when one says so."""
    while True:
        connection, _ = listener.accept()
        try:
            if Speaker(connection).follow(script):
                os._exit(0)
        except (ConnectionError, BrokenPipeError):
            pass
        except Mismatch as problem:
            print(f"fake-qemu: {problem}", file=sys.stderr, flush=True)
            os._exit(1)
        connection.close()


def options_of(text):
    """ "socket,id=a,path=b" as {"": "socket", "id": "a", "path": "b"}"""
    return dict(part.split("=", 1) if "=" in part else ("", part) for part in text.split(","))


def sections_of(path):
    sections = {}
    with open(path) as file:
        for line in file:
            if line.startswith("["):
                name = line.strip("[]\n")
                sections[name] = ""
            else:
                sections[name] += line
    return sections


def stand_in(arguments):
    pairs = list(zip(arguments, arguments[1:]))
    chardevs = {o["id"]: o for a, b in pairs if a == "-chardev" for o in [options_of(b)]}
    monitors = [options_of(b)["chardev"] for a, b in pairs if a == "-mon"]
    sockets = []
    for a, b in pairs:
        if a == "-qmp" and b.startswith("unix:"):
            sockets.append((listen(b[5:].split(",")[0]), os.path.basename(b[5:].split(",")[0]), True))
        if a == "-pidfile":
            with open(b, "w") as file:
                file.write(f"{os.getpid()}\n")
    for name, options in chardevs.items():
        if options[""] == "socket" and "path" in options:
            path = options["path"]
            sockets.append((listen(path), os.path.basename(path), name in monitors))
        elif options[""] == "socket" and "fd" in options:
            sockets.append((socket.socket(fileno=int(options["fd"])), name, name in monitors))
    scripts = sections_of(os.environ["FAKE_QEMU_SCRIPT"]) if "FAKE_QEMU_SCRIPT" in os.environ else {}
    for listener, name, is_monitor in sockets:
        default = "ready\npolite" if is_monitor else "silence"
        script = scripts.get(name, default)
        threading.Thread(target=serve, args=(listener, script)).start()


def main(arguments):
    if arguments[:1] == ["--fd"]:
        speaker = Speaker(socket.socket(fileno=int(arguments[1])))
        try:
            speaker.follow(arguments[3])
        except Mismatch as problem:
            sys.exit(f"fake-qemu: {problem}")
        except (ConnectionError, BrokenPipeError):
            pass
    elif arguments[:1] in (["-version"], ["--version"]):
        print("QEMU emulator version 7.2.14 (fake)")
    else:
        stand_in(arguments)


main(sys.argv[1:])
