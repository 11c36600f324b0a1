/* Writing: a NIC's MAC, link, addresses and way out. No process is started. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/netlink.h"
#include "agent/nic.h"

enum {
    OLD_ADDRESSES_AT_MOST = 64,
};

/* The search for the NIC that is meant. */
typedef struct {
    const NicOrder *order;
    bool by_mac;
    uint8_t mac[MAC_BYTES];
    unsigned found;
    int index;
    unsigned flags;
} Search;

typedef struct {
    int index;
    unsigned count;
    struct {
        struct ifaddrmsg about;
        uint8_t bytes[16];
    } old[OLD_ADDRESSES_AT_MOST];
} OldAddresses;

static size_t
address_bytes(int family)
{
    return family == AF_INET ? 4 : 16;
}

static void
consider_link(const struct nlmsghdr *answer, void *data)
{
    Search *search = data;
    const struct ifinfomsg *link = NLMSG_DATA(answer);
    const struct rtattr *attributes[IFLA_MAX + 1];
    netlink_attributes(answer, sizeof *link, attributes, COUNT(attributes));
    const struct rtattr *name = attributes[IFLA_IFNAME], *mac = attributes[IFLA_ADDRESS];
    if (answer->nlmsg_type != RTM_NEWLINK || (link->ifi_flags & IFF_LOOPBACK) != 0 ||
        name == NULL) {
        return;
    }
    bool fits = search->order->chosen[0] == '\0' ? link->ifi_type == ARPHRD_ETHER
                : search->by_mac
                    ? mac != NULL && RTA_PAYLOAD(mac) == MAC_BYTES &&
                          memcmp(RTA_DATA(mac), search->mac, MAC_BYTES) == 0
                    : strncmp(RTA_DATA(name), search->order->chosen, RTA_PAYLOAD(name)) == 0;
    if (fits) {
        search->found++;
        search->index = link->ifi_index;
        search->flags = link->ifi_flags;
    }
}

static int
set_flags(int fd, int index, bool up)
{
    NetlinkMessage message;
    struct ifinfomsg link = {
        .ifi_index = index, .ifi_change = IFF_UP, .ifi_flags = up ? IFF_UP : 0};
    netlink_begin(&message, RTM_NEWLINK, 0, &link, sizeof link);
    return netlink_order(fd, &message);
}

/* An address that the kernel made of the present MAC. */
static void
consider_local(const struct nlmsghdr *answer, void *data)
{
    OldAddresses *all = data;
    const struct ifaddrmsg *about = NLMSG_DATA(answer);
    if (answer->nlmsg_type == RTM_NEWADDR && (int)about->ifa_index == all->index &&
        about->ifa_family == AF_INET6 && about->ifa_scope == RT_SCOPE_LINK) {
        all->count++;
    }
}

static bool
has_local(int fd, int index)
{
    static OldAddresses all;
    struct ifaddrmsg any = {.ifa_family = AF_INET6};
    all.index = index;
    all.count = 0;
    netlink_dump(fd, RTM_GETADDR, &any, sizeof any, consider_local, &all);
    return all.count > 0;
}

/* A NIC that has been in use goes down for it, or it would keep the link-local address of its old
 * MAC. */
static int
set_mac(int fd, const Search *nic, const uint8_t mac[MAC_BYTES])
{
    NetlinkMessage message;
    struct ifinfomsg link = {.ifi_index = nic->index};
    netlink_begin(&message, RTM_NEWLINK, 0, &link, sizeof link);
    netlink_attribute(&message, IFLA_ADDRESS, mac, MAC_BYTES);
    bool is_up = (nic->flags & IFF_UP) != 0;
    int problem = is_up && has_local(fd, nic->index) ? EBUSY : netlink_order(fd, &message);
    if (problem == EBUSY && is_up) {
        /* Nor can every driver while it is up. */
        set_flags(fd, nic->index, false);
        problem = netlink_order(fd, &message);
        set_flags(fd, nic->index, true);
    }
    return problem;
}

static void
remember_address(const struct nlmsghdr *answer, void *data)
{
    OldAddresses *all = data;
    const struct ifaddrmsg *about = NLMSG_DATA(answer);
    const struct rtattr *attributes[IFA_MAX + 1];
    netlink_attributes(answer, sizeof *about, attributes, COUNT(attributes));
    const struct rtattr *own = attributes[IFA_LOCAL] != NULL ? attributes[IFA_LOCAL]
                                                             : attributes[IFA_ADDRESS];
    bool is_own = about->ifa_family == AF_INET ||
                  (about->ifa_family == AF_INET6 && about->ifa_scope == RT_SCOPE_UNIVERSE);
    if (answer->nlmsg_type != RTM_NEWADDR || (int)about->ifa_index != all->index || !is_own ||
        own == NULL || RTA_PAYLOAD(own) != address_bytes(about->ifa_family) ||
        all->count == OLD_ADDRESSES_AT_MOST) {
        return;
    }
    all->old[all->count].about = *about;
    memcpy(all->old[all->count++].bytes, RTA_DATA(own), RTA_PAYLOAD(own));
}

static bool
is_wanted(const NicOrder *order, const struct ifaddrmsg *about, const uint8_t *bytes)
{
    for (unsigned i = 0; i < order->address_count; i++) {
        const NicAddress *address = &order->addresses[i];
        if (address->family == about->ifa_family && address->prefix == about->ifa_prefixlen &&
            memcmp(address->bytes, bytes, address_bytes(address->family)) == 0) {
            return true;
        }
    }
    return false;
}

static void
remove_others(int fd, int index, const NicOrder *order)
{
    static OldAddresses all;
    struct ifaddrmsg any = {.ifa_family = AF_UNSPEC};
    all.index = index;
    all.count = 0;
    netlink_dump(fd, RTM_GETADDR, &any, sizeof any, remember_address, &all);
    for (unsigned i = 0; i < all.count; i++) {
        NetlinkMessage message;
        const struct ifaddrmsg *about = &all.old[i].about;
        if (is_wanted(order, about, all.old[i].bytes)) {
            continue;
        }
        netlink_begin(&message, RTM_DELADDR, 0, about, sizeof *about);
        netlink_attribute(&message, IFA_LOCAL, all.old[i].bytes, address_bytes(about->ifa_family));
        netlink_order(fd, &message);
    }
}

static int
add_address(int fd, int index, const NicAddress *address)
{
    NetlinkMessage message;
    size_t bytes = address_bytes(address->family);
    struct ifaddrmsg about = {.ifa_family = (uint8_t)address->family,
                              .ifa_prefixlen = address->prefix,
                              .ifa_index = (uint32_t)index};
    netlink_begin(&message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &about, sizeof about);
    netlink_attribute(&message, IFA_LOCAL, address->bytes, bytes);
    netlink_attribute(&message, IFA_ADDRESS, address->bytes, bytes);
    if (address->family == AF_INET && address->prefix < 31) {
        uint8_t broadcast[4];
        for (int i = 0; i < 4; i++) {
            int fixed = address->prefix - 8 * i;
            uint8_t host_part = (uint8_t)(fixed >= 8 ? 0 : fixed <= 0 ? 0xff : 0xff >> fixed);
            broadcast[i] = address->bytes[i] | host_part;
        }
        netlink_attribute(&message, IFA_BROADCAST, broadcast, sizeof broadcast);
    }
    return netlink_order(fd, &message);
}

static int
set_gateway(int fd, int index, const NicAddress *gateway)
{
    NetlinkMessage message;
    uint32_t out = (uint32_t)index;
    struct rtmsg route = {.rtm_family = (uint8_t)gateway->family,
                          .rtm_table = RT_TABLE_MAIN,
                          .rtm_protocol = RTPROT_STATIC,
                          .rtm_scope = RT_SCOPE_UNIVERSE,
                          .rtm_type = RTN_UNICAST};
    netlink_begin(&message, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &route, sizeof route);
    netlink_attribute(&message, RTA_GATEWAY, gateway->bytes, address_bytes(gateway->family));
    netlink_attribute(&message, RTA_OIF, &out, sizeof out);
    return netlink_order(fd, &message);
}

/* busybox's client asks anew when told so. networkd does by itself when the link comes up, and
 * others have no way that does without a process: the host takes the link down and up for them. */
static int
renew_lease(void)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    int problem = EOPNOTSUPP;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        char path[300], name[32];
        int pid = atoi(entry->d_name);
        snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
        if (pid > 1 && read_text(path, name, sizeof name) > 0 && strcmp(name, "udhcpc\n") == 0 &&
            kill(pid, SIGUSR1) == 0) {
            problem = 0;
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return problem;
}

static int
find(int fd, const NicOrder *order, Search *search)
{
    struct ifinfomsg any = {.ifi_family = AF_UNSPEC};
    *search = (Search){.order = order};
    search->by_mac = nic_parse_mac(order->chosen, search->mac);
    int problem = netlink_dump(fd, RTM_GETLINK, &any, sizeof any, consider_link, search);
    return problem != 0 ? problem : search->found == 1 ? 0 : ENODEV;
}

static int
apply(int fd, const NicOrder *order, const char **out_what)
{
    Search nic;
    *out_what = "no such NIC, or more than one";
    int problem = find(fd, order, &nic);
    if (problem == 0 && order->has_mac) {
        *out_what = "its MAC";
        problem = set_mac(fd, &nic, order->mac);
    }
    if (problem == 0 && order->address_count > 0) {
        *out_what = "its addresses";
        remove_others(fd, nic.index, order);
    }
    for (unsigned i = 0; problem == 0 && i < order->address_count; i++) {
        problem = add_address(fd, nic.index, &order->addresses[i]);
    }
    if (problem == 0 && order->link >= 0) {
        *out_what = "its link";
        problem = set_flags(fd, nic.index, order->link == 1);
    }
    for (unsigned i = 0; problem == 0 && i < order->gateway_count; i++) {
        *out_what = "its gateway";
        problem = set_gateway(fd, nic.index, &order->gateways[i]);
    }
    if (problem == 0 && order->dhcp) {
        *out_what = "no DHCP client that can be told to ask anew";
        problem = renew_lease();
    }
    return problem;
}

int
nic_apply(const NicOrder *order, const char **out_what)
{
    *out_what = "its kernel interface";
    if (settings.dry) {
        return 0;
    }
    int fd = netlink_open(0);
    if (fd < 0) {
        return errno;
    }
    int problem = apply(fd, order, out_what);
    close(fd);
    return problem;
}
