/* Which addresses a network gives its guests. */
#include "config.h"

#include "base/base.h"
#include "model/network.h"

enum {
    FIRST_GUEST_NUMBER = 10, /* those below are left for routers and servers */
    IPV6_GUEST_OFFSET = 0x1000,
    IPV6_GUEST_COUNT = 0xf000,
    SUBNET_SIZE = 4, /* each=30 */
    SUBNET_GUEST_NUMBER = 2,
};

void
lodge_network_lease_clear(LodgeNetworkLease *lease)
{
    g_clear_pointer(&lease->address4, g_free);
    g_clear_pointer(&lease->address6, g_free);
}

/* The numbers of the IPv4 addresses that guests may have. */
static void
number_range(const LodgeNetwork *network, const LodgePrefix *subnet, guint64 *out_first,
             guint64 *out_last)
{
    LodgePrefix first;
    LodgePrefix last;
    guint64 size = lodge_prefix_size(subnet);
    *out_first = MIN(FIRST_GUEST_NUMBER, size > 4 ? size / 4 : 2);
    *out_last = size - 2;
    if (network->mode == LODGE_NETWORK_ROUTED) {
        /* Every address of a routed prefix is usable: nobody on it wants a broadcast address. */
        *out_first = lodge_network_is_in_fours(network) ? SUBNET_GUEST_NUMBER : 0;
        *out_last = size - 1;
    }
    if (network->range != NULL && !lodge_network_is_in_fours(network)) {
        g_auto(GStrv) ends = g_strsplit(network->range, "-", 2);
        if (lodge_address_parse(ends[0], &first, NULL) &&
            lodge_address_parse(ends[1], &last, NULL)) {
            *out_first = lodge_prefix_number(subnet, &first);
            *out_last = lodge_prefix_number(subnet, &last);
        }
    }
}

/* The first free address of numbers @first to @last, begun at a place that the names decide. Of
 * each @step numbers only the first counts. */
static char *
choose(const LodgePrefix *prefix, guint64 first, guint64 last, guint64 step, guint seed,
       GHashTable *taken)
{
    guint64 count = (last - first) / step + 1;
    for (guint64 i = 0; i < count; i++) {
        LodgePrefix address = lodge_prefix_host(prefix, first + (seed + i) % count * step);
        g_autofree char *text = lodge_prefix_format_address(&address);
        if (!g_hash_table_contains(taken, text)) {
            return g_steal_pointer(&text);
        }
    }
    return NULL;
}

static char *
choose_by_mac(const LodgePrefix *prefix, const char *mac, GHashTable *taken)
{
    if (prefix->length != 64) {
        return NULL;
    }
    LodgePrefix address = lodge_prefix_eui64(prefix, mac);
    g_autofree char *text = lodge_prefix_format_address(&address);
    return g_hash_table_contains(taken, text) ? NULL : g_steal_pointer(&text);
}

gboolean
lodge_network_choose_addresses(const LodgeNetwork *network, const char *guest, const char *nic,
                               const char *mac, GHashTable *taken, LodgeNetworkLease *out_lease,
                               GError **error)
{
    g_auto(LodgeNetworkLease) lease = {NULL, NULL};
    LodgePrefix prefix;
    g_autofree char *names = g_strconcat(guest, "/", nic, NULL);
    guint seed = g_str_hash(names);
    if (lodge_network_subnet(network, &prefix)) {
        guint64 first;
        guint64 last;
        number_range(network, &prefix, &first, &last);
        guint64 step = lodge_network_is_in_fours(network) ? SUBNET_SIZE : 1;
        lease.address4 = choose(&prefix, first, last, step, seed, taken);
        if (lease.address4 == NULL) {
            return lodge_error_set(error, LODGE_ERROR_BUSY,
                                   "network %s: all %" G_GUINT64_FORMAT
                                   " addresses of %s are in use "
                                   "(a larger subnet= or range= is needed)",
                                   network->name, last - first + 1, network->subnet);
        }
    }
    if (lodge_network_prefix(network, &prefix)) {
        guint64 most = MIN(lodge_prefix_size(&prefix) - 1,
                           IPV6_GUEST_OFFSET + IPV6_GUEST_COUNT - 1);
        guint64 first = most < IPV6_GUEST_OFFSET ? 0 : IPV6_GUEST_OFFSET;
        lease.address6 = choose_by_mac(&prefix, mac, taken);
        if (lease.address6 == NULL) {
            lease.address6 = choose(&prefix, first, most, 1, seed, taken);
        }
        if (lease.address6 == NULL) {
            return lodge_error_set(error, LODGE_ERROR_BUSY,
                                   "network %s: all addresses of %s that guests get are in use",
                                   network->name, network->prefix);
        }
    }
    *out_lease = lease;
    lease = (LodgeNetworkLease){NULL, NULL};
    return TRUE;
}
