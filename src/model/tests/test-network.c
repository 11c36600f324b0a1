#include "config.h"

#include "base/base.h"
#include "model/model.h"

#include <string.h>

#define MAC "52:54:00:00:00:01"

static LodgeNetwork *
parse(const char *text, GError **error)
{
    return lodge_network_parse("lan", text, strlen(text), error);
}

static LodgeNetwork *
parse_fine(const char *text)
{
    g_autoptr(GError) error = NULL;
    LodgeNetwork *network = parse(text, &error);
    g_assert_no_error(error);
    return network;
}

static void
test_defaults(void)
{
    g_autoptr(LodgeNetwork) network = parse_fine("[network]\nsubnet=10.77.0.0/24\n");
    g_assert_cmpint(network->mode, ==, LODGE_NETWORK_NAT);
    g_assert_cmpstr(network->bridge, ==, "lb-lan");
    g_assert_cmpstr(network->domain, ==, "lodge");
    g_assert_true(network->filter);
    g_assert_true(network->dhcp);
    g_assert_false(network->isolation);
    g_assert_true(lodge_network_subnet(network, NULL));
    g_assert_false(lodge_network_prefix(network, NULL));
}

/* A running network is a copy of its definition, as this writes it. */
static void
test_format(void)
{
    g_autoptr(LodgeNetwork)
        network = parse_fine("[network]\nsubnet=10.77.0.0/24\ndescription=\\sC:\\\\lan # 1;\n");
    g_assert_cmpstr(network->description, ==, " C:\\lan # 1;");
    g_autofree char *text = lodge_network_format(network);
    g_autoptr(LodgeNetwork) copy = parse_fine(text);
    g_autofree char *again = lodge_network_format(copy);
    g_assert_cmpstr(copy->description, ==, network->description);
    g_assert_cmpstr(again, ==, text);
}

static void
test_long_name(void)
{
    g_autoptr(GError) error = NULL;
    static const char text[] = "[network]\nsubnet=10.77.0.0/24\n";
    g_autoptr(LodgeNetwork)
        network = lodge_network_parse("a-rather-long-name", text, strlen(text), &error);
    g_assert_no_error(error);
    g_assert_cmpuint(strlen(network->bridge), <=, 15);
}

static void
test_refused(void)
{
    static const struct {
        const char *text;
        const char *says;
    } bad[] = {
        {"[network]\nmode=nta\n", "network lan: line 2: mode: “nta” must be one of nat, bridged, "
                                  "routed, isolated (did you mean “nat”?)"},
        {"[network]\nsubnet=10.77.0.1/24\n",
         "network lan: line 2: subnet: “10.77.0.1/24” has bits behind its length (did you mean "
         "“10.77.0.0/24”?)"},
        {"[network]\nsubnet=fd77::/64\n",
         "network lan: line 2: subnet: “fd77::/64” is not of IPv4"},
        {"[network]\n", "network lan: mode=nat needs subnet= or prefix= (ip=dual)"},
        {"[network]\nsubnet=10.77.0.0/31\n",
         "network lan: subnet: a /31 is no good: it must be /8 to /30"},
        {"[network]\nprefix=fd77::/56\n",
         "network lan: prefix: a /64 is needed, as guests make addresses of nothing else"},
        {"[network]\nmode=bridged\n",
         "network lan: mode=bridged needs bridge= (`lodge network bridge "
         "IFACE` makes one of the host's interface), or uplink= with an interface that the host "
         "does not need"},
        {"[network]\nmode=routed\nuplink=eth0\n",
         "network lan: mode=routed needs subnet= or prefix=: the addresses that are routed to this "
         "host"},
        {"[network]\nmode=routed\nuplink=eth0\neach=30\nsubnet=10.0.0.0/16\n",
         "network lan: subnet: each=30 needs a /22 to /30, not a /16"},
        {"[network]\nmode=routed\n", "network lan: mode=routed needs uplink="},
        {"[network]\nsubnet=10.77.0.0/24\nrange=10.77.1.1-10.77.1.9\n",
         "network lan: range 10.77.1.1-10.77.1.9 must lie within subnet 10.77.0.0/24, without its "
         "first two addresses and its last"},
        {"[network]\nsubnet=10.77.0.0/24\nrange=10.77.0.9-10.77.0.2\n",
         "network lan: line 3: range: “10.77.0.9-10.77.0.2” ends before it begins"},
        {"[network]\nbridge=a/b\nsubnet=10.77.0.0/24\n",
         "network lan: line 2: bridge: “a/b” can't be an interface's name (at most 15 letters, "
         "digits, “-”, “_”, “.” and “@”)"},
        {"[network]\nsubnet=10.77.0.0/24\nnat64=yes\n",
         "network lan: nat64=yes is for mode=nat with ip=6: guests with IPv4 don't need it"},
        {"[network]\nip=6\nprefix=fd77::/64\nnat64=yes\n",
         "network lan: nat64=yes needs subnet=, of at least a /28: the IPv4 addresses that guests "
         "have on their way through the host"},
        {"[network]\nsubnet=10.77.0.0/24\npxe-file=pxelinux.0\n",
         "network lan: network boot needs pxe-root= and pxe-file= or pxe-file-uefi="},
        {"[network]\nmode=bridged\nbridge=br0\npxe-root=/srv/tftp\npxe-file=pxelinux.0\n",
         "network lan: pxe-root= is for networks on which Lodge serves DHCP by IPv4: mode=nat, or "
         "isolated with host=yes"},
        {"[network]\nsubnet=10.77.0.0/24\nvlan=10\n",
         "network lan: vlan=10 is for mode=bridged, with uplink= or bridge="},
        {"[network]\nmode=bridged\nuplink=eth1\nvlan=10\nvlan-aware=yes\n",
         "network lan: vlan-aware=yes is for mode=bridged with uplink=, without vlan="},
        {"[network]\nsubnet=10.77.0.0/24\nmtu=10\n",
         "network lan: mtu: 10 is less than the least, 576"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(parse(bad[i].text, &error));
        g_assert_nonnull(error);
        g_assert_cmpstr(error->message, ==, bad[i].says);
    }
}

static void
test_nat64(void)
{
    g_autoptr(LodgeNetwork) network = parse_fine(
        "[network]\nip=6\nprefix=fd77:1:2:1::/64\nsubnet=10.77.0.0/24\nnat64=yes\n");
    g_autoptr(LodgeNetwork) global = parse_fine(
        "[network]\nip=6\nprefix=2001:db8:2:1::/64\nsubnet=10.77.0.0/24\nnat64=yes\n");
    const LodgePrefix outside = {AF_INET, {192, 0, 2, 1}, 32};
    const LodgePrefix found[] = {
        lodge_network_nat64_prefix(network), lodge_network_nat64_router(network),
        lodge_network_nat64_address(network, &outside), lodge_network_nat64_prefix(global)};
    static const char *const expected[] = {"fd77:1:2:6464:64:1::/96", "fd77:1:2:6464:0:1:0:1",
                                           "fd77:1:2:6464:64:1:c000:201",
                                           "64:ff9b:1:6464:64:8b40::/96"};
    for (gsize i = 0; i < G_N_ELEMENTS(found); i++) {
        g_autofree char *text = lodge_prefix_format(&found[i]);
        g_assert_cmpstr(text, ==, expected[i]);
    }
    /* Guests themselves have no IPv4. */
    g_assert_false(lodge_network_subnet(network, NULL));
}

static void
test_vlan(void)
{
    static const char bridged[] = "[network]\nmode=bridged\n";
    static const struct {
        const char *rest, *port;
    } cases[] = {{"uplink=eth0\n", "eth0"},
                 {"uplink=eth0\nvlan=10\n", "eth0.10"},
                 {"uplink=enp0s31f6\nvlan=4094\n", "enp0s31f6.4094"},
                 {"uplink=wlx001122334455\nvlan=10\n", "lv-3d0c8f2d"}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strconcat(bridged, cases[i].rest, NULL);
        g_autoptr(LodgeNetwork) network = parse_fine(text);
        g_autofree char *port = lodge_network_uplink_port(network);
        g_assert_cmpstr(port, ==, cases[i].port);
    }
}

/* The same names give the same addresses; taken ones are gone round; none is given twice. */
static void
test_addresses(void)
{
    g_autoptr(LodgeNetwork)
        network = parse_fine("[network]\nsubnet=10.77.0.0/24\nprefix=fd77::/64\n");
    g_autoptr(GHashTable) taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_auto(LodgeNetworkLease) first = {NULL, NULL};
    g_assert_true(lodge_network_choose_addresses(network, "web1", "lan", MAC, taken, &first, NULL));
    g_autofree char *again = NULL;
    for (guint i = 0; i < 245; i++) {
        g_autofree char *guest = g_strdup_printf("web%u", i + 1);
        g_autofree char *mac = g_strdup_printf("52:54:00:00:00:%02x", i / 2);
        g_auto(LodgeNetworkLease) lease = {NULL, NULL};
        g_autoptr(GError) error = NULL;
        lodge_network_choose_addresses(network, guest, "lan", mac, taken, &lease, &error);
        g_assert_no_error(error);
        again = i == 0 ? g_strdup(lease.address4) : g_steal_pointer(&again);
        g_assert_true(g_hash_table_add(taken, g_steal_pointer(&lease.address4)));
        g_assert_true(g_hash_table_add(taken, g_steal_pointer(&lease.address6)));
    }
    g_assert_cmpstr(again, ==, first.address4);
    g_assert_false(g_hash_table_contains(taken, "10.77.0.1"));
    g_assert_false(g_hash_table_contains(taken, "10.77.0.255"));
    g_assert_true(g_hash_table_contains(taken, "10.77.0.254"));
    g_auto(LodgeNetworkLease) none = {NULL, NULL};
    g_autoptr(GError) error = NULL;
    g_assert_false(
        lodge_network_choose_addresses(network, "web999", "lan", MAC, taken, &none, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
}

static void
test_range(void)
{
    g_autoptr(LodgeNetwork) network = parse_fine(
        "[network]\nsubnet=10.77.0.0/24\nrange=10.77.0.100-10.77.0.100\nip=4\n");
    g_autoptr(GHashTable) taken = g_hash_table_new(g_str_hash, g_str_equal);
    g_auto(LodgeNetworkLease) lease = {NULL, NULL};
    g_assert_true(lodge_network_choose_addresses(network, "web1", "lan", MAC, taken, &lease, NULL));
    g_assert_cmpstr(lease.address4, ==, "10.77.0.100");
    g_assert_null(lease.address6);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/network/format", test_format);
    g_test_add_func("/model/network/defaults", test_defaults);
    g_test_add_func("/model/network/long-name", test_long_name);
    g_test_add_func("/model/network/refused", test_refused);
    g_test_add_func("/model/network/nat64", test_nat64);
    g_test_add_func("/model/network/vlan", test_vlan);
    g_test_add_func("/model/network/addresses", test_addresses);
    g_test_add_func("/model/network/range", test_range);
    return g_test_run();
}
