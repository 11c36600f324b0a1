#include "config.h"

#include "net/tests/pair.h"

#include <unistd.h>

void
test_pair_attach(TestPair *pair, guint number, gboolean filter)
{
    static const char *const guests[] = {"a", "b"};
    static const char *const macs[] = {MAC_A, MAC_B};
    g_autoptr(GError) error = NULL;
    LodgePort *port = &pair->ports[number];
    *port = (LodgePort){.guest = (char *)guests[number],
                        .nic = (char *)"lan",
                        .mac = (char *)macs[number],
                        .filter = filter};
    port->link = lodge_port_link(pair->host.store->root, port->guest, port->nic);
    lodge_net_reserve(pair->host.store, pair->network, port, &pair->leases[number], &error);
    g_assert_no_error(error);
    port->address4 = pair->leases[number].address4;
    port->address6 = pair->leases[number].address6;
    pair->taps[number] = lodge_net_attach(pair->host.net, pair->network, port, &error);
    g_assert_no_error(error);
}

void
test_pair_set_up(TestPair *pair, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    test_host_open(&pair->host);
    pair->host.before = netns_dump();
    pair->network = test_host_define(&pair->host, "lan", data);
    lodge_net_up(pair->host.net, pair->network, &error);
    g_assert_no_error(error);
    test_pair_attach(pair, 0, TRUE);
    test_pair_attach(pair, 1, TRUE);
}

void
test_pair_tear_down(TestPair *pair, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    for (guint i = 0; i < 2; i++) {
        close(pair->taps[i]);
        lodge_net_detach(pair->host.net, "lan", pair->ports[i].link, &error);
        g_assert_no_error(error);
        g_free(pair->ports[i].link);
        lodge_network_lease_clear(&pair->leases[i]);
    }
    test_host_stop(&pair->host, "lan");
    lodge_network_free(pair->network);
    test_host_close(&pair->host);
}
