#include "config.h"

#include "net/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>

#include "base/base.h"
#include "model/vlan.h"

enum {
    DEFAULT_VLAN = 1, /* of bridges that keep VLANs apart */
};

int
lodge_link_index(const char *name)
{
    return (int)if_nametoindex(name);
}

static struct nl_msg *
link_message(LodgeNetlink *netlink, int type, int flags, int index, gboolean changes_up,
             gboolean up, const char *what)
{
    struct ifinfomsg head = {
        .ifi_family = AF_UNSPEC,
        .ifi_index = index,
        .ifi_flags = up ? IFF_UP : 0,
        .ifi_change = changes_up ? IFF_UP : 0,
    };
    struct nl_msg *message = lodge_netlink_message(netlink, type, flags, "%s", what);
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    return message;
}

static void
put_mac(struct nl_msg *message, const char *mac)
{
    guint8 octets[6];
    for (gsize i = 0; i < sizeof octets; i++) {
        octets[i] = (guint8)g_ascii_strtoull(mac + 3 * i, NULL, 16);
    }
    nla_put(message, IFLA_ADDRESS, sizeof octets, octets);
}

/* The kernel would give each link a link-local address of its own, after a second of detection. */
static void
put_no_addresses(struct nl_msg *message)
{
    struct nlattr *families = nla_nest_start(message, IFLA_AF_SPEC);
    struct nlattr *inet6 = nla_nest_start(message, AF_INET6);
    nla_put_u8(message, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    nla_nest_end(message, inet6);
    nla_nest_end(message, families);
}

void
lodge_link_add_bridge(LodgeNetlink *netlink, const LodgeBridgeSpec *spec)
{
    g_autofree char *what = g_strdup_printf("Making bridge %s", spec->name);
    struct nl_msg *message = link_message(netlink, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, TRUE,
                                          spec->up, what);
    nla_put_string(message, IFLA_IFNAME, spec->name);
    if (spec->mac != NULL) {
        put_mac(message, spec->mac);
    }
    if (spec->mtu != 0) {
        nla_put_u32(message, IFLA_MTU, spec->mtu);
    }
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "bridge");
    struct nlattr *data = nla_nest_start(message, IFLA_INFO_DATA);
    nla_put_u32(message, IFLA_BR_FORWARD_DELAY, 0);
    nla_put_u32(message, IFLA_BR_STP_STATE, 0);
    if (spec->vlan_aware) {
        nla_put_u8(message, IFLA_BR_VLAN_FILTERING, 1);
    }
    nla_nest_end(message, data);
    nla_nest_end(message, info);
    /* The kernel takes neither of these when a link is made. */
    message = link_message(netlink, RTM_NEWLINK, 0, 0, FALSE, FALSE, what);
    nla_put_string(message, IFLA_IFNAME, spec->name);
    if (spec->alias != NULL) {
        nla_put_string(message, IFLA_IFALIAS, spec->alias);
    }
    put_no_addresses(message);
}

void
lodge_link_add_pair(LodgeNetlink *netlink, const LodgePairSpec *spec)
{
    struct ifinfomsg head = {.ifi_family = AF_UNSPEC};
    struct nl_msg *message = lodge_netlink_message(netlink, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
                                                   "Making link %s", spec->outer);
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    nla_put_string(message, IFLA_IFNAME, spec->outer);
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "veth");
    struct nlattr *data = nla_nest_start(message, IFLA_INFO_DATA);
    struct nlattr *peer = nla_nest_start(message, VETH_INFO_PEER);
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    nla_put_string(message, IFLA_IFNAME, spec->inner);
    if (spec->inner_mac != NULL) {
        put_mac(message, spec->inner_mac);
    }
    if (spec->inner_pid != 0) {
        nla_put_u32(message, IFLA_NET_NS_PID, (guint32)spec->inner_pid);
    }
    nla_nest_end(message, peer);
    nla_nest_end(message, data);
    nla_nest_end(message, info);
}

void
lodge_link_put_vlan(struct nl_msg *message, const LodgeVlanSpec *spec)
{
    nla_put_string(message, IFLA_IFNAME, spec->name);
    nla_put_u32(message, IFLA_LINK, (guint32)spec->uplink);
    struct nlattr *info = nla_nest_start(message, IFLA_LINKINFO);
    nla_put_string(message, IFLA_INFO_KIND, "vlan");
    struct nlattr *data = nla_nest_start(message, IFLA_INFO_DATA);
    nla_put_u16(message, IFLA_VLAN_ID, (guint16)spec->id);
    nla_nest_end(message, data);
    nla_nest_end(message, info);
}

void
lodge_link_add_vlan(LodgeNetlink *netlink, const LodgeVlanSpec *spec)
{
    g_autofree char *what = g_strdup_printf("Making VLAN link %s", spec->name);
    struct nl_msg *message = link_message(netlink, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, FALSE,
                                          FALSE, what);
    lodge_link_put_vlan(message, spec);
    /* As with bridges, this is refused when a link is made. */
    message = link_message(netlink, RTM_NEWLINK, 0, 0, FALSE, FALSE, what);
    nla_put_string(message, IFLA_IFNAME, spec->name);
    nla_put_string(message, IFLA_IFALIAS, spec->alias);
    put_no_addresses(message);
}

void
lodge_link_delete(LodgeNetlink *netlink, const char *name, int index)
{
    g_autofree char *what = g_strdup_printf("Removing link %s", name);
    link_message(netlink, RTM_DELLINK, 0, index, FALSE, FALSE, what);
    lodge_netlink_tolerate(netlink, ENODEV);
}

void
lodge_link_set_up(LodgeNetlink *netlink, const char *name, int index, gboolean up)
{
    g_autofree char *what = g_strdup_printf("Setting link %s %s", name, up ? "up" : "down");
    link_message(netlink, RTM_NEWLINK, 0, index, TRUE, up, what);
}

void
lodge_link_set_master(LodgeNetlink *netlink, const char *name, int index, int master)
{
    g_autofree char *what = g_strdup_printf(
        master != 0 ? "Making %s a port" : "Taking %s out of its bridge", name);
    struct nl_msg *message = link_message(netlink, RTM_NEWLINK, 0, index, FALSE, FALSE, what);
    nla_put_u32(message, IFLA_MASTER, (guint32)master);
}

static void
put_port(LodgeNetlink *netlink, const LodgePortSpec *spec)
{
    g_autofree char *what = g_strdup_printf("Making %s a port", spec->name);
    struct nl_msg *message = link_message(netlink, RTM_NEWLINK, 0, spec->index, FALSE, FALSE, what);
    if (spec->master != 0) {
        nla_put_u32(message, IFLA_MASTER, (guint32)spec->master);
    }
    if (spec->mtu != 0) {
        nla_put_u32(message, IFLA_MTU, spec->mtu);
    }
    if (spec->alias != NULL) {
        nla_put_string(message, IFLA_IFALIAS, spec->alias);
    }
    put_no_addresses(message);
}

void
lodge_link_enslave(LodgeNetlink *netlink, const LodgePortSpec *spec)
{
    put_port(netlink, spec);
    struct nl_msg *message = lodge_netlink_message(netlink, RTM_SETLINK, 0, "Isolating port %s",
                                                   spec->name);
    struct ifinfomsg head = {.ifi_family = AF_BRIDGE, .ifi_index = spec->index};
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    struct nlattr *port = nla_nest_start(message, IFLA_PROTINFO | NLA_F_NESTED);
    nla_put_u8(message, IFLA_BRPORT_ISOLATED, spec->isolated);
    nla_put_u8(message, IFLA_BRPORT_MODE, spec->hairpin);
    nla_nest_end(message, port);
}

static void
put_vlans(struct nl_msg *message, guint16 flags, LodgeVlanRange range)
{
    gboolean is_one = range.first == range.last;
    struct bridge_vlan_info first = {.flags = flags, .vid = range.first};
    struct bridge_vlan_info last = {.flags = flags | BRIDGE_VLAN_INFO_RANGE_END, .vid = range.last};
    first.flags |= is_one ? 0 : BRIDGE_VLAN_INFO_RANGE_BEGIN;
    nla_put(message, IFLA_BRIDGE_VLAN_INFO, sizeof first, &first);
    if (!is_one) {
        nla_put(message, IFLA_BRIDGE_VLAN_INFO, sizeof last, &last);
    }
}

/* Begin a message about the port's VLANs; the caller ends the list. */
static struct nl_msg *
vlans_message(LodgeNetlink *netlink, int type, const LodgePortSpec *spec, struct nlattr **out_list)
{
    struct nl_msg *message = lodge_netlink_message(netlink, type, 0, "Setting the VLANs of port %s",
                                                   spec->name);
    struct ifinfomsg head = {.ifi_family = AF_BRIDGE, .ifi_index = spec->index};
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    *out_list = nla_nest_start(message, IFLA_AF_SPEC);
    return message;
}

void
lodge_link_port_vlans(LodgeNetlink *netlink, const LodgePortSpec *spec)
{
    struct nlattr *list;
    struct nl_msg *message;
    if (spec->vlan != 0 && spec->vlan != DEFAULT_VLAN) {
        message = vlans_message(netlink, RTM_DELLINK, spec, &list);
        put_vlans(message, 0, (LodgeVlanRange){DEFAULT_VLAN, DEFAULT_VLAN});
        nla_nest_end(message, list);
        lodge_netlink_tolerate(netlink, ENOENT);
    }
    message = vlans_message(netlink, RTM_SETLINK, spec, &list);
    for (guint i = 0; spec->trunk != NULL && i < spec->trunk->len; i++) {
        put_vlans(message, 0, g_array_index(spec->trunk, LodgeVlanRange, i));
    }
    if (spec->vlan != 0) {
        LodgeVlanRange own = {(guint16)spec->vlan, (guint16)spec->vlan};
        put_vlans(message, BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED, own);
    }
    nla_nest_end(message, list);
}

void
lodge_link_begin_routed(LodgeNetlink *netlink, const LodgePortSpec *spec)
{
    put_port(netlink, spec);
    lodge_link_set_up(netlink, spec->name, spec->index, TRUE);
}

static struct nl_msg *
put_address(LodgeNetlink *netlink, int index, const LodgePrefix *address, guint32 flags,
            gboolean add)
{
    gsize width = lodge_prefix_width(address) / 8;
    g_autofree char *text = lodge_prefix_format(address);
    struct ifaddrmsg head = {
        .ifa_family = (guint8)address->family,
        .ifa_prefixlen = (guint8)address->length,
        .ifa_index = (guint32)index,
        .ifa_scope = address->bytes[0] == 0xfe && address->bytes[1] == 0x80 ? RT_SCOPE_LINK
                                                                            : RT_SCOPE_UNIVERSE,
    };
    struct nl_msg *message = lodge_netlink_message(
        netlink, add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_REPLACE : 0,
        "%s address %s", add ? "Adding" : "Removing", text);
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    nla_put(message, IFA_LOCAL, (int)width, address->bytes);
    nla_put(message, IFA_ADDRESS, (int)width, address->bytes);
    flags |= address->family == AF_INET6 ? IFA_F_NODAD : 0;
    if (add && flags != 0) {
        nla_put_u32(message, IFA_FLAGS, flags);
    }
    if (add && address->family == AF_INET && address->length < 31) {
        guint32 bits;
        memcpy(&bits, address->bytes, sizeof bits);
        bits |= htonl(0xffffffffU >> address->length);
        nla_put(message, IFA_BROADCAST, sizeof bits, &bits);
    }
    lodge_netlink_tolerate(netlink, add ? EEXIST : EADDRNOTAVAIL);
    return message;
}

void
lodge_link_lent_address(LodgeNetlink *netlink, int index, const LodgePrefix *address,
                        guint32 preferred_s, guint32 valid_s)
{
    struct ifa_cacheinfo times = {.ifa_prefered = preferred_s, .ifa_valid = valid_s};
    struct nl_msg *message = put_address(netlink, index, address, IFA_F_NOPREFIXROUTE, TRUE);
    nla_put(message, IFA_CACHEINFO, sizeof times, &times);
}

void
lodge_link_address(LodgeNetlink *netlink, int index, const LodgePrefix *address, gboolean add)
{
    put_address(netlink, index, address, 0, add);
}

void
lodge_link_bare_address(LodgeNetlink *netlink, int index, const LodgePrefix *address)
{
    put_address(netlink, index, address, IFA_F_NOPREFIXROUTE, TRUE);
}

/* Begin the message, with its target; the rest of the way is the caller's. */
static struct nl_msg *
route_message(LodgeNetlink *netlink, struct rtmsg head, const LodgePrefix *target, gboolean add)
{
    g_autofree char *text = lodge_prefix_format(target);
    head.rtm_family = (guint8)target->family;
    head.rtm_dst_len = (guint8)target->length;
    head.rtm_table = RT_TABLE_MAIN;
    head.rtm_protocol = RTPROT_STATIC;
    struct nl_msg *message = lodge_netlink_message(
        netlink, add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_REPLACE : 0,
        "%s %sroute %s", add ? "Adding" : "Removing",
        head.rtm_type == RTN_UNREACHABLE ? "unreachable " : "", text);
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    nla_put(message, RTA_DST, (int)lodge_prefix_width(target) / 8, target->bytes);
    if (!add) {
        lodge_netlink_tolerate(netlink, ESRCH);
    }
    return message;
}

void
lodge_link_route(LodgeNetlink *netlink, int index, const LodgePrefix *target,
                 const LodgePrefix *gateway, gboolean add)
{
    gboolean is_direct = gateway == NULL && target->family == AF_INET;
    struct rtmsg head = {.rtm_scope = is_direct ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
                         .rtm_type = RTN_UNICAST};
    const struct rtmsg any = {.rtm_scope = RT_SCOPE_NOWHERE, .rtm_type = RTN_UNSPEC};
    struct nl_msg *message = route_message(netlink, add ? head : any, target, add);
    nla_put_u32(message, RTA_OIF, (guint32)index);
    if (gateway != NULL) {
        nla_put(message, RTA_GATEWAY, (int)lodge_prefix_width(target) / 8, gateway->bytes);
    }
}

void
lodge_link_unreachable(LodgeNetlink *netlink, const LodgePrefix *target, gboolean add)
{
    route_message(netlink, (struct rtmsg){.rtm_type = RTN_UNREACHABLE}, target, add);
}

void
lodge_link_proxy(LodgeNetlink *netlink, int index, const LodgePrefix *address, gboolean add)
{
    g_autofree char *text = lodge_prefix_format(address);
    struct ndmsg head = {
        .ndm_family = (guint8)address->family,
        .ndm_ifindex = index,
        .ndm_state = NUD_PERMANENT,
        .ndm_flags = NTF_PROXY,
    };
    struct nl_msg *message = lodge_netlink_message(
        netlink, add ? RTM_NEWNEIGH : RTM_DELNEIGH, add ? NLM_F_CREATE | NLM_F_REPLACE : 0,
        "%s for %s", add ? "Answering" : "Answering no more", text);
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    nla_put(message, NDA_DST, (int)lodge_prefix_width(address) / 8, address->bytes);
    if (!add) {
        lodge_netlink_tolerate(netlink, ENOENT);
    }
}

/* --- What is there -----------------------------------------------------------------------------
 */

typedef struct {
    GPtrArray *prefixes;
    int except;
} Gather;

static void
gather(Gather *gather_data, const LodgePrefix *prefix, int index)
{
    char name[IF_NAMESIZE] = "?";
    if (index != gather_data->except && if_indextoname((guint)index, name) != NULL &&
        !g_str_equal(name, "lo")) {
        g_ptr_array_add(gather_data->prefixes, lodge_owned_prefix_new(prefix, name));
    }
}

static void
take_route(struct nlmsghdr *answer, gpointer data)
{
    struct rtmsg *head = nlmsg_data(answer);
    struct nlattr *target = nlmsg_find_attr(answer, sizeof *head, RTA_DST);
    struct nlattr *link = nlmsg_find_attr(answer, sizeof *head, RTA_OIF);
    gboolean counts = (head->rtm_family == AF_INET || head->rtm_family == AF_INET6) &&
                      head->rtm_type == RTN_UNICAST && head->rtm_table == RT_TABLE_MAIN &&
                      head->rtm_dst_len > 0 && target != NULL && link != NULL;
    if (!counts) {
        return;
    }
    LodgePrefix prefix = {.family = head->rtm_family, .length = head->rtm_dst_len};
    memcpy(prefix.bytes, nla_data(target), MIN((gsize)nla_len(target), sizeof prefix.bytes));
    /* Each link has this one. */
    if (prefix.family == AF_INET6 && prefix.bytes[0] == 0xfe && prefix.bytes[1] == 0x80) {
        return;
    }
    gather(data, &prefix, (int)nla_get_u32(link));
}

gboolean
lodge_link_host_prefixes(LodgeNetlink *netlink, const char *except, GPtrArray *prefixes,
                         GError **error)
{
    /* Addresses of links that are up have routes; those of others come back with their link. */
    Gather data = {prefixes, except != NULL ? lodge_link_index(except) : 0};
    return lodge_netlink_dump(netlink, RTM_GETROUTE, AF_INET, take_route, &data, error) &&
           lodge_netlink_dump(netlink, RTM_GETROUTE, AF_INET6, take_route, &data, error);
}

typedef struct {
    const char *name;
    LodgeLinkInfo *info;
} Search;

static gboolean
keeps_vlans_apart(struct nlattr *data)
{
    struct nlattr *parts[IFLA_BR_MAX + 1];
    return data != NULL && nla_parse_nested(parts, IFLA_BR_MAX, data, NULL) >= 0 &&
           parts[IFLA_BR_VLAN_FILTERING] != NULL && nla_get_u8(parts[IFLA_BR_VLAN_FILTERING]) != 0;
}

static void
take_link(struct nlmsghdr *answer, gpointer data)
{
    Search *search = data;
    struct ifinfomsg *head = nlmsg_data(answer);
    struct nlattr *parts[IFLA_MAX + 1];
    struct nlattr *kinds[IFLA_INFO_MAX + 1];
    if (answer->nlmsg_type != RTM_NEWLINK ||
        nlmsg_parse(answer, sizeof *head, parts, IFLA_MAX, NULL) < 0 ||
        parts[IFLA_IFNAME] == NULL ||
        !g_str_equal(nla_get_string(parts[IFLA_IFNAME]), search->name)) {
        return;
    }
    LodgeLinkInfo *info = search->info;
    info->index = head->ifi_index;
    info->flags = head->ifi_flags;
    info->master = parts[IFLA_MASTER] != NULL ? (int)nla_get_u32(parts[IFLA_MASTER]) : 0;
    info->state = parts[IFLA_OPERSTATE] != NULL ? nla_get_u8(parts[IFLA_OPERSTATE]) : 0;
    info->mtu = parts[IFLA_MTU] != NULL ? nla_get_u32(parts[IFLA_MTU]) : 0;
    if (parts[IFLA_ADDRESS] != NULL && nla_len(parts[IFLA_ADDRESS]) == 6) {
        const guint8 *mac = nla_data(parts[IFLA_ADDRESS]);
        g_snprintf(info->mac, sizeof info->mac, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
                   mac[2], mac[3], mac[4], mac[5]);
    }
    if (parts[IFLA_IFALIAS] != NULL) {
        g_strlcpy(info->alias, nla_get_string(parts[IFLA_IFALIAS]), sizeof info->alias);
    }
    if (parts[IFLA_LINKINFO] != NULL &&
        nla_parse_nested(kinds, IFLA_INFO_MAX, parts[IFLA_LINKINFO], NULL) >= 0 &&
        kinds[IFLA_INFO_KIND] != NULL) {
        g_strlcpy(info->kind, nla_get_string(kinds[IFLA_INFO_KIND]), sizeof info->kind);
        info->vlan_aware = g_str_equal(info->kind, "bridge") &&
                           keeps_vlans_apart(kinds[IFLA_INFO_DATA]);
    }
}

gboolean
lodge_link_look(LodgeNetlink *netlink, const char *name, LodgeLinkInfo *out_info)
{
    LodgeLinkInfo info = {0};
    Search search = {name, &info};
    int index = lodge_link_index(name);
    if (index == 0 || !lodge_netlink_link(netlink, index, take_link, &search, NULL) ||
        info.index == 0) {
        return FALSE;
    }
    *out_info = info;
    return TRUE;
}

typedef struct {
    int bridge;
    GPtrArray *names;
} Ports;

static void
take_port(struct nlmsghdr *answer, gpointer data)
{
    Ports *ports = data;
    struct nlattr *master = nlmsg_find_attr(answer, sizeof(struct ifinfomsg), IFLA_MASTER);
    struct nlattr *name = nlmsg_find_attr(answer, sizeof(struct ifinfomsg), IFLA_IFNAME);
    if (answer->nlmsg_type == RTM_NEWLINK && master != NULL && name != NULL &&
        (int)nla_get_u32(master) == ports->bridge) {
        g_ptr_array_add(ports->names, g_strdup(nla_get_string(name)));
    }
}

char **
lodge_link_ports(LodgeNetlink *netlink, int bridge, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    Ports ports = {bridge, names};
    if (!lodge_netlink_dump(netlink, RTM_GETLINK, AF_UNSPEC, take_port, &ports, error)) {
        return NULL;
    }
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}
