/* Networks come up, are repaired, and go without a trace. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/tests/host.h"

static void
test_up_down(TestHost *host, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) network = test_host_define(host, "lan", TEST_HOST_NAT);
    gint64 began = g_get_monotonic_time();
    test_host_start(host, network);
    g_test_message("start: %.1f ms", (double)(g_get_monotonic_time() - began) / 1000);
    g_free(netns_run(NULL, "ip addr show lb-lan | grep -q 10.77.0.1/24"));
    g_free(netns_run(NULL, "ip addr show lb-lan | grep -q fd77:0:0:1::1/64"));
    g_free(netns_run(NULL, "test $(cat /proc/sys/net/ipv4/ip_forward) = 1"));
    test_host_start(host, network);
    test_host_stop(host, "lan");
    test_host_stop(host, "lan");
}

/* Every way in which somebody can take parts away is mended by another start. */
static void
test_repair(TestHost *host, gconstpointer data)
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
    g_autoptr(LodgeNetwork) network = test_host_define(host, "lan", TEST_HOST_NAT);
    test_host_start(host, network);
    g_autofree char *whole = netns_run(NULL, "ip -br addr show lb-lan; nft list ruleset");
    for (gsize i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_free(netns_run(NULL, "%s", damages[i]));
        test_host_start(host, network);
        g_autofree char *mended = netns_run(NULL, "ip -br addr show lb-lan; nft list ruleset");
        g_assert_cmpstr(mended, ==, whole);
    }
    test_host_stop(host, "lan");
}

static void
test_two(TestHost *host, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) one = test_host_define(host, "one", TEST_HOST_NAT);
    g_autoptr(LodgeNetwork)
        two = test_host_define(host, "two", "[network]\nmode=isolated\nsubnet=10.78.0.0/24\n");
    test_host_start(host, one);
    test_host_start(host, two);
    test_host_stop(host, "one");
    g_assert_cmpint(lodge_net_state(host->store, "two"), ==, LODGE_NET_UP);
    g_free(netns_run(NULL, "nft list ruleset | grep -q lb-two"));
    g_free(netns_run(NULL, "! nft list ruleset | grep lb-one"));
    test_host_start(host, one);
    test_host_stop(host, "two");
    g_free(netns_run(NULL, "test $(cat /proc/sys/net/ipv4/ip_forward) = 1"));
    test_host_stop(host, "one");
}

static void
test_overlap(TestHost *host, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork)
        lan = test_host_define(host, "lan", "[network]\nsubnet=192.0.2.128/25\n");
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_net_up(host->net, lan, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
    g_assert_cmpstr(error->message, ==,
                    "network lan: 192.0.2.128/25 of network lan overlaps 192.0.2.0/24 of eth0");
    g_clear_error(&error);
    g_autoptr(LodgeNetwork) one = test_host_define(host, "one", TEST_HOST_NAT);
    g_autoptr(LodgeNetwork) two = test_host_define(host, "two", "[network]\nsubnet=10.77.0.0/16\n");
    g_assert_false(lodge_net_up(host->net, two, &error));
    g_assert_cmpstr(
        error->message, ==,
        "network two: 10.77.0.0/16 of network two overlaps 10.77.0.0/24 of network one");
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_key_file_set_string(file, "network", "mode", "nat");
    g_clear_error(&error);
    g_assert_true(lodge_net_choose_prefixes(host->net, "new", file, &error));
    g_autofree char *chosen = g_key_file_get_string(file, "network", "subnet", NULL);
    g_assert_cmpstr(chosen, ==, "10.78.0.0/24");
}

static void
test_foreign_link(TestHost *host, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) lan = test_host_define(host, "lan", TEST_HOST_NAT);
    g_free(netns_run(NULL, "ip link add lb-lan type bridge"));
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_net_up(host->net, lan, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
    g_free(netns_run(NULL, "ip link del lb-lan"));
}

/* The default route that the router advertised must outlive the host's becoming a router. */
static void
test_accept_ra(TestHost *host, gconstpointer data)
{
    (void)data;
    if (!netns_is_root()) {
        g_test_skip("dnsmasq, which advertises here, needs root");
        return;
    }
    g_autofree char *config = g_build_filename(host->folder, "router.conf", NULL);
    static const char text[] = "port=0\ninterface=up0\nbind-interfaces\nenable-ra\n"
                               "ra-param=up0,4,600\ndhcp-range=2001:db8::,ra-only,64,600\n";
    g_assert_true(lodge_file_write(config, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL));
    g_free(netns_run(NULL, "sysctl -q net.ipv6.conf.eth0.accept_ra=1"));
    g_free(netns_run(host->outside,
                     "dnsmasq -C %s --pid-file=%s/router.pid </dev/null "
                     ">/dev/null 2>&1",
                     config, host->folder));
    g_free(netns_run(NULL,
                     "for i in $(seq 100); do ip -6 route | grep -q 'default.*proto ra' && exit "
                     "0; sleep 0.1; done; exit 1"));
    g_autoptr(LodgeNetwork) network = test_host_define(host, "lan", TEST_HOST_NAT);
    test_host_start(host, network);
    g_free(netns_run(NULL, "test $(cat /proc/sys/net/ipv6/conf/all/forwarding) = 1"));
    g_free(netns_run(NULL, "ip -6 route | grep 'default.*proto ra'"));
    test_host_stop(host, "lan");
    g_free(netns_run(NULL, "ip -6 route | grep 'default.*proto ra'"));
    g_free(netns_run(NULL, "test $(cat /proc/sys/net/ipv6/conf/eth0/accept_ra) = 1"));
    g_free(netns_run(NULL, "kill $(cat %s/router.pid)", host->folder));
    g_free(host->before);
    host->before = netns_dump();
}

/* dnsmasq is killed: it is back within a second. The keeper is: its successor adopts dnsmasq. */
static void
test_keeper(TestHost *host, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) network = test_host_define(host, "lan", TEST_HOST_NAT);
    test_host_start(host, network);
    g_autofree char *lock = lodge_store_network_run_path(host->store, "lan", "dnsmasq.process");
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
    g_assert_cmpint(lodge_net_state(host->store, "lan"), ==, LODGE_NET_UP);
    test_host_start(host, network);
    g_autofree char *third = netns_run(NULL, "cat %s", lock);
    g_assert_cmpstr(third, ==, second);
    test_host_stop(host, "lan");
    g_assert_false(g_file_test(lock, G_FILE_TEST_EXISTS));
    g_free(netns_run(NULL, "! pgrep -f $LODGE_DIR"));
}

int
main(int argc, char **argv)
{
    netns_begin(&argc, &argv);
#define ADD(name, function)                                                                        \
    g_test_add("/net/up/" name, TestHost, NULL, test_host_set_up, function, test_host_tear_down)
    ADD("up-down", test_up_down);
    ADD("repair", test_repair);
    ADD("two", test_two);
    ADD("overlap", test_overlap);
    ADD("foreign-link", test_foreign_link);
    ADD("accept-ra", test_accept_ra);
    ADD("keeper", test_keeper);
    return g_test_run();
}
