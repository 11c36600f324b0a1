/* Guests on a network: what they may send, what they get, and what attaching costs. The test holds
 * the taps itself: what it writes there is what a guest would send. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "net/net.h"
#include "net/tests/frames.h"
#include "net/tests/host.h"

#define MAC_A "52:54:00:00:00:0a"
#define MAC_B "52:54:00:00:00:0b"
#define ALL "ff:ff:ff:ff:ff:ff"
#define LL_A "fe80::5054:ff:fe00:a"
#define LL_B "fe80::5054:ff:fe00:b"
#define ICMPV6 58

typedef struct {
    TestHost host;
    LodgeNetwork *network;
    LodgePort ports[2];
    LodgeNetworkLease leases[2];
    int taps[2];
} Fixture;

static void
attach(Fixture *fixture, guint number, gboolean filter)
{
    static const char *const guests[] = {"a", "b"};
    static const char *const macs[] = {MAC_A, MAC_B};
    g_autoptr(GError) error = NULL;
    LodgePort *port = &fixture->ports[number];
    *port = (LodgePort){.guest = (char *)guests[number],
                        .nic = (char *)"lan",
                        .mac = (char *)macs[number],
                        .filter = filter};
    port->link = lodge_port_link(fixture->host.store->root, port->guest, port->nic);
    lodge_net_reserve(fixture->host.store, fixture->network, port, &fixture->leases[number],
                      &error);
    g_assert_no_error(error);
    port->address4 = fixture->leases[number].address4;
    port->address6 = fixture->leases[number].address6;
    fixture->taps[number] = lodge_net_attach(fixture->host.net, fixture->network, port, &error);
    g_assert_no_error(error);
}

static void
set_up(Fixture *fixture, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    test_host_open(&fixture->host);
    fixture->host.before = netns_dump();
    fixture->network = test_host_define(&fixture->host, "lan", data);
    lodge_net_up(fixture->host.net, fixture->network, &error);
    g_assert_no_error(error);
    attach(fixture, 0, TRUE);
    attach(fixture, 1, TRUE);
}

static void
tear_down(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    for (guint i = 0; i < 2; i++) {
        close(fixture->taps[i]);
        lodge_net_detach(fixture->host.net, "lan", fixture->ports[i].link, &error);
        g_assert_no_error(error);
        g_free(fixture->ports[i].link);
        lodge_network_lease_clear(&fixture->leases[i]);
    }
    test_host_stop(&fixture->host, "lan");
    lodge_network_free(fixture->network);
    test_host_close(&fixture->host);
}

/* A sends the frame, and then one that surely passes. Did B get the first before the second? */
static gboolean
passes(Fixture *fixture, const Frame *frame)
{
    static guint counter;
    Frame marker = frame_udp4(ALL, MAC_A, fixture->ports[0].address4, "255.255.255.255", 9, 9);
    counter++;
    memcpy(marker.bytes + marker.length - sizeof counter, &counter, sizeof counter);
    frame_send(fixture->taps[0], frame);
    frame_send(fixture->taps[0], &marker);
    for (gboolean seen = FALSE;;) {
        Frame got;
        g_assert_true(frame_receive(fixture->taps[1], 2000, &got));
        if (got.length == marker.length && memcmp(got.bytes, marker.bytes, got.length) == 0) {
            return seen;
        }
        seen = seen ||
               (got.length == frame->length && memcmp(got.bytes, frame->bytes, got.length) == 0);
    }
}

static Frame
icmp6(const char *source, const char *target, const char *hex, const char *address)
{
    Frame frame = frame_ip6("33:33:00:00:00:01", MAC_A, source, target, ICMPV6, 255);
    frame_append_hex(&frame, hex);
    if (address != NULL) {
        frame_append_address6(&frame, address);
    }
    frame_finish6(&frame);
    return frame;
}

/* IPv6 with an extension header (hex, beginning with the next header) before a router advertisement
 */
static Frame
extended(guint8 first, const char *extension, guint8 hop_limit, const char *to, const char *target)
{
    Frame frame = frame_ip6(to, MAC_A, LL_A, target, first, hop_limit);
    frame_append_hex(&frame, extension);
    frame_append_hex(&frame, "86 00 0000 40 00 0708 00000000 00000000");
    frame_finish6(&frame);
    return frame;
}

static Frame
tagged(guint16 type, const char *inner)
{
    Frame frame = frame_ethernet(ALL, MAC_A, type);
    frame_append_hex(&frame, inner);
    return frame;
}

#define IPV4_INSIDE "4500 0020 0000 0000 4011 0000 0a4d0005 ffffffff 0009 0009 000c 0000 00000000"

/* The fourteen of the trials, and more. */
static void
test_attacks(Fixture *fixture, gconstpointer data)
{
    (void)data;
    const char *own = fixture->ports[0].address4;
    const char *victim = fixture->ports[1].address4;
    const char *victim6 = fixture->ports[1].address6;
    const struct {
        const char *name;
        Frame frame;
    } attacks[] = {
        {"wrong MAC", frame_udp4(ALL, MAC_B, own, "255.255.255.255", 9, 9)},
        {"wrong IPv4", frame_udp4(ALL, MAC_A, victim, "255.255.255.255", 9, 9)},
        {"gateway's IPv4", frame_udp4(ALL, MAC_A, "10.77.0.1", "255.255.255.255", 9, 9)},
        {"ARP sender MAC", frame_arp(MAC_A, 2, MAC_B, own, victim)},
        {"ARP sender IP", frame_arp(MAC_A, 2, MAC_A, "10.77.0.1", victim)},
        {"ARP request for another's", frame_arp(MAC_A, 1, MAC_A, victim, own)},
        {"ARP probe of another's", frame_arp(MAC_A, 1, MAC_A, "0.0.0.0", victim)},
        {"IPv6 source", icmp6(LL_B, "ff02::1", "80 00 0000 00000000", NULL)},
        {"IPv6 global source", icmp6(victim6, "ff02::1", "80 00 0000 00000000", NULL)},
        {"RA", icmp6(LL_A, "ff02::1", "86 00 0000 40 00 0708 00000000 00000000", NULL)},
        {"RA of the gateway",
         icmp6("fe80::1", "ff02::1", "86 00 0000 40 00 0708 00000000 00000000", NULL)},
        {"redirect", icmp6(LL_A, "ff02::1", "89 00 0000 00000000", victim6)},
        {"RA behind hop-by-hop",
         extended(0, "3a 00 0100 00000000", 255, "33:33:00:00:00:01", "ff02::1")},
        {"RA behind destination options",
         extended(60, "3a 00 0100 00000000", 255, "33:33:00:00:00:01", "ff02::1")},
        {"fragmented multicast",
         extended(44, "3a 00 0001 12345678", 64, "33:33:00:00:00:01", "ff02::1")},
        {"RA in a fragment, to one", extended(44, "3a 00 0001 12345678", 255, MAC_B, LL_B)},
        {"RA in a later fragment", extended(44, "3c 00 0011 12345678", 255, MAC_B, LL_B)},
        {"NA target", icmp6(LL_A, "ff02::1", "88 00 0000 20000000", LL_B)},
        {"NA global target", icmp6(LL_A, "ff02::1", "88 00 0000 20000000", victim6)},
        {"DAD for another's", icmp6("::", "ff02::1", "87 00 0000 00000000", victim6)},
        {"DHCPv4 server", frame_udp4(ALL, MAC_A, own, "255.255.255.255", 67, 68)},
        {"802.1Q tag", tagged(0x8100, "0005 0800 " IPV4_INSIDE)},
        {"802.1ad tag", tagged(0x88a8, "0005 8100 0006 0800 " IPV4_INSIDE)},
        {"priority tag", tagged(0x8100, "0000 0800 " IPV4_INSIDE)},
        {"unknown EtherType", tagged(0x88b5, "00000000")},
        {"IPX in 802.3", tagged(0x0030, "ffff 0030 00000000")},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(attacks); i++) {
        if (passes(fixture, &attacks[i].frame)) {
            g_test_message("passes: %s", attacks[i].name);
            g_test_fail();
        }
    }
    Frame dhcp6 = frame_ip6(ALL, MAC_A, LL_A, LL_B, 17, 64);
    frame_append_hex(&dhcp6, "0223 0222 000c 0000 07000000");
    frame_finish6(&dhcp6);
    g_assert_false(passes(fixture, &dhcp6));
    Frame stp = frame_ethernet("01:80:c2:00:00:00", MAC_A, 0x0026);
    frame_append_hex(&stp, "424203 0000 00 00 00 0000525400000001 00000000 0000525400000001 8001");
    g_assert_false(passes(fixture, &stp));
    Frame lldp = frame_ethernet("01:80:c2:00:00:0e", MAC_A, 0x88cc);
    frame_append_hex(&lldp, "0207 04 52540000000a 0000");
    g_assert_false(passes(fixture, &lldp));
}

static void
test_legitimate(Fixture *fixture, gconstpointer data)
{
    (void)data;
    const char *own = fixture->ports[0].address4;
    const char *own6 = fixture->ports[0].address6;
    const char *other = fixture->ports[1].address4;
    const struct {
        const char *name;
        Frame frame;
    } frames[] = {
        {"ARP", frame_arp(MAC_A, 1, MAC_A, own, other)},
        {"ARP probe", frame_arp(MAC_A, 1, MAC_A, "0.0.0.0", own)},
        {"IPv4", frame_udp4(MAC_B, MAC_A, own, other, 1234, 80)},
        {"DHCP request", frame_udp4(ALL, MAC_A, "0.0.0.0", "255.255.255.255", 68, 67)},
        {"IPv6 link-local", icmp6(LL_A, "ff02::1", "80 00 0000 00000000", NULL)},
        {"IPv6 reserved", icmp6(own6, "ff02::1", "80 00 0000 00000000", NULL)},
        {"IPv6 of its MAC",
         icmp6("fd77:0:0:1:5054:ff:fe00:a", "ff02::1", "80 00 0000 00000000", NULL)},
        {"NA", icmp6(LL_A, "ff02::1", "88 00 0000 20000000", LL_A)},
        {"NA reserved", icmp6(own6, "ff02::1", "88 00 0000 20000000", own6)},
        {"DAD", icmp6("::", "ff02::1", "87 00 0000 00000000", own6)},
        {"NS", icmp6(LL_A, "ff02::1", "87 00 0000 00000000", LL_B)},
        {"RS", icmp6(LL_A, "ff02::1", "85 00 0000 00000000", NULL)},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(frames); i++) {
        if (!passes(fixture, &frames[i].frame)) {
            g_test_message("held back: %s", frames[i].name);
            g_test_fail();
        }
    }
}

/* A forged frame must not even teach the bridge where its alleged sender is. */
static void
test_poisoning(Fixture *fixture, gconstpointer data)
{
    (void)data;
    Frame forged = frame_udp4(ALL, MAC_B, "10.77.0.1", "255.255.255.255", 9, 9);
    frame_send(fixture->taps[0], &forged);
    g_free(netns_run(NULL, "! bridge fdb show | grep '%s dev %s'", MAC_B, fixture->ports[0].link));
    Frame own = frame_arp(MAC_B, 1, MAC_B, fixture->ports[1].address4, "10.77.0.1");
    frame_send(fixture->taps[1], &own);
    g_free(netns_run(NULL, "bridge fdb show | grep '%s dev %s'", MAC_B, fixture->ports[1].link));
}

/* The opt-out lets everything through. */
static void
test_unfiltered(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    close(fixture->taps[0]);
    g_assert_true(lodge_net_detach(fixture->host.net, "lan", fixture->ports[0].link, &error));
    g_free(fixture->ports[0].link);
    lodge_network_lease_clear(&fixture->leases[0]);
    attach(fixture, 0, FALSE);
    Frame forged = frame_udp4(ALL, MAC_A, "10.77.0.1", "255.255.255.255", 9, 9);
    g_assert_true(passes(fixture, &forged));
    Frame advert = icmp6(LL_A, "ff02::1", "86 00 0000 40 00 0708 00000000 00000000", NULL);
    g_assert_true(passes(fixture, &advert));
}

static void
test_isolation(Fixture *fixture, gconstpointer data)
{
    (void)data;
    Frame frame = frame_arp(MAC_A, 1, MAC_A, fixture->ports[0].address4, "10.77.0.1");
    Frame got;
    gboolean answered = FALSE;
    /* As a guest would, ask again: the first question may come before the bridge's port forwards.
     */
    for (int tries = 0; !answered && tries < 10; tries++) {
        frame_send(fixture->taps[0], &frame);
        while (!answered && frame_receive(fixture->taps[0], 500, &got)) {
            answered = got.bytes[12] == 0x08 && got.bytes[13] == 0x06 && got.bytes[21] == 2;
        }
    }
    g_assert_true(answered);
    while (frame_receive(fixture->taps[1], 20, &got)) {
        g_assert_false(got.length == frame.length &&
                       memcmp(got.bytes, frame.bytes, frame.length) == 0);
    }
}

/* Lengths and checksum, after something was appended. */
static void
finish_udp4(Frame *frame)
{
    gsize udp = frame->length - 34;
    guint32 sum = 0;
    frame->bytes[16] = (guint8)((udp + 20) >> 8);
    frame->bytes[17] = (guint8)(udp + 20);
    frame->bytes[38] = (guint8)(udp >> 8);
    frame->bytes[39] = (guint8)udp;
    frame->bytes[24] = frame->bytes[25] = 0;
    for (gsize i = 14; i < 34; i += 2) {
        sum += (guint32)(frame->bytes[i] << 8 | frame->bytes[i + 1]);
    }
    sum = (sum >> 16) + (sum & 0xffff);
    frame->bytes[24] = (guint8)(~sum >> 8);
    frame->bytes[25] = (guint8)~sum;
}

/* How many of COUNT frames that A sends at once come to B? */
static guint
count_passing(Fixture *fixture)
{
    enum { COUNT = 400, PAYLOAD_BYTES = 1200 };
    static const guint8 payload[PAYLOAD_BYTES];
    Frame frame = frame_udp4(MAC_B, MAC_A, fixture->ports[0].address4, fixture->ports[1].address4,
                             9, 9);
    frame_append(&frame, payload, sizeof payload);
    finish_udp4(&frame);
    Frame got;
    guint count = 0;
    for (guint i = 0; i < COUNT; i++) {
        frame_send(fixture->taps[0], &frame);
    }
    while (frame_receive(fixture->taps[1], 200, &got)) {
        count += got.length == frame.length;
    }
    return count;
}

/* A limit lets a burst of 256 KiB through, some 210 of these frames, and then next to nothing. */
static void
test_rates(Fixture *fixture, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    g_assert_cmpuint(count_passing(fixture), ==, 400);
    for (guint number = 0; number < 2; number++) {
        gboolean is_out = number == 0;
        lodge_net_set_rates(fixture->host.net, "lan", fixture->ports[number].link,
                            is_out ? 0 : 1024, is_out ? 1024 : 0, &error);
        g_assert_no_error(error);
        guint passed = count_passing(fixture);
        g_assert_cmpuint(passed, >, 100);
        g_assert_cmpuint(passed, <, 300);
        lodge_net_set_rates(fixture->host.net, "lan", fixture->ports[number].link, 0, 0, &error);
        g_assert_no_error(error);
    }
    g_assert_cmpuint(count_passing(fixture), ==, 400);
    g_free(netns_run(NULL, "! nft list ruleset | grep 'rate over'"));
}

enum {
    DHCP_DISCOVER = 1,
    DHCP_OFFER,
    DHCP_REQUEST,
    DHCP_ACK = 5,
    DHCP_MAGIC_AT = 14 + 20 + 8 + 236
};

/* A client's message; @options follow the type's, in hex. */
static Frame
dhcp_message(const char *mac, guint type, const char *options)
{
    Frame frame = frame_udp4(ALL, mac, "0.0.0.0", "255.255.255.255", 68, 67);
    frame.length -= 4;
    frame_append_hex(&frame, "01 01 06 00 12345678 0000 0000 00000000 00000000 00000000 00000000");
    for (gsize i = 0; i < 6; i++) {
        frame.bytes[frame.length++] = (guint8)g_ascii_strtoull(mac + 3 * i, NULL, 16);
    }
    static const guint8 empty[10 + 64 + 128];
    g_autofree char *rest = g_strdup_printf("63825363 3501%02x %s 370103 ff", type, options);
    frame_append(&frame, empty, sizeof empty);
    frame_append_hex(&frame, rest);
    finish_udp4(&frame);
    return frame;
}

/* Wait for the server's message of that type, and return the address in it; NULL: it is late. */
static char *
dhcp_answer_within(int tap, guint type, int timeout_ms)
{
    Frame got;
    while (frame_receive(tap, timeout_ms, &got)) {
        if (got.length > DHCP_MAGIC_AT + 6 && got.bytes[23] == 17 && got.bytes[36] == 0 &&
            got.bytes[37] == 68 && got.bytes[DHCP_MAGIC_AT + 4] == 53 &&
            got.bytes[DHCP_MAGIC_AT + 6] == type) {
            return g_strdup_printf("%u.%u.%u.%u", got.bytes[58], got.bytes[59], got.bytes[60],
                                   got.bytes[61]);
        }
    }
    return NULL;
}

static char *
dhcp_answer(int tap, guint type)
{
    return dhcp_answer_within(tap, type, 20000);
}

/* Ask, and ask again, as clients do: a server that many ask at once may lose a message. */
static char *
dhcp_ask(int tap, const Frame *question, guint type)
{
    char *answer = NULL;
    for (int attempt = 0; answer == NULL && attempt < 10; attempt++) {
        frame_send(tap, question);
        answer = dhcp_answer_within(tap, type, 4000);
    }
    g_assert_nonnull(answer);
    return answer;
}

/* DHCP: the reserved address, at once. */
static double
discover(int tap, const char *mac, const char *address)
{
    Frame frame = dhcp_message(mac, DHCP_DISCOVER, "");
    gint64 began = g_get_monotonic_time();
    frame_send(tap, &frame);
    g_autofree char *offered = dhcp_answer(tap, DHCP_OFFER);
    g_assert_cmpstr(offered, ==, address);
    return (double)(g_get_monotonic_time() - began) / 1000;
}

static void
test_dhcp(Fixture *fixture, gconstpointer data)
{
    (void)data;
    if (!netns_is_root()) {
        g_test_skip("dnsmasq needs root");
        return;
    }
    g_autoptr(GError) error = NULL;
    lodge_net_serve(fixture->host.store, fixture->network, &error);
    g_assert_no_error(error);
    double first_ms = discover(fixture->taps[0], MAC_A, fixture->ports[0].address4);
    g_test_message("DHCP offer: %.1f ms", first_ms);
    g_assert_cmpfloat(first_ms, <, 300);
    /* Known since dnsmasq has been running: read without a restart. */
    LodgePort late = {.guest = (char *)"b", .nic = (char *)"other", .mac = (char *)MAC_B};
    g_auto(LodgeNetworkLease) lease = {NULL, NULL};
    g_assert_true(lodge_net_reserve(fixture->host.store, fixture->network, &late, &lease, &error));
    g_assert_cmpstr(lease.address4, !=, fixture->ports[1].address4);
    g_free(netns_run(NULL, "dig +short +timeout=2 @10.77.0.1 a.lodge | grep -x %s",
                     fixture->ports[0].address4));
    g_free(netns_run(NULL, "dig +short +timeout=2 @10.77.0.1 a.lodge AAAA | grep -x %s",
                     fixture->ports[0].address6));
}

enum { MANY = 200 };

typedef struct {
    char *mac;
    LodgePort port;
    LodgeNetworkLease lease;
    int tap;
} Client;

static void
client_begin(Fixture *fixture, Client *client, guint number)
{
    g_autoptr(GError) error = NULL;
    client->mac = g_strdup_printf("52:54:00:03:00:%02x", number);
    client->port = (LodgePort){.guest = g_strdup_printf("c%u", number),
                               .nic = (char *)"lan",
                               .mac = client->mac,
                               .filter = TRUE};
    client->port.link = lodge_port_link(fixture->host.store->root, client->port.guest, "lan");
    lodge_net_reserve(fixture->host.store, fixture->network, &client->port, &client->lease, &error);
    g_assert_no_error(error);
    client->port.address4 = client->lease.address4;
    client->port.address6 = client->lease.address6;
    client->tap = lodge_net_attach(fixture->host.net, fixture->network, &client->port, &error);
    g_assert_no_error(error);
}

/* What the network has of it goes when the network stops. */
static void
client_end(Client *client)
{
    close(client->tap);
    lodge_network_lease_clear(&client->lease);
    g_free(client->port.guest);
    g_free(client->port.link);
    g_free(client->mac);
}

/* Two hundred guests ask at once: each is given its own address, and gets it. */
static void
test_dhcp_many(Fixture *fixture, gconstpointer data)
{
    (void)data;
    if (!netns_is_root()) {
        g_test_skip("dnsmasq needs root");
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autofree Client *clients = g_new0(Client, MANY);
    g_autofree Frame *requests = g_new0(Frame, MANY);
    g_autoptr(GHashTable) given = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    lodge_net_serve(fixture->host.store, fixture->network, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < MANY; i++) {
        client_begin(fixture, &clients[i], i);
    }
    gint64 began = g_get_monotonic_time();
    for (guint i = 0; i < MANY; i++) {
        Frame frame = dhcp_message(clients[i].mac, DHCP_DISCOVER, "");
        frame_send(clients[i].tap, &frame);
    }
    for (guint i = 0; i < MANY; i++) {
        Frame again = dhcp_message(clients[i].mac, DHCP_DISCOVER, "");
        g_autofree char *offered = dhcp_answer_within(clients[i].tap, DHCP_OFFER, 4000);
        offered = offered != NULL ? offered : dhcp_ask(clients[i].tap, &again, DHCP_OFFER);
        g_assert_cmpstr(offered, ==, clients[i].lease.address4);
        LodgePrefix address;
        g_assert_true(lodge_address_parse(offered, &address, NULL));
        g_autofree char *options = g_strdup_printf("3204%02x%02x%02x%02x 36040a4d0001",
                                                   address.bytes[0], address.bytes[1],
                                                   address.bytes[2], address.bytes[3]);
        requests[i] = dhcp_message(clients[i].mac, DHCP_REQUEST, options);
        frame_send(clients[i].tap, &requests[i]);
    }
    for (guint i = 0; i < MANY; i++) {
        char *got = dhcp_answer_within(clients[i].tap, DHCP_ACK, 4000);
        got = got != NULL ? got : dhcp_ask(clients[i].tap, &requests[i], DHCP_ACK);
        g_assert_true(g_hash_table_add(given, got));
    }
    g_test_message("%u guests have their addresses after %.0f ms", MANY,
                   (double)(g_get_monotonic_time() - began) / 1000);
    g_assert_false(g_hash_table_contains(given, ""));
    g_assert_cmpuint(g_hash_table_size(given), ==, MANY);
    for (guint i = 0; i < MANY; i++) {
        client_end(&clients[i]);
    }
}

/* Two hundred guests made at once get two hundred addresses. */
static void
test_reserve_many(Fixture *fixture, gconstpointer data)
{
    (void)data;
    enum { COUNT = 200, PROCESSES = 8 };
    for (guint p = 0; p < PROCESSES; p++) {
        if (fork() == 0) {
            for (guint i = p; i < COUNT; i += PROCESSES) {
                g_autofree char *guest = g_strdup_printf("many%u", i);
                g_autofree char *mac = g_strdup_printf("52:54:00:01:00:%02x", i);
                LodgePort port = {.guest = guest, .nic = (char *)"lan", .mac = mac};
                g_auto(LodgeNetworkLease) lease = {NULL, NULL};
                if (!lodge_net_reserve(fixture->host.store, fixture->network, &port, &lease,
                                       NULL)) {
                    _exit(1);
                }
            }
            _exit(0);
        }
    }
    for (guint p = 0; p < PROCESSES; p++) {
        int status = 0;
        wait(&status);
        g_assert_cmpint(status, ==, 0);
    }
    g_autofree char *count = netns_run(
        NULL, "cat $LODGE_DIR/run/networks/lan/hosts/* | cut -d, -f2 | sort -u | wc -l");
    g_assert_cmpstr(g_strchomp(count), ==, "202");
    lodge_net_release(fixture->host.store, "many7");
    g_free(netns_run(NULL, "! ls $LODGE_DIR/run/networks/lan/hosts | grep 'many7\\.'"));
}

static int
compare_times(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return difference < 0 ? -1 : difference > 0;
}

static double
median(double *times, gsize count)
{
    qsort(times, count, sizeof *times, compare_times);
    return times[count / 2];
}

/* Attach and detach many: in time, and the last no slower than the first. */
static void
test_attach_cost(Fixture *fixture, gconstpointer data)
{
    (void)data;
    enum { COUNT = 200 };
    int taps[COUNT];
    double times[COUNT];
    g_autoptr(GPtrArray) links = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < COUNT; i++) {
        g_autofree char *guest = g_strdup_printf("g%u", i);
        g_autofree char *mac = g_strdup_printf("52:54:00:02:00:%02x", i);
        g_autofree char *address = g_strdup_printf("10.77.0.%u", i + 30);
        LodgePort port = {.guest = guest,
                          .nic = (char *)"lan",
                          .mac = mac,
                          .address4 = address,
                          .link = lodge_port_link(fixture->host.store->root, guest, "lan"),
                          .filter = TRUE};
        g_ptr_array_add(links, port.link);
        g_autoptr(GError) error = NULL;
        gint64 began = g_get_monotonic_time();
        taps[i] = lodge_net_attach(fixture->host.net, fixture->network, &port, &error);
        times[i] = (double)(g_get_monotonic_time() - began) / 1000;
        g_assert_no_error(error);
    }
    double first = median(times, COUNT / 2);
    double last = median(times + COUNT / 2, COUNT / 2);
    g_test_message("attach, median: %.2f ms of the first hundred, %.2f ms of the second", first,
                   last);
    gint64 began = g_get_monotonic_time();
    for (guint i = 0; i < COUNT; i++) {
        close(taps[i]);
        g_assert_true(lodge_net_detach(fixture->host.net, "lan", links->pdata[i], NULL));
    }
    g_test_message("detach: %.2f ms each", (double)(g_get_monotonic_time() - began) / 1000 / COUNT);
    g_assert_cmpfloat(last, <, 20);
}

int
main(int argc, char **argv)
{
    static const char dual[] = "[network]\nsubnet=10.77.0.0/24\nprefix=fd77:0:0:1::/64\n";
    static const char apart[] = "[network]\nsubnet=10.77.0.0/24\nisolation=yes\n";
    g_test_init(&argc, &argv, NULL);
    if (!netns_begin()) {
        g_printerr("network namespaces can't be made here\n");
        return 77;
    }
#define ADD(name, text, function)                                                                  \
    g_test_add("/net/guest/" name, Fixture, text, set_up, function, tear_down)
    ADD("legitimate", dual, test_legitimate);
    ADD("attacks", dual, test_attacks);
    ADD("poisoning", dual, test_poisoning);
    ADD("unfiltered", dual, test_unfiltered);
    ADD("isolation", apart, test_isolation);
    ADD("rates", dual, test_rates);
    ADD("dhcp", dual, test_dhcp);
    ADD("dhcp-many", dual, test_dhcp_many);
    ADD("reserve-many", dual, test_reserve_many);
    ADD("attach-cost", dual, test_attach_cost);
    return g_test_run();
}
