/* The host's interface becomes a port of a bridge: nothing is lost, and everything comes back
 * unless confirmed. */
#include "config.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "net/bridge.h"
#include "net/tests/netns.h"

enum { LONG_MS = 60000 };

typedef struct {
    char *folder;
    LodgeStore *store;
    LodgeNet *net;
    Netns *outside;
    char *before;
} Fixture;

static void
set_up(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    fixture->folder = netns_make_store();
    fixture->store = lodge_store_open(&error);
    fixture->net = lodge_net_open(fixture->store, &error);
    g_assert_no_error(error);
    fixture->outside = netns_new();
    g_free(netns_run(NULL, "ip link add eth0 type veth peer name up0 netns %d",
                     fixture->outside->pid));
    g_free(netns_run(
        NULL,
        "ip addr add 192.0.2.2/24 dev eth0 && ip addr add 192.0.2.3/24 dev eth0 &&"
        " ip addr add 203.0.113.9/32 dev eth0 && ip addr add 2001:db8::2/64 dev eth0 nodad &&"
        " ip link set eth0 up && ip route add default via 192.0.2.1 src 192.0.2.3 metric 50 &&"
        " ip route add 198.51.100.0/24 via 192.0.2.1 mtu 1400 &&"
        " ip route add 10.9.0.0/16 via 192.0.2.1 table 77 && ip route add 10.8.0.0/16 dev eth0 &&"
        " ip -6 route add default via 2001:db8::1 metric 40"));
    g_free(
        netns_run(fixture->outside,
                  "ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad &&"
                  " ip link set up0 up"));
    g_free(netns_run(NULL, "ping -qc1 192.0.2.1 && ping -qc1 2001:db8::1"));
    fixture->before = netns_dump();
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    (void)data;
    lodge_net_free(fixture->net);
    lodge_store_free(fixture->store);
    netns_free(fixture->outside);
    g_free(fixture->before);
    netns_try(NULL, "ip link del eth0; ip link del br0");
    netns_remove_store(fixture->folder);
}

static void
convert(Fixture *fixture, gint64 within_ms)
{
    g_autoptr(GError) error = NULL;
    LodgeBridgeRequest request = {"eth0", "br0", within_ms};
    lodge_bridge_convert(fixture->net, &request, &error);
    g_assert_no_error(error);
}

/* Pings that run meanwhile, in both directions and families, a thousand a second. */
typedef struct {
    char *folder;
    gint64 began;
} Pings;

static Pings
begin_pings(Fixture *fixture, guint count)
{
    g_free(netns_run(fixture->outside,
                     "cd %s; for t in 192.0.2.2 192.0.2.3 2001:db8::2; do"
                     " setsid ping -q -i 0.001 -c %u -W 1 $t >in-$t.txt 2>&1 </dev/null & done",
                     fixture->folder, count));
    g_free(netns_run(NULL,
                     "cd %s; for t in 192.0.2.1 2001:db8::1; do"
                     " setsid ping -q -i 0.001 -c %u -W 1 $t >out-$t.txt 2>&1 </dev/null & done",
                     fixture->folder, count));
    g_usleep(200000);
    return (Pings){fixture->folder, g_get_monotonic_time()};
}

/* "3 packets transmitted, 3 received, …": returns how many were lost of @pattern's. */
static guint
end_pings(const Pings *pings, const char *pattern)
{
    g_free(netns_run(NULL,
                     "cd %s; for i in $(seq 200); do test $(grep -l transmitted in-* out-* "
                     "2>/dev/null | wc -l) = 5 && exit 0; sleep 0.05; done; exit 1",
                     pings->folder));
    g_autofree char *lost = netns_run(
        NULL,
        "cd %s; cat %s | sed -n 's/^\\([0-9]*\\) packets transmitted, \\([0-9]*\\) "
        "received.*/\\1 \\2/p' | { n=0; while read a b; do n=$((n + a - b)); done; echo $n; }",
        pings->folder, pattern);
    return (guint)strtoul(lost, NULL, 10);
}

static void
assert_moved(void)
{
    g_free(netns_run(
        NULL, "ip -o addr show br0 | grep -q 192.0.2.2/24 &&"
              " ip -o addr show br0 | grep -q 203.0.113.9/32 &&"
              " ip -o addr show br0 | grep -q 2001:db8::2/64 &&"
              " ! ip -o addr show eth0 | grep -q inet &&"
              " ip route | grep -q 'default via 192.0.2.1 dev br0 src 192.0.2.3 metric 50' &&"
              " ip route | grep -q '198.51.100.0/24 via 192.0.2.1 dev br0 mtu 1400' &&"
              " ip route show table 77 | grep -q 'dev br0' &&"
              " ip -6 route | grep -q 'default via 2001:db8::1 dev br0 metric 40' &&"
              " ! ip route show table all | grep -v 'table local' | grep 'dev eth0'"));
    g_free(netns_run(NULL,
                     "test $(cat /sys/class/net/br0/address 2>/dev/null || ip -br link show br0 |"
                     " awk '{print $3}') = $(ip -br link show eth0 | awk '{print $3}')"));
}

/* On a quiet machine none is lost by the conversion, and under 25 a way when it is undone. A
 * machine that has better to do than to send a ping each millisecond loses some by itself; what
 * must not be is the second that duplicate address detection or a bridge's forward delay would
 * cost. */
enum {
    MANY_LOST = 400,
};

static void
test_convert(Fixture *fixture, gconstpointer data)
{
    (void)data;
    Pings pings = begin_pings(fixture, 1500);
    gint64 began = g_get_monotonic_time();
    convert(fixture, LONG_MS);
    g_test_message("conversion: %.1f ms", (double)(g_get_monotonic_time() - began) / 1000);
    guint lost4 = end_pings(&pings, "*-192*");
    guint lost6 = end_pings(&pings, "*-2001*");
    g_test_message("bridged: %u IPv4 and %u IPv6 pings lost of 1500 each way", lost4, lost6);
    g_assert_cmpuint(lost4, <=, MANY_LOST);
    g_assert_cmpuint(lost6, <=, MANY_LOST);
    assert_moved();
    g_autofree char *bridge = NULL;
    g_autofree char *uplink = NULL;
    gboolean is_bridge = FALSE;
    g_autoptr(GError) error = NULL;
    lodge_bridge_confirm(fixture->net, &bridge, &uplink, &is_bridge, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(bridge, ==, "br0");
    g_assert_true(is_bridge);
    g_assert_false(lodge_bridge_confirm(fixture->net, &bridge, &uplink, &is_bridge, NULL));
    assert_moved();
}

/* Who made the change is killed at once; the watchdog undoes it all the same. */
static void
test_undone(Fixture *fixture, gconstpointer data)
{
    (void)data;
    Pings pings = begin_pings(fixture, 3000);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        g_autoptr(LodgeNet) net = lodge_net_open(fixture->store, NULL);
        LodgeBridgeRequest request = {"eth0", "br0", 1000};
        lodge_bridge_convert(net, &request, NULL);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, NULL, 0);
    assert_moved();
    g_free(netns_run(NULL,
                     "for i in $(seq 300); do ip link show br0 >/dev/null 2>&1 || exit 0; sleep "
                     "0.01; done; exit 1"));
    guint lost4 = end_pings(&pings, "*-192*");
    guint lost6 = end_pings(&pings, "*-2001*");
    g_test_message("bridged and undone: %u IPv4 and %u IPv6 pings lost of 3000 each way", lost4,
                   lost6);
    netns_assert_unchanged(fixture->before);
    g_assert_cmpuint(lost4, <=, MANY_LOST);
    g_assert_cmpuint(lost6, <=, MANY_LOST);
    g_free(netns_run(NULL, "! ls -A $LODGE_DIR/run/networks | grep json"));
}

/* The watchdog itself is killed: the next command undoes. */
static void
test_watchdog_killed(Fixture *fixture, gconstpointer data)
{
    (void)data;
    convert(fixture, LONG_MS);
    g_free(netns_run(NULL, "kill -9 $(cat $LODGE_DIR/run/networks/.bridge.lock); sleep 0.1"));
    assert_moved();
    lodge_bridge_recover(fixture->net);
    netns_assert_unchanged(fixture->before);
}

static void
test_unbridge(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autofree char *bridge = NULL;
    g_autofree char *uplink = NULL;
    gboolean is_bridge = FALSE;
    g_autoptr(GError) error = NULL;
    convert(fixture, LONG_MS);
    g_assert_false(lodge_bridge_revert(fixture->net, "br0", LONG_MS, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    g_clear_error(&error);
    lodge_bridge_confirm(fixture->net, &bridge, &uplink, &is_bridge, &error);
    g_assert_no_error(error);
    /* Unconfirmed, it becomes a bridge again. */
    lodge_bridge_revert(fixture->net, "br0", 300, &error);
    g_assert_no_error(error);
    g_free(netns_run(NULL, "ip route | grep 'default via 192.0.2.1 dev eth0'"));
    g_free(netns_run(NULL,
                     "for i in $(seq 300); do ip route | grep -q 'default.*dev br0' && exit 0; "
                     "sleep 0.01; done; exit 1"));
    assert_moved();
    Pings pings = begin_pings(fixture, 1500);
    lodge_bridge_revert(fixture->net, "br0", LONG_MS, &error);
    g_assert_no_error(error);
    guint lost4 = end_pings(&pings, "*-192*");
    guint lost6 = end_pings(&pings, "*-2001*");
    g_test_message("unbridged: %u IPv4 and %u IPv6 pings lost", lost4, lost6);
    g_clear_pointer(&bridge, g_free);
    g_clear_pointer(&uplink, g_free);
    lodge_bridge_confirm(fixture->net, &bridge, &uplink, &is_bridge, &error);
    g_assert_no_error(error);
    g_assert_false(is_bridge);
    netns_assert_unchanged(fixture->before);
    g_assert_cmpuint(lost4, <=, 5);
}

static void
refuse(Fixture *fixture, const char *uplink, const char *bridge, LodgeError code)
{
    g_autoptr(GError) error = NULL;
    LodgeBridgeRequest request = {uplink, bridge, LONG_MS};
    g_assert_false(lodge_bridge_convert(fixture->net, &request, &error));
    g_assert_error(error, LODGE_ERROR, (int)code);
    g_test_message("%s", error->message);
}

static void
test_preflight(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_free(netns_run(NULL,
                     "ip tuntap add tap0 mode tap && ip link set tap0 up &&"
                     " ip link add other type bridge && ip link add p0 type veth peer name p1 &&"
                     " ip link set p0 master other up"));
    refuse(fixture, "eth9", "br0", LODGE_ERROR_NOT_FOUND);
    refuse(fixture, "lo", "br0", LODGE_ERROR_USAGE);
    refuse(fixture, "p0", "br0", LODGE_ERROR_EXISTS);
    refuse(fixture, "other", "br0", LODGE_ERROR_USAGE);
    refuse(fixture, "tap0", "br0", LODGE_ERROR_UNSUPPORTED);
    refuse(fixture, "eth0", "other", LODGE_ERROR_EXISTS);
    g_free(netns_run(NULL, "ip link del tap0; ip link del other; ip link del p0"));
    g_free(
        netns_run(NULL, "ip route add 10.1.0.0/16 nexthop via 192.0.2.1 nexthop via 192.0.2.77"));
    refuse(fixture, "eth0", "br0", LODGE_ERROR_UNSUPPORTED);
    g_free(netns_run(NULL, "ip route del 10.1.0.0/16"));
    netns_assert_unchanged(fixture->before);
    /* A plan changes nothing. */
    g_autoptr(GError) error = NULL;
    LodgeBridgeRequest request = {"eth0", "br0", LONG_MS};
    g_auto(GStrv) lines = lodge_bridge_plan(fixture->net, &request, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(g_strv_length(lines), >, 10);
    netns_assert_unchanged(fixture->before);
}

/* The batch fails in its midst: everything is as it was. */
static void
test_failure(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    /* A route by a next hop's number can't be told with another link. */
    g_free(netns_run(NULL, "ip nexthop add id 5 via 192.0.2.1 dev eth0 &&"
                           " ip route add 10.7.0.0/16 nhid 5"));
    g_free(fixture->before);
    fixture->before = netns_dump();
    LodgeBridgeRequest request = {"eth0", "br0", LONG_MS};
    g_assert_false(lodge_bridge_convert(fixture->net, &request, &error));
    g_test_message("%s", error->message);
    netns_assert_unchanged(fixture->before);
    g_free(netns_run(NULL, "ping -qc1 192.0.2.1 && ping -qc1 2001:db8::1"));
    g_free(netns_run(NULL, "! ls -A $LODGE_DIR/run/networks | grep json"));
    g_free(netns_run(NULL, "ip route del 10.7.0.0/16; ip nexthop del id 5"));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!netns_begin()) {
        g_printerr("network namespaces can't be made here\n");
        return 77;
    }
#define ADD(name, function)                                                                        \
    g_test_add("/net/bridge/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("convert", test_convert);
    ADD("undone", test_undone);
    ADD("watchdog-killed", test_watchdog_killed);
    ADD("unbridge", test_unbridge);
    ADD("preflight", test_preflight);
    ADD("failure", test_failure);
    return g_test_run();
}
