/* Reading: the kernel's lists of links and of addresses, put together. */
#include "agent/nic.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/netlink.h"

enum {
    NICS_AT_MOST = 32,
    FILL_ADDRESSES_AT_MOST = 256,
};

typedef struct {
    int index;
    char name[NIC_NAME_BYTES];
    char mac[3 * MAC_BYTES];
    bool is_up;
} Nic;

typedef struct {
    int index;
    char text[INET6_ADDRSTRLEN + 4];
} Address;

typedef struct {
    Nic nics[NICS_AT_MOST];
    unsigned nic_count;
    Address addresses[FILL_ADDRESSES_AT_MOST];
    unsigned address_count;
} Lists;

bool
nic_parse_address(const char *text, NicAddress *out_address)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t length = slash != NULL ? (size_t)(slash - text) : strlen(text);
    NicAddress result = {0};
    if (length >= sizeof address) {
        return false;
    }
    memcpy(address, text, length);
    address[length] = '\0';
    result.family = strchr(address, ':') != NULL ? AF_INET6 : AF_INET;
    result.prefix = result.family == AF_INET6 ? 128 : 32;
    if (inet_pton(result.family, address, result.bytes) != 1) {
        return false;
    }
    if (slash != NULL) {
        char *end;
        unsigned long prefix = strtoul(slash + 1, &end, 10);
        if (end == slash + 1 || *end != '\0' || prefix > result.prefix) {
            return false;
        }
        result.prefix = (uint8_t)prefix;
    }
    *out_address = result;
    return true;
}

bool
nic_parse_mac(const char *text, uint8_t out_mac[MAC_BYTES])
{
    unsigned bytes[MAC_BYTES];
    int length = 0;
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
               &bytes[4], &bytes[5], &length) != MAC_BYTES ||
        text[length] != '\0') {
        return false;
    }
    for (int i = 0; i < MAC_BYTES; i++) {
        out_mac[i] = (uint8_t)bytes[i];
    }
    return true;
}

static void
add_link(const struct nlmsghdr *answer, void *data)
{
    Lists *lists = data;
    const struct ifinfomsg *link = NLMSG_DATA(answer);
    const struct rtattr *attributes[IFLA_MAX + 1];
    netlink_attributes(answer, sizeof *link, attributes, COUNT(attributes));
    const struct rtattr *name = attributes[IFLA_IFNAME], *mac = attributes[IFLA_ADDRESS];
    if (answer->nlmsg_type != RTM_NEWLINK || (link->ifi_flags & IFF_LOOPBACK) != 0 ||
        name == NULL || lists->nic_count == NICS_AT_MOST) {
        return;
    }
    Nic *nic = &lists->nics[lists->nic_count++];
    nic->index = link->ifi_index;
    nic->is_up = (link->ifi_flags & IFF_UP) != 0;
    snprintf(nic->name, sizeof nic->name, "%.*s", (int)RTA_PAYLOAD(name),
             (const char *)RTA_DATA(name));
    if (mac != NULL && link->ifi_type == ARPHRD_ETHER && RTA_PAYLOAD(mac) == MAC_BYTES) {
        const uint8_t *bytes = RTA_DATA(mac);
        snprintf(nic->mac, sizeof nic->mac, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1],
                 bytes[2], bytes[3], bytes[4], bytes[5]);
    }
}

static void
add_address(const struct nlmsghdr *answer, void *data)
{
    Lists *lists = data;
    const struct ifaddrmsg *address = NLMSG_DATA(answer);
    const struct rtattr *attributes[IFA_MAX + 1];
    char text[INET6_ADDRSTRLEN];
    netlink_attributes(answer, sizeof *address, attributes, COUNT(attributes));
    const struct rtattr *own = attributes[IFA_LOCAL] != NULL ? attributes[IFA_LOCAL]
                                                             : attributes[IFA_ADDRESS];
    size_t bytes = address->ifa_family == AF_INET ? 4 : 16;
    if (answer->nlmsg_type != RTM_NEWADDR || own == NULL || RTA_PAYLOAD(own) != bytes ||
        lists->address_count == FILL_ADDRESSES_AT_MOST ||
        inet_ntop(address->ifa_family, RTA_DATA(own), text, sizeof text) == NULL) {
        return;
    }
    Address *added = &lists->addresses[lists->address_count++];
    added->index = (int)address->ifa_index;
    snprintf(added->text, sizeof added->text, "%s/%u", text, (unsigned)address->ifa_prefixlen);
}

bool
nic_fill_addresses(Message *message)
{
    static Lists lists;
    struct ifinfomsg any_link = {.ifi_family = AF_UNSPEC};
    struct ifaddrmsg any_address = {.ifa_family = AF_UNSPEC};
    memset(&lists, 0, sizeof lists);
    int fd = netlink_open(0);
    if (fd < 0) {
        return false;
    }
    bool fine = netlink_dump(fd, RTM_GETLINK, &any_link, sizeof any_link, add_link, &lists) == 0 &&
                netlink_dump(fd, RTM_GETADDR, &any_address, sizeof any_address, add_address,
                             &lists) == 0;
    close(fd);
    for (unsigned i = 0; fine && i < lists.nic_count; i++) {
        const Nic *nic = &lists.nics[i];
        message_text(message, FIELD_NIC, nic->name);
        message_text(message, FIELD_MAC, nic->mac);
        message_number(message, FIELD_LINK, nic->is_up);
        for (unsigned j = 0; j < lists.address_count; j++) {
            if (lists.addresses[j].index == nic->index) {
                message_text(message, FIELD_ADDRESS, lists.addresses[j].text);
            }
        }
    }
    return fine;
}
