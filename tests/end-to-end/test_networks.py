"""Guests on networks, on hosts made of network namespaces."""

import pytest

from hosts import Host
from lodge import NOT_FOUND, USAGE, wait_until

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


def test_the_default_network_gives_way_to_what_the_host_has(system):
    lodge = system.lodge
    lodge("network", "create", "default")
    assert lodge("network", "show", "default", "--json").json["subnet"] == "10.77.0.0/24"
    system.sh("ip addr add 10.77.0.9/24 dev eth0")
    lodge.make("web1")
    assert lodge.show("web1")["nics"][0]["address"].startswith("10.77.1.")
