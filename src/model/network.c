#include "config.h"

#include "model/network.h"

#include <net/if.h>
#include <string.h>

#include "base/base.h"
#include "model/key-file.h"

enum {
    GATEWAY_NUMBER = 1,
    LEAST_SUBNET_LENGTH = 8,
    MOST_SUBNET_LENGTH = 30,
    MOST_POOL_LENGTH = 28,
    LEAST_ROUTED_LENGTH = 22, /* so many subnets of four dnsmasq is told of */
};

#define NETWORK(field) G_STRUCT_OFFSET(LodgeNetwork, field)

static const LodgeKey network_keys[] = {
    {"description", LODGE_TYPE_TEXT, NETWORK(description),
     .help = "Words of your own, shown by `lodge network show`."},
    {"mode", LODGE_TYPE_CHOICE, NETWORK(mode), "nat", "nat|bridged|routed|isolated",
     .help =
         "How guests reach the world. `nat`: they reach the outside by the host's addresses. "
         "`bridged`: they are on the "
         "segment of an existing bridge. `routed`: each has an address or prefix of its own that "
         "the host answers for. `isolated`: they reach each other only."},
    {"bridge", LODGE_TYPE_LINK, NETWORK(bridge),
     .help = "The bridge's name. Mode `bridged` without uplink= needs it, and it must exist; else "
             "Lodge makes it, as lb-NAME unless told."},
    {"uplink", LODGE_TYPE_LINK, NETWORK(uplink),
     .help = "The host's interface that leads outside. Mode `routed` needs it; mode `nat` follows "
             "the host's routes without it; in mode `bridged` a spare one becomes a port of the "
             "bridge that Lodge makes."},
    {"vlan", LODGE_TYPE_COUNT, NETWORK(vlan), "0", .most = 4094,
     .help =
         "Mode `bridged`: guests are in this VLAN. With uplink= its frames are tagged there, and "
         "the host may use the uplink itself, untagged. With bridge= it is a VLAN of that "
         "bridge, which must keep them apart. 0: none."},
    {"vlan-aware", LODGE_TYPE_BOOL, NETWORK(vlan_aware), "no",
     .help = "Mode `bridged` with uplink=: the bridge keeps VLANs apart. Its uplink carries all of "
             "them, tagged; each NIC says which it is in (vlan=, trunk= of the guest), and other "
             "networks may be VLANs of it (bridge= and vlan=)."},
    {"subnet", LODGE_TYPE_PREFIX4, NETWORK(subnet),
     .help =
         "The guests' IPv4 addresses, like 10.77.0.0/24. Chosen by `lodge network create` so that "
         "it overlaps nothing. With nat64=yes guests have them only on their way through the "
         "host."},
    {"prefix", LODGE_TYPE_PREFIX6, NETWORK(prefix),
     .help = "The guests' IPv6 addresses, a /64. `lodge network create` makes a unique local one."},
    {"delegation", LODGE_TYPE_BOOL, NETWORK(delegation), "no",
     .help =
         "Mode `nat`: ask the router on uplink= (without it, where the host's IPv6 routes lead) "
         "for a global /64 too, by DHCPv6 prefix delegation. Guests make a second address of it "
         "and their MAC, and reach the world untranslated. Those of prefix= stay, for names and "
         "forwards."},
    {"ip", LODGE_TYPE_CHOICE, NETWORK(ip), "dual", "dual|4|6",
     .help = "Which families guests get: both, IPv4 only, IPv6 only."},
    {"range", LODGE_TYPE_RANGE4, NETWORK(range),
     .help = "The IPv4 addresses that guests get, FIRST-LAST. Without it, all from the tenth on."},
    {"dhcp", LODGE_TYPE_BOOL, NETWORK(dhcp), "yes",
     .help = "Whether DHCP, router advertisements and DNS are served on it."},
    {"dns", LODGE_TYPE_ADDRESSES, NETWORK(dns),
     .help = "DNS servers that names are asked of, instead of the host's own."},
    {"domain", LODGE_TYPE_DOMAIN, NETWORK(domain), "lodge",
     .help = "Guests resolve each other as NAME and NAME.DOMAIN."},
    {"each", LODGE_TYPE_CHOICE, NETWORK(each), "32", "32|30",
     .help =
         "Mode `routed`: what a guest gets of subnet=. `32`: one address, its gateway outside of "
         "it. `30`: four, of which it has the third and the host the second, for systems that "
         "want their gateway within their subnet."},
    {"isolation", LODGE_TYPE_BOOL, NETWORK(isolation), "no",
     .help = "Whether guests see the gateway only, not each other; by each other's forwards only "
             "where the host's bridge-nf-call-iptables is 0."},
    {"host", LODGE_TYPE_BOOL, NETWORK(host), "yes",
     .help = "Mode `isolated`: whether the host has an address on it, and serves DHCP."},
    {"filter", LODGE_TYPE_BOOL, NETWORK(filter), "yes",
     .help = "Whether guests are held to their own MAC and addresses, and kept from answering as "
             "DHCP server or router."},
    {"mtu", LODGE_TYPE_COUNT, NETWORK(mtu), "0", .most = 65535,
     .help = "The largest packet, also told to guests. 0: the kernel's 1500."},
    {"nat64", LODGE_TYPE_BOOL, NETWORK(nat64), "no",
     .help = "With ip=6: lets guests reach IPv4 by NAT64 and DNS64 (needs tayga and unbound)."},
    {"nat64-prefix", LODGE_TYPE_PREFIX6, NETWORK(nat64_prefix),
     .help = "The /96 that IPv4 appears in. The well-known 64:ff9b::/96 can't reach private IPv4 "
             "addresses, nor those for documentation, so one of the network's own is the "
             "default."},
    {"pxe-root", LODGE_TYPE_PATH, NETWORK(pxe_root),
     .help = "A folder that is served by TFTP, for network boot by IPv4. Everybody must be able to "
             "read what is in it. With ip=4 iPXE waits 16 s for an IPv6 router before it boots."},
    {"pxe-file", LODGE_TYPE_PATH, NETWORK(pxe_file),
     .help = "The file in it that machines boot, like `pxelinux.0` or a script of iPXE's."},
    {"pxe-file-uefi", LODGE_TYPE_PATH, NETWORK(pxe_file_uefi),
     .help = "What machines with UEFI boot instead, like `ipxe.efi`."},
    {"autostart", LODGE_TYPE_BOOL, NETWORK(autostart), "yes",
     .help = "Start it when the host starts, before guests."},
};

static const LodgeSection sections[] = {
    {"network", FALSE, network_keys, G_N_ELEMENTS(network_keys), "The network."},
    {NULL},
};

const LodgeSection *
lodge_network_sections(void)
{
    return sections;
}

void
lodge_network_free(LodgeNetwork *network)
{
    if (network != NULL) {
        lodge_schema_clear(&sections[0], network);
        g_free(network->name);
        g_free(network->delegated);
        g_free(network);
    }
}

char *
lodge_network_format(const LodgeNetwork *network)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    for (gsize i = 0; i < G_N_ELEMENTS(network_keys); i++) {
        g_autofree char *value = lodge_schema_format(&network_keys[i], network);
        if (value != NULL) {
            g_key_file_set_string(file, "network", network_keys[i].name, value);
        }
    }
    return g_key_file_to_data(file, NULL, NULL);
}

const char *
lodge_network_mode_word(const LodgeNetwork *network)
{
    switch ((LodgeNetworkMode)network->mode) {
    case LODGE_NETWORK_NAT:
        return "nat";
    case LODGE_NETWORK_BRIDGED:
        return "bridged";
    case LODGE_NETWORK_ROUTED:
        return "routed";
    case LODGE_NETWORK_ISOLATED:
        return "isolated";
    }
    return "nat";
}

gboolean
lodge_network_subnet(const LodgeNetwork *network, LodgePrefix *out_prefix)
{
    LodgePrefix prefix;
    gboolean has = network->ip != LODGE_IP_6 && network->subnet != NULL &&
                   lodge_prefix_parse(network->subnet, &prefix, NULL);
    if (has && out_prefix != NULL) {
        *out_prefix = prefix;
    }
    return has;
}

gboolean
lodge_network_prefix(const LodgeNetwork *network, LodgePrefix *out_prefix)
{
    LodgePrefix prefix;
    gboolean has = network->ip != LODGE_IP_4 && network->prefix != NULL &&
                   lodge_prefix_parse(network->prefix, &prefix, NULL);
    if (has && out_prefix != NULL) {
        *out_prefix = prefix;
    }
    return has;
}

gboolean
lodge_network_delegated(const LodgeNetwork *network, LodgePrefix *out_prefix)
{
    return network->delegated != NULL && lodge_prefix_parse(network->delegated, out_prefix, NULL);
}

gboolean
lodge_network_has_own_bridge(const LodgeNetwork *network)
{
    return network->mode == LODGE_NETWORK_NAT || network->mode == LODGE_NETWORK_ISOLATED;
}

gboolean
lodge_network_makes_bridge(const LodgeNetwork *network)
{
    return lodge_network_has_own_bridge(network) ||
           (network->mode == LODGE_NETWORK_BRIDGED && network->uplink != NULL);
}

char *
lodge_network_uplink_port(const LodgeNetwork *network)
{
    if (network->vlan == 0) {
        return g_strdup(network->uplink);
    }
    g_autofree char *plain = g_strdup_printf("%s.%u", network->uplink, network->vlan);
    return strlen(plain) < IFNAMSIZ ? g_steal_pointer(&plain)
                                    : g_strdup_printf("lv-%08x", g_str_hash(plain));
}

gboolean
lodge_network_is_foreign(const LodgeNetwork *network)
{
    return network->mode == LODGE_NETWORK_BRIDGED ||
           (network->mode == LODGE_NETWORK_ISOLATED && !network->host);
}

LodgePrefix
lodge_network_routed_subnet(const LodgePrefix *address)
{
    LodgePrefix subnet = *address;
    subnet.length = 30;
    return lodge_prefix_network(&subnet);
}

LodgePrefix
lodge_network_routed_gateway(int family)
{
    static const LodgePrefix gateway4 = {AF_INET, {169, 254, 1, 1}, 32};
    static const LodgePrefix gateway6 = {AF_INET6, {0xfe, 0x80, [15] = 1}, 64};
    return family == AF_INET ? gateway4 : gateway6;
}

LodgePrefix
lodge_network_routed_anchor(const LodgeNetwork *network)
{
    LodgePrefix anchor = {AF_INET6, {0xfd, 'l', 'o', 'd', 'g', 'e', [15] = 1}, 64};
    LodgePrefix prefix;
    if (lodge_network_prefix(network, &prefix) && prefix.length == 64) {
        anchor = lodge_network_gateway(&prefix);
        anchor.length = 64;
        return anchor;
    }
    guint hash = g_str_hash(network->name);
    anchor.bytes[6] = (guint8)(hash >> 8);
    anchor.bytes[7] = (guint8)hash;
    return anchor;
}

LodgePrefix
lodge_network_gateway(const LodgePrefix *prefix)
{
    return lodge_prefix_host(prefix, GATEWAY_NUMBER);
}

void
lodge_network_add_prefixes(const LodgeNetwork *network, GPtrArray *prefixes)
{
    LodgePrefix prefix;
    g_autofree char *owner = g_strdup_printf("network %s", network->name);
    if (lodge_network_subnet(network, &prefix)) {
        g_ptr_array_add(prefixes, lodge_owned_prefix_new(&prefix, owner));
    }
    if (lodge_network_prefix(network, &prefix)) {
        g_ptr_array_add(prefixes, lodge_owned_prefix_new(&prefix, owner));
    }
    if (lodge_network_nat64_pool(network, &prefix)) {
        g_ptr_array_add(prefixes, lodge_owned_prefix_new(&prefix, owner));
        prefix = lodge_network_nat64_prefix(network);
        g_ptr_array_add(prefixes, lodge_owned_prefix_new(&prefix, owner));
    }
}

/* Of a unique local prefix the subnet 6464 is taken, with the network's own subnet behind:
 * fd77:1:2:1::/64 has fd77:1:2:6464:64:1::/96. Where others give out the subnets, as of a global
 * prefix, it is one of those that anybody may use for this (RFC 8215). */
static LodgePrefix
own_nat64_prefix(const LodgeNetwork *network)
{
    LodgePrefix prefix = {.family = AF_INET6};
    lodge_network_prefix(network, &prefix);
    if ((prefix.bytes[0] & 0xfe) == 0xfc) {
        memcpy(prefix.bytes + 10, prefix.bytes + 6, 2);
        memcpy(prefix.bytes + 6, "\x64\x64\0\x64", 4);
    } else {
        guint hash = g_str_hash(network->name);
        prefix = (LodgePrefix){AF_INET6, {0, 0x64, 0xff, 0x9b, 0, 1, 0x64, 0x64, 0, 0x64}, 96};
        prefix.bytes[10] = (guint8)(hash >> 8);
        prefix.bytes[11] = (guint8)hash;
    }
    prefix.length = 96;
    return prefix;
}

LodgePrefix
lodge_network_nat64_prefix(const LodgeNetwork *network)
{
    LodgePrefix prefix;
    return network->nat64_prefix != NULL && lodge_prefix_parse(network->nat64_prefix, &prefix, NULL)
               ? prefix
               : own_nat64_prefix(network);
}

LodgePrefix
lodge_network_nat64_address(const LodgeNetwork *network, const LodgePrefix *address)
{
    LodgePrefix shown = lodge_network_nat64_prefix(network);
    memcpy(shown.bytes + 12, address->bytes, 4);
    shown.length = 128;
    return shown;
}

LodgePrefix
lodge_network_nat64_router(const LodgeNetwork *network)
{
    LodgePrefix router = own_nat64_prefix(network);
    router.bytes[9] = 0;
    router.bytes[15] = 1;
    router.length = 128;
    return router;
}

gboolean
lodge_network_nat64_pool(const LodgeNetwork *network, LodgePrefix *out_pool)
{
    return network->nat64 && network->subnet != NULL &&
           lodge_prefix_parse(network->subnet, out_pool, NULL);
}

gboolean
lodge_network_is_in_fours(const LodgeNetwork *network)
{
    return network->mode == LODGE_NETWORK_ROUTED && network->each == LODGE_ROUTED_SUBNET;
}

/* --- Checks that no single row can make ------------------------------------------------------- */

static gboolean
check_prefixes(const LodgeNetwork *network, GError **error)
{
    LodgePrefix prefix;
    gboolean has_subnet = lodge_network_subnet(network, &prefix);
    if (has_subnet && network->mode != LODGE_NETWORK_ROUTED &&
        (prefix.length < LEAST_SUBNET_LENGTH || prefix.length > MOST_SUBNET_LENGTH)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "subnet: a /%u is no good: it must be /%d to /%d", prefix.length,
                               LEAST_SUBNET_LENGTH, MOST_SUBNET_LENGTH);
    }
    if (has_subnet && lodge_network_is_in_fours(network) &&
        (prefix.length > MOST_SUBNET_LENGTH || prefix.length < LEAST_ROUTED_LENGTH)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "subnet: each=30 needs a /%d to /%d, not a /%u", LEAST_ROUTED_LENGTH,
                               MOST_SUBNET_LENGTH, prefix.length);
    }
    gboolean has_prefix = lodge_network_prefix(network, &prefix);
    if (has_prefix && network->mode != LODGE_NETWORK_ROUTED && prefix.length != 64) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "prefix: a /64 is needed, as guests make addresses of nothing else");
    }
    if (lodge_network_has_own_bridge(network) && network->host && !has_subnet && !has_prefix) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "mode=%s needs subnet= or prefix= (ip=%s)",
                               lodge_network_mode_word(network),
                               network->ip == LODGE_IP_6   ? "6 wants prefix"
                               : network->ip == LODGE_IP_4 ? "4 wants subnet"
                                                           : "dual");
    }
    return TRUE;
}

static gboolean
check_range(const LodgeNetwork *network, GError **error)
{
    LodgePrefix subnet;
    if (network->range == NULL || !lodge_network_subnet(network, &subnet)) {
        return TRUE;
    }
    g_auto(GStrv) ends = g_strsplit(network->range, "-", 2);
    LodgePrefix first;
    LodgePrefix last;
    return (lodge_address_parse(ends[0], &first, error) &&
            lodge_address_parse(ends[1], &last, error) &&
            ((lodge_prefix_contains(&subnet, &first) && lodge_prefix_contains(&subnet, &last) &&
              lodge_prefix_number(&subnet, &first) > GATEWAY_NUMBER &&
              lodge_prefix_number(&subnet, &last) < lodge_prefix_size(&subnet) - 1) ||
             lodge_error_set(error, LODGE_ERROR_INVALID,
                             "range %s must lie within subnet %s, without its first two addresses "
                             "and its last",
                             network->range, network->subnet)));
}

static gboolean
check_nat64(const LodgeNetwork *network, GError **error)
{
    LodgePrefix prefix;
    if (!network->nat64) {
        return TRUE;
    }
    if (network->mode != LODGE_NETWORK_NAT || network->ip != LODGE_IP_6) {
        return lodge_error_set(
            error, LODGE_ERROR_INVALID,
            "nat64=yes is for mode=nat with ip=6: guests with IPv4 don't need it");
    }
    if (network->nat64_prefix != NULL && lodge_prefix_parse(network->nat64_prefix, &prefix, NULL) &&
        prefix.length != 96) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "nat64-prefix must be a /96");
    }
    if (!lodge_network_nat64_pool(network, &prefix) || prefix.length > MOST_POOL_LENGTH) {
        return lodge_error_set(
            error, LODGE_ERROR_INVALID,
            "nat64=yes needs subnet=, of at least a /%d: the IPv4 addresses that "
            "guests have on their way through the host",
            MOST_POOL_LENGTH);
    }
    return TRUE;
}

static gboolean
check_pxe(const LodgeNetwork *network, GError **error)
{
    gboolean has_file = network->pxe_file != NULL || network->pxe_file_uefi != NULL;
    if (!has_file && network->pxe_root == NULL) {
        return TRUE;
    }
    if (network->pxe_root == NULL || !has_file) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "network boot needs pxe-root= and pxe-file= or pxe-file-uefi=");
    }
    if (strchr(network->pxe_file != NULL ? network->pxe_file : "", ',') != NULL ||
        strchr(network->pxe_file_uefi != NULL ? network->pxe_file_uefi : "", ',') != NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "pxe-file=: DHCP can't name a file with a comma");
    }
    if (!g_path_is_absolute(network->pxe_root)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "pxe-root=%s must begin with /",
                               network->pxe_root);
    }
    return (lodge_network_has_own_bridge(network) && network->host && network->dhcp &&
            lodge_network_subnet(network, NULL)) ||
           lodge_error_set(
               error, LODGE_ERROR_INVALID,
               "pxe-root= is for networks on which Lodge serves DHCP by IPv4: mode=nat, "
               "or isolated with host=yes");
}

static gboolean
check_whole(const LodgeNetwork *network, GError **error)
{
    if (network->mode == LODGE_NETWORK_BRIDGED && network->bridge == NULL) {
        return lodge_error_set(
            error, LODGE_ERROR_INVALID,
            "mode=bridged needs bridge= (`lodge network bridge IFACE` makes one of "
            "the host's interface), or uplink= with an interface that the host does not need");
    }
    if (network->mode == LODGE_NETWORK_ROUTED && network->uplink == NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "mode=routed needs uplink=");
    }
    if (network->mode == LODGE_NETWORK_ROUTED && network->subnet == NULL &&
        network->prefix == NULL) {
        return lodge_error_set(
            error, LODGE_ERROR_INVALID,
            "mode=routed needs subnet= or prefix=: the addresses that are routed "
            "to this host");
    }
    if (network->vlan != 0 && network->mode != LODGE_NETWORK_BRIDGED) {
        return lodge_error_set(
            error, LODGE_ERROR_INVALID,
            "vlan=%u is for mode=bridged, with uplink= or bridge=", network->vlan);
    }
    if (network->vlan_aware &&
        (network->mode != LODGE_NETWORK_BRIDGED || network->uplink == NULL || network->vlan != 0)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "vlan-aware=yes is for mode=bridged with uplink=, without vlan=");
    }
    if (network->delegation &&
        (network->mode != LODGE_NETWORK_NAT || !network->dhcp || network->ip == LODGE_IP_4)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "delegation=yes is for mode=nat with IPv6 and dhcp=yes");
    }
    if (network->mtu != 0 && network->mtu < 576) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "mtu: %u is less than the least, 576",
                               network->mtu);
    }
    return check_pxe(network, error) && check_prefixes(network, error) &&
           check_range(network, error) && check_nat64(network, error);
}

static char *
default_bridge(const char *name)
{
    g_autofree char *plain = g_strconcat("lb-", name, NULL);
    return strlen(plain) < IFNAMSIZ ? g_steal_pointer(&plain)
                                    : g_strdup_printf("lb-%08x", g_str_hash(name));
}

LodgeNetwork *
lodge_network_parse(const char *name, const char *text, gsize length, GError **error)
{
    g_autofree char *what = g_strdup_printf("network %s", name);
    g_autoptr(LodgeKeyFile) file = lodge_key_file_parse(what, text, length, error);
    g_autoptr(LodgeNetwork) network = g_new0(LodgeNetwork, 1);
    network->name = g_strdup(name);
    if (file == NULL || !lodge_schema_check(sections, file, error) ||
        !lodge_schema_fill(&sections[0], file, "network", network, error)) {
        return NULL;
    }
    if (network->bridge == NULL && lodge_network_makes_bridge(network)) {
        network->bridge = default_bridge(name);
    }
    if (!check_whole(network, error)) {
        lodge_error_prefix(error, "%s", what);
        return NULL;
    }
    return g_steal_pointer(&network);
}
