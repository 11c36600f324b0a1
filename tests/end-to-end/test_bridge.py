"""The commands that change the host's own network, on a host made of namespaces."""


import pytest

from hosts import HOST4, HOST6, OUTSIDE4, OUTSIDE6, Host
from lodge import BUSY, NOT_FOUND, fake, wait_until

pytestmark = pytest.mark.root

INTERFACES = f"""\
# mine
auto eth0
iface eth0 inet static
    address {HOST4}/24
    gateway {OUTSIDE4}
iface eth0 inet6 static
    address {HOST6}/64
    gateway {OUTSIDE6}
"""


@pytest.fixture
def host(lodge):
    """Its /etc is its own, and ifupdown configures it."""
    host = Host(lodge, system_store=True)
    etc = host.lodge.folder.parent / "etc"
    (etc / "network").mkdir(parents=True)
    (etc / "network/interfaces").write_text(INTERFACES)
    for name in "passwd", "group", "nsswitch.conf", "os-release":
        (etc / name).write_bytes(open(f"/etc/{name}", "rb").read())
    host.sh(f"mount --bind {etc} /etc")
    host.interfaces = etc / "network/interfaces"
    yield host
    host.lodge.destroy()
    host.close()


def reachable(host):
    for where, address in ((host.outside, HOST4), (host.outside, HOST6), (host, OUTSIDE4),
                           (host, OUTSIDE6)):
        where.sh(f"ping -c 1 -W 20 {address}")


def test_an_interface_becomes_a_port_and_comes_back(host):
    lodge = host.lodge
    before = host.state()
    told = lodge("network", "bridge", "eth0", "--dry-run").out
    assert "br0" in told and HOST4 in told and "/etc/network/interfaces" in told
    assert host.state() == before and host.interfaces.read_text() == INTERFACES
    lodge("network", "bridge", "eth0", "--yes")
    reachable(host)
    assert "master br0" in host.sh("ip link show eth0")
    assert host.interfaces.read_text() == INTERFACES, "it lasts only when it is confirmed"
    busy = lodge("network", "bridge", "eth0", "--yes", status=BUSY)
    assert "waits for `lodge network confirm`" in busy.message
    lodge("network", "confirm")
    assert "iface br0 inet static" in host.interfaces.read_text()
    assert host.interfaces.read_text().startswith("# mine\n")
    reachable(host)
    lodge("network", "unbridge", "br0", "--yes")
    reachable(host)
    lodge("network", "confirm")
    assert "br0" not in host.sh("ip link")
    assert host.interfaces.read_text() == INTERFACES
    reachable(host)
    assert "there is no bridge br0" in lodge("network", "unbridge", "br0", status=NOT_FOUND).message


def test_what_nobody_confirms_is_undone(host):
    lodge = host.lodge
    before = host.state()
    lodge("network", "bridge", "eth0", "--confirm-within", "5", "--yes")
    wait_until(lambda: "br0" not in host.sh("ip link"), what="the undoing")
    wait_until(lambda: "default via" in host.sh("ip route"), what="the way outside")
    reachable(host)
    assert set(host.state()) ^ set(before) == set()
    late = lodge("network", "confirm", status=NOT_FOUND)
    assert "undone already" in late.message
    lodge("network", "bridge", "eth0", "--yes")
    lodge("network", "confirm", "--undo")
    assert "br0" not in host.sh("ip link")
    reachable(host)


def test_what_can_not_be_a_port_is_refused(host):
    lodge = host.lodge
    assert "eth7" in lodge("network", "bridge", "eth7", "--yes", status=NOT_FOUND).message
    host.sh("ip link add br7 type bridge; ip link add d0 type veth peer name d1; ip link set d0 master br7")
    assert "br7" in lodge("network", "bridge", "d0", "--yes", status=None).message


def test_a_definition_is_edited(host, tmp_path):
    lodge = host.lodge
    lodge("network", "create", "lan", "ip=4")
    conf = lodge.folder / "networks/lan.conf"
    editor = fake(tmp_path, "change", 'sed -i "s/^ip=4/ip=4\\nisolation=$WANTED/" "$1"')
    env = {**editor, "EDITOR": "change", "WANTED": "yes"}
    lodge("network", "edit", "lan", env=env)
    assert "isolation=yes" in conf.read_text()
    kept = conf.read_text()
    broken = lodge("network", "edit", "lan", env={**env, "WANTED": "perhaps"}, status=None)
    assert broken.status != 0 and "perhaps" in broken.err and conf.read_text() == kept
    assert lodge("network", "show", "lan", "--json").json["isolation"] == "yes"


def test_a_network_tests_itself(host):
    lodge = host.lodge
    lodge("network", "create", "lan", "--start")
    host.outside.sh("ip route replace default via " + HOST4)
    steps = {one["step"]: one for one in lodge("network", "test", "lan", "--json", status=None).json["steps"]}
    assert steps["DHCPv4"]["state"] == "ok"
    host.sh("nft add table inet x '{ chain c { type filter hook input priority 0; udp dport 67 drop; }; }'")
    broken = lodge("network", "test", "lan", status=1)
    assert "DHCPv4" in broken.message
