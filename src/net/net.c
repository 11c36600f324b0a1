#include "config.h"

#include "net/net.h"

#include <string.h>

#include "base/base.h"
#include "net/delegated.h"
#include "net/firewall.h"
#include "net/link.h"
#include "net/net-private.h"
#include "net/services.h"

enum {
    LOCK_TIMEOUT_MS = 30000,
    MARKER_LIMIT_BYTES = 256 << 10,
};

LodgeNet *
lodge_net_open(const LodgeStore *store, GError **error)
{
    g_autoptr(LodgeNet) net = g_new0(LodgeNet, 1);
    net->store = store;
    net->table = lodge_firewall_table(store->root);
    net->netlink = lodge_netlink_open(error);
    return net->netlink != NULL ? g_steal_pointer(&net) : NULL;
}

void
lodge_net_free(LodgeNet *net)
{
    if (net != NULL) {
        g_free(net->table);
        lodge_netlink_free(net->netlink);
        if (net->nft != NULL) {
            nft_ctx_free(net->nft);
        }
        g_free(net);
    }
}

static int
take_lock(const char *folder, const char *file, gint64 timeout_ms, GError **error)
{
    g_autofree char *path = g_build_filename(folder, file, NULL);
    if (!lodge_dir_make(folder, 0755, error)) {
        return -1;
    }
    return lodge_lock_take_within(path, timeout_ms, error);
}

static int
lock_network(const LodgeStore *store, const char *network, gint64 timeout_ms, GError **error)
{
    g_autofree char *folder = g_build_filename(store->run, "networks", NULL);
    g_autofree char *file = g_strdup_printf(".%s.lock", network);
    int fd = take_lock(folder, file, timeout_ms, error);
    if (fd < 0) {
        lodge_error_prefix(error, "network %s", network);
    }
    return fd;
}

int
lodge_net_lock(const LodgeStore *store, const char *network, GError **error)
{
    return lock_network(store, network, LOCK_TIMEOUT_MS, error);
}

int
lodge_net_lock_at_once(const LodgeStore *store, const char *network, GError **error)
{
    return lock_network(store, network, 0, error);
}

int
lodge_net_lock_host(const LodgeStore *store, GError **error)
{
    g_autofree char *folder = g_build_filename(store->run, "networks", NULL);
    return take_lock(folder, ".host.lock", LOCK_TIMEOUT_MS, error);
}

char *
lodge_net_sysctl_memory(const LodgeStore *store)
{
    return g_build_filename(store->run, "networks", ".sysctls.json", NULL);
}

char *
lodge_net_alias(const LodgeStore *store, const char *network)
{
    return g_strdup_printf("lodge %s network %s", store->root, network);
}

LodgeNetwork *
lodge_net_running(const LodgeStore *store, const char *name)
{
    gsize length = 0;
    g_autofree char *path = lodge_store_network_run_path(store, name, "network.conf");
    g_autofree char *text = lodge_file_read(path, MARKER_LIMIT_BYTES, &length, NULL);
    LodgeNetwork *network = text != NULL ? lodge_network_parse(name, text, length, NULL) : NULL;
    if (network != NULL && network->delegation) {
        network->delegated = lodge_net_delegated(store, name);
    }
    return network;
}

const char *
lodge_net_state_word(LodgeNetState state)
{
    switch (state) {
    case LODGE_NET_DOWN:
        return "stopped";
    case LODGE_NET_UP:
        return "running";
    case LODGE_NET_HALF:
        return "broken";
    }
    return "stopped";
}

LodgeNetState
lodge_net_state(const LodgeStore *store, const char *name)
{
    g_autofree char *marker = lodge_store_network_run_path(store, name, "network.conf");
    if (!g_file_test(marker, G_FILE_TEST_EXISTS)) {
        return LODGE_NET_DOWN;
    }
    g_autofree char *done = lodge_store_network_run_path(store, name, "up");
    g_autoptr(LodgeNetwork) network = lodge_net_running(store, name);
    gboolean whole = network != NULL && g_file_test(done, G_FILE_TEST_EXISTS) &&
                     lodge_net_is_served(store, network) &&
                     (network->bridge == NULL || lodge_link_index(network->bridge) != 0);
    return whole ? LODGE_NET_UP : LODGE_NET_HALF;
}

GPtrArray *
lodge_net_ports(const LodgeStore *store, const char *network)
{
    GPtrArray *ports = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_port_free);
    g_autofree char *folder = lodge_store_network_run_path(store, network, "ports");
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(folder, names[i], NULL);
        g_autoptr(json_t) value = lodge_json_read(path, MARKER_LIMIT_BYTES, NULL);
        LodgePort *port = value != NULL ? lodge_port_from_json(value, NULL) : NULL;
        if (port != NULL) {
            g_ptr_array_add(ports, port);
        }
    }
    return ports;
}

/* --- nftables ----------------------------------------------------------------------------------
 */

gboolean
lodge_net_nft(LodgeNet *net, const char *commands, GError **error)
{
    if (net->nft == NULL) {
        net->nft = nft_ctx_new(NFT_CTX_DEFAULT);
        if (net->nft == NULL || nft_ctx_buffer_output(net->nft) != 0 ||
            nft_ctx_buffer_error(net->nft) != 0) {
            return lodge_error_set(error, LODGE_ERROR_FAILED, "libnftables gives no context");
        }
    }
    if (nft_run_cmd_from_buffer(net->nft, commands) == 0) {
        return TRUE;
    }
    g_auto(GStrv) lines = g_strsplit(nft_ctx_get_error_buffer(net->nft), "\n", 2);
    g_autofree char *first = lodge_text_printable(lines[0] != NULL ? lines[0] : "");
    return lodge_error_set(error, LODGE_ERROR_FAILED, "nftables: %s", first);
}

static void
firewall_network_free(gpointer data)
{
    LodgeFirewallNetwork *one = data;
    lodge_network_free((LodgeNetwork *)one->network);
    g_ptr_array_unref((GPtrArray *)one->ports);
    g_free(one);
}

gboolean
lodge_net_reload_firewall(LodgeNet *net, const char *except, GError **error)
{
    g_autoptr(GPtrArray) networks = g_ptr_array_new_with_free_func(firewall_network_free);
    g_autofree char *folder = g_build_filename(net->store->run, "networks", NULL);
    lodge_autofd lock = lodge_net_lock_host(net->store, error);
    g_auto(GStrv) names = lock >= 0 ? lodge_dir_names(folder, error) : NULL;
    if (names == NULL) {
        return FALSE;
    }
    for (gsize i = 0; names[i] != NULL; i++) {
        LodgeNetwork *network = g_strcmp0(names[i], except) != 0
                                    ? lodge_net_running(net->store, names[i])
                                    : NULL;
        if (network != NULL) {
            LodgeFirewallNetwork *one = g_new0(LodgeFirewallNetwork, 1);
            one->network = network;
            one->ports = lodge_net_ports(net->store, names[i]);
            g_ptr_array_add(networks, one);
        }
    }
    g_autofree char *rules = lodge_firewall_render(net->table, networks);
    return lodge_net_nft(net, rules, error);
}
