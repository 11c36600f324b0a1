/* Modes that need no guest to be seen: a bridge with an uplink of its own, and who gets what. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/define.h"
#include "net/tests/frames.h"
#include "net/tests/host.h"

#define MAC_A "52:54:00:00:00:0a"

/* A host with eth0, which it uses, and eth1, which it doesn't. */
static void
set_up(TestHost *host, gconstpointer data)
{
    (void)data;
    test_host_open(host);
    test_host_add_uplink(host);
    g_free(netns_run(NULL,
                     "ip link add eth1 type veth peer name up1 netns %d &&"
                     /* a link that was never up has another queue */
                     " ip link set eth1 up && ip link set eth1 down",
                     host->outside->pid));
    g_free(netns_run(host->outside, "ip link set up1 up"));
    /* The carrier comes when the kernel gets to it. */
    g_free(netns_run(NULL, "for i in $(seq 500); do ip link show eth0 | grep -q 'state UP' &&"
                           " exit 0; sleep 0.02; done; exit 1"));
    host->before = netns_dump();
}

static void
tear_down(TestHost *host, gconstpointer data)
{
    (void)data;
    test_host_close(host);
    netns_try(NULL, "ip link del eth1");
}

static void
create(TestHost *host, const char *name, const char *const *settings)
{
    g_autoptr(GError) error = NULL;
    lodge_network_create(host->store, name, settings, &error);
    g_assert_no_error(error);
}

static void
test_bridge_of_its_own(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char *const settings[] = {"mode=bridged", "uplink=eth1", NULL};
    g_autoptr(GError) error = NULL;
    create(host, "lan", settings);
    for (guint i = 0; i < 2; i++) {
        lodge_network_start(host->store, "lan", &error);
        g_assert_no_error(error);
        g_free(netns_run(NULL, "ip link show eth1 | grep 'master lb-lan' | grep -w UP"));
    }
    g_free(netns_run(NULL, "! ip addr show lb-lan | grep -w inet"));
    lodge_network_stop(host->store, "lan", FALSE, &error);
    g_assert_no_error(error);
    g_free(netns_run(NULL, "! ip link show eth1 | grep -w UP"));
}

static void
test_uplink_in_use(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char *const used[] = {"mode=bridged", "uplink=eth0", NULL};
    static const char *const taken[] = {"mode=bridged", "uplink=eth1", NULL};
    static const char *const none[] = {"mode=bridged", "uplink=eth7", NULL};
    g_autoptr(GError) error = NULL;
    create(host, "lan", used);
    g_assert_false(lodge_network_start(host->store, "lan", &error));
    g_assert_cmpstr(error->message, ==,
                    "network lan: the host itself uses uplink eth0 (192.0.2.0/24): `lodge network "
                    "bridge eth0` makes a bridge of it with all that it has");
    g_clear_error(&error);
    create(host, "two", taken);
    g_free(netns_run(NULL, "ip link add br7 type bridge; ip link set eth1 master br7"));
    g_assert_false(lodge_network_start(host->store, "two", &error));
    g_assert_cmpstr(error->message, ==, "network two: uplink eth1 is a port of br7 already");
    g_clear_error(&error);
    g_free(netns_run(NULL, "ip link del br7"));
    create(host, "three", none);
    g_assert_false(lodge_network_start(host->store, "three", &error));
    g_assert_cmpstr(error->message, ==, "network three: there is no uplink eth7");
}

/* Where the kernel knows VLANs the host goes on using the uplink, and another network has another
 * VLAN of it; elsewhere it is told what to do. */
static void
test_vlan(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char *const used[] = {"mode=bridged", "uplink=eth0", "vlan=10", NULL};
    static const char *const spare[] = {"mode=bridged", "uplink=eth1", "vlan=11", NULL};
    static const char *const same[] = {"mode=bridged", "uplink=eth1", "vlan=12", NULL};
    g_autoptr(GError) error = NULL;
    create(host, "ten", used);
    create(host, "eleven", spare);
    create(host, "twelve", same);
    if (!netns_try(NULL, "ip link add link eth0 name eth0.10 type vlan id 10")) {
        g_assert_false(lodge_network_start(host->store, "ten", &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
        g_assert_true(g_str_has_prefix(error->message, "network ten: vlan= needs the kernel's "
                                                       "8021q, which is not there: "));
        g_test_message("this kernel knows no VLANs");
        return;
    }
    g_assert_false(lodge_network_start(host->store, "ten", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
    g_clear_error(&error);
    g_free(netns_run(NULL, "ip link del eth0.10"));
    static const char *const names[] = {"ten", "eleven", "twelve"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        lodge_network_start(host->store, names[i], &error);
        g_assert_no_error(error);
    }
    g_free(netns_run(NULL, "ip -d link show eth0.10 | grep 'master lb-ten' &&"
                           " ip -d link show eth0.10 | grep 'vlan protocol 802.1Q id 10'"));
    lodge_network_stop(host->store, "eleven", FALSE, &error);
    g_assert_no_error(error);
    g_free(netns_run(NULL, "ip link show eth1 | grep -w UP && ! ip link show eth1.11"));
    lodge_network_stop(host->store, "twelve", FALSE, &error);
    g_assert_no_error(error);
    g_free(netns_run(NULL, "! ip link show eth1 | grep -w UP"));
    lodge_network_stop(host->store, "ten", FALSE, &error);
    g_assert_no_error(error);
}

enum { LONG_MS = 20000 };

/* The MAC's last octet is @number, which all the frames of the port carry. */
static int
attach(TestHost *host, LodgeNet *net, const LodgeNetwork *network, guint number, guint vlan,
       const char *trunk)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *guest = g_strdup_printf("g%u", number);
    g_autofree char *mac = g_strdup_printf("52:54:00:00:00:%02x", number);
    g_autofree char *link = lodge_port_link(host->store->root, guest, "net");
    LodgePort port = {.link = link,
                      .guest = guest,
                      .nic = (char *)"net",
                      .mac = mac,
                      .filter = TRUE,
                      .vlan = vlan,
                      .trunk = (char *)trunk};
    int tap = lodge_net_attach(net, network, &port, &error);
    g_assert_no_error(error);
    return tap;
}

static void
say(int tap, guint number, guint vlan, guint word)
{
    g_autofree char *mac = g_strdup_printf("52:54:00:00:00:%02x", number);
    g_autofree char *address = g_strdup_printf("10.1.0.%u", word);
    Frame plain = frame_arp(mac, 1, mac, address, "10.1.0.250");
    Frame frame = {.length = 0};
    frame_append(&frame, plain.bytes, 12);
    if (vlan != 0) {
        g_autofree char *tag = g_strdup_printf("8100 %04x", vlan);
        frame_append_hex(&frame, tag);
    }
    frame_append(&frame, plain.bytes + 12, plain.length - 12);
    frame_send(tap, &frame);
}

/* The words that are heard, in order, up to @last: "V:W" with the tag before, or "W". One that is
 * said again at once, as the kernel does, counts once. */
static char *
heard(int tap, guint last)
{
    g_autoptr(GString) words = g_string_new(NULL);
    for (guint word = 0; word != last;) {
        Frame frame;
        g_assert_true(frame_receive(tap, LONG_MS, &frame));
        guint at = frame.bytes[12] == 0x81 && frame.bytes[13] == 0 ? 4 : 0;
        if (frame.bytes[12 + at] != 0x08 || frame.bytes[13 + at] != 0x06) {
            continue;
        }
        if (frame.bytes[14 + at + 17] == word) {
            continue;
        }
        word = frame.bytes[14 + at + 17];
        g_string_append(words, words->len > 0 ? " " : "");
        if (at != 0) {
            g_string_append_printf(words, "%u:", frame.bytes[14] << 8 | frame.bytes[15]);
        }
        g_string_append_printf(words, "%u", word);
    }
    return g_string_free(g_steal_pointer(&words), FALSE);
}

static void
assert_heard(int tap, guint last, const char *wanted)
{
    g_autofree char *words = heard(tap, last);
    g_assert_cmpstr(words, ==, wanted);
}

static LodgeNetwork *
start(TestHost *host, const char *name)
{
    g_autoptr(GError) error = NULL;
    lodge_network_start(host->store, name, &error);
    g_assert_no_error(error);
    return lodge_net_running(host->store, name);
}

static void
hear_vlans(TestHost *host, LodgeNet *net, const LodgeNetwork *network, const LodgeNetwork *ten)
{
    lodge_autofd in_ten = attach(host, net, network, 1, 10, NULL);
    lodge_autofd in_twenty = attach(host, net, network, 2, 20, NULL);
    lodge_autofd trunk = attach(host, net, network, 3, 0, "10 20-29");
    lodge_autofd by_network = attach(host, net, ten, 4, 0, NULL);
    say(in_ten, 1, 0, 11);
    say(in_twenty, 2, 0, 21);
    say(by_network, 4, 0, 12);
    say(trunk, 3, 10, 13);
    say(trunk, 3, 20, 23);
    say(trunk, 3, 30, 33);  /* not of its trunk */
    say(in_ten, 1, 20, 24); /* nobody asked it to tag */
    say(in_ten, 1, 0, 14);
    say(in_twenty, 2, 0, 25);
    assert_heard(in_ten, 13, "12 13");
    assert_heard(by_network, 14, "11 13 14");
    assert_heard(in_twenty, 23, "23");
    assert_heard(trunk, 25, "10:11 20:21 10:12 10:14 20:25");
    /* Whoever is outside in VLAN 10 is heard there alone, and hears it. */
    g_free(netns_run(host->outside, "ip link add link up1 name up1.10 type vlan id 10 &&"
                                    " ip addr add 10.1.0.77/24 dev up1.10 &&"
                                    " ip link set up1.10 up"));
    netns_try(host->outside, "ping -c 1 -W 1 10.1.0.99");
    assert_heard(in_ten, 77, "77");
    say(in_twenty, 2, 0, 26);
    assert_heard(trunk, 26, "10:77 20:26");
    Frame ask = frame_arp("52:54:00:00:00:01", 1, "52:54:00:00:00:01", "10.1.0.1", "10.1.0.77");
    frame_send(in_ten, &ask);
    Frame answer = {.length = 0};
    while (answer.bytes[21] != 2) {
        g_assert_true(frame_receive(in_ten, LONG_MS, &answer));
    }
}

/* Each port hears its own VLANs, whether its guest, its network or the outside names them. */
static void
test_vlan_aware(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char *const aware[] = {"mode=bridged", "uplink=eth1", "vlan-aware=yes", NULL};
    static const char *const one[] = {"mode=bridged", "bridge=lb-all", "vlan=10", NULL};
    static const char *const plain[] = {"mode=bridged", "bridge=br7", "vlan=10", NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeNet) net = lodge_net_open(host->store, &error);
    create(host, "all", aware);
    create(host, "ten", one);
    create(host, "plain", plain);
    g_free(netns_run(NULL, "ip link add br7 type bridge && ip link set br7 up"));
    g_autoptr(LodgeNetwork) unaware = start(host, "plain");
    LodgePort port = {.link = (char *)"lgx",
                      .guest = (char *)"g",
                      .nic = (char *)"n",
                      .mac = (char *)"52:54:00:00:00:01"};
    g_assert_cmpint(lodge_net_attach(net, unaware, &port, &error), <, 0);
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "bridge br7 does not keep VLANs apart"));
    g_clear_error(&error);
    lodge_network_stop(host->store, "plain", FALSE, NULL);
    g_free(netns_run(NULL, "ip link del br7"));
    if (!netns_try(NULL, "ip link add br7 type bridge vlan_filtering 1 &&"
                         " ip -d link show br7 | grep 'vlan_filtering 1'")) {
        netns_try(NULL, "ip link del br7");
        g_assert_false(lodge_network_start(host->store, "all", &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
        g_test_message("this kernel knows no VLANs");
        return;
    }
    g_free(netns_run(NULL, "ip link del br7"));
    g_autoptr(LodgeNetwork) network = start(host, "all");
    g_autoptr(LodgeNetwork) ten = start(host, "ten");
    hear_vlans(host, net, network, ten);
    lodge_network_stop(host->store, "ten", TRUE, &error);
    lodge_network_stop(host->store, "all", TRUE, &error);
    g_assert_no_error(error);
}

/* A network on another's bridge: it brings that one with it, which stays as long as it runs. */
static void
test_shared_bridge(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char *const maker[] = {"mode=bridged", "uplink=eth1", NULL};
    static const char *const user[] = {"mode=bridged", "bridge=lb-all", NULL};
    g_autoptr(GError) error = NULL;
    create(host, "all", maker);
    create(host, "ten", user);
    lodge_network_start(host->store, "ten", &error);
    g_assert_no_error(error);
    g_assert_cmpint(lodge_net_state(host->store, "all"), ==, LODGE_NET_UP);
    g_assert_false(lodge_network_stop(host->store, "all", FALSE, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    g_assert_cmpstr(error->message, ==,
                    "network all: running networks are on its bridge lb-all: ten (stop them first, "
                    "or use --force)");
    g_clear_error(&error);
    g_free(netns_run(NULL, "ip link show eth1 | grep 'master lb-all'"));
    lodge_network_stop(host->store, "ten", FALSE, &error);
    g_assert_no_error(error);
    g_assert_false(lodge_network_delete(host->store, "all", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    g_clear_error(&error);
    lodge_network_stop(host->store, "all", FALSE, &error);
    g_assert_no_error(error);
    lodge_network_delete(host->store, "ten", &error);
    lodge_network_delete(host->store, "all", &error);
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
test_fours(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char *const settings[] = {"mode=routed", "uplink=eth0", "subnet=203.0.113.0/28",
                                           "each=30",     "ip=4",        NULL};
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GError) error = NULL;
    create(host, "pub", settings);
    for (guint i = 0; i < 4; i++) {
        char *address = reserve(host->store, "pub", i, &error);
        LodgePrefix parsed;
        g_assert_no_error(error);
        g_assert_true(lodge_address_parse(address, &parsed, NULL));
        g_assert_cmpuint(parsed.bytes[3] % 4, ==, 2);
        g_assert_true(g_hash_table_add(seen, address));
    }
    g_assert_null(reserve(host->store, "pub", 4, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
}

static int
attach_routed(TestHost *host, const LodgeNetwork *network, char *guest, char *route, GError **error)
{
    g_autofree char *link = lodge_port_link(host->store->root, guest, "net");
    LodgePort port = {.link = link,
                      .guest = guest,
                      .nic = (char *)"net",
                      .mac = (char *)MAC_A,
                      .address4 = (char *)(*guest == 'a' ? "192.0.2.66" : "192.0.2.67"),
                      .address6 = (char *)"2001:db8:0:7::66",
                      .filter = TRUE,
                      .route = route};
    return lodge_net_attach(host->net, network, &port, error);
}

/* Does what comes from outside for @target reach the guest, addressed to its MAC? */
static gboolean
reaches(TestHost *host, int tap, const char *target, guint8 last_octet)
{
    g_autofree char *ping = g_strdup_printf("ping -c 3 -i 0.2 -W 1 %s", target);
    Frame frame;
    netns_try(host->outside, "%s", ping);
    while (frame_receive(tap, 100, &frame)) {
        if (frame.bytes[12] == 0x08 && frame.bytes[13] == 0x06 && frame.bytes[21] == 1) {
            /* Who has the guest's address? */
            Frame answer = frame_arp(MAC_A, 2, MAC_A, "192.0.2.66", "169.254.1.1");
            frame_send(tap, &answer);
            netns_try(host->outside, "%s", ping);
        }
        if (frame.bytes[12] == 0x08 && frame.bytes[13] == 0x00 && frame.bytes[33] == last_octet &&
            frame.bytes[5] == 0x0a) {
            return TRUE;
        }
    }
    return FALSE;
}

/* What route= names reaches the guest behind its own address, and nobody loses his way to it. */
static void
test_route(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char *const settings[] = {"mode=routed", "uplink=eth0", "subnet=192.0.2.64/29",
                                           "prefix=2001:db8:0:7::/64", NULL};
    static const struct {
        const char *route, *says;
    } bad[] = {
        {"192.0.2.70", "network pub: 192.0.2.70 of guest b overlaps 192.0.2.70 of lg"},
        {"192.0.2.0/28", "network pub: 192.0.2.0/28 of guest b overlaps 192.0.2.0/24 of eth0"},
        {"0.0.0.0/0", "network pub: route=0.0.0.0/0: a /0 would take the host's own ways"},
    };
    g_autoptr(GError) error = NULL;
    create(host, "pub", settings);
    g_autoptr(LodgeNetwork) network = start(host, "pub");
    char route[] = "192.0.2.70 198.51.100.16/28 2001:db8:9::/56";
    lodge_autofd tap = attach_routed(host, network, (char *)"a", route, &error);
    g_assert_no_error(error);
    g_free(netns_run(NULL,
                     "ip route get 198.51.100.18 | grep 'via 192.0.2.66 dev lg' &&"
                     " ip -6 route get 2001:db8:9:7::1 | grep 'via 2001:db8:0:7::66 dev lg'"));
    g_free(netns_run(host->outside, "ip route add 198.51.100.0/24 dev up0"));
    g_assert_true(reaches(host, tap, "198.51.100.18", 18));
    g_assert_true(reaches(host, tap, "192.0.2.70", 70));
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_cmpint(attach_routed(host, network, (char *)"b", (char *)bad[i].route, &error), <,
                        0);
        g_assert_true(g_str_has_prefix(error->message, bad[i].says));
        g_clear_error(&error);
    }
    g_autofree char *link = lodge_port_link(host->store->root, "a", "net");
    lodge_fd_clear(&tap);
    lodge_net_detach(host->net, "pub", link, &error);
    g_assert_no_error(error);
    g_free(netns_run(NULL, "! ip neigh show proxy | grep ."));
    lodge_network_stop(host->store, "pub", FALSE, &error);
    g_assert_no_error(error);
}

/* Without the host nobody gives addresses, so none are chosen. */
static void
test_isolated_alone(TestHost *host, gconstpointer data)
{
    (void)data;
    static const char *const settings[] = {"mode=isolated", "host=no", NULL};
    g_autoptr(GError) error = NULL;
    create(host, "lab", settings);
    g_autofree char *address = reserve(host->store, "lab", 1, &error);
    g_assert_cmpstr(address, ==, "none");
    lodge_network_start(host->store, "lab", &error);
    g_assert_no_error(error);
    g_free(netns_run(NULL, "! ip addr show lb-lab | grep -w inet"));
    g_assert_false(lodge_network_delete(host->store, "lam", &error));
    g_clear_error(&error);
    lodge_network_delete(host->store, "lab", &error);
    g_assert_no_error(error);
}

int
main(int argc, char **argv)
{
    netns_begin(&argc, &argv);
    if (!netns_is_root()) {
        g_printerr("only root starts networks\n");
        return 77;
    }
#define ADD(name, function)                                                                        \
    g_test_add("/net/modes/" name, TestHost, NULL, set_up, function, tear_down)
    ADD("bridge-of-its-own", test_bridge_of_its_own);
    ADD("uplink-in-use", test_uplink_in_use);
    ADD("vlan", test_vlan);
    ADD("vlan-aware", test_vlan_aware);
    ADD("shared-bridge", test_shared_bridge);
    ADD("fours", test_fours);
    ADD("route", test_route);
    ADD("isolated-alone", test_isolated_alone);
    return g_test_run();
}
