#include "config.h"

#include "net/uplink.h"

#include <net/if.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
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

gboolean
lodge_net_take_uplink(LodgeNet *net, const LodgeNetwork *network, int bridge, GError **error)
{
    LodgeLinkInfo info;
    if (!lodge_link_look(net->netlink, network->uplink, &info)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "there is no uplink %s",
                               network->uplink);
    }
    if (!check_unused(net, network, &info, bridge, error)) {
        return FALSE;
    }
    if (!(info.flags & IFF_UP)) {
        g_autofree char *mark = lodge_store_network_run_path(net->store, network->name, WAS_DOWN);
        if (!lodge_file_write(mark, "", 0, 0644, LODGE_WRITE_NO_SYNC, error)) {
            return FALSE;
        }
    }
    lodge_link_set_master(net->netlink, network->uplink, info.index, bridge);
    lodge_link_set_up(net->netlink, network->uplink, info.index, TRUE);
    return lodge_netlink_send(net->netlink, error);
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
    if (info.master != 0 && info.master == lodge_link_index(network->bridge)) {
        lodge_link_set_master(net->netlink, network->uplink, info.index, 0);
    }
    if (g_file_test(mark, G_FILE_TEST_EXISTS)) {
        lodge_link_set_up(net->netlink, network->uplink, info.index, FALSE);
    }
    if (!lodge_netlink_send(net->netlink, error)) {
        return FALSE;
    }
    unlink(mark);
    return TRUE;
}
