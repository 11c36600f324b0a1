/* Theory of operation: who has which address.
 *
 * A guest's addresses stand in its definition. While a guest is being made it has none yet, so a
 * reservation is written first: <run>/networks/NET/hosts/GUEST.NIC, which is at the same time what
 * dnsmasq reads (names/GUEST.NIC is the same for DNS). Both places are looked at under the
 * network's lock before an address is given away. The run folder is lost when the host restarts; by
 * then the guest has its definition, or is none, and lodge_net_up() writes the files anew. */
#include "config.h"

#include "net/address.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "net/dnsmasq.h"
#include "net/net-private.h"
#include "net/services.h"

enum {
    FILE_LIMIT_BYTES = 4096,
    MOST_TAKEN = 4096, /* addresses of one route */
};

static char *
entry_name(const LodgePort *port)
{
    return g_strdup_printf("%s.%s", port->guest, port->nic);
}

static void
take_address(GHashTable *taken, const char *address)
{
    if (address != NULL && *address != '\0') {
        g_hash_table_add(taken, g_strdup(address));
    }
}

/* What is routed to a guest is nobody else's address. Of large prefixes, which are none of the
 * network's own, only the first addresses count. */
static void
take_routes(GHashTable *taken, const char *route)
{
    g_autoptr(GArray) routes = lodge_prefixes_parse(route != NULL ? route : "", NULL);
    for (guint i = 0; routes != NULL && i < routes->len; i++) {
        const LodgePrefix *prefix = &g_array_index(routes, LodgePrefix, i);
        for (guint64 n = 0; n < MIN(lodge_prefix_size(prefix), (guint64)MOST_TAKEN); n++) {
            LodgePrefix address = lodge_prefix_host(prefix, n);
            g_hash_table_add(taken, lodge_prefix_format_address(&address));
        }
    }
}

static void
take_definitions(const LodgeStore *store, const LodgeNetwork *network, const LodgePort *but,
                 GHashTable *taken)
{
    g_auto(GStrv) guests = lodge_store_guests(store, NULL);
    for (gsize i = 0; guests != NULL && guests[i] != NULL; i++) {
        g_autoptr(LodgeGuest) guest = lodge_store_guest(store, guests[i], NULL);
        for (guint n = 0; guest != NULL && n < guest->nics->len; n++) {
            const LodgeNic *nic = guest->nics->pdata[n];
            gboolean is_own = g_str_equal(guests[i], but->guest) &&
                              g_str_equal(nic->name, but->nic);
            if (!is_own && g_strcmp0(nic->network, network->name) == 0) {
                take_address(taken, nic->address);
                take_address(taken, nic->address6);
                take_routes(taken, nic->route);
            }
        }
    }
}

/* "MAC,10.77.0.12,[fd77::1000],web1" → its addresses. */
static void
parse_entry(const char *text, LodgeNetworkLease *out_lease)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    for (gsize i = 1; words[0] != NULL && words[i] != NULL; i++) {
        gsize length = strlen(words[i]);
        LodgePrefix address;
        if (words[i][0] == '[' && length > 2) {
            g_free(out_lease->address6);
            out_lease->address6 = g_strndup(words[i] + 1, length - 2);
        } else if (lodge_address_parse(words[i], &address, NULL)) {
            g_free(out_lease->address4);
            out_lease->address4 = g_strdup(words[i]);
        }
    }
}

static void
take_entries(const char *folder, const char *but, GHashTable *taken)
{
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(folder, names[i], NULL);
        g_autofree char *text = g_str_equal(names[i], but)
                                    ? NULL
                                    : lodge_file_read(path, FILE_LIMIT_BYTES, NULL, NULL);
        g_auto(LodgeNetworkLease) lease = {NULL, NULL};
        if (text != NULL) {
            parse_entry(g_strchomp(text), &lease);
            take_address(taken, lease.address4);
            take_address(taken, lease.address6);
        }
    }
}

/* Put a file into one of dnsmasq's folders at one stroke: it reads each name that appears. */
static gboolean
put_file(const LodgeStore *store, const char *network, const char *folder, const char *name,
         const char *text, gboolean *replaced, GError **error)
{
    g_autofree char *made_name = g_strdup_printf(".%s-%s", folder, name);
    g_autofree char *made = lodge_store_network_run_path(store, network, made_name);
    g_autofree char *parent = lodge_store_network_run_path(store, network, folder);
    g_autofree char *path = g_build_filename(parent, name, NULL);
    g_autofree char *old = lodge_file_read(path, FILE_LIMIT_BYTES, NULL, NULL);
    if (g_strcmp0(old, text) == 0) {
        return TRUE;
    }
    *replaced = *replaced || old != NULL;
    return lodge_dir_make(parent, 0755, error) &&
           lodge_file_write(made, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, error) &&
           (rename(made, path) == 0 || lodge_error_errno(error, errno, "Writing %s", path));
}

/* An address outlives the guest that had it, as the lease does: one of the same name that is made
 * anew gets it again, and must be given it. */
gboolean
lodge_net_write_entry(const LodgeStore *store, const LodgeNetwork *network, const LodgePort *port,
                      GError **error)
{
    g_autofree char *name = entry_name(port);
    g_autofree char *former = lodge_net_former_mac(store, network->name, port);
    g_autofree char *host = lodge_dnsmasq_host(port, former);
    g_autofree char *names = lodge_dnsmasq_names(network, port);
    gboolean replaced = FALSE;
    if (!put_file(store, network->name, "hosts", name, host, &replaced, error) ||
        !put_file(store, network->name, "names", name, names, &replaced, error)) {
        return FALSE;
    }
    if (replaced) {
        lodge_net_reread_hosts(store, network);
    }
    return TRUE;
}

/* Were these addresses reserved by an earlier call, and are they still of the network's? */
static gboolean
find_reserved(const char *hosts, const LodgeNetwork *network, const LodgePort *port,
              LodgeNetworkLease *out_lease)
{
    g_autofree char *name = entry_name(port);
    g_autofree char *path = g_build_filename(hosts, name, NULL);
    g_autofree char *text = lodge_file_read(path, FILE_LIMIT_BYTES, NULL, NULL);
    g_auto(LodgeNetworkLease) lease = {NULL, NULL};
    LodgePrefix prefix;
    LodgePrefix address;
    if (text == NULL || !g_str_has_prefix(text, port->mac)) {
        return FALSE;
    }
    parse_entry(g_strchomp(text), &lease);
    if (lodge_network_subnet(network, &prefix) !=
            (lease.address4 != NULL && lodge_address_parse(lease.address4, &address, NULL) &&
             lodge_prefix_contains(&prefix, &address)) ||
        lodge_network_prefix(network, &prefix) !=
            (lease.address6 != NULL && lodge_address_parse(lease.address6, &address, NULL) &&
             lodge_prefix_contains(&prefix, &address))) {
        return FALSE;
    }
    *out_lease = lease;
    lease = (LodgeNetworkLease){NULL, NULL};
    return TRUE;
}

gboolean
lodge_net_reserve(const LodgeStore *store, const LodgeNetwork *network, const LodgePort *port,
                  LodgeNetworkLease *out_lease, GError **error)
{
    g_autofree char *hosts = lodge_store_network_run_path(store, network->name, "hosts");
    g_autofree char *name = entry_name(port);
    lodge_autofd lock = lodge_net_lock(store, network->name, error);
    if (lock < 0) {
        return FALSE;
    }
    if (find_reserved(hosts, network, port, out_lease)) {
        return TRUE;
    }
    g_autoptr(GHashTable) taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    take_definitions(store, network, port, taken);
    take_entries(hosts, name, taken);
    if (!lodge_network_choose_addresses(network, port->guest, port->nic, port->mac, taken,
                                        out_lease, error)) {
        return FALSE;
    }
    LodgePort with = *port;
    with.address4 = out_lease->address4;
    with.address6 = out_lease->address6;
    if (!lodge_net_write_entry(store, network, &with, error)) {
        lodge_network_lease_clear(out_lease);
        return FALSE;
    }
    return TRUE;
}

/* Remove the entries whose names begin with @prefix. Were there any? */
static gboolean
remove_entries(const LodgeStore *store, const char *network, const char *prefix)
{
    static const char *const folders[] = {"hosts", "names"};
    gboolean found = FALSE;
    for (gsize f = 0; f < G_N_ELEMENTS(folders); f++) {
        g_autofree char *folder = lodge_store_network_run_path(store, network, folders[f]);
        g_auto(GStrv) names = lodge_dir_names(folder, NULL);
        for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
            g_autofree char *path = g_build_filename(folder, names[i], NULL);
            if (g_str_has_prefix(names[i], prefix) && unlink(path) == 0) {
                found = TRUE;
            }
        }
    }
    return found;
}

static void
release_on(const LodgeStore *store, const char *name, const char *prefix)
{
    lodge_autofd lock = lodge_net_lock(store, name, NULL);
    g_autoptr(LodgeNetwork) network = lodge_net_running(store, name);
    if (remove_entries(store, name, prefix) && network != NULL) {
        lodge_net_reread_hosts(store, network);
    }
}

void
lodge_net_release(const LodgeStore *store, const char *guest)
{
    g_autofree char *folder = g_build_filename(store->run, "networks", NULL);
    g_autofree char *prefix = g_strconcat(guest, ".", NULL);
    g_auto(GStrv) networks = lodge_dir_names(folder, NULL);
    for (gsize i = 0; networks != NULL && networks[i] != NULL; i++) {
        release_on(store, networks[i], prefix);
    }
}

void
lodge_net_release_elsewhere(const LodgeStore *store, const char *network, const LodgePort *port)
{
    g_autofree char *folder = g_build_filename(store->run, "networks", NULL);
    g_autofree char *name = entry_name(port);
    g_auto(GStrv) networks = lodge_dir_names(folder, NULL);
    for (gsize i = 0; networks != NULL && networks[i] != NULL; i++) {
        g_autofree char *hosts = lodge_store_network_run_path(store, networks[i], "hosts");
        g_autofree char *entry = g_build_filename(hosts, name, NULL);
        if (!g_str_equal(networks[i], network) && g_file_test(entry, G_FILE_TEST_EXISTS)) {
            release_on(store, networks[i], name);
        }
    }
}

/* Guests of the store, in the form that dnsmasq wants; entries of none that exists are left: they
 * may be of guests that are just being made. */
gboolean
lodge_net_write_entries(const LodgeStore *store, const LodgeNetwork *network, GError **error)
{
    g_auto(GStrv) guests = lodge_store_guests(store, error);
    for (gsize i = 0; guests != NULL && guests[i] != NULL; i++) {
        g_autoptr(LodgeGuest) guest = lodge_store_guest(store, guests[i], NULL);
        for (guint n = 0; guest != NULL && n < guest->nics->len; n++) {
            const LodgeNic *nic = guest->nics->pdata[n];
            LodgePort port = {.guest = guests[i],
                              .nic = nic->name,
                              .mac = nic->mac,
                              .address4 = nic->address,
                              .address6 = nic->address6};
            gboolean counts = g_strcmp0(nic->network, network->name) == 0 &&
                              (nic->address != NULL || nic->address6 != NULL);
            if (counts && !lodge_net_write_entry(store, network, &port, error)) {
                return FALSE;
            }
        }
    }
    return guests != NULL;
}
