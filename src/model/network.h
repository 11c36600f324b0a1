/* A network's definition, <root>/networks/NAME.conf, and which addresses its guests get. */
#pragma once

#include <glib.h>

#include "model/prefix.h"
#include "model/schema.h"

/* In the order of the words in the key table of network.c. */
typedef enum {
    LODGE_NETWORK_NAT,
    LODGE_NETWORK_BRIDGED,
    LODGE_NETWORK_ROUTED,
    LODGE_NETWORK_ISOLATED,
} LodgeNetworkMode;
typedef enum { LODGE_IP_DUAL, LODGE_IP_4, LODGE_IP_6 } LodgeIpFamilies;

typedef enum { LODGE_ROUTED_ADDRESS, LODGE_ROUTED_SUBNET } LodgeRoutedForm;

typedef struct {
    char *name;
    char *description;
    int mode; /* LodgeNetworkMode */
    char *bridge;
    char *uplink; /* NULL: where the host's routes lead */
    guint vlan;   /* 0: none */
    gboolean vlan_aware;
    char *subnet; /* IPv4; NULL: none */
    char *prefix; /* IPv6; NULL: none */
    gboolean delegation;
    char *delegated; /* the /64 that the uplink's router has delegated to the network that runs: in
                        no definition, and NULL while there is none */
    int ip;          /* LodgeIpFamilies */
    char *range;     /* of the guests' IPv4 addresses */
    gboolean dhcp;
    char *dns; /* servers that are asked; NULL: the host's */
    char *domain;
    int each; /* LodgeRoutedForm */
    gboolean isolation;
    gboolean host;
    gboolean filter;
    guint mtu; /* 0: the kernel's choice */
    gboolean nat64;
    char *nat64_prefix;
    char *pxe_root;
    char *pxe_file;
    char *pxe_file_uefi; /* NULL: pxe_file */
    gboolean autostart;
} LodgeNetwork;

/* The sections of a network's file, ended by one without a name. */
const LodgeSection *lodge_network_sections(void);

/* Parse a definition. @name is the network's. INVALID error with line and reason. */
LodgeNetwork *lodge_network_parse(const char *name, const char *text, gsize length, GError **error);
void lodge_network_free(LodgeNetwork *network);

/* As the text of a definition, every key that has a value. Free with g_free. */
char *lodge_network_format(const LodgeNetwork *network);

/* "nat", "bridged" … */
const char *lodge_network_mode_word(const LodgeNetwork *network);

/* Does the network have addresses of a family, by its mode, `ip` and prefixes? The prefix goes to
 * @out_prefix (may be NULL). The third is the delegated one, which comes and goes while it runs. */
gboolean lodge_network_subnet(const LodgeNetwork *network, LodgePrefix *out_prefix);
gboolean lodge_network_prefix(const LodgeNetwork *network, LodgePrefix *out_prefix);
gboolean lodge_network_delegated(const LodgeNetwork *network, LodgePrefix *out_prefix);

/* Is the bridge, with its addresses and services, Lodge's to make? */
gboolean lodge_network_has_own_bridge(const LodgeNetwork *network);

/* Is the bridge Lodge's to make? Also that of a bridged network with an uplink of its own. */
gboolean lodge_network_makes_bridge(const LodgeNetwork *network);

/* Mode bridged with an uplink: the link that is the bridge's port, the uplink or, with vlan=10, its
 * "eth0.10". Free with g_free. */
char *lodge_network_uplink_port(const LodgeNetwork *network);

/* Do guests get their addresses from elsewhere, or give them to themselves, so that those that are
 * not in their definition are unknown? */
gboolean lodge_network_is_foreign(const LodgeNetwork *network);

/* Mode routed with each=30: the four addresses around @address, and with number 1 of them the host.
 */
LodgePrefix lodge_network_routed_subnet(const LodgePrefix *address);

/* Mode routed: the host's addresses on every tap. Guests have their gateway there, and dnsmasq
 * serves no interface without a prefix: the network's if it is a /64, so that guests may make their
 * address of it, else a unique local one made of the network's name. */
LodgePrefix lodge_network_routed_gateway(int family);
LodgePrefix lodge_network_routed_anchor(const LodgeNetwork *network);

/* The host's own address on it: number 1 of the prefix. */
LodgePrefix lodge_network_gateway(const LodgePrefix *prefix);

/* All prefixes, as owned by "network NAME", appended to @prefixes. */
void lodge_network_add_prefixes(const LodgeNetwork *network, GPtrArray *prefixes);

/* Where IPv6-only guests find the IPv4 world: nat64-prefix, or a /96 beside the network's prefix if
 * that is unique local, else one of 64:ff9b:1::/48. The second is where it shows @address, an IPv4
 * one; the third the translator's own address, which is in none of these. */
LodgePrefix lodge_network_nat64_prefix(const LodgeNetwork *network);
LodgePrefix lodge_network_nat64_address(const LodgeNetwork *network, const LodgePrefix *address);
LodgePrefix lodge_network_nat64_router(const LodgeNetwork *network);
/* With nat64=yes: the IPv4 addresses that guests have on the way, between translator and host. */
gboolean lodge_network_nat64_pool(const LodgeNetwork *network, LodgePrefix *out_pool);

/* Is it a routed one that gives each guest a subnet of four addresses (each=30)? */
gboolean lodge_network_is_in_fours(const LodgeNetwork *network);

/* What a guest's NIC was given. Empty where the network has no such family. */
typedef struct {
    char *address4;
    char *address6;
} LodgeNetworkLease;

/* Choose the addresses of NIC @nic of @guest: IPv4 the same for the same names wherever it is free;
 * IPv6 what the MAC makes of a /64, so that guests without DHCPv6 have it too. Pure: @taken is a
 * set (of char *) of the addresses that are in use or reserved, as text. A network without prefixes
 * gives none. BUSY error if the range is full. */
gboolean lodge_network_choose_addresses(const LodgeNetwork *network, const char *guest,
                                        const char *nic, const char *mac, GHashTable *taken,
                                        LodgeNetworkLease *out_lease, GError **error);
void lodge_network_lease_clear(LodgeNetworkLease *lease);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeNetwork, lodge_network_free)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LodgeNetworkLease, lodge_network_lease_clear)
