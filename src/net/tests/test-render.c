/* Golden pairs: tests/golden/NAME.conf is a network's definition; NAME.nft and NAME.dnsmasq are
 * what follows for it and two guests. LODGE_TEST_REGENERATE=1 writes the latter anew. */
#include "config.h"

#include "base/base.h"
#include "net/dnsmasq.h"
#include "net/firewall.h"
#include "net/link.h"
#include "net/nat64.h"
#include "net/resolved.h"

#include <linux/if_link.h>
#include <string.h>

static char *golden;

static void
compare(const char *name, const char *suffix, const char *rendered)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_strconcat(golden, "/", name, suffix, NULL);
    if (g_getenv("LODGE_TEST_REGENERATE") != NULL) {
        g_assert_true(
            lodge_file_write(path, rendered, strlen(rendered), 0644, LODGE_WRITE_NO_SYNC, NULL));
    }
    g_autofree char *expected = lodge_file_read(path, 1 << 20, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(rendered, ==, expected);
}

static LodgePort
port_of(const LodgeNetwork *network, guint number, LodgeNetworkLease *lease)
{
    static const char *const guests[] = {"web1", "db1"};
    static const char *const macs[] = {"52:54:00:00:00:01", "52:54:00:00:00:02"};
    static const char *const links[] = {"lg1", "lg2"};
    g_autoptr(GHashTable) taken = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GError) error = NULL;
    lodge_network_choose_addresses(network, guests[number], "lan", macs[number], taken, lease,
                                   &error);
    g_assert_no_error(error);
    return (LodgePort){
        .link = (char *)links[number],
        .guest = (char *)guests[number],
        .nic = (char *)"lan",
        .mac = (char *)macs[number],
        .address4 = lease->address4,
        .address6 = lease->address6,
        .forward = (char *)(number == 0 ? "8080:80 127.0.0.1:2222:22 192.0.2.2:53:53/udp" : NULL),
        .filter = number == 0,
        .route = (char *)(number == 0 && network->mode == LODGE_NETWORK_ROUTED
                              ? "198.51.100.16/28 2001:db8:9::/56"
                              : NULL),
        .trunk = (char *)(network->vlan_aware ? "10 20-29" : NULL),
        .rate_in_bytes = number == 1 ? 10 << 20 : 0,
        .rate_out_bytes = number == 1 ? 5 << 20 : 0,
    };
}

static void
test_golden(gconstpointer data)
{
    const char *name = data;
    g_autoptr(GError) error = NULL;
    g_autofree char *conf_name = g_strconcat(golden, "/", name, ".conf", NULL);
    g_autofree char *conf = lodge_file_read(conf_name, 65536, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LodgeNetwork) network = lodge_network_parse("lan", conf, strlen(conf), &error);
    g_assert_no_error(error);
    network->delegated = network->delegation ? g_strdup("2001:db8:77:10::/64") : NULL;
    g_auto(LodgeNetworkLease) web_lease = {NULL, NULL};
    g_auto(LodgeNetworkLease) db_lease = {NULL, NULL};
    LodgePort ports[] = {port_of(network, 0, &web_lease), port_of(network, 1, &db_lease)};
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    g_ptr_array_add(list, &ports[0]);
    g_ptr_array_add(list, &ports[1]);
    LodgeFirewallNetwork one = {network, list};
    g_autoptr(GPtrArray) networks = g_ptr_array_new();
    g_ptr_array_add(networks, &one);
    g_autofree char *rules = lodge_firewall_render("lodge", networks);
    g_autofree char *gone = lodge_firewall_render_delete("lodge", network, &ports[0]);
    g_autofree char *both = g_strconcat(rules, "\n# web1 leaves\n", gone, NULL);
    compare(name, ".nft", both);
    gboolean is_routed = network->mode == LODGE_NETWORK_ROUTED;
    if (network->bridge != NULL || is_routed) {
        static const char *const servers[] = {"192.0.2.53", "2001:db8::53", NULL};
        static const LodgeDnsmasqFiles files = {"/run/n/dnsmasq.pid",
                                                "/lib/n/lan.leases",
                                                "/run/n/hosts",
                                                "/run/n/names",
                                                servers,
                                                NULL};
        static const LodgeDnsmasqFiles with_dns64 = {
            "/run/n/dnsmasq.pid", "/lib/n/lan.leases", "/run/n/hosts", "/run/n/names", servers,
            "127.64.1.2#5364"};
        g_autofree char *config = is_routed ? lodge_dnsmasq_routed_config(network, &files)
                                            : lodge_dnsmasq_config(
                                                  network, network->nat64 ? &with_dns64 : &files);
        g_autofree char *host = lodge_dnsmasq_host(&ports[0], NULL);
        g_autofree char *names = lodge_dnsmasq_names(network, &ports[0]);
        g_autofree char *all = g_strconcat(config, "\n# hosts/web1.lan\n", host,
                                           "\n# names/web1.lan\n", names, NULL);
        compare(name, ".dnsmasq", all);
    }
    if (network->nat64) {
        static const char *const servers[] = {"127.0.0.53", "2001:db8::53", NULL};
        g_autofree char *tayga = lodge_nat64_tayga_config(network);
        g_autofree char *unbound = lodge_nat64_unbound_config(network, "/run/n/unbound.pid",
                                                              servers);
        compare(name, ".tayga", tayga);
        compare(name, ".unbound", unbound);
    }
}

static void
test_none(void)
{
    g_autoptr(GPtrArray) networks = g_ptr_array_new();
    g_autofree char *rules = lodge_firewall_render("lodge", networks);
    g_assert_cmpstr(rules, ==,
                    "add table bridge lodge\ndelete table bridge lodge\n"
                    "add table inet lodge\ndelete table inet lodge\n");
}

static void
test_table(void)
{
    g_autofree char *own = lodge_firewall_table("/var/lib/lodge");
    g_autofree char *other = lodge_firewall_table("/home/ann/.local/share/lodge");
    g_assert_cmpstr(own, ==, "lodge");
    g_assert_true(g_str_has_prefix(other, "lodge-"));
}

static void
check_resolved(const char *text, const char *wanted)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeNetwork) network = lodge_network_parse("lan", text, strlen(text), &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) commands = lodge_resolved_commands(network);
    g_autoptr(GString) lines = g_string_new(NULL);
    for (guint i = 0; i < commands->len; i++) {
        g_autofree char *line = g_strjoinv(" ", commands->pdata[i]);
        g_string_append_printf(lines, "%s\n", line);
    }
    g_assert_cmpstr(lines->str, ==, wanted);
}

static void
test_resolved(void)
{
    check_resolved("[network]\nsubnet=10.77.0.0/24\nprefix=fd77:0:0:1::/64\n",
                   "resolvectl dns lb-lan 10.77.0.1 fd77:0:0:1::1\n"
                   "resolvectl domain lb-lan ~lodge\nresolvectl default-route lb-lan no\n");
    check_resolved("[network]\nsubnet=10.77.0.0/24\nip=4\ndomain=vm.example\n",
                   "resolvectl dns lb-lan 10.77.0.1\n"
                   "resolvectl domain lb-lan ~vm.example\nresolvectl default-route lb-lan no\n");
    check_resolved("[network]\nmode=isolated\nhost=no\nsubnet=10.77.0.0/24\n", "");
    check_resolved("[network]\nmode=bridged\nbridge=br0\n", "");
}

/* As iproute2 words it: a 16-bit id within the kind's own data. */
static void
test_vlan(void)
{
    const LodgeVlanSpec spec = {.name = "eth0.10", .uplink = 7, .id = 10, .alias = "x"};
    const struct ifinfomsg head = {.ifi_family = AF_UNSPEC};
    struct nlattr *parts[IFLA_MAX + 1];
    struct nlattr *kinds[IFLA_INFO_MAX + 1];
    struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWLINK, NLM_F_CREATE);
    nlmsg_append(message, (gpointer)&head, sizeof head, NLMSG_ALIGNTO);
    lodge_link_put_vlan(message, &spec);
    g_assert_cmpint(nlmsg_parse(nlmsg_hdr(message), sizeof head, parts, IFLA_MAX, NULL), ==, 0);
    g_assert_cmpstr(nla_get_string(parts[IFLA_IFNAME]), ==, "eth0.10");
    g_assert_cmpuint(nla_get_u32(parts[IFLA_LINK]), ==, 7);
    g_assert_cmpint(nla_parse_nested(kinds, IFLA_INFO_MAX, parts[IFLA_LINKINFO], NULL), ==, 0);
    g_assert_cmpstr(nla_get_string(kinds[IFLA_INFO_KIND]), ==, "vlan");
    struct nlattr *id = nla_find(nla_data(kinds[IFLA_INFO_DATA]), nla_len(kinds[IFLA_INFO_DATA]),
                                 IFLA_VLAN_ID);
    g_assert_nonnull(id);
    g_assert_cmpint(nla_len(id), ==, 2);
    g_assert_cmpuint(nla_get_u16(id), ==, 10);
    nlmsg_free(message);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    golden = argv[1];
    g_auto(GStrv) names = lodge_dir_names(golden, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        if (g_str_has_suffix(names[i], ".conf")) {
            names[i][strlen(names[i]) - strlen(".conf")] = '\0';
            g_autofree char *path = g_strconcat("/net/render/", names[i], NULL);
            g_test_add_data_func(path, names[i], test_golden);
        }
    }
    g_test_add_func("/net/render/none", test_none);
    g_test_add_func("/net/render/table", test_table);
    g_test_add_func("/net/render/resolved", test_resolved);
    g_test_add_func("/net/render/vlan", test_vlan);
    return g_test_run();
}
