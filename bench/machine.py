"""Starting and killing one small machine with an empty disk, and what its keeper weighs."""

from measure import Row, Sample, private_bytes
from raw import Line

NAME = "bench"


class Contender:
    """A manager: its own times, and those of its QEMU line when nobody manages it."""

    def __init__(self):
        self.start, self.kill = Sample(), Sample()
        self.raw_start, self.raw_quit = Sample(), Sample()
        self.memory = Sample()
        self.line = None

    def one_round(self, start_ms, kill_ms, memory, line, counts):
        if self.line is not None:
            raw_start, machine = self.line.start()
            raw_quit = machine.quit()
        start = start_ms()
        self.line = self.line or line()
        held = memory()
        kill = kill_ms()
        if counts:
            self.raw_start.add(raw_start)
            self.raw_quit.add(raw_quit)
            self.start.add(start)
            self.kill.add(kill)
            self.memory.add(held)


def measure(place, rival, options):
    store = place.store("start")
    disk = place.disk("lodge.qcow2")
    store.lodge("create", NAME, "--disk", str(disk), "--cpus", "1", "--memory", "256M",
                "--no-start")
    if rival:
        rival.define_machine(NAME)
    ours, theirs = Contender(), Contender()
    # The first round finds the lines and warms the page cache; the second is the first whole one.
    for i in range(options.runs + 2):
        ours.one_round(lambda: store.lodge_ms("start", "--no-wait", NAME),
                       lambda: store.lodge_ms("kill", NAME),
                       lambda: private_bytes(store.pid(NAME, "keeper.lock")),
                       lambda: Line(store.pid(NAME, "qemu.lock"), place.folder / "raw", disk,
                                    "events"),
                       i > 1)
        if rival:
            theirs.one_round(lambda: rival.virsh_ms("start", NAME),
                             lambda: rival.virsh_ms("destroy", NAME),
                             rival.private_bytes,
                             lambda: rival.line(NAME),
                             i > 1)
    return [
        Row("start until QMP answers, more than raw", 15, ours.start.minus(ours.raw_start),
            ours.raw_start, theirs.start.minus(theirs.raw_start), more=True),
        Row("kill  (virsh destroy, raw quit)", 15, ours.kill, ours.raw_quit, theirs.kill),
        Row("private memory: keeper  (libvirtd)", 1.5e6, ours.memory, libvirt=theirs.memory,
            unit="MB"),
    ]
