/* Theory of operation: what a network that is up consists of, and in which order it comes and goes.
 *
 * <run>/networks/NET/network.conf  the definition it was started with. Written first, removed last:
 *                                  whatever is killed between, the next command knows what there is
 *                    up            written when all was made
 *                    stopping      written before the keeper is told to end
 *                    ports/LINK    each attached port
 *                    hosts names dnsmasq.*   see address.c and services.c
 *
 * Up: marker, sysctls, bridge, addresses, ports that lost their bridge, the way to IPv4, rules
 * (others' firewalls too), dnsmasq's files. Down: the reverse. Each step asks what is there, so
 * both may be done again at any time. */
#include "config.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "host/distro.h"
#include "net/address.h"
#include "net/delegated.h"
#include "net/foreign.h"
#include "net/link.h"
#include "net/nat64.h"
#include "net/net-private.h"
#include "net/routed.h"
#include "net/services.h"
#include "net/sharing.h"
#include "net/sysctl.h"
#include "net/uplink.h"

/* The same MAC at each start, so that guests' neighbour tables and leases stay true. */
static char *
bridge_mac(const LodgeStore *store, const LodgeNetwork *network)
{
    g_autofree char *names = g_strjoin("/", store->root, "networks", network->name, NULL);
    guint hash = g_str_hash(names);
    return g_strdup_printf("52:54:00:%02x:%02x:%02x", hash >> 16 & 0xff, hash >> 8 & 0xff,
                           hash & 0xff);
}

static gboolean
touch(const LodgeStore *store, const char *network, const char *file, const char *text,
      GError **error)
{
    g_autofree char *path = lodge_store_network_run_path(store, network, file);
    g_autofree char *folder = g_path_get_dirname(path);
    return lodge_dir_make(folder, 0755, error) &&
           lodge_file_write(path, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, error);
}

static gboolean
is_forwarding(const LodgeNetwork *network)
{
    return network->mode == LODGE_NETWORK_NAT || network->mode == LODGE_NETWORK_ROUTED;
}

static gboolean
apply_sysctls(LodgeNet *net, const LodgeNetwork *network, GError **error)
{
    if (!is_forwarding(network)) {
        return TRUE;
    }
    g_autofree char *memory = lodge_net_sysctl_memory(net->store);
    g_auto(GStrv) accept_ra = lodge_sysctl_accept_ra(network->bridge);
    g_autoptr(GPtrArray) settings = lodge_sysctl_forwarding(
        network->ip != LODGE_IP_6 || network->nat64, network->ip != LODGE_IP_4,
        (const char *const *)accept_ra);
    if (network->mode == LODGE_NETWORK_ROUTED && network->ip != LODGE_IP_4) {
        LodgeSysctl *setting = g_new0(LodgeSysctl, 1);
        setting->key = g_strdup_printf("net/ipv6/conf/%s/proxy_ndp", network->uplink);
        setting->value = g_strdup("1");
        g_ptr_array_add(settings, setting);
    }
    lodge_autofd lock = lodge_net_lock_host(net->store, error);
    return lock >= 0 && lodge_sysctl_apply(memory, network->name, settings, error);
}

static gboolean
release_sysctls(LodgeNet *net, const char *name, GError **error)
{
    g_autofree char *memory = lodge_net_sysctl_memory(net->store);
    lodge_autofd lock = lodge_net_lock_host(net->store, error);
    return lock >= 0 && lodge_sysctl_release(memory, name, error);
}

/* A kernel that can't refuses to make such a bridge, or makes one that does not. */
static gboolean
refuse_vlans(GError **error)
{
    LodgeDistro distro;
    g_clear_error(error);
    lodge_distro_read("", &distro);
    g_autofree char *mend = lodge_distro_kernel_with(&distro, "BRIDGE_VLAN_FILTERING");
    return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                           "vlan-aware=yes needs a kernel whose bridges keep VLANs apart: %s",
                           mend);
}

/* The bridge is there as ours, or is made. */
static gboolean
ensure_bridge(LodgeNet *net, const LodgeNetwork *network, int *out_index, GError **error)
{
    g_autofree char *alias = lodge_net_alias(net->store, network->name);
    g_autofree char *mac = bridge_mac(net->store, network);
    LodgeLinkInfo info;
    if (lodge_link_look(net->netlink, network->bridge, &info)) {
        *out_index = info.index;
        return g_str_equal(info.alias, alias) ||
               lodge_error_set(error, LODGE_ERROR_EXISTS,
                               "link %s exists already and is not this network's (bridge= names "
                               "another)",
                               network->bridge);
    }
    LodgeBridgeSpec spec = {
        .name = network->bridge,
        .mac = mac,
        .mtu = network->mtu,
        .alias = alias,
        .up = TRUE,
        .vlan_aware = network->vlan_aware,
    };
    lodge_link_add_bridge(net->netlink, &spec);
    if (!lodge_netlink_send(net->netlink, error)) {
        return network->vlan_aware ? refuse_vlans(error) : FALSE;
    }
    if (!lodge_link_look(net->netlink, network->bridge, &info)) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "bridge %s vanished", network->bridge);
    }
    *out_index = info.index;
    return info.vlan_aware || !network->vlan_aware || refuse_vlans(error);
}

/* These vanish with the bridge. */
static gboolean
set_bridge_sysctls(const LodgeNetwork *network, GError **error)
{
    const struct {
        const char *family, *key, *value;
    } settings[] = {
        {"ipv6", "accept_ra", "0"},
        {"ipv6", "autoconf", "0"},
        {"ipv6", "disable_ipv6", network->ip == LODGE_IP_4 ? "1" : "0"},
        {"ipv4", "route_localnet", network->mode == LODGE_NETWORK_NAT ? "1" : "0"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(settings); i++) {
        g_autofree char *key = g_strdup_printf("net/%s/conf/%s/%s", settings[i].family,
                                               network->bridge, settings[i].key);
        g_autofree char *now = lodge_sysctl_get(key);
        gboolean differs = now != NULL && !g_str_equal(now, settings[i].value);
        if (differs && !lodge_sysctl_set(key, settings[i].value, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static void
add_gateway(LodgeNet *net, int index, const LodgePrefix *prefix)
{
    LodgePrefix gateway = lodge_network_gateway(prefix);
    gateway.length = prefix->length;
    lodge_link_address(net->netlink, index, &gateway, TRUE);
}

static gboolean
add_addresses(LodgeNet *net, const LodgeNetwork *network, int index, GError **error)
{
    static const LodgePrefix link_local = {AF_INET6, {0xfe, 0x80}, 64};
    LodgePrefix prefix;
    if (!network->host) {
        return TRUE;
    }
    if (lodge_network_subnet(network, &prefix)) {
        add_gateway(net, index, &prefix);
    }
    if (lodge_network_prefix(network, &prefix)) {
        g_autofree char *mac = bridge_mac(net->store, network);
        LodgePrefix own = lodge_prefix_eui64(&link_local, mac);
        own.length = 64;
        lodge_link_address(net->netlink, index, &own, TRUE);
        add_gateway(net, index, &prefix);
    }
    lodge_net_put_delegated(net, network->name, index);
    return lodge_netlink_send(net->netlink, error);
}

/* Ports whose tap is gone are forgotten; those that lost the bridge get it back. */
static gboolean
mend_ports(LodgeNet *net, const LodgeNetwork *network, int bridge, GError **error)
{
    g_autoptr(GPtrArray) ports = lodge_net_ports(net->store, network->name);
    for (guint i = 0; i < ports->len; i++) {
        const LodgePort *port = ports->pdata[i];
        LodgeLinkInfo info;
        if (!lodge_link_look(net->netlink, port->link, &info)) {
            g_autofree char *path = lodge_store_network_run_path(net->store, network->name,
                                                                 "ports");
            g_autofree char *file = g_build_filename(path, port->link, NULL);
            if (network->mode == LODGE_NETWORK_ROUTED) {
                lodge_net_forget_routed(net, network, port);
            }
            unlink(file);
        } else if (bridge != 0 && info.master != bridge &&
                   !lodge_net_enslave(net, network, port, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
check_foreign_bridge(LodgeNet *net, const LodgeNetwork *network, int *out_index, GError **error)
{
    LodgeLinkInfo info;
    if (!lodge_link_look(net->netlink, network->bridge, &info)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                               "there is no bridge %s (`lodge network bridge IFACE` makes one of "
                               "the host's interface)",
                               network->bridge);
    }
    *out_index = info.index;
    return g_str_equal(info.kind, "bridge") ||
           lodge_error_set(error, LODGE_ERROR_USAGE, "%s is no bridge", network->bridge);
}

static gboolean
check_uplink(LodgeNet *net, const LodgeNetwork *network, GError **error)
{
    LodgeLinkInfo info;
    return network->uplink == NULL || lodge_link_look(net->netlink, network->uplink, &info) ||
           lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "there is no uplink %s", network->uplink);
}

static gboolean
make_links(LodgeNet *net, const LodgeNetwork *network, GError **error)
{
    int bridge = 0;
    if (network->mode == LODGE_NETWORK_BRIDGED && network->uplink != NULL) {
        return ensure_bridge(net, network, &bridge, error) &&
               lodge_net_take_uplink(net, network, bridge, error) &&
               mend_ports(net, network, bridge, error);
    }
    if (network->mode == LODGE_NETWORK_BRIDGED) {
        return check_foreign_bridge(net, network, &bridge, error) &&
               mend_ports(net, network, bridge, error);
    }
    if (network->mode == LODGE_NETWORK_ROUTED) {
        return mend_ports(net, network, 0, error);
    }
    return ensure_bridge(net, network, &bridge, error) && set_bridge_sysctls(network, error) &&
           add_addresses(net, network, bridge, error) && mend_ports(net, network, bridge, error) &&
           lodge_nat64_make_link(net, network, error);
}

static gboolean
bring_up(LodgeNet *net, const LodgeNetwork *network, GError **error)
{
    if (!check_uplink(net, network, error) || !lodge_nat64_check(network, error) ||
        !apply_sysctls(net, network, error) || !make_links(net, network, error) ||
        !lodge_net_reload_firewall(net, NULL, error)) {
        return FALSE;
    }
    lodge_foreign_open(net, network);
    return lodge_net_write_entries(net->store, network, error) &&
           lodge_net_write_services(net->store, network, error) &&
           touch(net->store, network->name, "up", "", error);
}

/* A stop that was killed may have told the keeper to end: it must not be taken for one that stays.
 */
static gboolean
finish_stop(const LodgeStore *store, const LodgeNetwork *network, GError **error)
{
    g_autofree char *marker = lodge_store_network_run_path(store, network->name, "stopping");
    return !g_file_test(marker, G_FILE_TEST_EXISTS) ||
           (lodge_net_stop_services(store, network, error) && lodge_tree_remove(marker, error));
}

static gboolean tear_down(LodgeNet *net, const char *name, GError **error);

gboolean
lodge_net_up(LodgeNet *net, const LodgeNetwork *network, GError **error)
{
    lodge_autofd lock = lodge_net_lock(net->store, network->name, error);
    if (lock < 0) {
        return FALSE;
    }
    gboolean is_new = lodge_net_state(net->store, network->name) == LODGE_NET_DOWN;
    g_autofree char *text = lodge_network_format(network);
    gboolean fine = finish_stop(net->store, network, error) &&
                    (!is_new || lodge_net_check_overlap(net, network, error)) &&
                    touch(net->store, network->name, "network.conf", text, error);
    if (fine && bring_up(net, network, error)) {
        return TRUE;
    }
    /* A repair that fails leaves what it found. */
    if (fine && is_new) {
        tear_down(net, network->name, NULL);
    }
    return lodge_error_prefix(error, "network %s", network->name);
}

/* --- Down ----------------------------------------------------------------------------------------
 */

static gboolean
refuse_users(LodgeNet *net, const char *name, GError **error)
{
    g_autoptr(GPtrArray) ports = lodge_net_ports(net->store, name);
    g_autoptr(GString) users = g_string_new(NULL);
    for (guint i = 0; i < ports->len; i++) {
        const LodgePort *port = ports->pdata[i];
        if (lodge_link_index(port->link) != 0) {
            g_string_append_printf(users, "%s%s", users->len > 0 ? ", " : "", port->guest);
        }
    }
    return users->len == 0 ||
           lodge_error_set(error, LODGE_ERROR_BUSY,
                           "network %s: running guests are on it: %s (stop them, or use --force)",
                           name, users->str);
}

/* Networks that are put on its bridge would lose it. */
static gboolean
refuse_sharers(LodgeNet *net, const char *name, GError **error)
{
    g_autoptr(LodgeNetwork) network = lodge_net_running(net->store, name);
    g_auto(GStrv) sharers = network != NULL ? lodge_net_sharers(net->store, network, TRUE) : NULL;
    if (sharers == NULL || sharers[0] == NULL) {
        return TRUE;
    }
    g_autofree char *list = g_strjoinv(", ", sharers);
    return lodge_error_set(error, LODGE_ERROR_BUSY,
                           "network %s: running networks are on its bridge %s: %s (stop them "
                           "first, or use --force)",
                           name, network->bridge, list);
}

static gboolean
remove_bridge(LodgeNet *net, const LodgeNetwork *network, GError **error)
{
    g_autofree char *alias = lodge_net_alias(net->store, network->name);
    LodgeLinkInfo info;
    if (!lodge_net_give_uplink_back(net, network, error) ||
        !lodge_nat64_remove_link(net, network, error)) {
        return FALSE;
    }
    if (!lodge_network_makes_bridge(network) ||
        !lodge_link_look(net->netlink, network->bridge, &info) || !g_str_equal(info.alias, alias)) {
        return TRUE;
    }
    lodge_link_delete(net->netlink, network->bridge, info.index);
    return lodge_netlink_send(net->netlink, error);
}

static void
remove_files(const LodgeStore *store, const char *name)
{
    /* Reservations stay: a guest may be just being made. The marker goes last. */
    static const char *const files[] = {
        "ports",          "dnsmasq.conf", "dnsmasq.pid", "dnsmasq.lock", "services",
        "state.json",     "tayga.conf",   "tayga.pid",   "unbound.conf", "unbound.pid",
        "delegated.json", "up",           "network.conf"};
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = lodge_store_network_run_path(store, name, files[i]);
        lodge_tree_remove(path, NULL);
    }
}

static gboolean
tear_down(LodgeNet *net, const char *name, GError **error)
{
    g_autoptr(LodgeNetwork) network = lodge_net_running(net->store, name);
    if (!touch(net->store, name, "stopping", "", error) ||
        (network != NULL && !lodge_net_stop_services(net->store, network, error))) {
        return FALSE;
    }
    if (network != NULL && network->mode == LODGE_NETWORK_ROUTED) {
        g_autoptr(GPtrArray) ports = lodge_net_ports(net->store, name);
        for (guint i = 0; i < ports->len; i++) {
            lodge_net_forget_routed(net, network, ports->pdata[i]);
        }
    }
    lodge_net_remove_delegated(net, name);
    if (network != NULL) {
        lodge_foreign_close(net, network);
    }
    if (!lodge_net_reload_firewall(net, name, error) ||
        (network != NULL && !remove_bridge(net, network, error)) ||
        !release_sysctls(net, name, error)) {
        return FALSE;
    }
    remove_files(net->store, name);
    return TRUE;
}

gboolean
lodge_net_down(LodgeNet *net, const char *name, gboolean force, GError **error)
{
    lodge_autofd lock = lodge_net_lock(net->store, name, error);
    if (lock < 0) {
        return FALSE;
    }
    if (lodge_net_state(net->store, name) == LODGE_NET_DOWN) {
        return TRUE;
    }
    return (force || (refuse_users(net, name, error) && refuse_sharers(net, name, error))) &&
           (tear_down(net, name, error) || lodge_error_prefix(error, "network %s", name));
}
