/* bench-attach NETWORK: attach every guest of the store to the network, which is up, one after the
 * other, and print the milliseconds of each, a line a guest; then hold the taps until standard
 * input ends. For bench/network.py, in a network namespace of its own. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "net/net.h"

static gboolean
attach(const LodgeStore *store, LodgeNet *net, const LodgeNetwork *network, const char *name,
       GError **error)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, name, error);
    if (guest == NULL || guest->nics->len == 0) {
        return FALSE;
    }
    const LodgeNic *nic = guest->nics->pdata[0];
    g_autofree char *link = lodge_port_link(store->root, name, nic->name);
    const LodgePort port = {.link = link,
                            .guest = (char *)name,
                            .nic = nic->name,
                            .mac = nic->mac,
                            .address4 = nic->address,
                            .address6 = nic->address6,
                            .filter = TRUE};
    gint64 began = g_get_monotonic_time();
    /* The descriptor stays open: it is the guest's end. */
    if (lodge_net_attach(net, network, &port, error) < 0) {
        return FALSE;
    }
    printf("%.3f\n", (double)(g_get_monotonic_time() - began) / 1000);
    return TRUE;
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeStore) store = lodge_store_open(&error);
    g_autoptr(LodgeNet) net = store != NULL ? lodge_net_open(store, &error) : NULL;
    g_autoptr(LodgeNetwork)
        network = net != NULL && argc == 2 ? lodge_store_network(store, argv[1], &error) : NULL;
    g_auto(GStrv) guests = network != NULL ? lodge_store_guests(store, &error) : NULL;
    gboolean fine = guests != NULL;
    for (gsize i = 0; fine && guests[i] != NULL; i++) {
        fine = attach(store, net, network, guests[i], &error);
    }
    if (!fine) {
        fprintf(stderr, "bench-attach: %s\n", error != NULL ? error->message : "NETWORK is needed");
        return EXIT_FAILURE;
    }
    fclose(stdout);
    while (getchar() != EOF) {
    }
    return EXIT_SUCCESS;
}
