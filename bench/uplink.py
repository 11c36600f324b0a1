"""Pings lost while the host's own interface becomes a port of a bridge, and while that is undone.

The unit test does it in network namespaces of its own, with a pinger that waits for late answers, and
a second link beside that nobody touches: the control, which is in the column raw."""

import re
import subprocess

from measure import Row, Sample
from place import TOP

PROGRAM = TOP / "build" / "test-net-bridge"
# What the test says, what the table says, and what is to be reached of IPv4 and IPv6.
CHANGES = (("bridged", "uplink bridged", 0, 0),
           ("bridged and undone", "and undone unconfirmed", 1, 25),
           ("unbridged", "unbridged", 0, 0))
LINE = re.compile(r"# ([a-z ]+): at most (\d+) IPv4 and (\d+) IPv6 pings lost a way, control (\d+)")


def run_once():
    words = [PROGRAM]
    for name in ("convert", "undone", "unbridge"):
        words += ["-p", f"/net/bridge/{name}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    return {what: tuple(map(float, lost)) for what, *lost in LINE.findall(done.stdout)}


def measure_uplink(place, rival, options):
    del place, rival  # neither libvirt nor bare QEMU touches the host's interface
    found = [run_once() for _ in range(min(options.runs, 5))]
    rows = []
    for key, words, *reaches in CHANGES:
        lost = [one[key] for one in found if key in one]
        for family, reach in enumerate(reaches):
            if lost:
                rows.append(Row(f"{words}: {('IPv4', 'IPv6')[family]} pings lost, one a ms", reach,
                                Sample(one[family] for one in lost),
                                raw=Sample(one[2] for one in lost)))
    return rows
