#include "config.h"

#include "keeper/nics.h"

#include "base/base.h"
#include "net/define.h"

void
lodge_taps_free(LodgeTap *taps, guint count)
{
    for (guint i = 0; taps != NULL && i < count; i++) {
        lodge_fd_clear(&taps[i].fd);
        lodge_fd_clear(&taps[i].vhost_fd);
        g_free(taps[i].link);
    }
    g_free(taps);
}

static gboolean
is_user(const LodgeNic *nic)
{
    return g_strcmp0(nic->network, LODGE_NETWORK_USER) == 0;
}

static gboolean
open_tap(const LodgeStore *store, LodgeNet *net, const LodgeGuest *guest, const LodgeNic *nic,
         LodgeTap *tap, GError **error)
{
    if (lodge_net_state(store, nic->network) != LODGE_NET_UP &&
        !lodge_network_start(store, nic->network, error)) {
        return FALSE;
    }
    g_autoptr(LodgeNetwork) network = lodge_net_running(store, nic->network);
    if (network == NULL) {
        return lodge_error_set(error, LODGE_ERROR_BUSY, "network %s was stopped just now",
                               nic->network);
    }
    tap->link = lodge_port_link(store->root, guest->name, nic->name);
    LodgePort port = lodge_port_of_nic(guest, nic, tap->link);
    g_auto(LodgeNetworkLease) lease = {NULL, NULL};
    /* A definition written by hand names no addresses: it gets the reserved ones. */
    if (nic->address == NULL && nic->address6 == NULL) {
        if (!lodge_net_reserve(store, network, &port, &lease, error)) {
            return FALSE;
        }
        port.address4 = lease.address4;
        port.address6 = lease.address6;
    }
    tap->fd = lodge_net_attach(net, network, &port, error);
    return tap->fd >= 0;
}

LodgeTap *
lodge_taps_open(const LodgeStore *store, const LodgeGuest *guest, gboolean kvm, GError **error)
{
    guint count = guest->nics->len;
    LodgeTap *taps = g_new0(LodgeTap, count + 1);
    g_autoptr(LodgeNet) net = NULL;
    for (guint i = 0; i < count; i++) {
        taps[i].fd = taps[i].vhost_fd = -1;
    }
    for (guint i = 0; i < count; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        if (is_user(nic)) {
            continue;
        }
        if (net == NULL) {
            net = lodge_net_open(store, error);
        }
        if (net == NULL || !open_tap(store, net, guest, nic, &taps[i], error)) {
            lodge_error_prefix(error, "nic %s", nic->name);
            lodge_taps_free(taps, count);
            lodge_taps_forget(store, guest->name);
            return NULL;
        }
        taps[i].vhost_fd = kvm ? lodge_net_vhost() : -1;
    }
    return taps;
}

/* The definition names it, or, one written by hand, what was reserved when the tap was opened. */
static char *
address_of(const LodgeStore *store, const LodgeGuest *guest, const LodgeNic *nic)
{
    g_autoptr(LodgeNetwork) network = lodge_net_running(store, nic->network);
    if (network == NULL || (network->mode == LODGE_NETWORK_ISOLATED && !network->host)) {
        return NULL;
    }
    if (nic->address != NULL || nic->address6 != NULL) {
        return g_strdup(nic->address != NULL ? nic->address : nic->address6);
    }
    g_autofree char *link = lodge_port_link(store->root, guest->name, nic->name);
    g_autoptr(GPtrArray) ports = lodge_net_ports(store, nic->network);
    for (guint i = 0; i < ports->len; i++) {
        const LodgePort *port = ports->pdata[i];
        if (g_str_equal(port->link, link)) {
            return g_strdup(port->address4 != NULL ? port->address4 : port->address6);
        }
    }
    return NULL;
}

char *
lodge_nics_address(const LodgeStore *store, const LodgeGuest *guest)
{
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        char *address = is_user(nic) ? NULL : address_of(store, guest, nic);
        if (address != NULL) {
            return address;
        }
    }
    return NULL;
}

void
lodge_taps_forget(const LodgeStore *store, const char *guest)
{
    g_autofree char *folder = g_build_filename(store->run, "networks", NULL);
    g_auto(GStrv) networks = lodge_dir_names(folder, NULL);
    g_autoptr(LodgeNet) net = NULL;
    for (gsize i = 0; networks != NULL && networks[i] != NULL; i++) {
        g_autoptr(GPtrArray) ports = lodge_net_ports(store, networks[i]);
        for (guint p = 0; p < ports->len; p++) {
            const LodgePort *port = ports->pdata[p];
            if (!g_str_equal(port->guest, guest)) {
                continue;
            }
            if (net == NULL) {
                net = lodge_net_open(store, NULL);
            }
            if (net != NULL) {
                lodge_net_detach(net, networks[i], port->link, NULL);
            }
        }
    }
}
