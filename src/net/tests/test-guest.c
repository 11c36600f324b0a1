/* Guests on a network: what they may send, what they get, and how fast. */
#include "config.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "net/net.h"
#include "net/tests/frames.h"
#include "net/tests/pair.h"

#define LL_A "fe80::5054:ff:fe00:a"
#define LL_B "fe80::5054:ff:fe00:b"
#define ICMPV6 58

/* A sends the frame, and then one that surely passes. Did B get the first before the second? */
static gboolean
passes(TestPair *pair, const Frame *frame)
{
    static guint counter;
    Frame marker = frame_udp4(MAC_ALL, MAC_A, pair->ports[0].address4, "255.255.255.255", 9, 9);
    counter++;
    memcpy(marker.bytes + marker.length - sizeof counter, &counter, sizeof counter);
    frame_send(pair->taps[0], frame);
    frame_send(pair->taps[0], &marker);
    for (gboolean seen = FALSE;;) {
        Frame got;
        g_assert_true(frame_receive(pair->taps[1], 2000, &got));
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
    Frame frame = frame_ethernet(MAC_ALL, MAC_A, type);
    frame_append_hex(&frame, inner);
    return frame;
}

#define IPV4_INSIDE "4500 0020 0000 0000 4011 0000 0a4d0005 ffffffff 0009 0009 000c 0000 00000000"

/* The fourteen of the trials, and more. */
static void
test_attacks(TestPair *pair, gconstpointer data)
{
    (void)data;
    const char *own = pair->ports[0].address4;
    const char *victim = pair->ports[1].address4;
    const char *victim6 = pair->ports[1].address6;
    const struct {
        const char *name;
        Frame frame;
    } attacks[] = {
        {"wrong MAC", frame_udp4(MAC_ALL, MAC_B, own, "255.255.255.255", 9, 9)},
        {"wrong IPv4", frame_udp4(MAC_ALL, MAC_A, victim, "255.255.255.255", 9, 9)},
        {"gateway's IPv4", frame_udp4(MAC_ALL, MAC_A, "10.77.0.1", "255.255.255.255", 9, 9)},
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
        {"DHCPv4 server", frame_udp4(MAC_ALL, MAC_A, own, "255.255.255.255", 67, 68)},
        {"802.1Q tag", tagged(0x8100, "0005 0800 " IPV4_INSIDE)},
        {"802.1ad tag", tagged(0x88a8, "0005 8100 0006 0800 " IPV4_INSIDE)},
        {"priority tag", tagged(0x8100, "0000 0800 " IPV4_INSIDE)},
        {"unknown EtherType", tagged(0x88b5, "00000000")},
        {"IPX in 802.3", tagged(0x0030, "ffff 0030 00000000")},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(attacks); i++) {
        if (passes(pair, &attacks[i].frame)) {
            g_test_message("passes: %s", attacks[i].name);
            g_test_fail();
        }
    }
    Frame dhcp6 = frame_ip6(MAC_ALL, MAC_A, LL_A, LL_B, 17, 64);
    frame_append_hex(&dhcp6, "0223 0222 000c 0000 07000000");
    frame_finish6(&dhcp6);
    g_assert_false(passes(pair, &dhcp6));
    Frame stp = frame_ethernet("01:80:c2:00:00:00", MAC_A, 0x0026);
    frame_append_hex(&stp, "424203 0000 00 00 00 0000525400000001 00000000 0000525400000001 8001");
    g_assert_false(passes(pair, &stp));
    Frame lldp = frame_ethernet("01:80:c2:00:00:0e", MAC_A, 0x88cc);
    frame_append_hex(&lldp, "0207 04 52540000000a 0000");
    g_assert_false(passes(pair, &lldp));
}

static void
test_legitimate(TestPair *pair, gconstpointer data)
{
    (void)data;
    const char *own = pair->ports[0].address4;
    const char *own6 = pair->ports[0].address6;
    const char *other = pair->ports[1].address4;
    const struct {
        const char *name;
        Frame frame;
    } frames[] = {
        {"ARP", frame_arp(MAC_A, 1, MAC_A, own, other)},
        {"ARP probe", frame_arp(MAC_A, 1, MAC_A, "0.0.0.0", own)},
        {"IPv4", frame_udp4(MAC_B, MAC_A, own, other, 1234, 80)},
        {"DHCP request", frame_udp4(MAC_ALL, MAC_A, "0.0.0.0", "255.255.255.255", 68, 67)},
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
        if (!passes(pair, &frames[i].frame)) {
            g_test_message("held back: %s", frames[i].name);
            g_test_fail();
        }
    }
}

/* A forged frame must not even teach the bridge where its alleged sender is. */
static void
test_poisoning(TestPair *pair, gconstpointer data)
{
    (void)data;
    Frame forged = frame_udp4(MAC_ALL, MAC_B, "10.77.0.1", "255.255.255.255", 9, 9);
    frame_send(pair->taps[0], &forged);
    g_free(netns_run(NULL, "! bridge fdb show | grep '%s dev %s'", MAC_B, pair->ports[0].link));
    Frame own = frame_arp(MAC_B, 1, MAC_B, pair->ports[1].address4, "10.77.0.1");
    frame_send(pair->taps[1], &own);
    g_free(netns_run(NULL, "bridge fdb show | grep '%s dev %s'", MAC_B, pair->ports[1].link));
}

/* The opt-out lets everything through. */
static void
test_unfiltered(TestPair *pair, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    close(pair->taps[0]);
    g_assert_true(lodge_net_detach(pair->host.net, "lan", pair->ports[0].link, &error));
    g_free(pair->ports[0].link);
    lodge_network_lease_clear(&pair->leases[0]);
    test_pair_attach(pair, 0, FALSE);
    Frame forged = frame_udp4(MAC_ALL, MAC_A, "10.77.0.1", "255.255.255.255", 9, 9);
    g_assert_true(passes(pair, &forged));
    Frame advert = icmp6(LL_A, "ff02::1", "86 00 0000 40 00 0708 00000000 00000000", NULL);
    g_assert_true(passes(pair, &advert));
}

static void
test_isolation(TestPair *pair, gconstpointer data)
{
    (void)data;
    Frame frame = frame_arp(MAC_A, 1, MAC_A, pair->ports[0].address4, "10.77.0.1");
    Frame got;
    gboolean answered = FALSE;
    /* As a guest would, ask again: the first question may come before the bridge's port forwards.
     */
    for (int tries = 0; !answered && tries < 10; tries++) {
        frame_send(pair->taps[0], &frame);
        while (!answered && frame_receive(pair->taps[0], 500, &got)) {
            answered = got.bytes[12] == 0x08 && got.bytes[13] == 0x06 && got.bytes[21] == 2;
        }
    }
    g_assert_true(answered);
    while (frame_receive(pair->taps[1], 20, &got)) {
        g_assert_false(got.length == frame.length &&
                       memcmp(got.bytes, frame.bytes, frame.length) == 0);
    }
}

/* How many of COUNT frames that A sends at once come to B? */
static guint
count_passing(TestPair *pair)
{
    enum { COUNT = 400, PAYLOAD_BYTES = 1200 };
    static const guint8 payload[PAYLOAD_BYTES];
    Frame frame = frame_udp4(MAC_B, MAC_A, pair->ports[0].address4, pair->ports[1].address4, 9, 9);
    frame_append(&frame, payload, sizeof payload);
    frame_finish_udp4(&frame);
    Frame got;
    guint count = 0;
    for (guint i = 0; i < COUNT; i++) {
        frame_send(pair->taps[0], &frame);
    }
    while (frame_receive(pair->taps[1], 200, &got)) {
        count += got.length == frame.length;
    }
    return count;
}

/* A limit lets a burst of 256 KiB through, some 210 of these frames, and then next to nothing. */
static void
test_rates(TestPair *pair, gconstpointer data)
{
    (void)data;
    g_autoptr(GError) error = NULL;
    g_assert_cmpuint(count_passing(pair), ==, 400);
    for (guint number = 0; number < 2; number++) {
        gboolean is_out = number == 0;
        lodge_net_set_rates(pair->host.net, "lan", pair->ports[number].link, is_out ? 0 : 1024,
                            is_out ? 1024 : 0, &error);
        g_assert_no_error(error);
        guint passed = count_passing(pair);
        g_assert_cmpuint(passed, >, 100);
        g_assert_cmpuint(passed, <, 300);
        lodge_net_set_rates(pair->host.net, "lan", pair->ports[number].link, 0, 0, &error);
        g_assert_no_error(error);
    }
    g_assert_cmpuint(count_passing(pair), ==, 400);
    g_free(netns_run(NULL, "! nft list ruleset | grep 'rate over'"));
}

int
main(int argc, char **argv)
{
    static const char apart[] = "[network]\nsubnet=10.77.0.0/24\nisolation=yes\n";
    netns_begin(&argc, &argv);
#define ADD(name, text, function)                                                                  \
    g_test_add("/net/guest/" name, TestPair, text, test_pair_set_up, function, test_pair_tear_down)
    ADD("legitimate", TEST_HOST_NAT, test_legitimate);
    ADD("attacks", TEST_HOST_NAT, test_attacks);
    ADD("poisoning", TEST_HOST_NAT, test_poisoning);
    ADD("unfiltered", TEST_HOST_NAT, test_unfiltered);
    ADD("isolation", apart, test_isolation);
    ADD("rates", TEST_HOST_NAT, test_rates);
    return g_test_run();
}
