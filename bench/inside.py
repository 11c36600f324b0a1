"""A guest's inside: what a command, and a large file, cost by its agent."""

import os

import measure
from boot import built
from measure import Row, Sample
from place import LODGE

FILE_BYTES = 100 << 20
COPIES = 2  # SSH's cipher takes an emulated guest most of a minute


def measure_inside(place, _, options):
    built(place, "tiny")
    store = place.image_store()
    store.lodge("create", "inside", "--os", "tiny", "--memory", "768M")
    try:
        return [exec_row(store, options), copy_row(place, store)]
    finally:
        store.lodge("delete", "inside", "--yes", "--force")


def exec_row(store, options):
    sample = Sample()
    for i in range(options.runs + 1):
        took = store.lodge_ms("exec", "inside", "true")
        if i > 0:
            sample.add(took)
    return Row("exec true in a tiny guest", 60, sample)


def copy_row(place, store):
    """`cat` over SSH is scp without its protocol, which dropbear does not have."""
    path = place.folder / "large"
    path.write_bytes(os.urandom(1 << 20) * (FILE_BYTES >> 20))
    ours, ssh = Sample(), Sample()
    for _ in range(COPIES):
        ours.add(store.lodge_ms("cp", str(path), "inside:/tmp/large"))
        ssh.add(by_ssh(store, path))
    path.unlink()
    return Row("cp of 100 MB into it  (raw: over SSH)", ssh.median(), ours, raw=ssh)


def by_ssh(store, path):
    actions = [(os.POSIX_SPAWN_OPEN, 0, str(path), os.O_RDONLY, 0), *measure.NULL[1:]]
    return measure.run_ms([LODGE, "ssh", "inside", "cat >/tmp/large"],
                          store.environment, actions)
