"""Commands on guests that run, many of them, and one of them hung."""

import os
import signal
import time

from measure import Row, Sample

COUNT = 100
SETTLED_S = 20  # until firmware that finds nothing to boot rests


def begin(place):
    store = place.store("crowd")
    disk = place.folder / "crowd"
    disk.mkdir()
    for i in range(COUNT):
        path = disk / f"{i}.raw"
        with open(path, "wb") as file:
            file.truncate(1 << 20)
        store.lodge("create", f"g{i}", "--disk", str(path), "--memory", "64M", "--cpus", "1",
                    "--no-start")
        store.lodge("start", f"g{i}", "--no-wait")
    time.sleep(SETTLED_S)
    return store


def repeat(options, once):
    """The first only warms caches."""
    once(0)
    return Sample(once(i) for i in range(1, options.runs + 1))


def measure_crowd(place, rival, options):
    del rival  # libvirt counts differently, and in another process
    store = begin(place)
    rows = [
        Row(f"top --batch, {COUNT} guests run: CPU time", 50,
            repeat(options, lambda i: store.lodge_cpu_ms("top", "--batch"))),
        Row(f"show --json, {COUNT} guests run", 6,
            repeat(options, lambda i: store.lodge_ms("show", "g0", "--json"))),
        Row("set limits.cpu, it runs", 20,
            repeat(options, lambda i: store.lodge_ms("set", "g0", f"limits.cpu={50 + i}%"))),
        Row("limits --memory, it runs", 20,
            repeat(options, lambda i: store.lodge_ms("limits", "g0", "--memory", f"{50 + i}M"))),
    ]
    qemu = store.pid("g0", "qemu.lock")
    os.kill(qemu, signal.SIGSTOP)
    try:
        rows += [
            Row("show --json, its QEMU is stopped", 6,
                repeat(options, lambda i: store.lodge_ms("show", "g0", "--json"))),
            Row("set limits.cpu, its QEMU is stopped", 20,
                repeat(options, lambda i: store.lodge_ms("set", "g0", f"limits.cpu={70 + i}%"))),
        ]
    finally:
        os.kill(qemu, signal.SIGCONT)
        store.close()  # a hundred idle guests would slow the themes behind
    return rows
