#include "config.h"

#include "base/base.h"
#include "net/link.h"
#include "net/nat64.h"
#include "net/net-private.h"

GPtrArray *
lodge_net_taken_prefixes(LodgeNet *net, const char *name, const char *bridge, GError **error)
{
    g_autoptr(GPtrArray)
        taken = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_owned_prefix_free);
    g_auto(GStrv) names = lodge_store_networks(net->store, error);
    if (names == NULL) {
        return NULL;
    }
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autoptr(LodgeNetwork) other = g_str_equal(names[i], name)
                                            ? NULL
                                            : lodge_store_network(net->store, names[i], NULL);
        if (other != NULL) {
            lodge_network_add_prefixes(other, taken);
        }
    }
    guint others = taken->len;
    if (!lodge_link_host_prefixes(net->netlink, bridge, taken, error)) {
        return NULL;
    }
    /* The network's own translator, if it is up. */
    g_autofree char *translator = lodge_nat64_link(name);
    for (guint i = taken->len; i > others; i--) {
        const LodgeOwnedPrefix *owned = taken->pdata[i - 1];
        if (g_str_equal(owned->owner, translator)) {
            g_ptr_array_remove_index(taken, i - 1);
        }
    }
    return g_steal_pointer(&taken);
}

gboolean
lodge_net_check_overlap(LodgeNet *net, const LodgeNetwork *network, GError **error)
{
    /* A routed network's addresses are the uplink's neighbours by design. */
    if (network->mode == LODGE_NETWORK_ROUTED || network->mode == LODGE_NETWORK_BRIDGED) {
        return TRUE;
    }
    g_autoptr(GPtrArray)
        taken = lodge_net_taken_prefixes(net, network->name, network->bridge, error);
    g_autoptr(GPtrArray)
        own = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_owned_prefix_free);
    lodge_network_add_prefixes(network, own);
    for (guint i = 0; taken != NULL && i < own->len; i++) {
        const LodgeOwnedPrefix *one = own->pdata[i];
        if (!lodge_prefix_check_free(&one->prefix, one->owner, taken, error)) {
            return FALSE;
        }
    }
    return taken != NULL;
}

static char *
value_of(GKeyFile *file, const char *key, const char *fallback)
{
    char *value = g_key_file_get_string(file, "network", key, NULL);
    return value != NULL ? value : g_strdup(fallback);
}

gboolean
lodge_net_choose_prefixes(LodgeNet *net, const char *name, GKeyFile *file, GError **error)
{
    static const LodgePrefix pool = {AF_INET, {10, 64}, 10};
    g_autofree char *mode = value_of(file, "mode", "nat");
    g_autofree char *ip = value_of(file, "ip", "dual");
    g_autofree char *subnet = value_of(file, "subnet", NULL);
    g_autofree char *prefix = value_of(file, "prefix", NULL);
    g_autoptr(GPtrArray) taken = lodge_net_taken_prefixes(net, name, NULL, error);
    LodgePrefix chosen;
    if (taken == NULL) {
        return FALSE;
    }
    g_autofree char *host = value_of(file, "host", "yes");
    /* Without the host nobody gives addresses. */
    if (!g_str_equal(mode, "nat") && (!g_str_equal(mode, "isolated") || g_str_equal(host, "no"))) {
        return TRUE;
    }
    g_autofree char *nat64 = value_of(file, "nat64", "no");
    if (subnet == NULL && (!g_str_equal(ip, "6") || g_str_equal(nat64, "yes"))) {
        /* 10.77.0.0/24, and on from there. */
        if (!lodge_prefix_choose(&pool, 24, 13 << 8, taken, &chosen)) {
            return lodge_error_set(error, LODGE_ERROR_BUSY,
                                   "no /24 of 10.64.0.0/10 is free: subnet= must be given");
        }
        g_autofree char *text = lodge_prefix_format(&chosen);
        g_key_file_set_string(file, "network", "subnet", text);
    }
    if (prefix == NULL && !g_str_equal(ip, "4")) {
        chosen = lodge_prefix_random_ula();
        g_autofree char *text = lodge_prefix_format(&chosen);
        g_key_file_set_string(file, "network", "prefix", text);
    }
    return TRUE;
}
