#include "config.h"

#include "net/uplink.h"

#include <net/if.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/base.h"
#include "host/distro.h"
#include "host/system.h"
#include "net/link.h"

/* There if the uplink was down before the network came up. */
#define WAS_DOWN "uplink-was-down"

/* The host's own addresses would be lost behind a bridge. Link-local ones come by themselves. */
static gboolean
check_unused(LodgeNet *net, const LodgeNetwork *network, const LodgeLinkInfo *info, int bridge,
             GError **error)
{
    g_autoptr(GPtrArray)
        prefixes = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_owned_prefix_free);
    if (info->master != 0 && info->master != bridge) {
        char name[IF_NAMESIZE] = "?";
        if_indextoname((guint)info->master, name);
        return lodge_error_set(error, LODGE_ERROR_BUSY, "uplink %s is a port of %s already",
                               network->uplink, name);
    }
    if (!lodge_link_host_prefixes(net->netlink, NULL, prefixes, error)) {
        return FALSE;
    }
    for (guint i = 0; i < prefixes->len; i++) {
        const LodgeOwnedPrefix *owned = prefixes->pdata[i];
        if (g_str_equal(owned->owner, network->uplink)) {
            g_autofree char *text = lodge_prefix_format(&owned->prefix);
            return lodge_error_set(error, LODGE_ERROR_BUSY,
                                   "the host itself uses uplink %s (%s): `lodge network bridge %s` "
                                   "makes a bridge of it with all that it has",
                                   network->uplink, text, network->uplink);
        }
    }
    return TRUE;
}

static gboolean
mark_down(LodgeNet *net, const char *network, GError **error)
{
    g_autofree char *mark = lodge_store_network_run_path(net->store, network, WAS_DOWN);
    return lodge_file_write(mark, "", 0, 0644, LODGE_WRITE_NO_SYNC, error);
}

/* Why the kernel did not make it, if it knows no VLANs; the mend is `lodge check`'s. */
static gboolean
explain_vlan(GError **error)
{
    struct utsname system;
    LodgeDistro distro;
    if (uname(&system) < 0) {
        return FALSE;
    }
    g_autoptr(LodgeKernel) kernel = lodge_kernel_new("", system.release);
    LodgeModuleState state = lodge_kernel_module(kernel, "8021q", "VLAN_8021Q");
    if (state == LODGE_MODULE_BUILTIN || state == LODGE_MODULE_LOADED) {
        return FALSE;
    }
    lodge_distro_read("", &distro);
    g_autofree char *mend = state == LODGE_MODULE_LOADABLE
                                ? g_strdup_printf("%s modprobe 8021q",
                                                  lodge_distro_become_root(&distro))
                                : lodge_distro_kernel_with(&distro, "VLAN_8021Q");
    g_clear_error(error);
    return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                           "vlan= needs the kernel's 8021q, which is not there: %s", mend);
}

static gboolean
ensure_vlan(LodgeNet *net, const LodgeNetwork *network, int uplink, GError **error)
{
    g_autofree char *port = lodge_network_uplink_port(network);
    g_autofree char *alias = lodge_net_alias(net->store, network->name);
    LodgeVlanSpec spec = {.name = port, .uplink = uplink, .id = network->vlan, .alias = alias};
    LodgeLinkInfo info;
    if (lodge_link_look(net->netlink, port, &info)) {
        return g_str_equal(info.alias, alias) ||
               lodge_error_set(error, LODGE_ERROR_EXISTS,
                               "link %s exists already and is not this network's (uplink=%s "
                               "without vlan= makes use of it)",
                               port, port);
    }
    lodge_link_add_vlan(net->netlink, &spec);
    if (lodge_netlink_send(net->netlink, error)) {
        return TRUE;
    }
    explain_vlan(error);
    return FALSE;
}

gboolean
lodge_net_take_uplink(LodgeNet *net, const LodgeNetwork *network, int bridge, GError **error)
{
    LodgeLinkInfo info;
    if (!lodge_link_look(net->netlink, network->uplink, &info)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "there is no uplink %s",
                               network->uplink);
    }
    if ((network->vlan == 0 && !check_unused(net, network, &info, bridge, error)) ||
        (network->vlan != 0 && !ensure_vlan(net, network, info.index, error))) {
        return FALSE;
    }
    if (!(info.flags & IFF_UP) && !mark_down(net, network->name, error)) {
        return FALSE;
    }
    g_autofree char *port = lodge_network_uplink_port(network);
    int index = lodge_link_index(port);
    lodge_link_set_up(net->netlink, network->uplink, info.index, TRUE);
    lodge_link_set_master(net->netlink, port, index, bridge);
    if (network->vlan_aware) {
        LodgeVlanRange all = {2, 4094}; /* the first is the default, untagged */
        g_autoptr(GArray) trunk = g_array_new(FALSE, FALSE, sizeof all);
        g_array_append_val(trunk, all);
        LodgePortSpec spec = {.name = port, .index = index, .trunk = trunk};
        lodge_link_port_vlans(net->netlink, &spec);
    }
    lodge_link_set_up(net->netlink, port, index, TRUE);
    return lodge_netlink_send(net->netlink, error);
}

static void
remove_vlan(LodgeNet *net, const LodgeNetwork *network)
{
    g_autofree char *port = lodge_network_uplink_port(network);
    g_autofree char *alias = lodge_net_alias(net->store, network->name);
    LodgeLinkInfo info;
    if (lodge_link_look(net->netlink, port, &info) && g_str_equal(info.alias, alias)) {
        lodge_link_delete(net->netlink, port, info.index);
    }
}

/* Another network that is up on the same uplink, in another VLAN. NULL: none. */
static char *
other_user(LodgeNet *net, const LodgeNetwork *network)
{
    g_auto(GStrv) names = lodge_store_networks(net->store, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autoptr(LodgeNetwork) other = g_str_equal(names[i], network->name)
                                            ? NULL
                                            : lodge_net_running(net->store, names[i]);
        if (other != NULL && other->mode == LODGE_NETWORK_BRIDGED &&
            g_strcmp0(other->uplink, network->uplink) == 0) {
            return g_strdup(names[i]);
        }
    }
    return NULL;
}

gboolean
lodge_net_give_uplink_back(LodgeNet *net, const LodgeNetwork *network, GError **error)
{
    g_autofree char *mark = lodge_store_network_run_path(net->store, network->name, WAS_DOWN);
    LodgeLinkInfo info;
    if (network->uplink == NULL || network->mode != LODGE_NETWORK_BRIDGED ||
        !lodge_link_look(net->netlink, network->uplink, &info)) {
        return TRUE;
    }
    if (network->vlan != 0) {
        remove_vlan(net, network);
    } else if (info.master != 0 && info.master == lodge_link_index(network->bridge)) {
        lodge_link_set_master(net->netlink, network->uplink, info.index, 0);
    }
    gboolean was_down = g_file_test(mark, G_FILE_TEST_EXISTS);
    g_autofree char *heir = was_down ? other_user(net, network) : NULL;
    if (heir != NULL && !mark_down(net, heir, error)) {
        return FALSE;
    }
    if (was_down && heir == NULL) {
        lodge_link_set_up(net->netlink, network->uplink, info.index, FALSE);
    }
    if (!lodge_netlink_send(net->netlink, error)) {
        return FALSE;
    }
    unlink(mark);
    return TRUE;
}
