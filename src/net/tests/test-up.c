/* Networks come up, are repaired, and go without a trace. */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "net/nat64.h"
#include "net/net.h"
#include "net/probe.h"
#include "net/tests/netns.h"
#include "net/tests/steps.h"

typedef struct {
    char *folder;
    LodgeStore *store;
    LodgeNet *net;
    Netns *outside;
    char *before;
} Fixture;

/* A host with an uplink eth0 to "outside", whose router advertises itself. */
static void
set_up(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    fixture->folder = netns_make_store();
    fixture->store = lodge_store_open(&error);
    g_assert_no_error(error);
    fixture->net = lodge_net_open(fixture->store, &error);
    g_assert_no_error(error);
    fixture->outside = netns_new();
    g_free(netns_run(NULL,
                     "ip link add eth0 type veth peer name up0 netns %d &&"
                     " ip addr add 192.0.2.2/24 dev eth0 && ip link set eth0 up &&"
                     " ip route add default via 192.0.2.1",
                     fixture->outside->pid));
    g_free(
        netns_run(fixture->outside,
                  "ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad &&"
                  " ip link set up0 up"));
    g_free(netns_run(NULL, "ip addr add 2001:db8::2/64 dev eth0 nodad"));
    fixture->before = netns_dump();
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    (void)data;
    netns_assert_unchanged(fixture->before);
    lodge_net_free(fixture->net);
    lodge_store_free(fixture->store);
    netns_free(fixture->outside);
    g_free(fixture->before);
    netns_try(NULL, "ip link del eth0");
    netns_remove_store(fixture->folder);
}

static LodgeNetwork *
define(Fixture *fixture, const char *name, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = lodge_store_network_path(fixture->store, name);
    g_autofree char *folder = g_path_get_dirname(path);
    g_assert_true(lodge_dir_make(folder, 0755, NULL));
    g_assert_true(lodge_file_write(path, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL));
    LodgeNetwork *network = lodge_store_network(fixture->store, name, &error);
    g_assert_no_error(error);
    return network;
}

static void
start(Fixture *fixture, const LodgeNetwork *network)
{
    g_autoptr(GError) error = NULL;
    lodge_net_up(fixture->net, network, &error);
    g_assert_no_error(error);
    lodge_net_serve(fixture->store, network, &error);
    g_assert_no_error(error);
    g_assert_cmpint(lodge_net_state(fixture->store, network->name), ==, LODGE_NET_UP);
}

static void
stop(Fixture *fixture, const char *name)
{
    g_autoptr(GError) error = NULL;
    lodge_net_down(fixture->net, name, FALSE, &error);
    g_assert_no_error(error);
    g_assert_cmpint(lodge_net_state(fixture->store, name), ==, LODGE_NET_DOWN);
}

static const char nat[] = "[network]\nsubnet=10.77.0.0/24\nprefix=fd77:0:0:1::/64\n";

static void
test_up_down(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) network = define(fixture, "lan", nat);
    gint64 began = g_get_monotonic_time();
    start(fixture, network);
    g_test_message("start: %.1f ms", (double)(g_get_monotonic_time() - began) / 1000);
    g_free(netns_run(NULL, "ip addr show lb-lan | grep -q 10.77.0.1/24"));
    g_free(netns_run(NULL, "ip addr show lb-lan | grep -q fd77:0:0:1::1/64"));
    g_free(netns_run(NULL, "test $(cat /proc/sys/net/ipv4/ip_forward) = 1"));
    start(fixture, network);
    stop(fixture, "lan");
    stop(fixture, "lan");
}

/* Every way in which somebody can take parts away is mended by another start. */
static void
test_repair(Fixture *fixture, gconstpointer data)
{
    (void)data;
    static const char *const damages[] = {
        "ip link del lb-lan",
        "ip link set lb-lan down",
        "ip addr flush dev lb-lan",
        "nft flush ruleset",
        "kill -9 $(cat $LODGE_DIR/run/networks/lan/keeper.lock)",
        "rm $LODGE_DIR/run/networks/lan/up",
    };
    g_autoptr(LodgeNetwork) network = define(fixture, "lan", nat);
    start(fixture, network);
    g_autofree char *whole = netns_run(NULL, "ip -br addr show lb-lan; nft list ruleset");
    for (gsize i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_free(netns_run(NULL, "%s", damages[i]));
        start(fixture, network);
        g_autofree char *mended = netns_run(NULL, "ip -br addr show lb-lan; nft list ruleset");
        g_assert_cmpstr(mended, ==, whole);
    }
    stop(fixture, "lan");
}

typedef struct {
    Fixture *fixture;
    LodgeNetwork *network;
} Work;

static void
up_in_child(gpointer data)
{
    const Work *work = data;
    g_autoptr(LodgeNet) net = lodge_net_open(work->fixture->store, NULL);
    lodge_net_up(net, work->network, NULL);
}

static void
down_in_child(gpointer data)
{
    const Work *work = data;
    g_autoptr(LodgeNet) net = lodge_net_open(work->fixture->store, NULL);
    lodge_net_down(net, work->network->name, TRUE, NULL);
}

/* A child starts the network and is killed at each of its steps; the parent starts and stops it, or
 * only stops it, in turn. */
static void
test_start_killed(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) network = define(fixture, "lan", nat);
    Work work = {fixture, network};
    guint step = 0;
    for (gboolean more = TRUE; more; step++) {
        more = steps_kill_at(step, up_in_child, &work);
        if (step % 2 == 0) {
            start(fixture, network);
        }
        stop(fixture, "lan");
        netns_assert_unchanged(fixture->before);
    }
    g_test_message("%u steps to start", step);
    g_assert_cmpuint(step, >, 10);
}

/* The same for stopping. */
static void
test_stop_killed(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) network = define(fixture, "lan", nat);
    Work work = {fixture, network};
    guint step = 0;
    for (gboolean more = TRUE; more; step++) {
        start(fixture, network);
        more = steps_kill_at(step, down_in_child, &work);
        if (step % 2 == 0) {
            start(fixture, network);
        }
        stop(fixture, "lan");
        netns_assert_unchanged(fixture->before);
    }
    g_test_message("%u steps to stop", step);
    g_assert_cmpuint(step, >, 10);
}

static void
test_two(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) one = define(fixture, "one", nat);
    g_autoptr(LodgeNetwork)
        two = define(fixture, "two", "[network]\nmode=isolated\nsubnet=10.78.0.0/24\n");
    start(fixture, one);
    start(fixture, two);
    stop(fixture, "one");
    g_assert_cmpint(lodge_net_state(fixture->store, "two"), ==, LODGE_NET_UP);
    g_free(netns_run(NULL, "nft list ruleset | grep -q lb-two"));
    g_free(netns_run(NULL, "! nft list ruleset | grep lb-one"));
    start(fixture, one);
    stop(fixture, "two");
    g_free(netns_run(NULL, "test $(cat /proc/sys/net/ipv4/ip_forward) = 1"));
    stop(fixture, "one");
}

static void
test_overlap(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) lan = define(fixture, "lan", "[network]\nsubnet=192.0.2.128/25\n");
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_net_up(fixture->net, lan, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
    g_assert_cmpstr(error->message, ==,
                    "network lan: 192.0.2.128/25 of network lan overlaps 192.0.2.0/24 of eth0");
    g_clear_error(&error);
    g_autoptr(LodgeNetwork) one = define(fixture, "one", nat);
    g_autoptr(LodgeNetwork) two = define(fixture, "two", "[network]\nsubnet=10.77.0.0/16\n");
    g_assert_false(lodge_net_up(fixture->net, two, &error));
    g_assert_cmpstr(
        error->message, ==,
        "network two: 10.77.0.0/16 of network two overlaps 10.77.0.0/24 of network one");
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_key_file_set_string(file, "network", "mode", "nat");
    g_clear_error(&error);
    g_assert_true(lodge_net_choose_prefixes(fixture->net, "new", file, &error));
    g_autofree char *chosen = g_key_file_get_string(file, "network", "subnet", NULL);
    g_assert_cmpstr(chosen, ==, "10.78.0.0/24");
}

static void
test_foreign_link(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) lan = define(fixture, "lan", nat);
    g_free(netns_run(NULL, "ip link add lb-lan type bridge"));
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_net_up(fixture->net, lan, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
    g_free(netns_run(NULL, "ip link del lb-lan"));
}

/* The default route that the router advertised must outlive the host's becoming a router. */
static void
test_accept_ra(Fixture *fixture, gconstpointer data)
{
    (void)data;
    if (!netns_is_root()) {
        g_test_skip("dnsmasq, which advertises here, needs root");
        return;
    }
    g_autofree char *config = g_build_filename(fixture->folder, "router.conf", NULL);
    static const char text[] = "port=0\ninterface=up0\nbind-interfaces\nenable-ra\n"
                               "ra-param=up0,4,600\ndhcp-range=2001:db8::,ra-only,64,600\n";
    g_assert_true(lodge_file_write(config, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL));
    g_free(netns_run(NULL, "sysctl -q net.ipv6.conf.eth0.accept_ra=1"));
    g_free(netns_run(fixture->outside,
                     "dnsmasq -C %s --pid-file=%s/router.pid </dev/null "
                     ">/dev/null 2>&1",
                     config, fixture->folder));
    g_free(netns_run(NULL,
                     "for i in $(seq 100); do ip -6 route | grep -q 'default.*proto ra' && exit "
                     "0; sleep 0.1; done; exit 1"));
    g_autoptr(LodgeNetwork) network = define(fixture, "lan", nat);
    start(fixture, network);
    g_free(netns_run(NULL, "test $(cat /proc/sys/net/ipv6/conf/all/forwarding) = 1"));
    g_free(netns_run(NULL, "ip -6 route | grep 'default.*proto ra'"));
    stop(fixture, "lan");
    g_free(netns_run(NULL, "ip -6 route | grep 'default.*proto ra'"));
    g_free(netns_run(NULL, "test $(cat /proc/sys/net/ipv6/conf/eth0/accept_ra) = 1"));
    g_free(netns_run(NULL, "kill $(cat %s/router.pid)", fixture->folder));
    g_free(fixture->before);
    fixture->before = netns_dump();
}

/* dnsmasq is killed: it is back within a second. The keeper is: its successor adopts dnsmasq. */
static void
test_keeper(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) network = define(fixture, "lan", nat);
    start(fixture, network);
    g_autofree char *lock = lodge_store_network_run_path(fixture->store, "lan", "dnsmasq.process");
    g_autofree char *first = netns_run(NULL, "cat %s", lock);
    gint64 began = g_get_monotonic_time();
    g_free(netns_run(NULL, "kill -9 %s", first));
    g_free(netns_run(NULL,
                     "for i in $(seq 100); do test \"$(cat %s)\" != %s && ss -lun | grep -q "
                     "'lb-lan:67 ' && exit 0; sleep 0.01; done; exit 1",
                     lock, g_strchomp(first)));
    g_test_message("dnsmasq back: %.0f ms", (double)(g_get_monotonic_time() - began) / 1000);
    g_autofree char *second = netns_run(NULL, "cat %s", lock);
    g_free(netns_run(NULL, "kill -9 $(cat $LODGE_DIR/run/networks/lan/keeper.lock); sleep 0.1"));
    g_assert_cmpint(lodge_net_state(fixture->store, "lan"), ==, LODGE_NET_UP);
    start(fixture, network);
    g_autofree char *third = netns_run(NULL, "cat %s", lock);
    g_assert_cmpstr(third, ==, second);
    stop(fixture, "lan");
    g_assert_false(g_file_test(lock, G_FILE_TEST_EXISTS));
    g_free(netns_run(NULL, "! pgrep -f $LODGE_DIR"));
}

/* Somebody outside who knows all names, for networks with dns=192.0.2.1. */
static void
begin_resolver(Fixture *fixture)
{
    g_free(netns_run(fixture->outside,
                     "dnsmasq -C /dev/null --no-resolv --no-hosts --bind-interfaces "
                     "--interface=up0 --address=/#/192.0.2.9 --pid-file=%s/outside.pid "
                     "</dev/null >/dev/null 2>&1",
                     fixture->folder));
}

static void
end_resolver(Fixture *fixture)
{
    g_free(netns_run(NULL, "kill $(cat %s/outside.pid)", fixture->folder));
}

static void
assert_probe(Fixture *fixture, const char *name, const char *broken)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) steps = lodge_net_probe(fixture->net, name, NULL, &error);
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
test_probe(Fixture *fixture, gconstpointer data)
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
    begin_resolver(fixture);
    g_autofree char *text = g_strconcat(nat, "dns=192.0.2.1\n", NULL);
    g_autoptr(LodgeNetwork) network = define(fixture, "lan", text);
    start(fixture, network);
    static const char left[] = "ip -o link | cut -d: -f2; ip -br addr show lb-lan | grep -o 'fd.*';"
                               " nft list ruleset; ls $LODGE_DIR/run/networks/lan/hosts";
    g_autofree char *before = netns_run(NULL, left);
    assert_probe(fixture, "lan", NULL);
    g_autofree char *after = netns_run(NULL, left);
    g_assert_cmpstr(after, ==, before);
    for (gsize i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_free(netns_run(NULL, "%s", damages[i].breaks));
        assert_probe(fixture, "lan", damages[i].link);
        g_free(netns_run(NULL, "%s", damages[i].mends));
    }
    stop(fixture, "lan");
    g_autoptr(GError) error = NULL;
    g_assert_null(lodge_net_probe(fixture->net, "lan", NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    end_resolver(fixture);
}

/* A client without IPv4 finds a server without IPv6 by its name, and reaches it; others do not
 * reach the client by the way back. */
static void
test_nat64(Fixture *fixture, gconstpointer data)
{
    (void)data;
    static const char text[] = "[network]\nip=6\nnat64=yes\nsubnet=10.77.0.0/24\n"
                               "prefix=fd77:0:0:1::/64\ndns=192.0.2.1\n";
    if (!netns_is_root() || !netns_try(NULL, "command -v tayga && command -v unbound")) {
        g_test_skip("there is no tayga or unbound, or no root");
        return;
    }
    g_free(netns_run(fixture->outside, "ip addr add 192.0.2.9/24 dev up0 &&"
                                       " ip route add 10.77.0.0/24 via 192.0.2.2"));
    begin_resolver(fixture);
    g_autoptr(LodgeNetwork) network = define(fixture, "lan", text);
    start(fixture, network);
    start(fixture, network);
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
    g_assert_false(netns_try(fixture->outside, "ping -c 1 -W 1 10.77.0.1"));
    assert_probe(fixture, "lan", NULL);
    g_free(netns_run(NULL, "ps -o user= -C tayga,unbound | sort -u | grep -x nobody"));
    g_free(netns_run(NULL, "ip link del c0"));
    /* The device is taken away: the next start mends it. */
    g_free(netns_run(NULL, "ip link del l64-lan"));
    start(fixture, network);
    g_free(netns_run(NULL, "ip route get 10.77.0.9 | grep -w l64-lan"));
    stop(fixture, "lan");
    g_free(netns_run(NULL, "! pgrep -f $LODGE_DIR/run/networks"));
    end_resolver(fixture);
}

/* Others drop all that they do not know, as Docker and ufw do: guests get through all the same, and
 * when the network stops the others' rules are what they were. */
static void
test_beside_others(Fixture *fixture, gconstpointer data)
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
    g_autofree char *text = g_strconcat(nat, "dns=192.0.2.1\n", NULL);
    begin_resolver(fixture);
    g_autoptr(LodgeNetwork) network = define(fixture, "lan", text);
    start(fixture, network);
    start(fixture, network);
    g_autofree char *count = netns_run(NULL, "iptables -S | grep -c 'lodge:lb-lan'");
    g_assert_cmpstr(count, ==, "6\n");
    assert_probe(fixture, "lan", NULL);
    stop(fixture, "lan");
    g_autofree char *after = netns_run(NULL, rules);
    g_assert_cmpstr(after, ==, before);
    g_free(netns_run(NULL, "nft flush ruleset"));
    end_resolver(fixture);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!netns_begin()) {
        g_printerr("network namespaces can't be made here\n");
        return 77;
    }
#define ADD(name, function) g_test_add("/net/up/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("up-down", test_up_down);
    ADD("repair", test_repair);
    ADD("start-killed", test_start_killed);
    ADD("stop-killed", test_stop_killed);
    ADD("two", test_two);
    ADD("overlap", test_overlap);
    ADD("foreign-link", test_foreign_link);
    ADD("accept-ra", test_accept_ra);
    ADD("keeper", test_keeper);
    ADD("probe", test_probe);
    ADD("nat64", test_nat64);
    ADD("beside-others", test_beside_others);
    return g_test_run();
}
