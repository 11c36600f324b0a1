"""Guests that begin as a parked machine, and forks of one that runs."""

import json

from boot import built
from measure import Row, Sample, cpu_ms, private_bytes

FORKS = 3
CROWD = 20


def begin(store, image, runs, *then):
    """Milliseconds from `create` on, with what else is done; the first round only warms caches."""
    sample = Sample()
    for i in range(runs + 1):
        took = store.lodge_ms("create", "guest", "--os", image, *then[:1])
        for words in then[1:]:
            took += store.lodge_ms(*words)
        store.lodge("delete", "guest", "--yes", "--force")
        if i > 0:
            sample.add(took)
    return sample


def parked(place, image, identity_ms, banner_ms, options):
    store = place.image_store()
    built(place, image)
    store.lodge("image", "park", image, "--network", "user")
    runs = options.runs
    return store, [
        Row(f"{image} parked: create until it is its own", identity_ms,
            begin(store, image, runs, "--no-wait")),
        Row(f"{image} parked: create until SSH answers", banner_ms,
            begin(store, image, runs, "--network=user")),
    ]


def own_cpu(store, image, runs):
    """What QEMU took until the guest is its own, and until SSH answers."""
    own, answers = Sample(), Sample()
    for _ in range(runs):
        for sample, words in ((own, ["--no-wait"]), (answers, [])):
            store.lodge("create", "guest", "--os", image, "--network=user", *words)
            sample.add(cpu_ms(store.pid("guest", "qemu.lock")))
            store.lodge("delete", "guest", "--yes", "--force")
    return [
        Row(f"CPU time of QEMU, {image} parked: until it is its own", None, own),
        Row(f"CPU time of QEMU, {image} parked: until SSH answers", None, answers),
    ]


def crowd(store):
    """Many at once, until the last one answers."""
    took = Sample([store.lodge_ms("fork", "source", "crowd", "--count", str(CROWD))])
    names = [f"crowd-{i + 1}" for i in range(CROWD)]
    store.lodge("delete", *names, "--yes", "--force")
    return took


def running(store, image, options):
    """Forks of a guest of 1 GiB that runs."""
    pause, memory = Sample(), Sample()
    store.lodge("create", "source", "--os", image)
    for _ in range(options.runs):
        made = json.loads(store.lodge("fork", "source", "copy", "--json"))
        made = made[0] if isinstance(made, list) else made
        pause.add(made["pause_ms"])
        store.lodge("delete", "copy", "--yes", "--force")
    all_answer = crowd(store)
    names = [f"idle{i}" for i in range(FORKS)]
    for name in names:
        store.lodge("create", name, "--os", image)
    for name in names:
        memory.add(private_bytes(store.pid(name, "qemu.lock")))
    store.lodge("delete", "source", *names, "--yes", "--force")
    return [
        Row(f"fork of a running {image}: it stands still", 150, pause),
        Row(f"{CROWD} forks of a running {image} at once: all answer", 15000, all_answer),
        Row(f"private memory of each {image} begun parked", 80e6, memory, unit="MB"),
    ]


def measure_forks(place, _, options):
    _, rows = parked(place, "tiny", 300, 700, options)
    store, more = parked(place, "debian-12", 400, 700, options)
    more.append(Row("debian-12 parked: create and `ssh guest true`", 1600,
                    begin(store, "debian-12", options.runs, "--network=user",
                          ("ssh", "guest", "true"))))
    more += own_cpu(store, "debian-12", options.runs)
    return rows + more + running(store, "debian-12", options)
