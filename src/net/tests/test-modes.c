/* Modes that need no guest to be seen: a bridge with an uplink of its own, and who gets what. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/define.h"
#include "net/tests/netns.h"

typedef struct {
    char *folder;
    LodgeStore *store;
    Netns *neighbour;
    char *before;
} Fixture;

/* A host with eth0, which it uses, and eth1, which it doesn't. */
static void
set_up(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    fixture->folder = netns_make_store();
    fixture->store = lodge_store_open(&error);
    g_assert_no_error(error);
    fixture->neighbour = netns_new();
    g_free(netns_run(NULL,
                     "ip link add eth0 type veth peer name up0 netns %d &&"
                     " ip link add eth1 type veth peer name up1 netns %d &&"
                     " ip addr add 192.0.2.2/24 dev eth0 && ip link set eth0 up &&"
                     /* a link that was never up has another queue */
                     " ip link set eth1 up && ip link set eth1 down",
                     fixture->neighbour->pid, fixture->neighbour->pid));
    g_free(netns_run(fixture->neighbour, "ip link set up0 up; ip link set up1 up"));
    /* The carrier comes when the kernel gets to it. */
    g_free(netns_run(NULL, "for i in $(seq 500); do ip link show eth0 | grep -q 'state UP' &&"
                           " exit 0; sleep 0.02; done; exit 1"));
    fixture->before = netns_dump();
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    (void)data;
    netns_assert_unchanged(fixture->before);
    lodge_store_free(fixture->store);
    netns_free(fixture->neighbour);
    g_free(fixture->before);
    netns_try(NULL, "ip link del eth0");
    netns_try(NULL, "ip link del eth1");
    netns_remove_store(fixture->folder);
}

static void
create(Fixture *fixture, const char *name, const char *const *settings)
{
    g_autoptr(GError) error = NULL;
    lodge_network_create(fixture->store, name, settings, &error);
    g_assert_no_error(error);
}

static void
test_bridge_of_its_own(Fixture *fixture, gconstpointer data)
{
    (void)data;
    static const char *const settings[] = {"mode=bridged", "uplink=eth1", NULL};
    g_autoptr(GError) error = NULL;
    create(fixture, "lan", settings);
    for (guint i = 0; i < 2; i++) {
        lodge_network_start(fixture->store, "lan", &error);
        g_assert_no_error(error);
        g_free(netns_run(NULL, "ip link show eth1 | grep 'master lb-lan' | grep -w UP"));
    }
    g_free(netns_run(NULL, "! ip addr show lb-lan | grep -w inet"));
    lodge_network_stop(fixture->store, "lan", FALSE, &error);
    g_assert_no_error(error);
    g_free(netns_run(NULL, "! ip link show eth1 | grep -w UP"));
}

static void
test_uplink_in_use(Fixture *fixture, gconstpointer data)
{
    (void)data;
    static const char *const used[] = {"mode=bridged", "uplink=eth0", NULL};
    static const char *const taken[] = {"mode=bridged", "uplink=eth1", NULL};
    static const char *const none[] = {"mode=bridged", "uplink=eth7", NULL};
    g_autoptr(GError) error = NULL;
    create(fixture, "lan", used);
    g_assert_false(lodge_network_start(fixture->store, "lan", &error));
    g_assert_cmpstr(error->message, ==,
                    "network lan: the host itself uses uplink eth0 (192.0.2.0/24): `lodge network "
                    "bridge eth0` makes a bridge of it with all that it has");
    g_clear_error(&error);
    create(fixture, "two", taken);
    g_free(netns_run(NULL, "ip link add br7 type bridge; ip link set eth1 master br7"));
    g_assert_false(lodge_network_start(fixture->store, "two", &error));
    g_assert_cmpstr(error->message, ==, "network two: uplink eth1 is a port of br7 already");
    g_clear_error(&error);
    g_free(netns_run(NULL, "ip link del br7"));
    create(fixture, "three", none);
    g_assert_false(lodge_network_start(fixture->store, "three", &error));
    g_assert_cmpstr(error->message, ==, "network three: there is no uplink eth7");
}

/* Where the kernel knows VLANs the host goes on using the uplink, and another network has another
 * VLAN of it; elsewhere it is told what to do. */
static void
test_vlan(Fixture *fixture, gconstpointer data)
{
    (void)data;
    static const char *const used[] = {"mode=bridged", "uplink=eth0", "vlan=10", NULL};
    static const char *const spare[] = {"mode=bridged", "uplink=eth1", "vlan=11", NULL};
    static const char *const same[] = {"mode=bridged", "uplink=eth1", "vlan=12", NULL};
    g_autoptr(GError) error = NULL;
    create(fixture, "ten", used);
    create(fixture, "eleven", spare);
    create(fixture, "twelve", same);
    if (!netns_try(NULL, "ip link add link eth0 name eth0.10 type vlan id 10")) {
        g_assert_false(lodge_network_start(fixture->store, "ten", &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
        g_assert_true(g_str_has_prefix(error->message, "network ten: vlan= needs the kernel's "
                                                       "8021q, which is not there: "));
        return;
    }
    g_assert_false(lodge_network_start(fixture->store, "ten", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
    g_clear_error(&error);
    g_free(netns_run(NULL, "ip link del eth0.10"));
    static const char *const names[] = {"ten", "eleven", "twelve"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        lodge_network_start(fixture->store, names[i], &error);
        g_assert_no_error(error);
    }
    g_free(netns_run(NULL, "ip -d link show eth0.10 | grep 'master lb-ten' &&"
                           " ip -d link show eth0.10 | grep 'vlan protocol 802.1Q id 10'"));
    lodge_network_stop(fixture->store, "eleven", FALSE, &error);
    g_assert_no_error(error);
    g_free(netns_run(NULL, "ip link show eth1 | grep -w UP && ! ip link show eth1.11"));
    lodge_network_stop(fixture->store, "twelve", FALSE, &error);
    g_assert_no_error(error);
    g_free(netns_run(NULL, "! ip link show eth1 | grep -w UP"));
    lodge_network_stop(fixture->store, "ten", FALSE, &error);
    g_assert_no_error(error);
}

static char *
reserve(const LodgeStore *store, const char *network_name, guint number, GError **error)
{
    g_autofree char *guest = g_strdup_printf("g%u", number);
    g_autofree char *mac = g_strdup_printf("52:54:00:00:00:%02x", number);
    g_autoptr(LodgeNetwork) network = lodge_store_network(store, network_name, error);
    LodgePort port = {.guest = guest, .nic = (char *)"net", .mac = mac};
    g_auto(LodgeNetworkLease) lease = {NULL, NULL};
    return network != NULL && lodge_net_reserve(store, network, &port, &lease, error)
               ? g_strdup(lease.address4 != NULL ? lease.address4 : "none")
               : NULL;
}

/* Each guest has four addresses, and no more guests find room than there are such. */
static void
test_fours(Fixture *fixture, gconstpointer data)
{
    (void)data;
    static const char *const settings[] = {"mode=routed", "uplink=eth0", "subnet=203.0.113.0/28",
                                           "each=30",     "ip=4",        NULL};
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GError) error = NULL;
    create(fixture, "pub", settings);
    for (guint i = 0; i < 4; i++) {
        char *address = reserve(fixture->store, "pub", i, &error);
        LodgePrefix parsed;
        g_assert_no_error(error);
        g_assert_true(lodge_address_parse(address, &parsed, NULL));
        g_assert_cmpuint(parsed.bytes[3] % 4, ==, 2);
        g_assert_true(g_hash_table_add(seen, address));
    }
    g_assert_null(reserve(fixture->store, "pub", 4, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
}

/* Without the host nobody gives addresses, so none are chosen. */
static void
test_isolated_alone(Fixture *fixture, gconstpointer data)
{
    (void)data;
    static const char *const settings[] = {"mode=isolated", "host=no", NULL};
    g_autoptr(GError) error = NULL;
    create(fixture, "lab", settings);
    g_autofree char *address = reserve(fixture->store, "lab", 1, &error);
    g_assert_cmpstr(address, ==, "none");
    lodge_network_start(fixture->store, "lab", &error);
    g_assert_no_error(error);
    g_free(netns_run(NULL, "! ip addr show lb-lab | grep -w inet"));
    g_assert_false(lodge_network_delete(fixture->store, "lam", &error));
    g_clear_error(&error);
    lodge_network_delete(fixture->store, "lab", &error);
    g_assert_no_error(error);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!netns_begin()) {
        g_printerr("network namespaces can't be made here\n");
        return 77;
    }
    if (!netns_is_root()) {
        g_printerr("only root starts networks\n");
        return 77;
    }
#define ADD(name, function)                                                                        \
    g_test_add("/net/modes/" name, Fixture, NULL, set_up, function, tear_down)
    ADD("bridge-of-its-own", test_bridge_of_its_own);
    ADD("uplink-in-use", test_uplink_in_use);
    ADD("vlan", test_vlan);
    ADD("fours", test_fours);
    ADD("isolated-alone", test_isolated_alone);
    return g_test_run();
}
