#include "config.h"

#include "net/nat64.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/base.h"
#include "host/distro.h"
#include "net/link.h"

char *
lodge_nat64_link(const char *network)
{
    g_autofree char *plain = g_strconcat("l64-", network, NULL);
    return strlen(plain) < IFNAMSIZ ? g_steal_pointer(&plain)
                                    : g_strdup_printf("l64-%08x", g_str_hash(network));
}

char *
lodge_nat64_listen(const LodgeNetwork *network)
{
    guint hash = g_str_hash(network->name);
    /* No host part of only zeros or ones. */
    return g_strdup_printf("127.64.%u.%u", hash >> 8 & 0xff, hash % 254 + 1);
}

char *
lodge_nat64_tayga_config(const LodgeNetwork *network)
{
    GString *text = g_string_new(NULL);
    LodgePrefix pool = {0};
    lodge_network_nat64_pool(network, &pool);
    LodgePrefix prefix = lodge_network_nat64_prefix(network);
    LodgePrefix own4 = lodge_network_gateway(&pool);
    LodgePrefix own6 = lodge_network_nat64_router(network);
    g_autofree char *link = lodge_nat64_link(network->name);
    g_autofree char *pool_text = lodge_prefix_format(&pool);
    g_autofree char *prefix_text = lodge_prefix_format(&prefix);
    g_autofree char *own4_text = lodge_prefix_format_address(&own4);
    g_autofree char *own6_text = lodge_prefix_format_address(&own6);
    g_string_append_printf(text, "# Lodge's, for network %s; made anew at each start.\n",
                           network->name);
    g_string_append_printf(text,
                           "tun-device %s\nipv4-addr %s\nipv6-addr %s\nprefix %s\n"
                           "dynamic-pool %s\n",
                           link, own4_text, own6_text, prefix_text, pool_text);
    return g_string_free(text, FALSE);
}

static void
add_forwards(GString *text, const char *const *servers)
{
    if (servers == NULL || servers[0] == NULL) {
        return;
    }
    g_string_append(text, "forward-zone:\n    name: \".\"\n");
    for (gsize i = 0; servers[i] != NULL; i++) {
        if (*servers[i] != '\0') {
            g_string_append_printf(text, "    forward-addr: %s\n", servers[i]);
        }
    }
}

char *
lodge_nat64_unbound_config(const LodgeNetwork *network, const char *pid_file,
                           const char *const *servers)
{
    GString *text = g_string_new(NULL);
    gboolean has_own = network->dns != NULL && *network->dns != '\0';
    LodgePrefix prefix = lodge_network_nat64_prefix(network);
    g_autofree char *prefix_text = lodge_prefix_format(&prefix);
    g_autofree char *listen = lodge_nat64_listen(network);
    g_auto(GStrv) own = g_strsplit(has_own ? network->dns : "", " ", -1);
    g_string_append_printf(text, "# Lodge's, for network %s; made anew at each start.\n",
                           network->name);
    g_string_append_printf(text, "server:\n    interface: %s\n    port: %d\n", listen,
                           LODGE_NAT64_PORT);
    g_string_append_printf(text,
                           "    access-control: 127.0.0.0/8 allow\n"
                           "    module-config: \"dns64 iterator\"\n"
                           "    dns64-prefix: %s\n",
                           prefix_text);
    /* Names of private networks are the asked servers' matter, and those may be on this host. */
    g_string_append_printf(text,
                           "    unblock-lan-zones: yes\n"
                           "    do-not-query-localhost: no\n"
                           "    username: \"nobody\"\n    chroot: \"\"\n    directory: \"\"\n"
                           "    pidfile: \"%s\"\n    use-syslog: no\n    num-threads: 1\n"
                           "    msg-cache-size: 2m\n    rrset-cache-size: 4m\n",
                           pid_file);
    add_forwards(text, has_own ? (const char *const *)own : servers);
    return g_string_free(text, FALSE);
}

gboolean
lodge_nat64_check(const LodgeNetwork *network, GError **error)
{
    g_autofree char *tayga = lodge_program_find("tayga");
    g_autofree char *unbound = lodge_program_find("unbound");
    if (!network->nat64 || (tayga != NULL && unbound != NULL)) {
        return TRUE;
    }
    LodgeDistro distro;
    lodge_distro_read("", &distro);
    g_autofree char *install = lodge_distro_install(&distro, LODGE_NEED_NAT64);
    /* The packages of some distributions start a resolver and a translator of their own. */
    return lodge_error_set(
        error, LODGE_ERROR_UNSUPPORTED,
        "nat64=yes needs tayga and unbound: %s%s%s not installed (%s; Lodge runs its own, so "
        "the packages' services should not be enabled)",
        tayga == NULL ? "tayga" : "", tayga == NULL && unbound == NULL ? " and unbound are" : "",
        tayga != NULL     ? "unbound is"
        : unbound != NULL ? " is"
                          : "",
        install);
}

/* The device outlives tayga, so that its routes do. */
static gboolean
make_tun(const char *link, GError **error)
{
    struct ifreq request = {.ifr_flags = IFF_TUN};
    g_strlcpy(request.ifr_name, link, sizeof request.ifr_name);
    lodge_autofd fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return lodge_error_errno(error, errno, "Opening /dev/net/tun");
    }
    return (ioctl(fd, TUNSETIFF, &request) == 0 && ioctl(fd, TUNSETPERSIST, 1) == 0) ||
           lodge_error_errno(error, errno, "Making tun device %s", link);
}

gboolean
lodge_nat64_make_link(LodgeNet *net, const LodgeNetwork *network, GError **error)
{
    if (!network->nat64) {
        return TRUE;
    }
    g_autofree char *link = lodge_nat64_link(network->name);
    g_autofree char *alias = lodge_net_alias(net->store, network->name);
    LodgeLinkInfo info;
    gboolean is_there = lodge_link_look(net->netlink, link, &info);
    /* One without an alias is tayga's, made because somebody removed ours. */
    if (is_there && *info.alias != '\0' && !g_str_equal(info.alias, alias)) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS,
                               "link %s exists already and is not this network's", link);
    }
    if (!is_there && !make_tun(link, error)) {
        return FALSE;
    }
    LodgePrefix targets[] = {
        {0}, lodge_network_nat64_prefix(network), lodge_network_nat64_router(network)};
    lodge_network_nat64_pool(network, &targets[0]);
    int index = lodge_link_index(link);
    LodgePortSpec spec = {.name = link, .index = index, .alias = alias};
    lodge_link_begin_routed(net->netlink, &spec);
    for (gsize i = 0; i < G_N_ELEMENTS(targets); i++) {
        lodge_link_route(net->netlink, index, &targets[i], NULL, TRUE);
    }
    return lodge_netlink_send(net->netlink, error);
}

gboolean
lodge_nat64_remove_link(LodgeNet *net, const LodgeNetwork *network, GError **error)
{
    g_autofree char *link = lodge_nat64_link(network->name);
    g_autofree char *alias = lodge_net_alias(net->store, network->name);
    LodgeLinkInfo info;
    if (!network->nat64 || !lodge_link_look(net->netlink, link, &info) ||
        (*info.alias != '\0' && !g_str_equal(info.alias, alias))) {
        return TRUE;
    }
    lodge_link_delete(net->netlink, link, info.index);
    return lodge_netlink_send(net->netlink, error);
}
