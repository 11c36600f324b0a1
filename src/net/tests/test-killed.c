/* Starting and stopping are killed at each step: what comes next finishes either. */
#include "config.h"

#include "net/tests/host.h"
#include "net/tests/steps.h"

static void
set_up(TestHost *host, gconstpointer data)
{
    (void)data;
    test_host_open(host);
    test_host_add_uplink(host);
    g_free(netns_run(NULL, "ip route add default via 192.0.2.1"));
    host->before = netns_dump();
}

static void
tear_down(TestHost *host, gconstpointer data)
{
    (void)data;
    test_host_close(host);
}

static const char nat[] = "[network]\nsubnet=10.77.0.0/24\nprefix=fd77:0:0:1::/64\n";

typedef struct {
    TestHost *host;
    LodgeNetwork *network;
} Work;

static void
up_in_child(gpointer data)
{
    const Work *work = data;
    g_autoptr(LodgeNet) net = lodge_net_open(work->host->store, NULL);
    lodge_net_up(net, work->network, NULL);
}

static void
down_in_child(gpointer data)
{
    const Work *work = data;
    g_autoptr(LodgeNet) net = lodge_net_open(work->host->store, NULL);
    lodge_net_down(net, work->network->name, TRUE, NULL);
}

/* A child starts the network and is killed at each of its steps; the parent starts and stops it, or
 * only stops it, in turn. */
static void
test_start_killed(TestHost *host, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) network = test_host_define(host, "lan", nat);
    Work work = {host, network};
    guint step = 0;
    for (gboolean more = TRUE; more; step++) {
        more = steps_kill_at(step, up_in_child, &work);
        if (step % 2 == 0) {
            test_host_start(host, network);
        }
        test_host_stop(host, "lan");
        netns_assert_unchanged(host->before);
    }
    g_test_message("%u steps to start", step);
    g_assert_cmpuint(step, >, 10);
}

/* The same for stopping. */
static void
test_stop_killed(TestHost *host, gconstpointer data)
{
    (void)data;
    g_autoptr(LodgeNetwork) network = test_host_define(host, "lan", nat);
    Work work = {host, network};
    guint step = 0;
    for (gboolean more = TRUE; more; step++) {
        test_host_start(host, network);
        more = steps_kill_at(step, down_in_child, &work);
        if (step % 2 == 0) {
            test_host_start(host, network);
        }
        test_host_stop(host, "lan");
        netns_assert_unchanged(host->before);
    }
    g_test_message("%u steps to stop", step);
    g_assert_cmpuint(step, >, 10);
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
    g_test_add("/net/killed/" name, TestHost, NULL, set_up, function, tear_down)
    ADD("start-killed", test_start_killed);
    ADD("stop-killed", test_stop_killed);
    return g_test_run();
}
