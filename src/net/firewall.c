/* Theory of operation: the rules that every guest's frames pass.
 *
 * table bridge: frames from a filtered port come to `from_guest` in the prerouting hook, before the
 * bridge learns a source address from them, so a forged one poisons nothing. Whatever is not
 * provably the guest's own is dropped: by EtherType, then by the sets
 *   macs     port . MAC
 *   own4     port . MAC . IPv4        ARP senders and IPv4 sources
 *   own6     port . MAC . IPv6        IPv6 sources, and the targets of neighbour discovery
 *   target6  the same as raw bits: nft 1.0.6 has no name for a neighbour advertisement's target
 * On a bridged network DHCP is somebody else's, and a guest's addresses may be unknown: its port is
 * in open4 or open6 then, and only its MAC and its roles are checked.
 * Router advertisements hide behind extension headers and in fragments: `meta l4proto` looks behind
 * the first, and no fragment of hop limit 255, which neighbour discovery requires, passes at all.
 *
 * A port in `trunks` may send tags; which of them, the bridge decides, and behind a tag only its
 * MAC is checked. Where bridges hand frames to the inet hooks (bridge-nf-call), a guest that goes
 * to its own forward is sent back out of the port it came by: such ports are in `hairpin`, as the
 * bridge lets them.
 *
 * table inet: address translation, forwards, and which network may reach which. Its accepts bind no
 * other table, and it drops only what comes from or goes to Lodge's own networks. */
#include "config.h"

#include "net/firewall.h"

#include <string.h>

#include "base/base.h"
#include "net/nat64.h"

enum {
    LEAST_BURST_BYTES = 256 << 10,
};

static const char bridge_table[] =
    "    set ports { type ifname; }\n"
    "    set macs { type ifname . ether_addr; }\n"
    "    set own4 { type ifname . ether_addr . ipv4_addr; }\n"
    "    set own6 { type ifname . ether_addr . ipv6_addr; }\n"
    "    set open4 { type ifname; }\n"
    "    set open6 { type ifname; }\n"
    "    set target6 { typeof iifname . ether saddr . @th,64,128; }\n"
    "    set hairpin { type ifname . ifname; }\n"
    "    set trunks { type ifname; }\n"
    "    map rates_in { type ifname : limit; }\n"
    "    map rates_out { type ifname : limit; }\n"
    "\n"
    "    chain prerouting {\n"
    "        type filter hook prerouting priority -300; policy accept;\n"
    "        limit name iifname map @rates_out drop\n"
    "        iifname @ports jump from_guest\n"
    "    }\n"
    "    chain postrouting {\n"
    "        type filter hook postrouting priority 300; policy accept;\n"
    "        limit name oifname map @rates_in drop\n"
    "    }\n"
    "    chain input {\n"
    "        # Where STP is on, its frames come here without passing prerouting.\n"
    "        type filter hook input priority -300; policy accept;\n"
    "        iifname @ports ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop\n"
    "    }\n"
    "    chain forward {\n"
    "        # A port that may reach itself must not hear its own broadcasts.\n"
    "        type filter hook forward priority -300; policy accept;\n"
    "        iifname . oifname @hairpin ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 "
    "drop\n"
    "    }\n"
    "    chain from_guest {\n"
    "        iifname . ether saddr != @macs drop\n"
    "        ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop\n"
    "        iifname @trunks ether type 8021q accept\n"
    "        ether type { 8021q, 8021ad } drop\n"
    "        meta protocol vmap { arp : goto guest_arp, ip : goto guest_ip4, ip6 : goto guest_ip6 "
    "}\n"
    "        drop\n"
    "    }\n"
    "    chain guest_arp {\n"
    "        arp htype != 1 drop\n"
    "        arp ptype != 0x0800 drop\n"
    "        arp hlen != 6 drop\n"
    "        arp plen != 4 drop\n"
    "        iifname . arp saddr ether . arp saddr ip @own4 accept\n"
    "        iifname @open4 iifname . arp saddr ether @macs accept\n"
    "        arp operation request arp saddr ip 0.0.0.0 iifname . arp saddr ether @macs "
    "iifname . ether saddr . arp daddr ip @own4 accept\n"
    "        drop\n"
    "    }\n"
    "    chain guest_ip4 {\n"
    "        ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept\n"
    "        udp sport 67 drop\n"
    "        iifname @open4 accept\n"
    "        iifname . ether saddr . ip saddr @own4 accept\n"
    "        drop\n"
    "    }\n"
    "    chain guest_ip6 {\n"
    "        exthdr frag exists ip6 hoplimit 255 drop\n"
    "        exthdr frag exists ip6 daddr ff00::/8 drop\n"
    "        udp sport 547 drop\n"
    "        icmpv6 type { nd-router-advert, nd-redirect } drop\n"
    "        iifname @open6 accept\n"
    "        icmpv6 type nd-neighbor-advert iifname . ether saddr . @th,64,128 != @target6 drop\n"
    "        iifname . ether saddr . ip6 saddr @own6 accept\n"
    "        ip6 saddr != :: drop\n"
    "        icmpv6 type nd-neighbor-solicit iifname . ether saddr . @th,64,128 @target6 accept\n"
    "        icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept\n"
    "        drop\n"
    "    }\n";

static const char inet_table[] =
    "    set own_bridges { type ifname; }\n"
    "    set masked4 { type ifname; }\n"
    "    set masked6 { type ifname; }\n"
    "    set natted { type ifname; }\n"
    "    set nets4 { type ipv4_addr; flags interval; }\n"
    "    set nets6 { type ipv6_addr; flags interval; }\n"
    "    set isolated { type ifname; }\n"
    "    set translators { type ifname; }\n"
    "    set translated { type ifname . ifname; }\n"
    "    set within { type ifname . ifname; }\n"
    "    set apart { type ifname . ifname; }\n"
    "    set routed_ports { type ifname; }\n"
    "    set own4 { type ifname . ether_addr . ipv4_addr; }\n"
    "    set own6 { type ifname . ether_addr . ipv6_addr; }\n"
    "    set more4 { type ifname . ipv4_addr; flags interval; }\n"
    "    set more6 { type ifname . ipv6_addr; flags interval; }\n"
    "    map rates_in { type ifname : limit; }\n"
    "    map rates_out { type ifname : limit; }\n"
    "    map forward_any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
    "    map forward_any6 { type inet_proto . inet_service : ipv6_addr . inet_service; }\n"
    "    map forward_at4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; "
    "}\n"
    "    map forward_at6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; "
    "}\n"
    "\n"
    "    chain guard {\n"
    "        type filter hook prerouting priority raw; policy accept;\n"
    "        # The bridges route loopback addresses for the sake of forwards; guests must not use "
    "it.\n"
    "        iifname @own_bridges ip daddr 127.0.0.0/8 drop\n"
    "        limit name iifname map @rates_out drop\n"
    "        iifname @routed_ports goto routed_guest\n"
    "    }\n"
    "    chain routed_guest {\n"
    "        ip daddr 127.0.0.0/8 drop\n"
    "        ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept\n"
    "        udp sport { 67, 547 } drop\n"
    "        icmpv6 type { nd-router-advert, nd-redirect } drop\n"
    "        iifname . ether saddr . ip saddr @own4 accept\n"
    "        iifname . ether saddr . ip6 saddr @own6 accept\n"
    "        iifname . ip saddr @more4 accept\n"
    "        iifname . ip6 saddr @more6 accept\n"
    "        ip6 saddr :: ip6 hoplimit 255 icmpv6 type nd-neighbor-solicit accept\n"
    "        ip6 saddr :: icmpv6 type { mld-listener-report, mld2-listener-report } accept\n"
    "        drop\n"
    "    }\n"
    "    chain forwards {\n"
    "        meta l4proto { tcp, udp } dnat ip to ip daddr . meta l4proto . th dport map "
    "@forward_at4\n"
    "        meta l4proto { tcp, udp } dnat ip6 to ip6 daddr . meta l4proto . th dport map "
    "@forward_at6\n"
    "        meta l4proto { tcp, udp } dnat ip to meta l4proto . th dport map @forward_any4\n"
    "        meta l4proto { tcp, udp } dnat ip6 to meta l4proto . th dport map @forward_any6\n"
    "    }\n"
    "    chain prerouting {\n"
    "        type nat hook prerouting priority dstnat; policy accept;\n"
    "        fib daddr type local jump forwards\n"
    "    }\n"
    "    chain output {\n"
    "        type nat hook output priority -100; policy accept;\n"
    "        fib daddr type local jump forwards\n"
    "    }\n"
    "    chain tell {\n"
    "        # A guest that reaches another by a forward is on the same segment: the kernel would "
    "tell\n"
    "        # it to go there by itself, where no forward is.\n"
    "        type filter hook output priority filter; policy accept;\n"
    "        oifname @own_bridges icmp type redirect drop\n"
    "        oifname @own_bridges icmpv6 type nd-redirect drop\n"
    "    }\n"
    "    chain leave {\n"
    "        type filter hook postrouting priority srcnat; policy accept;\n"
    "        limit name oifname map @rates_in drop\n"
    "    }\n"
    "    chain postrouting {\n"
    "        type nat hook postrouting priority srcnat; policy accept;\n"
    "        # From a guest to a guest by a forward. What comes by bridge-nf-call has no iifname "
    "here.\n"
    "        oifname @natted ct status dnat ip saddr @nets4 masquerade\n"
    "        oifname @natted ct status dnat ip6 saddr @nets6 masquerade\n"
    "        oifname @natted ip saddr 127.0.0.0/8 masquerade\n"
    "        oifname @natted accept\n"
    "        # Each guest keeps its address, to get one of its own by which answers come back.\n"
    "        oifname @translators accept\n"
    "        meta nfproto ipv4 iifname @masked4 masquerade\n"
    "        # Only these: an address that was delegated goes out as it is.\n"
    "        iifname @masked6 ip6 saddr fc00::/7 masquerade\n"
    "    }\n"
    "    chain forward {\n"
    "        type filter hook forward priority filter; policy accept;\n"
    "        ct status dnat accept\n"
    "        # The same bridge on both sides: frames that bridge-nf-call hands to this table.\n"
    "        iifname . oifname @within accept\n"
    "        iifname . oifname @apart drop\n"
    "        meta nfproto ipv6 iifname . oifname @translated accept\n"
    "        iifname @isolated drop\n"
    "        oifname @isolated drop\n"
    "        oifname @natted ct state established,related accept\n"
    "        oifname @natted drop\n"
    "        oifname @translators ct state established,related accept\n"
    "        oifname @translators drop\n"
    "    }\n";

char *
lodge_firewall_table(const char *store_root)
{
    if (g_str_equal(store_root, "/var/lib/lodge")) {
        return g_strdup("lodge");
    }
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, store_root, -1);
    return g_strdup_printf("lodge-%.8s", digest);
}

/* Where elements are written: "add element FAMILY TABLE SET { … }", or delete. */
typedef struct {
    GString *text;
    const char *table;
    const char *verb;
} Elements;

static void element(const Elements *elements, const char *family, const char *set,
                    const char *format, ...) G_GNUC_PRINTF(4, 5);

static void
element(const Elements *elements, const char *family, const char *set, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *content = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_string_append_printf(elements->text, "%s element %s %s %s { %s }\n", elements->verb, family,
                           elements->table, set, content);
}

/* fe80:… and fd77:… as the raw bits of target6. */
static char *
hex_of(const LodgePrefix *address)
{
    GString *text = g_string_new("0x");
    for (gsize i = 0; i < sizeof address->bytes; i++) {
        g_string_append_printf(text, "%02x", address->bytes[i]);
    }
    return g_string_free(text, FALSE);
}

static void
own6(const Elements *elements, const char *family, const LodgePort *port,
     const LodgePrefix *address)
{
    g_autofree char *text = lodge_prefix_format_address(address);
    g_autofree char *hex = hex_of(address);
    element(elements, family, "own6", "\"%s\" . %s . %s", port->link, port->mac, text);
    if (g_str_equal(family, "bridge")) {
        element(elements, family, "target6", "\"%s\" . %s . %s", port->link, port->mac, hex);
    }
}

/* The addresses that are the port's: given ones, and what its MAC makes of the prefixes. */
static void
own_addresses(const Elements *elements, const char *family, const LodgeNetwork *network,
              const LodgePort *port)
{
    static const LodgePrefix link_local = {AF_INET6, {0xfe, 0x80}, 64};
    LodgePrefix prefix;
    LodgePrefix address;
    if (port->address4 != NULL) {
        element(elements, family, "own4", "\"%s\" . %s . %s", port->link, port->mac,
                port->address4);
    }
    if (network->ip == LODGE_IP_4) {
        return;
    }
    LodgePrefix made = {.family = AF_INET6};
    address = lodge_prefix_eui64(&link_local, port->mac);
    own6(elements, family, port, &address);
    if (lodge_network_prefix(network, &prefix) && prefix.length == 64) {
        made = lodge_prefix_eui64(&prefix, port->mac);
        own6(elements, family, port, &made);
    }
    if (lodge_network_delegated(network, &prefix)) {
        LodgePrefix lent = lodge_prefix_eui64(&prefix, port->mac);
        own6(elements, family, port, &lent);
    }
    if (port->address6 != NULL && lodge_address_parse(port->address6, &address, NULL) &&
        !lodge_prefix_equal(&address, &made)) {
        own6(elements, family, port, &address);
    }
}

static void
forward_element(const Elements *elements, const LodgePort *port, const LodgeForward *forward)
{
    const char *protocol = forward->udp ? "udp" : "tcp";
    gboolean is_any4 = !forward->address_given || g_str_equal(forward->address, "0.0.0.0");
    gboolean is_any6 = !forward->address_given || g_str_equal(forward->address, "::");
    gboolean is_ipv6 = strchr(forward->address, ':') != NULL;
    if (is_any4 && port->address4 != NULL) {
        element(elements, "inet", "forward_any4", "%s . %u : %s . %u", protocol, forward->host_port,
                port->address4, forward->guest_port);
    }
    if (is_any6 && port->address6 != NULL) {
        element(elements, "inet", "forward_any6", "%s . %u : %s . %u", protocol, forward->host_port,
                port->address6, forward->guest_port);
    }
    const char *target = is_ipv6 ? port->address6 : port->address4;
    if (!is_any4 && !is_any6 && target != NULL) {
        element(elements, "inet", is_ipv6 ? "forward_at6" : "forward_at4", "%s . %s . %u : %s . %u",
                forward->address, protocol, forward->host_port, target, forward->guest_port);
    }
}

/* A limit of its own for each direction. It is made before it is named, and gone after. */
static void
rate_elements(const Elements *elements, const char *family, const LodgePort *port,
              const char *direction, guint64 rate)
{
    if (rate == 0) {
        return;
    }
    g_autofree char *map = g_strconcat("rates_", direction, NULL);
    /* An eighth of a second's worth may come at once: less would starve TCP. */
    guint64 burst = MAX(rate / 8, (guint64)LEAST_BURST_BYTES);
    gboolean adds = g_str_equal(elements->verb, "add");
    if (adds) {
        g_string_append_printf(elements->text,
                               "add limit %s %s %s-%s { rate over %" G_GUINT64_FORMAT
                               " bytes/second burst %" G_GUINT64_FORMAT " bytes ; }\n",
                               family, elements->table, direction, port->link, rate, burst);
    }
    element(elements, family, map, "\"%s\" : \"%s-%s\"", port->link, direction, port->link);
    if (!adds) {
        g_string_append_printf(elements->text, "delete limit %s %s %s-%s\n", family,
                               elements->table, direction, port->link);
    }
}

static void
route_elements(const Elements *elements, const LodgePort *port)
{
    g_autoptr(GArray) routes = lodge_prefixes_parse(port->route != NULL ? port->route : "", NULL);
    for (guint i = 0; routes != NULL && i < routes->len; i++) {
        const LodgePrefix *route = &g_array_index(routes, LodgePrefix, i);
        g_autofree char *text = lodge_prefix_format(route);
        element(elements, "inet", route->family == AF_INET6 ? "more6" : "more4", "\"%s\" . %s",
                port->link, text);
    }
}

static void
port_elements(const Elements *elements, const LodgeNetwork *network, const LodgePort *port)
{
    gboolean is_routed = network->mode == LODGE_NETWORK_ROUTED;
    if (network->filter && port->filter) {
        const char *family = is_routed ? "inet" : "bridge";
        own_addresses(elements, family, network, port);
        if (lodge_network_is_foreign(network) && port->address4 == NULL) {
            element(elements, family, "open4", "\"%s\"", port->link);
        }
        if (lodge_network_is_foreign(network) && port->address6 == NULL) {
            element(elements, family, "open6", "\"%s\"", port->link);
        }
        if (is_routed) {
            route_elements(elements, port);
        }
        if (!is_routed) {
            element(elements, family, "macs", "\"%s\" . %s", port->link, port->mac);
        }
        if (port->trunk != NULL) {
            element(elements, family, "trunks", "\"%s\"", port->link);
        }
        element(elements, family, is_routed ? "routed_ports" : "ports", "\"%s\"", port->link);
    }
    rate_elements(elements, is_routed ? "inet" : "bridge", port, "in", port->rate_in_bytes);
    rate_elements(elements, is_routed ? "inet" : "bridge", port, "out", port->rate_out_bytes);
    if (network->mode != LODGE_NETWORK_NAT || port->forward == NULL) {
        return;
    }
    element(elements, "bridge", "hairpin", "\"%s\" . \"%s\"", port->link, port->link);
    g_autoptr(GPtrArray) forwards = lodge_forwards_parse(port->forward, NULL);
    for (guint i = 0; forwards != NULL && i < forwards->len; i++) {
        forward_element(elements, port, forwards->pdata[i]);
    }
}

static void
network_elements(const Elements *elements, const LodgeNetwork *network)
{
    static const LodgePrefix unique_local = {AF_INET6, {0xfc}, 7};
    const char *bridge = network->bridge;
    LodgePrefix prefix;
    if (bridge == NULL) {
        return;
    }
    element(elements, "inet", network->isolation ? "apart" : "within", "\"%s\" . \"%s\"", bridge,
            bridge);
    if (lodge_network_has_own_bridge(network)) {
        element(elements, "inet", "own_bridges", "\"%s\"", bridge);
    }
    if (network->mode == LODGE_NETWORK_ISOLATED) {
        element(elements, "inet", "isolated", "\"%s\"", bridge);
    }
    if (network->mode != LODGE_NETWORK_NAT) {
        return;
    }
    element(elements, "inet", "natted", "\"%s\"", bridge);
    if (lodge_network_subnet(network, NULL)) {
        element(elements, "inet", "nets4", "%s", network->subnet);
        element(elements, "inet", "masked4", "\"%s\"", bridge);
    }
    if (lodge_network_prefix(network, NULL)) {
        element(elements, "inet", "nets6", "%s", network->prefix);
    }
    if (network->delegated != NULL) {
        element(elements, "inet", "nets6", "%s", network->delegated);
    }
    /* A prefix that the world routes to us needs no translation. */
    if (lodge_network_prefix(network, &prefix) && lodge_prefix_contains(&unique_local, &prefix)) {
        element(elements, "inet", "masked6", "\"%s\"", bridge);
    }
    if (network->nat64) {
        g_autofree char *link = lodge_nat64_link(network->name);
        element(elements, "inet", "own_bridges", "\"%s\"", link);
        element(elements, "inet", "translators", "\"%s\"", link);
        element(elements, "inet", "translated", "\"%s\" . \"%s\"", bridge, link);
        element(elements, "inet", "masked4", "\"%s\"", link);
    }
}

char *
lodge_firewall_render(const char *table, const GPtrArray *networks)
{
    g_autoptr(GString) text = g_string_new(NULL);
    static const char *const families[] = {"bridge", "inet"};
    for (gsize i = 0; i < G_N_ELEMENTS(families); i++) {
        g_string_append_printf(text, "add table %s %s\ndelete table %s %s\n", families[i], table,
                               families[i], table);
    }
    if (networks->len == 0) {
        return g_string_free(g_steal_pointer(&text), FALSE);
    }
    g_string_append_printf(text, "table bridge %s {\n%s}\ntable inet %s {\n%s}\n", table,
                           bridge_table, table, inet_table);
    Elements elements = {text, table, "add"};
    for (guint i = 0; i < networks->len; i++) {
        const LodgeFirewallNetwork *one = networks->pdata[i];
        network_elements(&elements, one->network);
        for (guint p = 0; p < one->ports->len; p++) {
            port_elements(&elements, one->network, one->ports->pdata[p]);
        }
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

char *
lodge_firewall_render_add(const char *table, const LodgeNetwork *network, const LodgePort *port)
{
    GString *text = g_string_new(NULL);
    port_elements(&(Elements){text, table, "add"}, network, port);
    return g_string_free(text, FALSE);
}

/* nft 1.0.6 can't delete what may be absent: each is added first, which what is there allows. */
char *
lodge_firewall_render_delete(const char *table, const LodgeNetwork *network, const LodgePort *port)
{
    GString *text = g_string_new(NULL);
    port_elements(&(Elements){text, table, "add"}, network, port);
    port_elements(&(Elements){text, table, "delete"}, network, port);
    return g_string_free(text, FALSE);
}
