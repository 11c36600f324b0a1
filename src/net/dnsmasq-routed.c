/* Theory of operation: DHCP where each guest is alone on its tap.
 *
 * One dnsmasq serves all taps, lg*, also those that come later. A guest's address is on no subnet
 * of the tap's: shared-network tells that who asks where 169.254.1.1 is (or the anchor, for IPv6)
 * may have an address of subnet=. It learns a mask of full length, and a route to the gateway
 * before that through it. With each=30 the tap has an address of the guest's subnet, and there is
 * nothing out of the ordinary. Other networks' dnsmasqs hear taps too: each answers whom it knows
 * only. */
#include "config.h"

#include "net/dnsmasq.h"

#include <string.h>

#include "base/base.h"

static void
add_subnets(GString *text, const LodgePrefix *prefix)
{
    for (guint64 i = 0; i < lodge_prefix_size(prefix); i += 4) {
        LodgePrefix first = lodge_prefix_host(prefix, i);
        g_autofree char *base = lodge_prefix_format_address(&first);
        g_string_append_printf(text, "dhcp-range=%s,static,255.255.255.252,12h\n", base);
    }
}

static void
add_addresses(GString *text, const LodgePrefix *prefix)
{
    LodgePrefix gateway = lodge_network_routed_gateway(AF_INET);
    g_autofree char *base = lodge_prefix_format_address(prefix);
    g_autofree char *mask = lodge_prefix_format_mask(prefix);
    g_autofree char *by = lodge_prefix_format_address(&gateway);
    g_string_append_printf(text, "shared-network=%s,%s\ndhcp-range=%s,static,%s,12h\n", by, base,
                           base, mask);
    g_string_append(text, "dhcp-option=option:netmask,255.255.255.255\n");
    g_string_append_printf(text, "dhcp-option=option:router,%s\n", by);
    g_string_append_printf(
        text, "dhcp-option=option:classless-static-route,%s/32,0.0.0.0,0.0.0.0/0,%s\n", by, by);
}

static void
add_ipv6(GString *text, const LodgeNetwork *network, const LodgePrefix *prefix)
{
    LodgePrefix anchor = lodge_network_routed_anchor(network);
    LodgePrefix anchor_net = lodge_prefix_network(&anchor);
    g_autofree char *at = lodge_prefix_format_address(&anchor);
    g_autofree char *anchor_base = lodge_prefix_format_address(&anchor_net);
    g_autofree char *base = lodge_prefix_format_address(prefix);
    g_string_append(text, "enable-ra\nra-param=lg*,60,180\n");
    if (prefix->length == 64) {
        /* off-link: neighbours are reached by the gateway. */
        g_string_append_printf(text, "dhcp-range=%s,static,slaac,off-link,64,12h\n", base);
        return;
    }
    /* The anchor's range makes router advertisements, of no use but to name router and DHCP. */
    g_string_append_printf(text,
                           "dhcp-range=%s,static,off-link,64,12h\n"
                           "shared-network=%s,%s\ndhcp-range=%s,static,%u,12h\n",
                           anchor_base, at, base, base, MAX(prefix->length, 64));
}

/* Those of dns=, or the host's, for there is no DNS server here. */
static void
add_servers(GString *text, const LodgeNetwork *network, const char *const *host_servers)
{
    g_autoptr(GString) servers4 = g_string_new(NULL);
    g_autoptr(GString) servers6 = g_string_new(NULL);
    g_auto(GStrv) own = network->dns != NULL ? g_strsplit(network->dns, " ", -1) : NULL;
    const char *const *servers = own != NULL ? (const char *const *)own : host_servers;
    for (gsize i = 0; servers != NULL && servers[i] != NULL; i++) {
        gboolean is_ipv6 = strchr(servers[i], ':') != NULL;
        g_string_append_printf(is_ipv6 ? servers6 : servers4, is_ipv6 ? ",[%s]" : ",%s",
                               servers[i]);
    }
    if (servers4->len > 0) {
        g_string_append_printf(text, "dhcp-option=option:dns-server%s\n", servers4->str);
    }
    if (servers6->len > 0) {
        g_string_append_printf(text, "dhcp-option=option6:dns-server%s\n", servers6->str);
    }
}

char *
lodge_dnsmasq_routed_config(const LodgeNetwork *network, const LodgeDnsmasqFiles *files)
{
    g_autoptr(GString) text = g_string_new(NULL);
    LodgePrefix prefix;
    g_string_append_printf(text,
                           "# Lodge's, for network %s; made anew at each start.\n"
                           "pid-file=%s\nbind-dynamic\ninterface=lg*\nexcept-interface=lo\nport=0\n"
                           "dhcp-leasefile=%s\ndhcp-hostsdir=%s\ndhcp-ignore=tag:!known\nno-ping\n"
                           "dhcp-lease-max=65536\nquiet-dhcp\nquiet-dhcp6\nquiet-ra\n",
                           network->name, files->pid_file, files->lease_file, files->hosts_folder);
    if (network->mtu != 0) {
        g_string_append_printf(text, "dhcp-option=option:mtu,%u\n", network->mtu);
    }
    if (lodge_network_subnet(network, &prefix)) {
        if (network->each == LODGE_ROUTED_SUBNET) {
            add_subnets(text, &prefix);
        } else {
            add_addresses(text, &prefix);
        }
    }
    if (lodge_network_prefix(network, &prefix)) {
        add_ipv6(text, network, &prefix);
    }
    add_servers(text, network, files->host_servers);
    return g_string_free(g_steal_pointer(&text), FALSE);
}
