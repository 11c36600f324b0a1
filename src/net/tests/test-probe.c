/* What guests reach by a network: its own test finds what is broken; NAT64; other firewalls. */
#include "config.h"

#include "base/base.h"
#include "net/nat64.h"
#include "net/probe.h"
#include "net/tests/host.h"

enum { RULES_MS = 60000 };

/* Somebody outside who knows all names, for networks with dns=192.0.2.1. */
static void
begin_resolver(TestHost *host)
{
    g_free(netns_run(host->outside,
                     "dnsmasq -C /dev/null --no-resolv --no-hosts --bind-interfaces "
                     "--interface=up0 --address=/#/192.0.2.9 --pid-file=%s/outside.pid "
                     "</dev/null >/dev/null 2>&1",
                     host->folder));
}

static void
end_resolver(TestHost *host)
{
    g_free(netns_run(NULL, "kill $(cat %s/outside.pid)", host->folder));
}

static void
assert_probe(TestHost *host, const char *name, const char *broken)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) steps = lodge_net_probe(host->net, name, NULL, &error);
    const char *found = NULL;
    g_assert_no_error(error);
    for (guint i = 0; i < steps->len; i++) {
        const LodgeProbeStep *step = steps->pdata[i];
        g_test_message("%s %s: %s", lodge_probe_state_word(step->state), step->name, step->detail);
        found = found == NULL && step->state == LODGE_PROBE_FAILED ? step->name : found;
    }
    g_assert_cmpstr(found, ==, broken);
}

/* The network's own test finds what was broken, and leaves nothing behind. */
static void
test_probe(TestHost *host, gconstpointer data)
{
    (void)data;
    static const struct {
        const char *breaks, *mends, *link;
    } damages[] = {
        {"nft add table inet x '{ chain c { type filter hook forward priority 0; policy drop; }; "
         "}'",
         "nft delete table inet x", "outside IPv4"},
        {"nft add table inet x '{ chain c { type filter hook input priority 0; udp dport 67 drop; "
         "};"
         " }'",
         "nft delete table inet x", "DHCPv4"},
        {"ip link set lb-lan down", "ip link set lb-lan up", "bridge"},
    };
    if (!netns_is_root()) {
        g_test_skip("dnsmasq, which answers here, needs root");
        return;
    }
    begin_resolver(host);
    g_autoptr(LodgeNetwork)
        network = test_host_define(host, "lan", TEST_HOST_NAT "dns=192.0.2.1\n");
    test_host_start(host, network);
    static const char left[] = "ip -o link | cut -d: -f2; ip -br addr show lb-lan | grep -o 'fd.*';"
                               " nft list ruleset; ls $LODGE_DIR/run/networks/lan/hosts";
    g_autofree char *before = netns_run(NULL, left);
    assert_probe(host, "lan", NULL);
    g_autofree char *after = netns_run(NULL, left);
    g_assert_cmpstr(after, ==, before);
    for (gsize i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_free(netns_run(NULL, "%s", damages[i].breaks));
        assert_probe(host, "lan", damages[i].link);
        g_free(netns_run(NULL, "%s", damages[i].mends));
    }
    test_host_stop(host, "lan");
    g_autoptr(GError) error = NULL;
    g_assert_null(lodge_net_probe(host->net, "lan", NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    end_resolver(host);
}

/* Where guests are routed to as well: both forms, and what is answered for ends with the test. */
static void
test_routed(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char form[] =
        "[network]\nmode=routed\nuplink=eth0\nsubnet=192.0.2.64/28\neach=%u\n"
        "prefix=2001:db8:7::/64\ndns=192.0.2.1\n";
    static const char left[] =
        "ip -o link | cut -d: -f2; ip neigh show proxy; ip -6 neigh show proxy;"
        " ip route show table all; nft list ruleset;"
        " ls -A $LODGE_DIR/run/networks/lan/ports $LODGE_DIR/run/networks/lan/hosts";
    if (!netns_is_root()) {
        g_test_skip("dnsmasq, which answers here, needs root");
        return;
    }
    g_free(netns_run(host->outside, "ip -6 route add 2001:db8:7::/64 via 2001:db8::2"));
    begin_resolver(host);
    for (guint each = 32; each >= 30; each -= 2) {
        g_autofree char *text = g_strdup_printf(form, each);
        g_autoptr(LodgeNetwork) network = test_host_define(host, "lan", text);
        test_host_start(host, network);
        assert_probe(host, "lan", NULL);
        g_autofree char *before = netns_run(NULL, left);
        assert_probe(host, "lan", NULL);
        g_free(netns_run(host->outside, "ip link set up0 down"));
        assert_probe(host, "lan", "DNS IPv4");
        g_free(netns_run(host->outside, "ip link set up0 up"));
        g_autofree char *after = netns_run(NULL, left);
        g_assert_cmpstr(after, ==, before);
        test_host_stop(host, "lan");
    }
    end_resolver(host);
}

/* A client without IPv4 finds a server without IPv6 by its name, and reaches it; others do not
 * reach the client by the way back. */
static void
test_nat64(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char text[] = "[network]\nip=6\nnat64=yes\nsubnet=10.77.0.0/24\n"
                               "prefix=fd77:0:0:1::/64\ndns=192.0.2.1\n";
    if (!netns_is_root() || !netns_try(NULL, "command -v tayga && command -v unbound")) {
        g_test_skip("there is no tayga or unbound, or no root");
        return;
    }
    g_free(netns_run(host->outside, "ip addr add 192.0.2.9/24 dev up0 &&"
                                    " ip route add 10.77.0.0/24 via 192.0.2.2"));
    begin_resolver(host);
    g_autoptr(LodgeNetwork) network = test_host_define(host, "lan", text);
    test_host_start(host, network);
    test_host_start(host, network);
    g_autoptr(Netns) client = netns_new();
    g_free(netns_run(NULL,
                     "ip link add c0 type veth peer name c1 netns %d &&"
                     " ip link set c0 master lb-lan up",
                     client->pid));
    g_free(netns_run(client, "ip link set c1 up; for i in $(seq 200); do ip -6 route |"
                             " grep -q ^default && exit 0; sleep 0.1; done; exit 1"));
    g_autofree char *found = netns_run(
        client, "for i in $(seq 50); do dig +short +tries=1 +time=1 @fd77:0:0:1::1 AAAA"
                " server.example.org | grep ^fd && exit 0; sleep 0.1; done; exit 1");
    g_assert_cmpstr(g_strchomp(found), ==, "fd77::6464:64:1:c000:209");
    /* What the server answers is of no matter, but it does so by UDP and TCP. */
    g_free(netns_run(client, "dig +tries=5 +time=2 @%s x.example.org | grep -w 192.0.2.9", found));
    g_free(netns_run(client, "dig +tcp +time=10 @%s x.example.org | grep -w 192.0.2.9", found));
    /* The host's loopback addresses, unbound's among them, are not in that world. */
    g_autofree char *listen = lodge_nat64_listen(network);
    LodgePrefix loopback;
    g_assert_true(lodge_address_parse(listen, &loopback, NULL));
    LodgePrefix hidden = lodge_network_nat64_address(network, &loopback);
    g_autofree char *hidden_text = lodge_prefix_format_address(&hidden);
    g_assert_false(
        netns_try(client, "dig -p %d +tries=1 +time=1 @%s x.org", LODGE_NAT64_PORT, hidden_text));
    g_assert_false(netns_try(host->outside, "ping -c 1 -W 1 10.77.0.1"));
    assert_probe(host, "lan", NULL);
    g_free(netns_run(NULL, "ps -o user= -C tayga,unbound | sort -u | grep -x nobody"));
    g_free(netns_run(NULL, "ip link del c0"));
    /* The device is taken away: the next start mends it. */
    g_free(netns_run(NULL, "ip link del l64-lan"));
    test_host_start(host, network);
    g_free(netns_run(NULL, "ip route get 10.77.0.9 | grep -w l64-lan"));
    test_host_stop(host, "lan");
    g_free(netns_run(NULL, "! pgrep -f $LODGE_DIR/run/networks"));
    end_resolver(host);
}

static void
await_rules(const char *test)
{
    gint64 deadline = lodge_deadline_in(RULES_MS);
    while (!netns_try(NULL, "%s", test)) {
        g_assert_false(lodge_deadline_passed(deadline));
        g_usleep(50000);
    }
}

/* Others drop all that they do not know, as Docker and ufw do: guests get through all the same, and
 * when the network stops the others' rules are what they were. */
static void
test_beside_others(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char rules[] = "iptables-save | grep -v '^#' | sed 's/\\[.*//'; ip6tables-save |"
                                " grep -v '^#' | sed 's/\\[.*//'";
    if (!netns_is_root() || !netns_try(NULL, "iptables -S")) {
        g_test_skip("there is no iptables, or no root");
        return;
    }
    g_free(netns_run(NULL, "for t in iptables ip6tables; do $t -N DOCKER-USER &&"
                           " $t -A FORWARD -j DOCKER-USER && $t -P FORWARD DROP && $t -P INPUT DROP"
                           " || exit 1; done; iptables -A INPUT -i eth0 -j ACCEPT;"
                           " ip6tables -A INPUT -i eth0 -j ACCEPT"));
    g_autofree char *before = netns_run(NULL, rules);
    begin_resolver(host);
    g_autoptr(LodgeNetwork)
        network = test_host_define(host, "lan", TEST_HOST_NAT "dns=192.0.2.1\n");
    test_host_start(host, network);
    test_host_start(host, network);
    g_autofree char *count = netns_run(NULL, "iptables -S | grep -c 'lodge:lb-lan'");
    g_assert_cmpstr(count, ==, "6\n");
    assert_probe(host, "lan", NULL);
    /* They load their rules anew, and add to them behind ours: the keeper sees to it. */
    g_free(netns_run(NULL, "iptables -F FORWARD; iptables -A FORWARD -j DOCKER-USER;"
                           " ip6tables -F INPUT; ip6tables -A INPUT -i eth0 -j ACCEPT"));
    await_rules("test $(ip6tables -S INPUT | grep -c lodge:lb-lan) = 4 &&"
                " iptables -S FORWARD | tail -1 | grep -q lodge:lb-lan");
    g_free(netns_run(NULL, "iptables -A FORWARD -j DOCKER-USER; iptables -D FORWARD 1"));
    await_rules("iptables -S FORWARD | tail -1 | grep -q lodge:lb-lan");
    assert_probe(host, "lan", NULL);
    test_host_stop(host, "lan");
    g_autofree char *after = netns_run(NULL, rules);
    g_assert_cmpstr(after, ==, before);
    g_free(netns_run(NULL, "nft flush ruleset"));
    end_resolver(host);
}

/* A firewalld that has no zone for shared connections: what the zone that trusts would let in of
 * the host, the guard does not. */
static void
test_guard(TestHost *host, gconstpointer data)
{
    (void)data;
    if (!netns_is_root()) {
        g_test_skip("no root");
        return;
    }
    g_autofree char *path = g_strdup(g_getenv("PATH"));
    g_autofree char *changed = g_strconcat(host->folder, ":", path, NULL);
    g_autofree char *before = netns_run(NULL, "nft list ruleset");
    g_free(netns_run(NULL,
                     "cd %s && printf '#!/bin/sh\\necho \"$@\" >>%s/asked\\necho public trusted\\n'"
                     " >firewall-cmd && chmod +x firewall-cmd",
                     host->folder, host->folder));
    g_setenv("PATH", changed, TRUE);
    g_autoptr(LodgeNetwork)
        network = test_host_define(host, "lan", TEST_HOST_NAT "dns=192.0.2.1\n");
    begin_resolver(host);
    test_host_start(host, network);
    g_free(netns_run(NULL, "! nft list tables | grep lodge-guard"));
    g_free(netns_run(NULL, "nft add table inet firewalld; nft add chain inet firewalld one"));
    await_rules("nft list table inet lodge-guard-lb-lan");
    g_free(netns_run(NULL, "grep -qx -- '--zone=trusted --change-interface=lb-lan' %s/asked",
                     host->folder));
    assert_probe(host, "lan", NULL);
    g_free(netns_run(NULL, "nft delete table inet firewalld"));
    await_rules("! nft list tables | grep lodge-guard");
    g_free(netns_run(NULL, "nft add table inet firewalld; nft add chain inet firewalld one"));
    await_rules("nft list table inet lodge-guard-lb-lan");
    test_host_stop(host, "lan");
    g_free(netns_run(NULL,
                     "tail -1 %s/asked | grep -q -- --remove-interface=lb-lan && nft delete "
                     "table inet firewalld",
                     host->folder));
    g_autofree char *after = netns_run(NULL, "nft list ruleset");
    g_assert_cmpstr(after, ==, before);
    g_setenv("PATH", path, TRUE);
    end_resolver(host);
}

int
main(int argc, char **argv)
{
    netns_begin(&argc, &argv);
#define ADD(name, function)                                                                        \
    g_test_add("/net/probe/" name, TestHost, NULL, test_host_set_up, function, test_host_tear_down)
    ADD("probe", test_probe);
    ADD("routed", test_routed);
    ADD("nat64", test_nat64);
    ADD("beside-others", test_beside_others);
    ADD("guard", test_guard);
    return g_test_run();
}
