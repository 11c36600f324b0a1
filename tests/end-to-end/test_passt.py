"""Guests on `user` by passt: one that stands in for it everywhere, the real one where it is installed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hosts import HOST4, OUTSIDE4, Host
from lodge import alive, wait_until

pytestmark = pytest.mark.root

BANNER = "import socket; print(socket.create_connection(('127.0.0.1', {}), 20).recv(4))"
SERVER = ("import socket\ns = socket.create_server(('', 9999))\nprint(flush=True)\n"
          "while 1:\n c, a = s.accept()\n c.sendall(a[0].encode())\n c.close()")


@pytest.fixture
def host(lodge):
    host = Host(lodge)
    yield host
    host.lodge.destroy()
    host.close()


@pytest.fixture
def stand_in(host):
    # QEMU's user has to reach it.
    folder = Path(tempfile.mkdtemp(prefix="lodge-passt-"))
    folder.chmod(0o755)
    shutil.copy(Path(__file__).parent / "passt", folder / "passt")
    host.lodge.env["PATH"] = f"{folder}:{os.environ['PATH']}"
    yield host
    host.lodge.destroy()
    shutil.rmtree(folder)


def record(lodge):
    try:
        return json.loads(lodge.run_path("web1", "passt-0.json").read_text())
    except OSError:
        return {"pid": 0, "problem": None}


def answers(host, port):
    return host.sh(f'{sys.executable} -c "{BANNER.format(port)}"', status=None) == "b'SSH-'\n"


def test_passt_is_begun_changed_and_ended(stand_in):
    lodge = stand_in.lodge
    lodge.make("web1", "--network", "user", "--forward", "8022:22")
    lodge("start", "web1", "--paused")
    first = record(lodge)
    words = Path(f"/proc/{first['pid']}/cmdline").read_text().split("\0")
    assert "--no-map-gw" in words and "127.0.0.1/8022:22" in words
    assert os.stat(f"/proc/{first['pid']}").st_uid == os.stat(f"/proc/{lodge.qemu('web1')}").st_uid
    assert answers(stand_in, 8022) and answers(stand_in, lodge.show("web1")["ssh_port"])

    lodge("forward", "web1", "9022:22")
    assert answers(stand_in, 8022) and answers(stand_in, 9022) and not alive(first["pid"])
    holder = subprocess.Popen([*stand_in.space.prefix, sys.executable, "-c", SERVER],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    holder.stdout.readline()
    refused = lodge("forward", "web1", "9999:22", status=None)
    assert refused.status != 0 and "9999" in refused.message
    holder.kill()
    holder.wait()
    assert answers(stand_in, 9022)

    second = record(lodge)["pid"]
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: record(lodge)["pid"] != second, what="another passt")
    assert answers(stand_in, 9022)
    wait_until(lambda: [event for event in lodge.events("web1")
                        if event["event"] == "passt-restarted"], what="the event of it")

    # A keeper that is killed takes nothing along, and the next one knows passt.
    third = record(lodge)["pid"]
    keeper = lodge.keeper("web1")
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: not alive(keeper), what="the keeper's end")
    assert alive(third) and answers(stand_in, 9022)
    lodge("forward", "web1", "--remove", "9022")
    assert not answers(stand_in, 9022) and answers(stand_in, 8022) and not alive(third)

    last = record(lodge)["pid"]
    lodge("kill", "web1")
    wait_until(lambda: not alive(last), what="passt's end")
    assert not list(lodge.run_path("web1", "").glob("passt-*"))


def test_one_that_fails_leaves_the_guest_its_qemu_s_network(stand_in):
    lodge = stand_in.lodge
    path = Path(lodge.env["PATH"].split(":")[0]) / "passt"
    path.write_text("#!/bin/sh\n[ $1 = --version ] && echo passt 2026_10_02.cba3570 && exit\n"
                    "echo no such luck >&2\nexit 1\n")
    lodge.make("web1", "--network", "user")
    lodge("start", "web1", "--paused")
    told, = [event for event in lodge.events("web1") if event["event"] == "passt-failed"]
    assert "no such luck" in told["reason"]
    assert "netdev\0user,id=n0," in Path(f"/proc/{lodge.qemu('web1')}/cmdline").read_text()
    assert not lodge.run_path("web1", "passt-0.sock").exists()


def test_a_guest_by_the_real_one_reaches_out_and_not_the_host_s_loopback(host):
    lodge = host.lodge
    check, = [one for one in lodge("check", "--json", status=None).json["checks"]
              if one["id"] == "passt"]
    if check["state"] != "ok":
        pytest.skip(f"passt: {check['detail']}")
    lodge.make("web1", "--network", "user", "--forward", "8022:22", start=True)
    assert record(lodge)["pid"] != 0 and answers(host, 8022)
    assert lodge("ssh", "web1", "hostname").out.strip() == "web1"
    servers = [subprocess.Popen([*space.prefix, sys.executable, "-c", SERVER],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
               for space in (host.outside, host.space)]
    try:
        for server in servers:
            server.stdout.readline()
        ask = "timeout 20 nc {} 9999"
        assert lodge("exec", "web1", "--", "sh", "-c", ask.format(OUTSIDE4)).out == HOST4
        # The host's own listens on its loopback address too: neither the gateway's address leads
        # there, nor that address itself, when the guest sends it out.
        for script in (ask.format("10.0.2.2"),
                       "for way in all eth0; do echo 1 > /proc/sys/net/ipv4/conf/$way/route_localnet;"
                       " done; ip route del local 127.0.0.0/8 dev lo table local;"
                       " ip route del local 127.0.0.1 dev lo table local;"
                       " ip route add 127.0.0.0/8 via 10.0.2.2; timeout 5 nc 127.0.0.1 9999"):
            assert lodge("exec", "web1", "--", "sh", "-c", script, status=None).out == ""
        # What was saved and what is copied goes on by it.
        lodge("snapshot", "create", "web1", "one")
        lodge("snapshot", "restore", "web1", "one", "--yes")
        lodge("fork", "web1", "web2")
        for name in "web1", "web2":
            assert lodge("exec", name, "--", "sh", "-c", ask.format(OUTSIDE4)).out == HOST4, name
    finally:
        for server in servers:
            server.kill()
            server.wait()
