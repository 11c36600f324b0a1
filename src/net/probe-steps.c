/* The chain that a guest's packets depend on, link by link. Behind a broken one nothing of the same
 * family is tried: it could only fail too. */
#include "config.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <string.h>

#include "base/base.h"
#include "net/link.h"
#include "net/probe-private.h"
#include "net/sysctl.h"

enum {
    ADVERTISEMENT_MS = 8000,
    LOOK_AGAIN_MS = 20,
    DNS_A = 1,
    DNS_SERVFAIL = 2,
    DNS_REFUSED = 5,
};

void
lodge_probe_add(GPtrArray *steps, LodgeProbeState state, const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    LodgeProbeStep *step = g_new0(LodgeProbeStep, 1);
    step->name = g_strdup(name);
    step->state = state;
    step->detail = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_ptr_array_add(steps, step);
}

static gboolean
ping(GPtrArray *steps, const char *name, const LodgePrefix *target, const char *blame)
{
    gint64 took_us = 0;
    g_autofree char *text = lodge_prefix_format_address(target);
    g_autoptr(GError) error = NULL;
    if (lodge_probe_ping(target, &took_us, &error)) {
        lodge_probe_add(steps, LODGE_PROBE_OK, name, "%s answers in %.1f ms", text,
                        (double)took_us / 1000);
        return TRUE;
    }
    lodge_probe_add(steps, LODGE_PROBE_FAILED, name, "%s: %s; %s", text, error->message, blame);
    return FALSE;
}

static void
ask_dns(const LodgeProbeRun *run, GPtrArray *steps, const char *family, const LodgePrefix *server)
{
    g_autofree char *name = g_strdup_printf("DNS %s", family);
    g_autofree char *outside = g_strdup_printf("DNS outside %s", family);
    g_autofree char *text = lodge_prefix_format_address(server);
    g_autofree char *known = g_strdup_printf("lodge-test.%s", run->network->domain);
    g_autoptr(GError) error = NULL;
    int code = 0;
    if (!lodge_probe_dns(server, known, DNS_A, &code, &error)) {
        lodge_probe_add(steps, LODGE_PROBE_FAILED, name, "%s: %s; %s", text, error->message,
                        run->network->mode == LODGE_NETWORK_ROUTED
                            ? "guests ask it themselves: can they reach it? (dns= names others)"
                            : "does something on this host block port 53? (`lodge check`)");
        return;
    }
    lodge_probe_add(steps, LODGE_PROBE_OK, name, "%s answers", text);
    if (run->network->mode == LODGE_NETWORK_ISOLATED) {
        return;
    }
    if (!lodge_probe_dns(server, "example.org", DNS_A, &code, &error) || code == DNS_SERVFAIL ||
        code == DNS_REFUSED) {
        lodge_probe_add(steps, LODGE_PROBE_FAILED, outside,
                        "%s finds out nothing: the servers it asks (%s) do not answer it", text,
                        run->network->dns != NULL ? run->network->dns
                                                  : "those of the host's /etc/resolv.conf");
        return;
    }
    lodge_probe_add(steps, LODGE_PROBE_OK, outside, "names of the world are resolved");
}

static void
look_outside(const LodgeProbeRun *run, GPtrArray *steps, const char *family,
             const LodgePrefix *target)
{
    g_autofree char *name = g_strdup_printf("outside %s", family);
    if (run->network->mode == LODGE_NETWORK_ISOLATED) {
        lodge_probe_add(steps, LODGE_PROBE_SKIPPED, name, "the network is isolated");
    } else if (target->family == 0) {
        lodge_probe_add(steps, LODGE_PROBE_SKIPPED, name,
                        "this host reaches nothing by %s that would answer", family);
    } else if (run->network->mode == LODGE_NETWORK_ROUTED) {
        ping(steps, name, target,
             "the host reaches it, so forwarding is blocked here (`lodge check` tells who blocks), "
             "or nobody outside knows that the network's addresses are behind this host");
    } else {
        ping(steps, name, target,
             "the host reaches it, so forwarding or translation is blocked here (`lodge network "
             "start` mends what is Lodge's, `lodge check` tells who else blocks)");
    }
}

/* --- IPv4 ----------------------------------------------------------------------------------------
 */

static gboolean
configure4(const LodgeProbeRun *run, LodgeNetlink *netlink, const LodgeProbeOffer *offer,
           GError **error)
{
    static const LodgePrefix everywhere = {AF_INET, {0}, 0};
    int index = lodge_link_index(run->link);
    lodge_link_address(netlink, index, &offer->address, TRUE);
    if (!lodge_netlink_send(netlink, error)) {
        return FALSE;
    }
    if (offer->router.family != 0 && !lodge_prefix_contains(&offer->address, &offer->router)) {
        lodge_link_route(netlink, index, &offer->router, NULL, TRUE);
    }
    if (offer->router.family != 0) {
        lodge_link_route(netlink, index, &everywhere, &offer->router, TRUE);
    }
    return lodge_netlink_send(netlink, error);
}

static void
explain_dhcp(const LodgeProbeRun *run, GPtrArray *steps, const GError *error)
{
    lodge_probe_add(steps, LODGE_PROBE_FAILED, "DHCPv4", "%s; %s", error->message,
                    run->has_server
                        ? "does something on this host block UDP port 67? (`lodge check`)"
                        : "is there one on the segment that the bridge leads to?");
}

static void
try4(const LodgeProbeRun *run, LodgeNetlink *netlink, GPtrArray *steps)
{
    LodgeProbeOffer offer = {0};
    g_autoptr(GError) error = NULL;
    gint64 began = g_get_monotonic_time();
    if (!lodge_probe_dhcp(run->link, run->mac, &offer, &error)) {
        explain_dhcp(run, steps, error);
        return;
    }
    g_autofree char *address = lodge_prefix_format(&offer.address);
    lodge_probe_add(steps, LODGE_PROBE_OK, "DHCPv4", "%s after %.0f ms", address,
                    (double)(g_get_monotonic_time() - began) / 1000);
    if (!configure4(run, netlink, &offer, &error)) {
        lodge_probe_add(steps, LODGE_PROBE_FAILED, "gateway IPv4", "%s", error->message);
        return;
    }
    const LodgePrefix *gateway = offer.router.family != 0 ? &offer.router : &offer.server;
    if (ping(steps, "gateway IPv4", gateway, "is the bridge up, and does the host drop pings?")) {
        if (offer.dns.family != 0) {
            ask_dns(run, steps, "IPv4", &offer.dns);
        }
        if (offer.router.family != 0) {
            look_outside(run, steps, "IPv4", &run->outside4);
        }
    }
    lodge_probe_dhcp_release(run->mac, &offer);
}

/* --- IPv6 ----------------------------------------------------------------------------------------
 */

typedef struct {
    int index;
    LodgePrefix address; /* global; family 0: none yet */
    LodgePrefix router;
} Heard;

static void
take_address(struct nlmsghdr *message, gpointer data)
{
    Heard *heard = data;
    struct ifaddrmsg *head = nlmsg_data(message);
    struct nlattr *address = nlmsg_find_attr(message, sizeof *head, IFA_ADDRESS);
    if (message->nlmsg_type == RTM_NEWADDR && (int)head->ifa_index == heard->index &&
        head->ifa_scope == RT_SCOPE_UNIVERSE && address != NULL && nla_len(address) == 16) {
        heard->address.family = AF_INET6;
        heard->address.length = head->ifa_prefixlen;
        memcpy(heard->address.bytes, nla_data(address), 16);
    }
}

static void
take_route(struct nlmsghdr *message, gpointer data)
{
    Heard *heard = data;
    struct rtmsg *head = nlmsg_data(message);
    struct nlattr *gateway = nlmsg_find_attr(message, sizeof *head, RTA_GATEWAY);
    if (message->nlmsg_type == RTM_NEWROUTE && head->rtm_dst_len == 0 &&
        head->rtm_table == RT_TABLE_MAIN && gateway != NULL && nla_len(gateway) == 16) {
        heard->router.family = AF_INET6;
        heard->router.length = 128;
        memcpy(heard->router.bytes, nla_data(gateway), 16);
    }
}

/* The kernel asks for advertisements when the link goes up, and does what they say. */
static gboolean
await_advertisement(LodgeNetlink *netlink, Heard *heard, gboolean wants_router)
{
    gint64 deadline = lodge_deadline_in(ADVERTISEMENT_MS);
    while (!lodge_deadline_passed(deadline)) {
        lodge_netlink_dump(netlink, RTM_GETADDR, AF_INET6, take_address, heard, NULL);
        lodge_netlink_dump(netlink, RTM_GETROUTE, AF_INET6, take_route, heard, NULL);
        if (heard->address.family != 0 && (!wants_router || heard->router.family != 0)) {
            return TRUE;
        }
        if (!lodge_wait_for(LOOK_AGAIN_MS, NULL)) {
            break;
        }
    }
    return FALSE;
}

static void
try6(const LodgeProbeRun *run, LodgeNetlink *netlink, GPtrArray *steps)
{
    Heard heard = {.index = lodge_link_index(run->link)};
    gint64 began = g_get_monotonic_time();
    gboolean wants_router = run->network->mode != LODGE_NETWORK_ISOLATED;
    gboolean is_routed = run->network->mode == LODGE_NETWORK_ROUTED;
    LodgePrefix own;
    if (is_routed && lodge_network_prefix(run->network, &own) && own.length != 64) {
        lodge_probe_add(steps, LODGE_PROBE_SKIPPED, "RA",
                        "of a /%u guests have addresses by DHCPv6, for which this test can't ask",
                        own.length);
        return;
    }
    if (!await_advertisement(netlink, &heard, wants_router)) {
        lodge_probe_add(steps, run->has_server ? LODGE_PROBE_FAILED : LODGE_PROBE_SKIPPED, "RA",
                        run->has_server
                            ? "no router advertises itself; does something on this host "
                              "block ICMPv6? (`lodge check`)"
                            : "no router advertises itself: the segment has no IPv6");
        return;
    }
    g_autofree char *address = lodge_prefix_format(&heard.address);
    lodge_probe_add(steps, LODGE_PROBE_OK, "RA", "%s after %.0f ms", address,
                    (double)(g_get_monotonic_time() - began) / 1000);
    LodgePrefix prefix = lodge_prefix_network(&heard.address);
    LodgePrefix gateway = lodge_network_gateway(&prefix);
    /* A routed guest's gateway is fe80::1, and serves no DNS. */
    if (run->has_server && !is_routed) {
        if (!ping(steps, "gateway IPv6", &gateway, "does the host drop pings?")) {
            return;
        }
        ask_dns(run, steps, "IPv6", &gateway);
    }
    look_outside(run, steps, "IPv6", &run->outside6);
    if (run->network->nat64) {
        LodgePrefix translated = run->outside4;
        if (translated.family != 0) {
            translated = lodge_network_nat64_address(run->network, &translated);
        }
        look_outside(run, steps, "NAT64", &translated);
    }
}

/* --- Both ----------------------------------------------------------------------------------------
 */

static void
prepare(const LodgeProbeRun *run, LodgeNetlink *netlink)
{
    static const struct {
        const char *key, *value;
    } settings[] = {
        {"net/ipv4/conf/all/rp_filter", "0"},
        {"net/ipv4/conf/%s/rp_filter", "0"},
        {"net/ipv6/conf/%s/accept_dad", "0"},
        {"net/ipv6/conf/%s/accept_ra", "1"},
        {"net/ipv6/conf/%s/router_solicitation_delay", "0"},
        {"net/ipv6/conf/%s/router_solicitation_interval", "1"},
        {"net/ipv6/conf/%s/disable_ipv6", "0"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(settings); i++) {
        g_auto(GStrv) parts = g_strsplit(settings[i].key, "%s", 2);
        g_autofree char *key = parts[1] != NULL ? g_strconcat(parts[0], run->link, parts[1], NULL)
                                                : g_strdup(settings[i].key);
        lodge_sysctl_set(key, settings[i].value, NULL);
    }
    lodge_link_set_up(netlink, run->link, lodge_link_index(run->link), TRUE);
    lodge_netlink_send(netlink, NULL);
}

void
lodge_probe_run(const LodgeProbeRun *run, GPtrArray *steps)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeNetlink) netlink = lodge_netlink_open(&error);
    gboolean is_bridged = run->network->mode == LODGE_NETWORK_BRIDGED;
    if (netlink == NULL) {
        lodge_probe_add(steps, LODGE_PROBE_FAILED, "link", "%s", error->message);
        return;
    }
    prepare(run, netlink);
    if (is_bridged || lodge_network_subnet(run->network, NULL)) {
        try4(run, netlink, steps);
    }
    if (is_bridged || lodge_network_prefix(run->network, NULL)) {
        try6(run, netlink, steps);
    }
}
