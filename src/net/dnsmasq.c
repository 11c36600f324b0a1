#include "config.h"

#include "net/dnsmasq.h"

#include "base/base.h"

/* Requests are answered for reserved NICs only, as no other could use an address: the filter knows
 * the same list. Without the filter anybody on the network may ask. */
static void
add_ranges(GString *text, const LodgeNetwork *network)
{
    LodgePrefix prefix;
    if (lodge_network_subnet(network, &prefix)) {
        g_autofree char *base = lodge_prefix_format_address(&prefix);
        g_autofree char *mask = lodge_prefix_format_mask(&prefix);
        LodgePrefix first = lodge_prefix_host(&prefix, 2);
        LodgePrefix last = lodge_prefix_host(&prefix, lodge_prefix_size(&prefix) - 2);
        g_autofree char *first_text = lodge_prefix_format_address(&first);
        g_autofree char *last_text = lodge_prefix_format_address(&last);
        g_auto(GStrv) ends = network->range != NULL ? g_strsplit(network->range, "-", 2) : NULL;
        if (network->filter) {
            g_string_append_printf(text, "dhcp-range=%s,static,%s,12h\n", base, mask);
        } else {
            g_string_append_printf(text, "dhcp-range=%s,%s,%s,12h\n",
                                   ends != NULL ? ends[0] : first_text,
                                   ends != NULL ? ends[1] : last_text, mask);
        }
    }
    if (lodge_network_prefix(network, &prefix)) {
        g_autofree char *base = lodge_prefix_format_address(&prefix);
        g_string_append_printf(text, "dhcp-range=%s,static,slaac,64,12h\n", base);
    }
    if (network->delegation) {
        /* Whatever prefix the bridge has an address of; one that it has lost is told to be old. */
        g_string_append_printf(text, "dhcp-range=::,constructor:%s,ra-only,64,12h\n",
                               network->bridge);
    }
}

static void
add_options(GString *text, const LodgeNetwork *network)
{
    LodgePrefix prefix;
    gboolean is_isolated = network->mode == LODGE_NETWORK_ISOLATED;
    g_autofree char *mtu = network->mtu != 0 ? g_strdup_printf("mtu:%u,", network->mtu)
                                             : g_strdup("");
    if (lodge_network_subnet(network, &prefix)) {
        if (is_isolated) {
            g_string_append(text, "dhcp-option=option:router\n");
        }
        if (network->mtu != 0) {
            g_string_append_printf(text, "dhcp-option=option:mtu,%u\n", network->mtu);
        }
    }
    if (lodge_network_prefix(network, &prefix)) {
        LodgePrefix gateway = lodge_network_gateway(&prefix);
        g_autofree char *server = lodge_prefix_format_address(&gateway);
        /* Lifetime 0: an address is to be had here, but no way out. */
        g_string_append_printf(text, "enable-ra\nra-param=%s,%s60,%d\n", network->bridge, mtu,
                               is_isolated ? 0 : 180);
        g_string_append_printf(text, "dhcp-option=option6:dns-server,[%s]\n", server);
        g_string_append_printf(text, "dhcp-option=option6:domain-search,%s\n", network->domain);
    }
}

static void
add_dns(GString *text, const LodgeNetwork *network, const LodgeDnsmasqFiles *files)
{
    g_string_append_printf(text, "no-hosts\nhostsdir=%s\ndomain=%s\nlocal=/%s/\nexpand-hosts\n",
                           files->names_folder, network->domain, network->domain);
    /* Names of private addresses have no business outside. */
    g_string_append(text, "bogus-priv\ndomain-needed\n");
    if (network->mode == LODGE_NETWORK_ISOLATED) {
        g_string_append(text, "no-resolv\n");
    } else if (files->nat64_server != NULL) {
        g_string_append_printf(text, "no-resolv\nserver=%s\n", files->nat64_server);
    } else if (network->dns != NULL && *network->dns != '\0') {
        g_string_append(text, "no-resolv\n");
        g_auto(GStrv) servers = g_strsplit(network->dns, " ", -1);
        for (gsize i = 0; servers[i] != NULL; i++) {
            g_string_append_printf(text, "server=%s\n", servers[i]);
        }
    }
}

/* Which file a machine boots depends on its firmware: UEFI of x86-64 says 7 or 9. */
static void
add_pxe(GString *text, const LodgeNetwork *network)
{
    if (network->pxe_root == NULL) {
        return;
    }
    g_string_append_printf(text, "enable-tftp\ntftp-root=%s\n", network->pxe_root);
    /* iPXE, as QEMU's cards have it, need not wait for a second server that names the file. */
    g_string_append(text, "dhcp-match=set:ipxe,175\n"
                          "dhcp-option=tag:ipxe,encap:175,176,1b\n");
    if (network->pxe_file_uefi != NULL) {
        g_string_append_printf(text,
                               "dhcp-match=set:uefi,option:client-arch,7\n"
                               "dhcp-match=set:uefi,option:client-arch,9\n"
                               "dhcp-boot=tag:uefi,%s\n",
                               network->pxe_file_uefi);
    }
    if (network->pxe_file != NULL) {
        g_string_append_printf(text, "dhcp-boot=%s%s\n",
                               network->pxe_file_uefi != NULL ? "tag:!uefi," : "",
                               network->pxe_file);
    }
}

char *
lodge_dnsmasq_config(const LodgeNetwork *network, const LodgeDnsmasqFiles *files)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_append_printf(text, "# Lodge's, for network %s; made anew at each start.\n",
                           network->name);
    g_string_append_printf(text, "pid-file=%s\nbind-dynamic\ninterface=%s\nexcept-interface=lo\n",
                           files->pid_file, network->bridge);
    g_string_append_printf(text,
                           "dhcp-leasefile=%s\ndhcp-hostsdir=%s\ndhcp-authoritative\nno-ping\n"
                           "dhcp-lease-max=65536\nquiet-dhcp\nquiet-dhcp6\nquiet-ra\n",
                           files->lease_file, files->hosts_folder);
    add_ranges(text, network);
    add_options(text, network);
    add_dns(text, network, files);
    add_pxe(text, network);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

char *
lodge_dnsmasq_host(const LodgePort *port, const char *former_mac)
{
    GString *text = g_string_new(port->mac);
    if (former_mac != NULL) {
        g_string_append_printf(text, ",%s", former_mac);
    }
    if (port->address4 != NULL) {
        g_string_append_printf(text, ",%s", port->address4);
    }
    if (port->address6 != NULL) {
        g_string_append_printf(text, ",[%s]", port->address6);
    }
    g_string_append_printf(text, ",%s\n", port->guest);
    return g_string_free(text, FALSE);
}

char *
lodge_dnsmasq_names(const LodgeNetwork *network, const LodgePort *port)
{
    const char *const addresses[] = {port->address4, port->address6};
    GString *text = g_string_new(NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(addresses); i++) {
        if (addresses[i] != NULL) {
            g_string_append_printf(text, "%s %s %s.%s\n", addresses[i], port->guest, port->guest,
                                   network->domain);
        }
    }
    return g_string_free(text, FALSE);
}
