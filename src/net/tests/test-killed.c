/* Starting and stopping are killed at each step: what comes next finishes either. */
#include "config.h"

#include "net/tests/host.h"
#include "net/tests/steps.h"

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
    g_autoptr(LodgeNetwork) network = test_host_define(host, "lan", TEST_HOST_NAT);
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
    g_autoptr(LodgeNetwork) network = test_host_define(host, "lan", TEST_HOST_NAT);
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
    netns_begin(&argc, &argv);
#define ADD(name, function)                                                                        \
    g_test_add("/net/killed/" name, TestHost, NULL, test_host_set_up, function, test_host_tear_down)
    ADD("start-killed", test_start_killed);
    ADD("stop-killed", test_stop_killed);
    return g_test_run();
}
