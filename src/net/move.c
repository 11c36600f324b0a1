/* Theory of operation: a tap changes networks under the guest that holds it.
 *
 * Rules are keyed by the tap's name, so both networks' can't be there at once, and without any the
 * guest could send what it likes: the tap is down from before the old rules go to after the new
 * ones are there. What fails on the way is undone in the same order. */
#include "config.h"

#include "base/base.h"
#include "net/address.h"
#include "net/attach.h"
#include "net/forward.h"
#include "net/link.h"
#include "net/net-private.h"

static gboolean
unplug(LodgeNet *net, const char *link, GError **error)
{
    int index = lodge_link_index(link);
    if (index == 0) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "there is no tap %s", link);
    }
    lodge_link_set_up(net->netlink, link, index, FALSE);
    lodge_link_set_master(net->netlink, link, index, 0);
    return lodge_netlink_send(net->netlink, error);
}

static gboolean
plug(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port, GError **error)
{
    lodge_autofd lock = lodge_net_lock(net->store, network->name, error);
    return lock >= 0 && lodge_net_check_port(net, network, port, error) &&
           lodge_net_admit(net, network, port, error) &&
           lodge_net_connect_tap(net, network, port, error);
}

gboolean
lodge_net_move(LodgeNet *net, const char *from, const LodgeNetwork *to, const LodgePort *port,
               GError **error)
{
    g_autoptr(LodgeNetwork) old = lodge_net_running(net->store, from);
    g_autoptr(LodgePort) before = lodge_net_read_port(net->store, from, port->link);
    if (old == NULL || before == NULL) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "network %s does not have it", from);
    }
    if (!unplug(net, port->link, error)) {
        return FALSE;
    }
    if (lodge_net_detach(net, from, port->link, error) && plug(net, to, port, error)) {
        lodge_net_release_elsewhere(net->store, to->name, port);
        return TRUE;
    }
    lodge_net_detach(net, to->name, port->link, NULL);
    plug(net, old, before, NULL);
    return FALSE;
}
