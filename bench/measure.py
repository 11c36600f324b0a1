"""Time whole commands, and hold what was found."""

import os
import resource
import signal
import statistics
import time

NULL = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]


class Failed(RuntimeError):
    """A command ended with another status than 0; its own words are told."""

    def __init__(self, words, status, said):
        super().__init__(f"{' '.join(map(str, words))}: status {status}: {said.strip()}")
        self.program = words[0]


def now_ms():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e6


def run_ms(words, environment, actions=None):
    """Milliseconds from before the spawn to the end of the process. It must succeed."""
    errors_read, errors_write = os.pipe()
    actions = (NULL if actions is None else actions) + [(os.POSIX_SPAWN_DUP2, errors_write, 2)]
    try:
        begin = now_ms()
        pid = os.posix_spawn(words[0], words, environment, file_actions=actions)
        status = wait(pid)
        took = now_ms() - begin
        os.set_blocking(errors_read, False)
        if status != 0:
            raise Failed(words, status, os.read(errors_read, 4000).decode(errors="replace"))
        return took
    finally:
        os.close(errors_read)
        os.close(errors_write)


def run_cpu_ms(words, environment):
    """Milliseconds of CPU time that the process and its children took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_ms(words, environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def wait(pid):
    """Exit status of a child. It does not outlive an interrupted bench."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise


def private_bytes(pid):
    """Memory that would be free if the process ended: pages that no other process maps."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def cpu_ms(pid):
    """CPU time that a process took so far; a busy machine makes it little longer."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as text:
        fields = text.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


class Sample:
    """What one row's cell is made of. None of it, if that was not measured."""

    def __init__(self, values=()):
        self.values = list(values)

    def add(self, value):
        self.values.append(value)

    def minus(self, other):
        """Differences pair by pair: the machine's drift is in both of a pair."""
        return Sample(a - b for a, b in zip(self.values, other.values))

    def median(self):
        return statistics.median(self.values) if self.values else None

    def as_json(self):
        if not self.values:
            return None
        return {"median": self.median(), "min": min(self.values), "max": max(self.values),
                "runs": len(self.values)}


class Row:
    """A line of the table. Times in milliseconds; unit "MB": bytes. reach None: it is for looking at."""

    def __init__(self, what, reach, lodge, raw=None, libvirt=None, unit="ms", more=False):
        self.what = what
        self.reach = reach
        self.lodge = lodge
        self.raw = raw or Sample()
        self.libvirt = libvirt or Sample()
        self.unit = unit
        self.more = more  # Lodge's and libvirt's cells are what they add to raw

    def is_reached(self):
        return self.reach is None or self.lodge.median() <= self.reach

    def as_json(self):
        return {"what": self.what, "unit": "bytes" if self.unit == "MB" else "ms",
                "reach": self.reach, "reached": self.is_reached(), "lodge": self.lodge.as_json(),
                "raw": self.raw.as_json(), "libvirt": self.libvirt.as_json()}
