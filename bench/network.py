"""A network that starts, answers, and takes one more guest: in namespaces of its own, as root."""

import json
import os
import re
import select
import signal
import subprocess
import traceback
from pathlib import Path

import report
from measure import Row, Sample
from place import LODGE, TOP
from warden import CLONE_NEWNS, MS_PRIVATE, MS_REC, call, libc, mount

CLONE_NEWNET = 0x40000000
COUNT = 500
SOME = 50  # guests whose median is one run
GUEST = """\
[guest]
[nic net]
network=crowd
mac=52:54:00:00:{high:02x}:{low:02x}
address=10.99.{high}.{low}
"""


def measure_network(place, rival, options):
    del rival  # it is a service, which is never cold
    if os.geteuid() != 0:
        report.note("network is left out: only root starts networks")
        return []
    return [Row(what, reach, Sample(values))
            for what, reach, values in json.loads(apart(lambda: measure(place, options)))]


def apart(function):
    """What function returns, as JSON, in a process that has the namespaces."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            call(libc.unshare, CLONE_NEWNS | CLONE_NEWNET)
            mount("none", "/", None, MS_REC | MS_PRIVATE)
            with open(writing, "w", encoding="ascii") as stream:
                json.dump(function(), stream)
            status = 0
        except BaseException:  # pylint: disable=broad-except
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, encoding="ascii") as stream:
        text = stream.read()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        raise RuntimeError("the network's measures failed, see above")
    return text


def make_store(place, name):
    store = place.store(name)
    run = store.folder / "run"
    run.mkdir()
    mount("tmpfs", run, b"tmpfs", 0)
    run.chmod(0o755)
    return store


def measure(place, options):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    store = make_store(place, "network")
    store.lodge("network", "create", "lan")
    starts, answers = [], []
    for _ in range(options.runs + 1):  # the first only warms caches
        starts.append(store.lodge_ms("network", "start", "lan"))
        answers.append(dhcp_ms(store))
        store.lodge("network", "stop", "lan")
    return [["network start, cold", 150, starts[1:]],
            ["DHCP answer to a guest", 300, answers[1:]],
            *crowd(make_store(place, "guests"))]


def dhcp_ms(store):
    """Its end is a failure: there is no world outside."""
    found = subprocess.run([LODGE, "network", "test", "lan", "--json"], env=store.environment,
                           check=False, text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL).stdout
    return float(re.search(r"DHCPv4.*?after ([0-9.]+) ms", found, re.S)[1])


def crowd(store):
    for i in range(COUNT + SOME):
        folder = store.folder / "guests" / f"g{i:03}"
        folder.mkdir(parents=True)
        text = GUEST.format(high=i // 200 + 1, low=i % 200 + 10)
        (folder / "guest.conf").write_text(text, encoding="ascii")
    store.lodge("network", "create", "crowd", "subnet=10.99.0.0/16")
    start = store.lodge_ms("network", "start", "crowd")
    with subprocess.Popen([str(TOP / "build" / "bench-attach"), "crowd"], text=True,
                          env=store.environment, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as helper:
        attached = [float(line) for line in helper.stdout]
        if len(attached) != COUNT + SOME:
            raise RuntimeError(f"{len(attached)} guests of {COUNT + SOME} were attached")
        kill_services(store)
        again = store.lodge_ms("network", "start", "crowd")
        helper.stdin.close()
    store.lodge("network", "stop", "crowd", "--force")
    return [["tap, port and filter for one more guest", 2, attached[:SOME]],
            [f"the same beside {COUNT} guests", 2, attached[COUNT:]],
            [f"network start, {COUNT} guests defined", 500, [start]],
            [f"dnsmasq and rules again, {COUNT} guests run", 500, [again]]]


def kill_services(store):
    """dnsmasq, its keeper and the rules are gone; taps and bridge are not."""
    folder = Path(store.folder) / "run" / "networks" / "crowd"
    for file in ("keeper.lock", "dnsmasq.process"):
        pid = int((folder / file).read_text(encoding="ascii"))
        ended = os.pidfd_open(pid)
        signal.pidfd_send_signal(ended, signal.SIGKILL)
        select.select([ended], [], [], 10)
        os.close(ended)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
