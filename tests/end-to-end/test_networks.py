"""Guests on networks, on hosts made of network namespaces."""

import contextlib
import http.server
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest

from hosts import HOST4, HOST6, OUTSIDE4, Host
from lodge import BUSY, LONG_S, NOT_FOUND, USAGE, wait_until

pytestmark = pytest.mark.root


@pytest.fixture
def host(lodge):
    host = Host(lodge)
    yield host
    host.lodge.destroy()
    host.close()


@pytest.fixture
def system(lodge):
    """A host whose store is the system's own."""
    host = Host(lodge, system_store=True)
    yield host
    host.lodge.destroy()
    host.close()


def test_the_default_network_is_made_when_a_guest_needs_it(system):
    lodge = system.lodge
    before = system.state()
    lodge.make("web1")
    nic, = lodge.show("web1")["nics"]
    assert nic["network"] == "default" and nic["address"].startswith("10.77.0.")
    assert lodge("network", "list", "--json").json[0]["state"] == "running"
    lodge("start", "web1")
    shown = lodge.show("web1")
    assert (shown["ssh_host"], shown["ssh_port"]) == (nic["address"], 22)
    assert lodge("ssh", "web1", "hostname").out.strip() == "web1"
    assert lodge("exec", "web1", "hostname").out.strip() == "web1"
    inside = lodge("ssh", "web1", "ip", "addr").out
    assert f"inet {nic['address']}/24" in inside
    # Router advertisements and the search for duplicates take a guest a second or two.
    wait_until(lambda: f"{nic['address6']}/64 scope global" in lodge("ssh", "web1", "ip addr").out)
    system.sh(f"ping -6 -c 1 -W 5 {nic['address6']}")
    lodge("delete", "web1", "--yes", "--force")
    lodge("network", "delete", "default", "--yes")
    assert set(system.state()) ^ set(before) == set()


def test_where_it_can_not_be_a_guest_has_the_user_mode_network(system):
    lodge = system.lodge
    system.sh("ip link add lb-default type bridge")
    made = lodge("create", "web1", "--os", "tiny", "--no-start")
    assert "lb-default exists already" in made.err
    assert lodge.show("web1")["nics"][0]["network"] == "user"
    assert lodge("network", "list", "--json").json == []


def test_a_nic_for_each_network(host):
    lodge = host.lodge
    lodge("network", "create", "lan", "subnet=10.90.0.0/24", "ip=4")
    lodge("network", "create", "lab", "mode=isolated", "subnet=10.91.0.0/24")
    missing = lodge("create", "web1", "--os", "tiny", "--network", "lam", status=NOT_FOUND)
    assert "did you mean “la" in missing.message
    refused = lodge("create", "web1", "--os", "tiny", "--network", "lab", "--forward", "8080:80",
                    status=USAGE)
    assert "network lab is isolated" in refused.message
    lodge.make("web1", "--network", "lan", "--network", "lab", "--network", "user",
               "--forward", "8080:80")
    shown = lodge.show("web1")["nics"]
    assert [(nic["name"], nic["network"]) for nic in shown] == [
        ("net", "lan"), ("net2", "lab"), ("net3", "user")]
    assert shown[0]["address"].startswith("10.90.0.") and shown[0]["address6"] is None
    assert shown[1]["address"].startswith("10.91.0.") and shown[1]["address6"].startswith("fd")
    used = lodge("network", "delete", "lab", "--yes", status=5)
    assert "network lab is used by web1" in used.message


def test_guests_begin_as_copies_on_a_network(host):
    """As the parked machine, and as a guest that runs: each has the addresses that it was given."""
    lodge = host.lodge
    lodge("network", "create", "lan", "subnet=10.90.0.0/24")
    lodge("image", "park", "tiny", "--network", "lan", timeout_s=2 * LONG_S)
    made = lodge("create", "web1", "--os", "tiny", "--network", "lan")
    assert "begins as the parked machine" in made.err
    lodge("fork", "web1", "web2")
    for name in ("web1", "web2"):
        nic, = lodge.show(name)["nics"]
        assert lodge("ssh", name, "hostname").out.strip() == name
        inside = lodge("exec", name, "ip", "addr").out
        assert f"link/ether {nic['mac']}" in inside
        assert inside.count("inet 10.90.") == 1 and f"inet {nic['address']}/24" in inside
        wait_until(lambda: f"{nic['address6']}/64" in lodge("exec", name, "ip", "addr").out)
        wait_until(lambda: lodge("exec", name, "cat", "/etc/resolv.conf").out.count("nameserver") == 2)
        host.sh(f"ping -c 1 -W 5 {nic['address']}; ping -6 -c 1 -W 5 {nic['address6']}")
    assert "lodge-park" not in host.sh("ip link")


def test_the_default_network_gives_way_to_what_the_host_has(system):
    lodge = system.lodge
    lodge("network", "create", "default")
    assert lodge("network", "show", "default", "--json").json["subnet"] == "10.77.0.0/24"
    system.sh("ip addr add 10.77.0.9/24 dev eth0")
    lodge.make("web1")
    assert lodge.show("web1")["nics"][0]["address"].startswith("10.77.1.")


@pytest.mark.skipif(not shutil.which("tayga") or not shutil.which("unbound"),
                    reason="needs tayga and unbound")
def test_a_new_network_that_does_not_start_is_there(host):
    lodge = host.lodge
    refused = lodge("network", "create", "lan", "mode=bridged", "bridge=br9", "--start",
                    status=NOT_FOUND)
    assert "no bridge br9" in refused.message and "lodge network start lan" in refused.message
    assert "lodge network delete lan" in refused.message
    host.sh("ip link add br9 type bridge")
    lodge("network", "start", "lan")
    lodge("network", "delete", "lan", "--yes")


def test_a_resolver_follows_the_host_s(system):
    lodge = system.lodge
    etc = lodge.folder.parent / "etc"
    subprocess.run(["cp", "-a", "/etc", etc], check=True)
    system.sh(f"mount --bind {etc} /etc")
    lodge("network", "create", "lan", "ip=6", "nat64=yes", "--start")
    folder = lodge.run_folder / "networks/lan"
    first = (folder / "unbound.process").read_text()
    (etc / "new").write_text("nameserver 192.0.2.53\n")
    system.sh("mv /etc/new /etc/resolv.conf")
    wait_until(lambda: "forward-addr: 192.0.2.53\n" in (folder / "unbound.conf").read_text())
    # Who is asked for what nobody knows asks that server, which does not answer.
    listener = subprocess.Popen(
        [*system.outside.prefix, sys.executable, "-c",
         "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
         " s.bind(('', 53)); print(flush=True); print(s.recvfrom(999)[0])"],
        stdout=subprocess.PIPE, text=True)
    try:
        listener.stdout.readline()
        system.outside.sh("ip addr add 192.0.2.53/32 dev lo")
        gateway = lodge("network", "show", "lan", "--json").json["prefix"].replace("::/64", "::1")
        system.sh(f"dig +tries=8 +time=1 @{gateway} elsewhere.example", status=None)
        assert "elsewhere" in listener.stdout.readline()
    finally:
        listener.kill()
        listener.wait()
    assert (folder / "unbound.process").read_text() == first, "it was told, not started again"
    lodge("network", "delete", "lan", "--yes")


class Asked(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass


def test_a_guest_boots_from_the_network(host):
    """The script that TFTP gives runs in the guest's boot ROM: it asks for a page that names who asks."""
    lodge = host.lodge
    root = lodge.folder / "tftp"
    root.mkdir()
    for name in "bios", "uefi":
        (root / f"{name}.ipxe").write_text(
            "#!ipxe\n:again\n"
            f"imgfetch http://${{next-server}}:8069/{name}-${{platform}}-${{net0/mac:hexhyp}} ||\n"
            "sleep 1\ngoto again\n")
    lodge("network", "create", "lan", f"pxe-root={root}", "pxe-file=bios.ipxe",
          "pxe-file-uefi=uefi.ipxe", "--start")
    lodge.make("pxe1", "--network", "lan")
    lodge("set", "pxe1", "boot=net", "kernel=", "initrd=")
    mac = lodge.show("pxe1")["nics"][0]["mac"].replace(":", "-")
    with host.listening(8069, Asked) as server:
        lodge("start", "pxe1", "--no-wait")
        wait_until(lambda: server.asked, what="the boot ROM's question")
        assert server.asked[0] == f"/bios-pcbios-{mac}"


# One guest answers for those who come from everywhere; the other only stands beside it.
@pytest.fixture(scope="module")
def pair(shared):
    host = Host(shared)
    shared = host.lodge
    before = host.state()
    shared("network", "create", "default", "subnet=10.77.0.0/24", "prefix=fd77:0:0:1::/64")
    shared("create", "web1", "--os", "tiny", "--forward", "8022:22")
    shared("create", "web2", "--os", "tiny")
    yield host
    shared("delete", "web1", "web2", "--yes", "--force")
    shared("network", "stop", *[one["name"] for one in shared("network", "list", "--json").json])
    after = host.state()
    host.close()
    assert set(after) ^ set(before) == set()


def banner(address, port):
    """The command that prints how a server there begins: by bash, which needs no program for it."""
    return f"bash -c 'exec 3<>/dev/tcp/{address}/{port} && timeout 20 head -c 4 <&3'"


def test_a_forwarded_port_is_reached_from_everywhere(pair):
    lodge = pair.lodge
    for where, address in ((pair.outside, HOST4), (pair.outside, HOST6), (pair.space, HOST4),
                           (pair.space, "127.0.0.1")):
        assert where.sh(banner(address, 8022)) == "SSH-", address
    # From the other guest, and from the guest itself, through the host's own address.
    for name in "web1", "web2":
        for address in HOST4, HOST6:
            line = f"sleep 2 | timeout 20 nc {address} 8022 | head -c 4"
            assert lodge("exec", name, "--", "sh", "-c", line).out == "SSH-", (name, address)


def test_forwards_come_and_go(pair):
    lodge = pair.lodge
    lodge("forward", "web2", "9022:22", f"{HOST4}:5353:53/udp")
    listed = {(one["guest"], one["forward"]) for one in lodge("forward", "--json").json}
    assert listed == {("web1", "8022:22"), ("web2", "9022:22"), ("web2", f"{HOST4}:5353:53/udp")}
    assert pair.outside.sh(banner(HOST4, 9022)) == "SSH-"
    taken = lodge("forward", "web2", "8022:22", status=BUSY)
    assert "port 8022 of this host is forwarded to guest web1 already" in taken.message
    assert len(lodge("forward", "web2", "--json").json) == 2
    lodge("forward", "web2", "--remove", "9022", "5353/udp")
    pair.outside.sh(banner(HOST4, 9022), status=1)
    assert "forward" not in lodge("show", "web2", "--definition").out
    assert "element" not in pair.sh("nft list map inet $(nft list tables inet | cut -d' ' -f3)"
                                    " forward_at4")
    script = "import socket; s = socket.create_server(('', 9023)); print(flush=True); s.accept()"
    listener = subprocess.Popen([*pair.space.prefix, sys.executable, "-c", script],
                                stdout=subprocess.PIPE)
    try:
        listener.stdout.readline()
        refused = lodge("forward", "web2", "9023:22", status=BUSY)
        assert "in use by a program" in refused.message
    finally:
        listener.kill()
        listener.wait()


def test_names(pair):
    lodge = pair.lodge
    addresses = [one["address"] for one in lodge("resolve", "web2", "--json").json]
    assert lodge("resolve", "web2.lodge").out.split() == addresses and len(addresses) == 2
    assert f" {addresses[0]}" in lodge("ssh", "web1", "nslookup web2.lodge").out
    assert pair.sh(f"dig +short +timeout=5 @10.77.0.1 AAAA web2.lodge").strip() == addresses[1]
    lodge("resolve", "web2.example", status=NOT_FOUND)
    assert "web2" in lodge("ssh", "web1", f"nslookup {addresses[0]}").out


# What a larger system does by itself when its link comes back.
RENEW = ("killall udhcpc; ip link set eth0 down; ip link set eth0 up;"
         " udhcpc -n -q -t 20 -T 1 -S -s /usr/lib/lodge/dhcp -i eth0")


@pytest.mark.parametrize("settings", [
    ("mode=routed", "uplink=eth0", "subnet=192.0.2.64/29", "prefix=2001:db8:0:7::/64"),
    ("mode=routed", "uplink=eth0", "subnet=192.0.2.128/28", "each=30", "ip=4"),
], ids=["addresses", "subnets of four"])
def test_a_running_guest_moves_to_a_network_that_is_routed(pair, settings):
    lodge = pair.lodge
    before = pair.state()
    lodge("network", "create", "pub", *settings)
    moved = {one["key"]: one for one in lodge("set", "web2", "nic.net.network=pub", "--json").json}
    assert moved["nic.net.network"]["outcome"] == "live"
    addresses = lodge("resolve", "web2").out.split()
    assert addresses[0].startswith("192.0.2.") and lodge.show("web2")["ssh_host"] == addresses[0]
    lodge("exec", "web2", "--", "sh", "-c", RENEW)
    # Who is outside takes it for a neighbour: the host answers for it.
    pair.outside.sh(f"ping -c 1 -W 20 {addresses[0]}")
    assert lodge("ssh", "web2", "ip route show default").out.split()[2] not in (OUTSIDE4, HOST4)
    lodge("ssh", "web2", "ping", "-c", "1", "-W", "20", OUTSIDE4)
    if len(addresses) > 1:
        pair.outside.sh(f"ip -6 route replace 2001:db8:0:7::/64 via {HOST6}")
        wait_until(lambda: addresses[1] in lodge("exec", "web2", "ip", "addr").out)
        pair.outside.sh(f"for i in $(seq 40); do ping -6 -c 1 -W 1 {addresses[1]} && exit 0; done; exit 1")
    lodge("set", "web2", "nic.net.network=default")
    assert lodge("resolve", "web2").out.startswith("10.77.0.")
    lodge("network", "delete", "pub", "--yes")
    lodge("exec", "web2", "--", "sh", "-c", RENEW)
    assert lodge("ssh", "web2", "hostname").out.strip() == "web2"
    # The tap is there still; all else is as it was.
    assert [line for line in set(pair.state()) ^ set(before) if "conf/lg" not in line] == []


def test_a_running_guest_moves_to_user_mode_and_back(pair):
    lodge = pair.lodge
    moved = {one["key"]: one for one in
             lodge("set", "web2", "nic.net.network=user", "--json").json}
    assert moved["nic.net.network"]["outcome"] == "live", moved
    wait_until(lambda: lodge.show("web2")["ssh_host"] == "127.0.0.1", what="the keeper's word")
    wait_until(lambda: "eth0" in lodge("exec", "web2", "--", "ls", "/sys/class/net").out)
    lodge("exec", "web2", "--", "sh", "-c", RENEW)
    assert lodge("ssh", "web2", "ip -4 addr").out.count("inet 10.0.2.15/24") == 1
    lodge("set", "web2", "nic.net.network=default")
    wait_until(lambda: lodge.show("web2")["ssh_host"].startswith("10.77.0."), what="its word")
    wait_until(lambda: "eth0" in lodge("exec", "web2", "--", "ls", "/sys/class/net").out)
    lodge("exec", "web2", "--", "sh", "-c", RENEW)
    assert lodge("ssh", "web2", "hostname").out.strip() == "web2"
    missing = pair.lodge("set", "web2", "nic.net.network=defualt", status=NOT_FOUND)
    assert "did you mean “default”" in missing.message


def test_guests_of_an_isolated_network_reach_each_other_only(pair):
    lodge = pair.lodge
    lodge("network", "create", "lab", "mode=isolated", "ip=4")
    lodge("set", "web2", "nic.net.network=lab")
    lodge("exec", "web2", "--", "sh", "-c", RENEW)
    assert lodge("ssh", "web2", "hostname").out.strip() == "web2"
    lodge("ssh", "web2", "ping", "-c", "1", "-W", "2", OUTSIDE4, status=1)
    assert "default" not in lodge("ssh", "web2", "ip route").out
    lodge("set", "web2", "nic.net.network=default")
    lodge("exec", "web2", "--", "sh", "-c", RENEW)


def test_rates_change_at_once(pair):
    changed, = pair.lodge("set", "web2", "nic.net.rate-out=5M", "--json").json
    assert changed["outcome"] == "live"
    assert "rate over 5 mbytes/second" in pair.sh("nft list ruleset")
    pair.lodge("set", "web2", "nic.net.rate-out=")
    assert "rate over" not in pair.sh("nft list ruleset")


@contextlib.contextmanager
def running(host, *words):
    """A program outside that prints a line when it is ready."""
    program = subprocess.Popen([*host.outside.prefix, sys.executable, *map(str, words)],
                               stdout=subprocess.PIPE, text=True)
    try:
        program.stdout.readline()
        yield program
    finally:
        program.kill()
        program.wait()


TELL_WHO_ASKS = """
import socket
server = socket.create_server(("::", 8000), family=socket.AF_INET6)
print(flush=True)
while True:
    connection, client = server.accept()
    connection.sendall(client[0].encode())
    connection.close()
"""


def test_guests_have_addresses_of_the_prefix_that_the_router_delegates(host, tmp_path):
    lodge = host.lodge
    before = host.state()
    prefix = tmp_path / "prefix"
    prefix.write_text("2001:db8:77:10::/60")
    server = [pathlib.Path(__file__).parent / "delegating.py", "up0", prefix]

    def own(number):
        """The guest's address of 2001:db8:77:NUMBER::/64, once it is to be seen in it."""
        at = wait_until(lambda: re.search(rf"inet6 (2001:db8:77:{number}:\S+)/64 scope global",
                                          lodge("ssh", "web1", "ip addr").out), 60, "its address")
        return at[1]

    def seen():
        return lodge("ssh", "web1", "sleep 1 | timeout 20 nc 2001:db8::1 8000", status=None).out

    with running(host, *server), running(host, "-c", TELL_WHO_ASKS):
        lodge("network", "create", "lan", "delegation=yes", "--start")
        lodge.make("web1", "--network", "lan", "--forward", "8080:22")
        lodge("start", "web1")
        first = own(10)
        # Not translated, and with the way back.
        wait_until(lambda: seen() == first, 60, "the guest outside as itself")
        shown = lodge("network", "show", "lan", "--json").json["delegated"]
        assert (shown["prefix"], shown["uplink"]) == ("2001:db8:77:10::/60", "eth0")
        assert "2001:db8:77:10::/60, by eth0, until" in lodge("network", "show", "lan").out
        # It is nobody's to open: outside reaches it by its forward only.
        host.outside.sh(f"ping -6 -c 1 -W 1 {first}", status=1)
        ask = "import socket; print(socket.create_connection(('2001:db8::2', 8080), 60).recv(9))"
        assert "SSH" in host.outside.sh(f'{sys.executable} -c "{ask}"')
        # Another prefix, when the keeper was killed and the next one asks.
        prefix.write_text("2001:db8:77:20::/64")
        keeper = int((lodge.run_folder / "networks/lan/keeper.lock").read_text())
        os.kill(keeper, signal.SIGKILL)
        lodge("network", "start", "lan")
        second = own(20)
        wait_until(lambda: seen() == second, 60, "the guest outside by its new address")
        assert "2001:db8:77:10" not in host.sh("ip -6 addr; ip -6 route")
        lodge("delete", "web1", "--yes", "--force")
        assert "2001:db8:77:20::/64 via" in host.outside.sh("ip -6 route")
        lodge("network", "stop", "lan")
        assert "2001:db8:77:20" not in host.outside.sh("ip -6 route")
    lodge("network", "delete", "lan", "--yes")
    assert set(host.state()) ^ set(before) == set()


def test_forks_of_a_running_guest_have_places_of_their_own(host):
    """And what they are made of is not disturbed."""
    lodge = host.lodge
    lodge("network", "create", "lan", "subnet=10.92.0.0/24", "ip=4")
    lodge("create", "web", "--os", "tiny", "--network", "lan")
    lodge("fork", "web", "copy", "--count", "2")
    names = ["web", "copy-1", "copy-2"]
    nics = [lodge.show(name)["nics"][0] for name in names]
    for key in ("mac", "address"):
        assert len({nic[key] for nic in nics}) == 3, nics
    for name, nic in zip(names, nics):
        inside = lodge("exec", name, "ip", "addr", "show", "dev", "eth0").out
        assert nic["mac"] in inside and re.findall(r"inet (\S+)", inside) == [f"{nic['address']}/24"]
        host.sh(f"ping -c 1 -W 20 {nic['address']}")
        assert lodge("ssh", name, "hostname").out == f"{name}\n"
