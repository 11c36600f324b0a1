#include "config.h"

#include "net/tests/host.h"

#include <string.h>

#include "base/base.h"

void
test_host_open(TestHost *host)
{
    g_autoptr(GError) error = NULL;
    host->folder = netns_make_store();
    host->store = lodge_store_open(&error);
    g_assert_no_error(error);
    host->net = lodge_net_open(host->store, &error);
    g_assert_no_error(error);
    host->outside = netns_new();
}

void
test_host_add_uplink(TestHost *host)
{
    g_free(netns_run(NULL,
                     "ip link add eth0 type veth peer name up0 netns %d &&"
                     " ip addr add 192.0.2.2/24 dev eth0 && ip link set eth0 up",
                     host->outside->pid));
    g_free(
        netns_run(host->outside,
                  "ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad &&"
                  " ip link set up0 up"));
    /* Its local route comes when the kernel has heard that there is a carrier. */
    g_free(netns_run(NULL, "ip addr add 2001:db8::2/64 dev eth0 nodad;"
                           " for i in $(seq 200); do"
                           " ip -6 route show table local | grep -q '2001:db8::2 ' && exit;"
                           " sleep 0.05; done; exit 1"));
}

void
test_host_close(TestHost *host)
{
    netns_assert_unchanged(host->before);
    lodge_net_free(host->net);
    lodge_store_free(host->store);
    netns_free(host->outside);
    g_free(host->before);
    netns_try(NULL, "ip link del eth0");
    netns_remove_store(host->folder);
}

void
test_host_set_up(TestHost *host, gconstpointer data)
{
    (void)data;
    test_host_open(host);
    test_host_add_uplink(host);
    g_free(netns_run(NULL, "ip route add default via 192.0.2.1"));
    host->before = netns_dump();
}

void
test_host_tear_down(TestHost *host, gconstpointer data)
{
    (void)data;
    test_host_close(host);
}

LodgeNetwork *
test_host_define(TestHost *host, const char *name, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = lodge_store_network_path(host->store, name);
    g_autofree char *folder = g_path_get_dirname(path);
    g_assert_true(lodge_dir_make(folder, 0755, NULL));
    g_assert_true(lodge_file_write(path, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL));
    LodgeNetwork *network = lodge_store_network(host->store, name, &error);
    g_assert_no_error(error);
    return network;
}

void
test_host_start(TestHost *host, const LodgeNetwork *network)
{
    g_autoptr(GError) error = NULL;
    lodge_net_up(host->net, network, &error);
    g_assert_no_error(error);
    lodge_net_serve(host->store, network, &error);
    g_assert_no_error(error);
    g_assert_cmpint(lodge_net_state(host->store, network->name), ==, LODGE_NET_UP);
}

void
test_host_stop(TestHost *host, const char *name)
{
    g_autoptr(GError) error = NULL;
    lodge_net_down(host->net, name, FALSE, &error);
    g_assert_no_error(error);
    g_assert_cmpint(lodge_net_state(host->store, name), ==, LODGE_NET_DOWN);
}
