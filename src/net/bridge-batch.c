/* The messages that move the host's addresses to a bridge, and back. */
#include "config.h"

#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "net/bridge-private.h"
#include "net/detour.h"
#include "net/link.h"
#include "net/sysctl.h"

enum {
    PENDING_LIMIT_BYTES = 16 << 20,
    AT_WORK_MS = 2000,
};

void
lodge_bridge_change_free(LodgeBridgeChange *change)
{
    if (change != NULL) {
        g_free(change->uplink);
        g_free(change->bridge);
        g_free(change->sysroot);
        lodge_link_state_free(change->state);
        lodge_host_change_free(change->files);
        g_free(change);
    }
}

json_t *
lodge_bridge_change_json(const LodgeBridgeChange *change)
{
    json_t *files = change->files != NULL ? lodge_host_change_json(change->files) : json_null();
    return json_pack("{s:s, s:s, s:b, s:I, s:s?, s:o, s:o}", "uplink", change->uplink, "bridge",
                     change->bridge, "to_bridge", change->to_bridge, "deadline",
                     (json_int_t)change->deadline, "sysroot", change->sysroot, "files", files,
                     "state", lodge_link_state_json(change->state));
}

LodgeBridgeChange *
lodge_bridge_change_read(const char *path, GError **error)
{
    g_autoptr(json_t) value = lodge_json_read(path, PENDING_LIMIT_BYTES, error);
    g_autoptr(LodgeBridgeChange) change = g_new0(LodgeBridgeChange, 1);
    if (value == NULL) {
        return NULL;
    }
    change->uplink = g_strdup(lodge_json_string(value, "uplink", ""));
    change->bridge = g_strdup(lodge_json_string(value, "bridge", ""));
    change->to_bridge = lodge_json_bool(value, "to_bridge", TRUE);
    change->deadline = lodge_json_int(value, "deadline", 0);
    change->sysroot = g_strdup(lodge_json_string(value, "sysroot", NULL));
    const json_t *files = json_object_get(value, "files");
    change->files = json_is_object(files) ? lodge_host_change_from_json(files, error) : NULL;
    if (json_is_object(files) && change->files == NULL) {
        return NULL;
    }
    change->state = lodge_link_state_from_json(json_object_get(value, "state"), error);
    return change->state != NULL ? g_steal_pointer(&change) : NULL;
}

/* The addresses' first part. It stands alone, as an IPv6 address is the host's own only when a
 * worker of the kernel has come by; what would go on meanwhile, not least taking a bridge apart,
 * which keeps that worker waiting, would lose packets. */
static gboolean
add_addresses(LodgeNet *net, const LodgeBridgeChange *change, int index, GError **error)
{
    gint64 deadline = lodge_deadline_in(AT_WORK_MS);
    lodge_link_state_add_addresses(net->netlink, change->state, index, TRUE);
    if (!lodge_netlink_send(net->netlink, error)) {
        return FALSE;
    }
    while (!lodge_link_state_is_at_work(net->netlink, change->state, index) &&
           !lodge_deadline_passed(deadline)) {
        poll(NULL, 0, 1);
    }
    return TRUE;
}

/* If the uplink's own cable is unplugged, the bridge never will. */
static void
await_bridge(LodgeNet *net, const LodgeBridgeChange *change)
{
    LodgeLinkInfo info;
    if (lodge_link_look(net->netlink, change->uplink, &info) && (info.flags & IFF_RUNNING)) {
        lodge_detour_await_bridge(net, change->bridge);
    }
}

/* Frames led around come in on the bridge while what goes out may still take the uplink: a strict
 * filter of sources must let that pass. Returns what the bridge's filter was. */
static char *
begin_detour(LodgeNet *net, const LodgeBridgeChange *change)
{
    g_autofree char *key = g_strdup_printf("net/ipv4/conf/%s/rp_filter", change->bridge);
    g_autofree char *all = lodge_sysctl_get("net/ipv4/conf/all/rp_filter");
    g_autofree char *own = lodge_sysctl_get(key);
    if (own != NULL && (g_strcmp0(all, "1") == 0 || g_str_equal(own, "1"))) {
        lodge_sysctl_set(key, "2", NULL);
    }
    lodge_detour_begin(net, change->uplink, change->bridge);
    return g_steal_pointer(&own);
}

static void
end_detour(LodgeNet *net, const LodgeBridgeChange *change, const char *filter)
{
    g_autofree char *key = g_strdup_printf("net/ipv4/conf/%s/rp_filter", change->bridge);
    g_autofree char *now = lodge_sysctl_get(key);
    lodge_detour_end(net);
    if (filter != NULL && now != NULL && !g_str_equal(now, filter)) {
        lodge_sysctl_set(key, filter, NULL);
    }
}

static void
fill_port(LodgeNet *net, const LodgeBridgeChange *change, int uplink, int bridge)
{
    lodge_link_state_add_neighbours(net->netlink, change->state, bridge);
    lodge_link_set_master(net->netlink, change->uplink, uplink, bridge);
}

static void
fill_bridge(LodgeNet *net, const LodgeBridgeChange *change, int uplink, int bridge)
{
    lodge_link_state_add_addresses(net->netlink, change->state, bridge, FALSE);
    lodge_link_state_replace_routes(net->netlink, change->state, bridge);
    lodge_link_state_delete_addresses(net->netlink, change->state, uplink, AF_UNSPEC);
}

static gboolean
move_to_bridge(LodgeNet *net, const LodgeBridgeChange *change, int uplink, int bridge,
               GError **error)
{
    if (!add_addresses(net, change, bridge, error)) {
        return FALSE;
    }
    g_autofree char *filter = begin_detour(net, change);
    fill_port(net, change, uplink, bridge);
    gboolean fine = lodge_netlink_send(net->netlink, error);
    if (fine) {
        await_bridge(net, change);
        fill_bridge(net, change, uplink, bridge);
        fine = lodge_netlink_send(net->netlink, error);
    }
    end_detour(net, change, filter);
    return fine;
}

/* What goes out takes the new way first: behind a bridge without port it would be lost. Answers to
 * IPv6 pings go out where these came in, if there is an address; sources of IPv4 pass a filter only
 * if there is one, so there it is kept and only its route stands back. */
static void
fill_uplink(LodgeNet *net, const LodgeBridgeChange *change, int uplink, int bridge)
{
    lodge_link_state_add_neighbours(net->netlink, change->state, uplink);
    lodge_link_state_add_addresses(net->netlink, change->state, uplink, FALSE);
    lodge_link_state_replace_routes(net->netlink, change->state, uplink);
    if (bridge != 0) {
        lodge_link_state_defer_prefixes(net->netlink, change->state, bridge);
        lodge_link_state_delete_addresses(net->netlink, change->state, bridge, AF_INET6);
    }
}

/* What fails does not keep the rest from being tried: it is the way out. */
static gboolean
move_to_uplink(LodgeNet *net, const LodgeBridgeChange *change, int uplink, int bridge,
               GError **error)
{
    gboolean fine = add_addresses(net, change, uplink, error);
    g_autofree char *filter = begin_detour(net, change);
    fill_uplink(net, change, uplink, bridge);
    fine = lodge_netlink_send(net->netlink, fine ? error : NULL) && fine;
    lodge_detour_let_pass();
    lodge_link_set_master(net->netlink, change->uplink, uplink, 0);
    fine = lodge_netlink_send(net->netlink, fine ? error : NULL) && fine;
    end_detour(net, change, filter);
    if (bridge != 0) {
        lodge_link_state_delete_addresses(net->netlink, change->state, bridge, AF_UNSPEC);
        fine = lodge_netlink_send(net->netlink, fine ? error : NULL) && fine;
    }
    return fine;
}

static gboolean
make_bridge(LodgeNet *net, const char *uplink, const char *bridge, GError **error)
{
    LodgeLinkInfo info;
    if (!lodge_link_look(net->netlink, uplink, &info)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "there is no interface %s", uplink);
    }
    LodgeBridgeSpec spec = {
        .name = bridge, .mac = info.mac, .mtu = info.mtu, .alias = "lodge uplink", .up = TRUE};
    lodge_link_add_bridge(net->netlink, &spec);
    return lodge_netlink_send(net->netlink, error);
}

/* How the host treats the segment is the bridge's affair now. */
static void
copy_settings(const char *uplink, const char *bridge)
{
    static const char *const keys[] = {
        "ipv4/conf/%s/rp_filter",        "ipv4/conf/%s/forwarding", "ipv4/conf/%s/accept_redirects",
        "ipv4/conf/%s/send_redirects",   "ipv4/conf/%s/arp_ignore", "ipv4/conf/%s/arp_announce",
        "ipv4/conf/%s/proxy_arp",        "ipv6/conf/%s/forwarding", "ipv6/conf/%s/accept_ra",
        "ipv6/conf/%s/accept_ra_defrtr", "ipv6/conf/%s/autoconf",   "ipv6/conf/%s/use_tempaddr",
        "ipv6/conf/%s/disable_ipv6",     "ipv6/conf/%s/proxy_ndp",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_auto(GStrv) parts = g_strsplit(keys[i], "%s", 2);
        g_autofree char *from = g_strconcat("net/", parts[0], uplink, parts[1], NULL);
        g_autofree char *to = g_strconcat("net/", parts[0], bridge, parts[1], NULL);
        g_autofree char *value = lodge_sysctl_get(from);
        g_autofree char *now = lodge_sysctl_get(to);
        if (value != NULL && g_strcmp0(value, now) != 0) {
            lodge_sysctl_set(to, value, NULL);
        }
    }
}

void
lodge_bridge_remove(LodgeNet *net, const char *bridge)
{
    int index = lodge_link_index(bridge);
    if (index != 0) {
        lodge_link_delete(net->netlink, bridge, index);
        lodge_netlink_send(net->netlink, NULL);
    }
}

gboolean
lodge_bridge_reverse(LodgeNet *net, const LodgeBridgeChange *change, GError **error)
{
    int uplink = lodge_link_index(change->uplink);
    int bridge = lodge_link_index(change->bridge);
    if (uplink == 0 || (bridge == 0 && !change->to_bridge)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "%s is gone",
                               uplink == 0 ? change->uplink : change->bridge);
    }
    if (!change->to_bridge) {
        return move_to_bridge(net, change, uplink, bridge, error);
    }
    gboolean fine = move_to_uplink(net, change, uplink, bridge, error);
    lodge_bridge_remove(net, change->bridge);
    return fine;
}

gboolean
lodge_bridge_carry_out(LodgeNet *net, const LodgeBridgeChange *change, GError **error)
{
    if (change->to_bridge) {
        if (!make_bridge(net, change->uplink, change->bridge, error)) {
            return FALSE;
        }
        copy_settings(change->uplink, change->bridge);
    }
    int uplink = lodge_link_index(change->uplink);
    int bridge = lodge_link_index(change->bridge);
    return change->to_bridge ? move_to_bridge(net, change, uplink, bridge, error)
                             : move_to_uplink(net, change, uplink, bridge, error);
}

char **
lodge_bridge_describe(const LodgeBridgeChange *change, GError **error)
{
    g_autoptr(LodgeNetlink) unsent = lodge_netlink_open(error);
    if (unsent == NULL) {
        return NULL;
    }
    LodgeNet dry = {.netlink = unsent};
    int uplink = lodge_link_index(change->uplink);
    if (change->to_bridge) {
        LodgeBridgeSpec spec = {.name = change->bridge, .up = TRUE};
        lodge_link_add_bridge(unsent, &spec);
    }
    if (change->to_bridge) {
        fill_port(&dry, change, uplink, 1); /* it has no number yet, and none is said */
        fill_bridge(&dry, change, uplink, 1);
    } else {
        fill_uplink(&dry, change, uplink, lodge_link_index(change->bridge));
        lodge_link_set_master(unsent, change->uplink, uplink, 0);
    }
    return lodge_netlink_describe(unsent);
}
