/* Theory of operation: guests without a bridge.
 *
 * A guest's addresses are routed to its tap, and the uplink answers for them (proxy ARP and
 * neighbour discovery), so that who is outside takes the guest for a neighbour. The gateway has the
 * same addresses on each tap, so guests need no prefix of their own. What route= names besides is
 * routed to the guest's own address, behind which it may have what it likes. For an address, and
 * for each of a small IPv4 prefix, the uplink answers too; larger ones, and IPv6 prefixes, must be
 * routed to this host by who is outside. */
#include "config.h"

#include "net/routed.h"

#include <string.h>

#include "base/base.h"
#include "net/link.h"
#include "net/sysctl.h"

enum {
    MOST_ANSWERED = 64, /* addresses of a prefix that the uplink answers for, one by one */
    LEAST_LENGTH4 = 8,
    LEAST_LENGTH6 = 16,
};

/* Those of route=; empty if there are none. */
static GArray *
routes_of(const LodgePort *port)
{
    GArray *routes = lodge_prefixes_parse(port->route != NULL ? port->route : "", NULL);
    return routes != NULL ? routes : g_array_new(FALSE, FALSE, sizeof(LodgePrefix));
}

/* The host's side of a tap: the gateway, and what dnsmasq needs to serve it. */
static void
set_gateways(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port, gboolean add)
{
    int index = lodge_link_index(port->link);
    LodgePrefix address;
    if (port->address4 != NULL && lodge_address_parse(port->address4, &address, NULL)) {
        LodgePrefix gateway = lodge_network_routed_gateway(AF_INET);
        if (network->each == LODGE_ROUTED_SUBNET) {
            LodgePrefix subnet = lodge_network_routed_subnet(&address);
            gateway = lodge_network_gateway(&subnet);
            gateway.length = subnet.length;
        }
        lodge_link_address(net->netlink, index, &gateway, add);
    }
    if (port->address6 != NULL) {
        LodgePrefix gateway = lodge_network_routed_gateway(AF_INET6);
        LodgePrefix anchor = lodge_network_routed_anchor(network);
        lodge_link_address(net->netlink, index, &gateway, add);
        if (add) {
            lodge_link_bare_address(net->netlink, index, &anchor);
        } else {
            lodge_link_address(net->netlink, index, &anchor, FALSE);
        }
    }
}

static void
answer_for(LodgeNet *net, int uplink, const LodgePrefix *prefix, gboolean add)
{
    guint64 count = lodge_prefix_size(prefix);
    for (guint64 i = 0; count <= MOST_ANSWERED && i < count; i++) {
        LodgePrefix address = lodge_prefix_host(prefix, i);
        if (address.family == AF_INET || count == 1) {
            lodge_link_proxy(net->netlink, uplink, &address, add);
        }
    }
}

/* The uplink answers for what is the port's, or no more. */
static void
answer(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port, gboolean add)
{
    const char *const addresses[] = {port->address4, port->address6};
    int uplink = network->uplink != NULL ? lodge_link_index(network->uplink) : 0;
    g_autoptr(GArray) routes = routes_of(port);
    for (gsize i = 0; uplink != 0 && i < G_N_ELEMENTS(addresses); i++) {
        LodgePrefix address;
        if (addresses[i] != NULL && lodge_address_parse(addresses[i], &address, NULL)) {
            answer_for(net, uplink, &address, add);
        }
    }
    for (guint i = 0; uplink != 0 && i < routes->len; i++) {
        answer_for(net, uplink, &g_array_index(routes, LodgePrefix, i), add);
    }
}

static void
add_routes(LodgeNet *net, const LodgePort *port, int index)
{
    const char *const addresses[] = {port->address4, port->address6};
    g_autoptr(GArray) routes = routes_of(port);
    for (gsize i = 0; i < G_N_ELEMENTS(addresses); i++) {
        LodgePrefix address;
        if (addresses[i] == NULL || !lodge_address_parse(addresses[i], &address, NULL)) {
            continue;
        }
        lodge_link_route(net->netlink, index, &address, NULL, TRUE);
        for (guint r = 0; r < routes->len; r++) {
            const LodgePrefix *route = &g_array_index(routes, LodgePrefix, r);
            if (route->family == address.family) {
                lodge_link_route(net->netlink, index, route, &address, TRUE);
            }
        }
    }
}

gboolean
lodge_net_route_tap(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port,
                    GError **error)
{
    int index = lodge_link_index(port->link);
    g_autofree char *accept_ra = g_strdup_printf("net/ipv6/conf/%s/accept_ra", port->link);
    g_autofree char *alias = g_strdup_printf("lodge guest %s nic %s", port->guest, port->nic);
    LodgePortSpec spec = {.name = port->link, .index = index, .mtu = network->mtu, .alias = alias};
    lodge_sysctl_set(accept_ra, "0", NULL);
    lodge_link_begin_routed(net->netlink, &spec);
    set_gateways(net, network, port, TRUE);
    add_routes(net, port, index);
    answer(net, network, port, TRUE);
    return lodge_netlink_send(net->netlink, error);
}

void
lodge_net_forget_routed(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port)
{
    answer(net, network, port, FALSE);
    if (lodge_link_index(port->link) != 0) {
        set_gateways(net, network, port, FALSE);
    }
    lodge_netlink_send(net->netlink, NULL);
}

/* What the prefix must not overlap: all that the host has, or, if it is the network's own, what its
 * guests have. The port's own tap may be there already. */
static gboolean
check_free(const LodgeNetwork *network, const LodgePort *port, const LodgePrefix *route,
           const GPtrArray *host, GError **error)
{
    LodgePrefix own;
    gboolean is_within = (lodge_network_subnet(network, &own) &&
                          lodge_prefix_contains(&own, route)) ||
                         (lodge_network_prefix(network, &own) &&
                          lodge_prefix_contains(&own, route));
    g_autofree char *owner = g_strdup_printf("guest %s", port->guest);
    g_autoptr(GPtrArray) taken = g_ptr_array_new();
    for (guint i = 0; i < host->len; i++) {
        LodgeOwnedPrefix *one = host->pdata[i];
        gboolean is_tap = g_str_has_prefix(one->owner, "lg");
        if (!g_str_equal(one->owner, port->link) && (is_tap || !is_within)) {
            g_ptr_array_add(taken, one);
        }
    }
    return lodge_prefix_check_free(route, owner, taken, error);
}

gboolean
lodge_net_check_routes(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port,
                       GError **error)
{
    g_autoptr(GPtrArray)
        host = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_owned_prefix_free);
    g_autoptr(GArray) routes = routes_of(port);
    if (routes->len == 0) {
        return TRUE;
    }
    if (network->mode != LODGE_NETWORK_ROUTED) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "route=%s is for networks with mode=routed, not %s", port->route,
                               lodge_network_mode_word(network));
    }
    if (!lodge_link_host_prefixes(net->netlink, NULL, host, error)) {
        return FALSE;
    }
    for (guint i = 0; i < routes->len; i++) {
        const LodgePrefix *route = &g_array_index(routes, LodgePrefix, i);
        gboolean is_ipv6 = route->family == AF_INET6;
        if ((is_ipv6 ? port->address6 : port->address4) == NULL) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "route=%s: the guest has no IPv%c address to which it could be "
                                   "routed",
                                   port->route, is_ipv6 ? '6' : '4');
        }
        if (route->length < (is_ipv6 ? LEAST_LENGTH6 : LEAST_LENGTH4)) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "route=%s: a /%u would take the host's own ways", port->route,
                                   route->length);
        }
        if (!check_free(network, port, route, host, error)) {
            return FALSE;
        }
    }
    return TRUE;
}
