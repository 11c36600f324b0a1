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
#include "net/detour.h"
#include "net/dhcp-client.h"
#include "net/tests/host.h"
#include "net/tests/pings.h"
#include "net/tests/steps.h"

enum { LONG_MS = 60000 };

#define INTERFACES "etc/network/interfaces"
static const char interfaces[] = "auto eth0\niface eth0 inet static\n    address 192.0.2.2/24\n";

static gboolean
is_answered(const char *target)
{
    /* The kernel takes its time to tell all of itself that a link is up. */
    for (guint i = 0; i < 30; i++) {
        PingsResult result = pings_end(pings_begin(NULL, target, 5));
        if (result.lost < result.sent) {
            return TRUE;
        }
    }
    return FALSE;
}

static void
set_up(TestHost *host, gconstpointer data)
{
    (void)data;
    test_host_open(host);
    g_autofree char *path = g_build_filename(host->folder, INTERFACES, NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    g_assert_true(lodge_dir_make(folder, 0755, NULL));
    g_assert_true(
        lodge_file_write(path, interfaces, strlen(interfaces), 0644, LODGE_WRITE_NO_SYNC, NULL));
    g_free(
        netns_run(NULL, "ip link add eth0 type veth peer name up0 netns %d", host->outside->pid));
    g_free(netns_run(
        NULL,
        "ip addr add 192.0.2.2/24 dev eth0 && ip addr add 192.0.2.3/24 dev eth0 &&"
        " ip addr add 203.0.113.9/32 dev eth0 && ip addr add 2001:db8::2/64 dev eth0 nodad &&"
        " ip link set eth0 up && ip route add default via 192.0.2.1 src 192.0.2.3 metric 50 &&"
        " ip route add 198.51.100.0/24 via 192.0.2.1 mtu 1400 &&"
        " ip route add 10.9.0.0/16 via 192.0.2.1 table 77 && ip route add 10.8.0.0/16 dev eth0 &&"
        " ip -6 route add default via 2001:db8::1 metric 40"));
    g_free(
        netns_run(host->outside,
                  "ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad &&"
                  " ip link set up0 up"));
    g_free(netns_run(NULL,
                     "ip link add ctl0 type veth peer name ctl1 netns %d &&"
                     " ip addr add 10.99.0.2/24 dev ctl0 &&"
                     " ip addr add fd99::2/64 dev ctl0 nodad && ip link set ctl0 up",
                     host->outside->pid));
    g_free(netns_run(host->outside, "ip addr add 10.99.0.1/24 dev ctl1 &&"
                                    " ip addr add fd99::1/64 dev ctl1 nodad &&"
                                    " ip link set ctl1 up"));
    g_assert_true(is_answered("192.0.2.1") && is_answered("2001:db8::1"));
    host->before = netns_dump();
}

/* Do the host's files make the bridge, or not? Nothing between. */
static void
assert_files(TestHost *host, gboolean with_bridge)
{
    g_autofree char *path = g_build_filename(host->folder, INTERFACES, NULL);
    g_autofree char *text = lodge_file_read(path, 65536, NULL, NULL);
    g_autofree char *record = g_build_filename(host->store->root, "host-network/br0.json", NULL);
    g_autofree char *kept = g_build_filename(host->store->root, "host-network/br0", INTERFACES,
                                             NULL);
    g_autofree char *old = lodge_file_read(kept, 65536, NULL, NULL);
    g_assert_cmpint(g_strcmp0(text, interfaces) != 0, ==, with_bridge);
    g_assert_cmpint(g_file_test(record, G_FILE_TEST_EXISTS), ==, with_bridge);
    g_assert_cmpint(g_strcmp0(old, interfaces) == 0, ==, with_bridge);
}

static void
tear_down(TestHost *host, gconstpointer data)
{
    (void)data;
    lodge_net_free(host->net);
    lodge_store_free(host->store);
    netns_free(host->outside);
    g_free(host->before);
    netns_try(NULL, "ip link del eth0; ip link del br0; ip link del ctl0");
    netns_remove_store(host->folder);
}

static void
convert(TestHost *host, gint64 within_ms)
{
    g_autoptr(GError) error = NULL;
    LodgeBridgeRequest request = {"eth0", "br0", within_ms, FALSE, host->folder};
    lodge_bridge_change(host->net, &request, &error);
    g_assert_no_error(error);
}

/* Wait until there is no watchdog any more. */
static void
await_watchdog(TestHost *host)
{
    g_autofree char *path = lodge_bridge_watchdog_path(host->store);
    gint64 deadline = lodge_deadline_in(LONG_MS);
    while (lodge_lock_is_held(path)) {
        g_assert_false(lodge_deadline_passed(deadline));
        g_usleep(5000);
    }
}

static gboolean
go_back(TestHost *host, gint64 within_ms, GError **error)
{
    LodgeBridgeRequest request = {NULL, "br0", within_ms, FALSE, host->folder};
    return lodge_bridge_change(host->net, &request, error);
}

/* Pings that run meanwhile, a thousand a second: both families, both directions, and as a control
 * over a link that nobody touches. */
static const struct {
    const char *target;
    gboolean from_outside;
} ways[] = {
    {"192.0.2.2", TRUE},    {"192.0.2.3", TRUE}, {"192.0.2.1", FALSE}, {"2001:db8::2", TRUE},
    {"2001:db8::1", FALSE}, {"10.99.0.2", TRUE}, {"fd99::1", FALSE},
};
enum { FIRST_IPV6 = 3, FIRST_CONTROL = 5, WAYS = G_N_ELEMENTS(ways) };

static void
begin_pings(TestHost *host, guint count, Pings **out_pings)
{
    for (guint i = 0; i < WAYS; i++) {
        out_pings[i] = pings_begin(ways[i].from_outside ? host->outside : NULL, ways[i].target,
                                   count);
    }
    g_usleep(100000);
}

typedef struct {
    guint ipv4, ipv6, control; /* most lost of one way */
} Lost;

static Lost
end_pings(Pings **pings, const char *what)
{
    Lost lost = {0};
    for (guint i = 0; i < WAYS; i++) {
        PingsResult result = pings_end(pings[i]);
        guint *worst = i >= FIRST_CONTROL ? &lost.control
                       : i >= FIRST_IPV6  ? &lost.ipv6
                                          : &lost.ipv4;
        *worst = MAX(*worst, result.lost);
    }
    g_test_message("%s: at most %u IPv4 and %u IPv6 pings lost a way, control %u", what, lost.ipv4,
                   lost.ipv6, lost.control);
    return lost;
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

/* More than a link that nobody touched loses meanwhile. None is lost, also where ten programs want
 * each processor; duplicate address detection, or a bridge's forward delay, costs hundreds. */
enum {
    MOST_LOST = 10,
};

/* More routes than the kernel can acknowledge at once. */
static void
test_many_routes(TestHost *host, gconstpointer data)
{
    (void)data;
    g_free(netns_run(NULL, "for i in $(seq 600); do echo route add 10.7.$((i / 250)).$((i %% 250))"
                           " via 192.0.2.1; done | ip -batch -"));
    g_free(host->before);
    host->before = netns_dump();
    convert(host, LONG_MS);
    g_free(netns_run(NULL, "test $(ip route show dev br0 | grep -c '^10\\.7\\.') = 600"));
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_bridge_undo_now(host->net, &error));
    g_assert_no_error(error);
    netns_assert_unchanged(host->before);
}

static void
test_convert(TestHost *host, gconstpointer data)
{
    (void)data;
    Pings *pings[WAYS];
    begin_pings(host, 1000, pings);
    gint64 began = g_get_monotonic_time();
    convert(host, LONG_MS);
    g_test_message("conversion: %.1f ms", (double)(g_get_monotonic_time() - began) / 1000);
    Lost lost = end_pings(pings, "bridged");
    g_assert_cmpuint(lost.ipv4, <=, lost.control + MOST_LOST);
    g_assert_cmpuint(lost.ipv6, <=, lost.control + MOST_LOST);
    assert_moved();
    LodgeBridgeConfirmed done = {0};
    g_autoptr(GError) error = NULL;
    lodge_bridge_confirm(host->net, &done, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(done.bridge, ==, "br0");
    g_assert_true(done.is_bridge);
    g_assert_false(lodge_bridge_confirm(host->net, &done, NULL));
    assert_moved();
}

/* What comes in reaches the host by the bridge even while the kernel drops what comes in on the
 * port, and what a killed one left does no harm. */
static void
test_detour(TestHost *host, gconstpointer data)
{
    (void)data;
    g_free(netns_run(NULL, "ip link add br0 address $(ip -br link show eth0 | awk '{print $3}')"
                           " type bridge && ip link set br0 addrgenmode none up"));
    g_assert_true(lodge_detour_begin(host->net, "eth0", "br0"));
    g_assert_true(lodge_detour_begin(host->net, "eth0", "br0"));
    g_free(netns_run(NULL, "ip link set eth0 master br0 && bridge link set dev eth0 state 0"));
    g_assert_true(is_answered("192.0.2.1"));
    PingsResult came = pings_end(pings_begin(host->outside, "192.0.2.2", 20));
    g_assert_cmpuint(came.lost, ==, 0);
    lodge_detour_end(host->net);
    PingsResult lost = pings_end(pings_begin(host->outside, "192.0.2.2", 20));
    g_assert_cmpuint(lost.lost, ==, lost.sent);
    g_free(netns_run(NULL, "ip link set eth0 nomaster && ip link del br0"));
    netns_assert_unchanged(host->before);
}

/* Who made the change is killed at once; the watchdog undoes it all the same. */
static void
test_undone(TestHost *host, gconstpointer data)
{
    (void)data;
    Pings *pings[WAYS];
    begin_pings(host, 2500, pings);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        g_autoptr(LodgeNet) net = lodge_net_open(host->store, NULL);
        LodgeBridgeRequest request = {"eth0", "br0", 1000, TRUE, NULL};
        g_autofree char *done = g_build_filename(host->folder, "done", NULL);
        if (lodge_bridge_change(net, &request, NULL)) {
            lodge_file_write(done, "", 0, 0644, LODGE_WRITE_NO_SYNC, NULL);
        }
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, NULL, 0);
    g_free(netns_run(NULL, "test -e %s/done", host->folder));
    await_watchdog(host);
    Lost lost = end_pings(pings, "bridged and undone");
    netns_assert_unchanged(host->before);
    g_assert_cmpuint(lost.ipv4, <=, lost.control + MOST_LOST);
    g_assert_cmpuint(lost.ipv6, <=, lost.control + MOST_LOST);
    g_free(netns_run(NULL, "! ls -A $LODGE_DIR/run/networks | grep json"));
}

/* The watchdog itself is killed: the next command undoes. */
static void
test_watchdog_killed(TestHost *host, gconstpointer data)
{
    (void)data;
    convert(host, LONG_MS);
    g_free(netns_run(NULL, "kill -9 $(cat $LODGE_DIR/run/networks/.bridge.lock)"));
    await_watchdog(host);
    assert_moved();
    lodge_bridge_recover(host->net);
    netns_assert_unchanged(host->before);
    assert_files(host, FALSE);
}

static void
test_unbridge(TestHost *host, gconstpointer data)
{
    (void)data;
    LodgeBridgeConfirmed done = {0};
    g_autoptr(GError) error = NULL;
    convert(host, LONG_MS);
    g_assert_false(go_back(host, LONG_MS, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    g_clear_error(&error);
    lodge_bridge_confirm(host->net, &done, &error);
    g_assert_no_error(error);
    assert_files(host, TRUE);
    /* Unconfirmed, it becomes a bridge again. */
    go_back(host, 300, &error);
    g_assert_no_error(error);
    await_watchdog(host);
    assert_moved();
    assert_files(host, TRUE);
    Pings *pings[WAYS];
    begin_pings(host, 1000, pings);
    go_back(host, LONG_MS, &error);
    g_assert_no_error(error);
    Lost lost = end_pings(pings, "unbridged");
    lodge_bridge_confirm(host->net, &done, &error);
    g_assert_no_error(error);
    g_assert_false(done.is_bridge);
    netns_assert_unchanged(host->before);
    assert_files(host, FALSE);
    g_assert_cmpuint(lost.ipv4, <=, lost.control + MOST_LOST);
    g_assert_cmpuint(lost.ipv6, <=, lost.control + MOST_LOST);
}

static void
refuse(TestHost *host, const char *uplink, const char *bridge, LodgeError code)
{
    g_autoptr(GError) error = NULL;
    LodgeBridgeRequest request = {uplink, bridge, LONG_MS, TRUE, NULL};
    g_assert_false(lodge_bridge_change(host->net, &request, &error));
    g_assert_error(error, LODGE_ERROR, (int)code);
    g_test_message("%s", error->message);
}

static void
test_preflight(TestHost *host, gconstpointer data)
{
    (void)data;
    g_free(netns_run(NULL,
                     "ip tuntap add tap0 mode tap && ip link set tap0 up &&"
                     " ip link add other type bridge && ip link add p0 type veth peer name p1 &&"
                     " ip link set p0 master other up"));
    refuse(host, "eth9", "br0", LODGE_ERROR_NOT_FOUND);
    refuse(host, "lo", "br0", LODGE_ERROR_USAGE);
    refuse(host, "p0", "br0", LODGE_ERROR_EXISTS);
    refuse(host, "other", "br0", LODGE_ERROR_USAGE);
    refuse(host, "tap0", "br0", LODGE_ERROR_UNSUPPORTED);
    refuse(host, "eth0", "other", LODGE_ERROR_EXISTS);
    g_free(netns_run(NULL, "ip link del tap0; ip link del other; ip link del p0"));
    g_free(
        netns_run(NULL, "ip route add 10.1.0.0/16 nexthop via 192.0.2.1 nexthop via 192.0.2.77"));
    refuse(host, "eth0", "br0", LODGE_ERROR_UNSUPPORTED);
    g_free(netns_run(NULL, "ip route del 10.1.0.0/16"));
    netns_assert_unchanged(host->before);
    /* A plan changes nothing. */
    g_autoptr(GError) error = NULL;
    LodgeBridgeRequest request = {"eth0", "br0", LONG_MS, TRUE, NULL};
    g_autoptr(LodgeBridgePlan) plan = lodge_bridge_plan(host->net, &request, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(g_strv_length(plan->steps), >, 10);
    g_autofree char *addresses = g_strjoinv(" ", plan->addresses);
    g_assert_cmpstr(addresses, ==, "192.0.2.2/24 203.0.113.9/32 192.0.2.3/24 2001:db8::2/64");
    g_autofree char *routes = g_strjoinv(", ", plan->routes);
    g_assert_cmpstr(routes, ==,
                    "10.8.0.0/16, 10.9.0.0/16 via 192.0.2.1, default via 192.0.2.1, "
                    "198.51.100.0/24 via 192.0.2.1, default via 2001:db8::1");
    netns_assert_unchanged(host->before);
}

/* The batch fails in its midst: everything is as it was. */
static void
test_failure(TestHost *host, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    /* A route by a next hop's number can't be told with another link. */
    g_free(netns_run(NULL, "ip nexthop add id 5 via 192.0.2.1 dev eth0 &&"
                           " ip route add 10.7.0.0/16 nhid 5"));
    g_free(host->before);
    host->before = netns_dump();
    LodgeBridgeRequest request = {"eth0", "br0", LONG_MS, TRUE, NULL};
    g_assert_false(lodge_bridge_change(host->net, &request, &error));
    g_test_message("%s", error->message);
    netns_assert_unchanged(host->before);
    g_assert_true(is_answered("192.0.2.1") && is_answered("2001:db8::1"));
    g_free(netns_run(NULL, "! ls -A $LODGE_DIR/run/networks | grep json"));
    g_free(netns_run(NULL, "ip route del 10.7.0.0/16; ip nexthop del id 5"));
}

static void
change_in_child(gpointer data)
{
    const TestHost *host = data;
    g_autoptr(LodgeNet) net = lodge_net_open(host->store, NULL);
    LodgeBridgeRequest request = {"eth0", "br0", LONG_MS, FALSE, host->folder};
    lodge_bridge_change(net, &request, NULL);
}

static void
confirm_in_child(gpointer data)
{
    const TestHost *host = data;
    LodgeBridgeConfirmed done = {0};
    g_autoptr(LodgeNet) net = lodge_net_open(host->store, NULL);
    lodge_bridge_confirm(net, &done, NULL);
}

static void
undo_all(TestHost *host)
{
    lodge_bridge_recover(host->net);
    lodge_bridge_undo_now(host->net, NULL);
    await_watchdog(host);
}

/* Whatever the command had come to: either nothing was changed, or the next command mends it, or it
 * is whole and waits with a watchdog. */
static void
test_killed(TestHost *host, gconstpointer data)
{
    (void)data;
    guint step = 0;
    for (; steps_kill_at(step, change_in_child, host); step++) {
        undo_all(host);
        netns_assert_unchanged(host->before);
    }
    g_test_message("%u steps to the bridge", step);
    g_assert_cmpuint(step, >, 10);
    assert_moved();
    undo_all(host);
    netns_assert_unchanged(host->before);
}

/* A confirmation that is killed was given, or not; nothing between. */
static void
test_confirm_killed(TestHost *host, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    gboolean finished = FALSE;
    guint step = 0;
    for (; !finished; step++) {
        convert(host, LONG_MS);
        finished = !steps_kill_at(step, confirm_in_child, host);
        lodge_bridge_recover(host->net);
        gint64 left_ms = 0;
        g_autofree char *waiting = lodge_bridge_waiting(host->store, &left_ms);
        assert_moved();
        if (waiting == NULL) {
            assert_files(host, TRUE);
            await_watchdog(host);
            go_back(host, LONG_MS, &error);
            g_assert_no_error(error);
            confirm_in_child(host);
        } else {
            undo_all(host);
        }
        assert_files(host, FALSE);
        netns_assert_unchanged(host->before);
    }
    g_assert_cmpuint(step, >, 2);
}

/* The way back is killed when it is confirmed: it was confirmed, or the bridge comes back. */
static void
test_way_back_killed(TestHost *host, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    gboolean finished = FALSE;
    guint step = 0;
    convert(host, LONG_MS);
    confirm_in_child(host);
    for (; !finished; step++) {
        gint64 left_ms = 0;
        go_back(host, LONG_MS, &error);
        g_assert_no_error(error);
        finished = !steps_kill_at(step, confirm_in_child, host);
        lodge_bridge_recover(host->net);
        g_autofree char *waiting = lodge_bridge_waiting(host->store, &left_ms);
        if (waiting != NULL) {
            undo_all(host);
            assert_moved();
            assert_files(host, TRUE);
            continue;
        }
        await_watchdog(host);
        netns_assert_unchanged(host->before);
        assert_files(host, FALSE);
        if (!finished) {
            convert(host, LONG_MS);
            confirm_in_child(host);
        }
    }
    g_assert_cmpuint(step, >, 4);
}

/* A DHCP client that runs by itself goes with its address. */
static void
test_dhcp_client(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char *const words[] = {
        "/sbin/dhclient", "-pf", "/run/dhclient.eth0.pid", "-lf", "/l/dhclient-eth0.leases",
        "eth0",           NULL};
    g_auto(GStrv) moved = lodge_dhcp_client_argv(words, "eth0", "br0");
    g_autofree char *line = g_strjoinv(" ", moved);
    g_assert_cmpstr(line, ==,
                    "/sbin/dhclient -pf /run/dhclient.br0.pid -lf /l/dhclient-br0.leases br0");
    g_assert_null(lodge_dhcp_client_argv(words, "eth1", "br0"));
    static const char *const others[] = {"vi", "eth0", NULL};
    g_assert_null(lodge_dhcp_client_argv(others, "eth0", "br0"));
    /* What only looks like one, so that it can be seen what becomes of it. */
    g_free(netns_run(NULL,
                     "cd %s; setsid bash -c 'exec -a dhclient sh -c \"echo \\$\\$ "
                     "\\$0 >>$LODGE_DIR/clients; while :; do sleep 1; done\" eth0' </dev/null "
                     ">/dev/null 2>&1 & while ! test -s %s/clients; do sleep 0.01; done",
                     host->folder, host->folder));
    lodge_dhcp_client_move("eth1", "br0");
    lodge_dhcp_client_move("eth0", "br0");
    g_free(
        netns_run(NULL,
                  "cd %s; while ! grep -q br0 clients; do sleep 0.01; done;"
                  " read one name <clients; test $name = eth0 && ! grep -q . /proc/$one/cmdline &&"
                  " kill $(sed -n 's/ br0//p' clients)",
                  host->folder));
}

int
main(int argc, char **argv)
{
    netns_begin(&argc, &argv);
#define ADD(name, function)                                                                        \
    g_test_add("/net/bridge/" name, TestHost, NULL, set_up, function, tear_down)
    ADD("convert", test_convert);
    ADD("detour", test_detour);
    ADD("many-routes", test_many_routes);
    ADD("undone", test_undone);
    ADD("watchdog-killed", test_watchdog_killed);
    ADD("unbridge", test_unbridge);
    ADD("killed", test_killed);
    ADD("confirm-killed", test_confirm_killed);
    ADD("way-back-killed", test_way_back_killed);
    ADD("dhcp-client", test_dhcp_client);
    ADD("preflight", test_preflight);
    ADD("failure", test_failure);
    return g_test_run();
}
