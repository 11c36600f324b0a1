/* The guest's NICs: what they have, and giving them what the host says. */
#pragma once

#include "agent/message.h"

enum {
    MAC_BYTES = 6,
    NIC_NAME_BYTES = 16,
    NIC_ADDRESSES_AT_MOST = 16,
    NIC_GATEWAYS_AT_MOST = 2,
};

/* An address with the length of its prefix. */
typedef struct {
    int family; /* AF_INET, AF_INET6 */
    uint8_t bytes[16];
    uint8_t prefix;
} NicAddress;

/* What a NIC is to become. */
typedef struct {
    char chosen[64]; /* a name, a MAC, or "" for the only one */
    bool has_mac;
    uint8_t mac[MAC_BYTES];
    int link; /* 1 up, 0 down, -1 as it is */
    bool dhcp;
    NicAddress addresses[NIC_ADDRESSES_AT_MOST];
    unsigned address_count; /* 0: they stay as they are */
    NicAddress gateways[NIC_GATEWAYS_AT_MOST];
    unsigned gateway_count;
} NicOrder;

/* "10.77.0.12/24"; without the prefix it is the address's own length. False if it is none. */
bool nic_parse_address(const char *text, NicAddress *out_address);
bool nic_parse_mac(const char *text, uint8_t out_mac[MAC_BYTES]);

/* Add the fields of ADDRESSES, all NICs but loopback. False if the kernel does not say. */
bool nic_fill_addresses(Message *message);

/* Carry it out. 0, or an errno, with what failed in @out_what (a static text). */
int nic_apply(const NicOrder *order, const char **out_what);
