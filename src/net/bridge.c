/* Theory of operation: moving the host's addresses to a bridge, and back.
 *
 * What the link has is captured and written to .bridge.json; the watchdog is started, and has said
 * that it watches, before anything changes. Then the bridge is made with the uplink's MAC, up; then
 * one batch of netlink messages, sent by one system call, so that at no moment the host is without
 * its address, route or neighbours:
 *
 *   addresses on the bridge (IPv6 without duplicate detection), neighbours, uplink becomes a port,
 *   routes replaced, addresses off the uplink
 *
 * A batch is no transaction: each acknowledgement is looked at, and on the first failure the
 * reverse batch is sent, made of the same captured messages. Undoing is that reverse batch too. Who
 * removes .bridge.json by a rename, confirmation or undo, has decided; the other comes too late. */
#include "config.h"

#include "net/bridge.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"
#include "net/link-state.h"
#include "net/link.h"
#include "net/net-private.h"
#include "net/sysctl.h"

enum {
    PENDING_LIMIT_BYTES = 16 << 20,
    WATCHDOG_START_MS = 5000,
};
#define SIOCGIWNAME 0x8B01

/* A change that may have to be undone. */
typedef struct {
    char *uplink;
    char *bridge;
    gboolean to_bridge;
    gint64 deadline; /* of g_get_monotonic_time() */
    LodgeLinkState *state;
} Change;

static void
change_free(Change *change)
{
    if (change != NULL) {
        g_free(change->uplink);
        g_free(change->bridge);
        lodge_link_state_free(change->state);
        g_free(change);
    }
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Change, change_free)

static char *
folder_path(const LodgeStore *store, const char *file)
{
    return g_build_filename(store->run, "networks", file, NULL);
}

char *
lodge_bridge_pending_path(const LodgeStore *store)
{
    return folder_path(store, ".bridge.json");
}

char *
lodge_bridge_watchdog_path(const LodgeStore *store)
{
    return folder_path(store, ".bridge.lock");
}

/* --- Preflight -----------------------------------------------------------------------------------
 */

static gboolean
is_wireless(const char *name)
{
    struct ifreq request = {0};
    lodge_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    return fd >= 0 && ioctl(fd, SIOCGIWNAME, &request) == 0;
}

static gboolean
is_ethernet(const char *name)
{
    struct ifreq request = {0};
    lodge_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    return fd >= 0 && ioctl(fd, SIOCGIFHWADDR, &request) == 0 &&
           request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
}

static gboolean
check_kind(const LodgeLinkInfo *info, const char *uplink, GError **error)
{
    static const char routed[] =
        "a network of mode=routed uplink=%s gives guests addresses of their own without a bridge";
    static const char *const unfit[] = {"macvlan", "ipvlan", "macvtap", "tun", "wireguard", NULL};
    g_autofree char *way_out = g_strdup_printf(routed, uplink);
    if (g_str_equal(info->kind, "bridge")) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "%s is a bridge already (lodge network create NAME mode=bridged "
                               "bridge=%s uses it)",
                               uplink, uplink);
    }
    if (is_wireless(uplink)) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s is Wi-Fi, which carries no MAC but its own, so it can't be "
                               "bridged; %s",
                               uplink, way_out);
    }
    if (!is_ethernet(uplink) || g_strv_contains(unfit, info->kind)) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s is no Ethernet interface that could be a port (%s); %s", uplink,
                               *info->kind != '\0' ? info->kind : "its kind", way_out);
    }
    return TRUE;
}

gboolean
lodge_bridge_preflight(LodgeNet *net, const char *uplink, const char *bridge, GError **error)
{
    LodgeLinkInfo info;
    LodgeLinkInfo other;
    if (!lodge_link_look(net->netlink, uplink, &info)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "there is no interface %s", uplink);
    }
    if (info.flags & IFF_LOOPBACK) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "%s is the loopback interface", uplink);
    }
    if (info.master != 0) {
        char master[IF_NAMESIZE] = "another";
        if_indextoname((guint)info.master, master);
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "%s is a port of %s already", uplink,
                               master);
    }
    if (!check_kind(&info, uplink, error)) {
        return FALSE;
    }
    if (!(info.flags & IFF_UP)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "%s is down", uplink);
    }
    return !lodge_link_look(net->netlink, bridge, &other) ||
           lodge_error_set(error, LODGE_ERROR_EXISTS,
                           "there is an interface %s already (--name names the bridge)", bridge);
}

/* --- Batches -------------------------------------------------------------------------------------
 */

static void
fill_to_bridge(LodgeNet *net, const Change *change, int uplink, int bridge)
{
    lodge_link_state_add_addresses(net->netlink, change->state, bridge);
    lodge_link_state_add_neighbours(net->netlink, change->state, bridge);
    lodge_link_set_master(net->netlink, change->uplink, uplink, bridge);
    lodge_link_state_replace_routes(net->netlink, change->state, bridge);
    lodge_link_state_delete_addresses(net->netlink, change->state, uplink);
}

static void
fill_to_uplink(LodgeNet *net, const Change *change, int uplink, int bridge)
{
    lodge_link_state_add_addresses(net->netlink, change->state, uplink);
    lodge_link_state_add_neighbours(net->netlink, change->state, uplink);
    lodge_link_set_master(net->netlink, change->uplink, uplink, 0);
    lodge_link_state_replace_routes(net->netlink, change->state, uplink);
    if (bridge != 0) {
        lodge_link_state_delete_addresses(net->netlink, change->state, bridge);
    }
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

static void
delete_bridge(LodgeNet *net, const char *bridge)
{
    int index = lodge_link_index(bridge);
    if (index != 0) {
        lodge_link_delete(net->netlink, bridge, index);
        lodge_netlink_send(net->netlink, NULL);
    }
}

/* Put back what was before @change, whole or half done. */
static gboolean
reverse(LodgeNet *net, const Change *change, GError **error)
{
    int uplink = lodge_link_index(change->uplink);
    int bridge = lodge_link_index(change->bridge);
    if (uplink == 0 || (bridge == 0 && !change->to_bridge)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "%s is gone",
                               uplink == 0 ? change->uplink : change->bridge);
    }
    if (!change->to_bridge) {
        fill_to_bridge(net, change, uplink, bridge);
        return lodge_netlink_send(net->netlink, error);
    }
    fill_to_uplink(net, change, uplink, bridge);
    gboolean fine = lodge_netlink_send(net->netlink, error);
    delete_bridge(net, change->bridge);
    return fine;
}

static gboolean
carry_out(LodgeNet *net, const Change *change, GError **error)
{
    if (change->to_bridge) {
        if (!make_bridge(net, change->uplink, change->bridge, error)) {
            return FALSE;
        }
        copy_settings(change->uplink, change->bridge);
        fill_to_bridge(net, change, lodge_link_index(change->uplink),
                       lodge_link_index(change->bridge));
    } else {
        fill_to_uplink(net, change, lodge_link_index(change->uplink),
                       lodge_link_index(change->bridge));
    }
    return lodge_netlink_send(net->netlink, error);
}

/* --- What is unconfirmed -------------------------------------------------------------------------
 */

static gboolean
write_pending(const LodgeStore *store, const Change *change, GError **error)
{
    g_autofree char *path = lodge_bridge_pending_path(store);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autoptr(json_t) value = json_pack("{s:s, s:s, s:b, s:I, s:o}", "uplink", change->uplink,
                                        "bridge", change->bridge, "to_bridge", change->to_bridge,
                                        "deadline", (json_int_t)change->deadline, "state",
                                        lodge_link_state_json(change->state));
    return lodge_dir_make(folder, 0755, error) && lodge_json_publish(path, value, error);
}

static Change *
read_pending(const char *path, GError **error)
{
    g_autoptr(json_t) value = lodge_json_read(path, PENDING_LIMIT_BYTES, error);
    g_autoptr(Change) change = g_new0(Change, 1);
    if (value == NULL) {
        return NULL;
    }
    change->uplink = g_strdup(lodge_json_string(value, "uplink", ""));
    change->bridge = g_strdup(lodge_json_string(value, "bridge", ""));
    change->to_bridge = lodge_json_bool(value, "to_bridge", TRUE);
    change->deadline = lodge_json_int(value, "deadline", 0);
    change->state = lodge_link_state_from_json(json_object_get(value, "state"), error);
    return change->state != NULL ? g_steal_pointer(&change) : NULL;
}

/* Decide the change's fate: nobody else can any more. FALSE if somebody has. */
static gboolean
claim(const LodgeStore *store, const char *as, char **out_path)
{
    g_autofree char *pending = lodge_bridge_pending_path(store);
    *out_path = folder_path(store, as);
    return rename(pending, *out_path) == 0;
}

static void
end_watchdog(const LodgeStore *store)
{
    g_autofree char *path = lodge_bridge_watchdog_path(store);
    pid_t pid = 0;
    lodge_autofd watchdog = lodge_lock_open_holder(path, &pid);
    if (watchdog >= 0 && pid != getpid()) {
        syscall(SYS_pidfd_send_signal, watchdog, SIGTERM, NULL, 0);
    }
}

static gboolean
start_watchdog(GError **error)
{
    g_autofree char *program = lodge_program_own("lodge-network", LODGE_LIBEXEC_DIR);
    const char *const argv[] = {program, "--report-fd=3", "--watch-bridge", NULL};
    return lodge_detached_start(argv, WATCHDOG_START_MS, error) ||
           lodge_error_prefix(error, "starting the watchdog");
}

static gboolean
execute(LodgeNet *net, Change *change, GError **error)
{
    g_autofree char *pending = lodge_bridge_pending_path(net->store);
    if (g_file_test(pending, G_FILE_TEST_EXISTS)) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "a change is waiting for `lodge network confirm`");
    }
    if (!write_pending(net->store, change, error) || !start_watchdog(error)) {
        unlink(pending);
        return FALSE;
    }
    if (carry_out(net, change, error)) {
        return TRUE;
    }
    g_autofree char *undone = NULL;
    if (claim(net->store, ".bridge.failed", &undone)) {
        reverse(net, change, NULL);
        unlink(undone);
        end_watchdog(net->store);
    }
    return lodge_error_prefix(error, "everything is as it was");
}

gboolean
lodge_bridge_undo(LodgeNet *net, GError **error)
{
    g_autofree char *path = NULL;
    if (!claim(net->store, ".bridge.undoing", &path) && !g_file_test(path, G_FILE_TEST_EXISTS)) {
        return TRUE;
    }
    g_autoptr(Change) change = read_pending(path, error);
    gboolean fine = change != NULL && reverse(net, change, error);
    unlink(path);
    lodge_event_append(net->store, NULL, "bridge-undone",
                       json_pack("{s:s?}", "bridge", change != NULL ? change->bridge : NULL));
    return fine;
}

void
lodge_bridge_recover(LodgeNet *net)
{
    g_autofree char *watchdog = lodge_bridge_watchdog_path(net->store);
    g_autofree char *pending = lodge_bridge_pending_path(net->store);
    g_autofree char *undoing = folder_path(net->store, ".bridge.undoing");
    gboolean is_pending = g_file_test(pending, G_FILE_TEST_EXISTS) ||
                          g_file_test(undoing, G_FILE_TEST_EXISTS);
    if (is_pending && !lodge_lock_is_held(watchdog)) {
        lodge_bridge_undo(net, NULL);
    }
}

/* --- The verbs -----------------------------------------------------------------------------------
 */

static Change *
plan_conversion(LodgeNet *net, const LodgeBridgeRequest *request, GError **error)
{
    g_autoptr(Change) change = g_new0(Change, 1);
    change->uplink = g_strdup(request->uplink);
    change->bridge = g_strdup(request->bridge);
    change->to_bridge = TRUE;
    change->deadline = lodge_deadline_in(request->confirm_within_ms);
    if (!lodge_bridge_preflight(net, request->uplink, request->bridge, error)) {
        return NULL;
    }
    change->state = lodge_link_state_capture(net->netlink, lodge_link_index(request->uplink),
                                             error);
    if (change->state != NULL && change->state->has_multipath) {
        lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                        "%s is one of several ways of a multipath route, which Lodge can't move",
                        request->uplink);
        return NULL;
    }
    return change->state != NULL ? g_steal_pointer(&change) : NULL;
}

char **
lodge_bridge_plan(LodgeNet *net, const LodgeBridgeRequest *request, GError **error)
{
    g_autoptr(Change) change = plan_conversion(net, request, error);
    g_autoptr(LodgeNetlink) unsent = change != NULL ? lodge_netlink_open(error) : NULL;
    if (unsent == NULL) {
        return NULL;
    }
    LodgeNet dry = {.store = net->store, .netlink = unsent};
    LodgeBridgeSpec spec = {.name = change->bridge, .up = TRUE};
    lodge_link_add_bridge(unsent, &spec);
    fill_to_bridge(&dry, change, lodge_link_index(change->uplink), 0);
    return lodge_netlink_describe(unsent);
}

gboolean
lodge_bridge_convert(LodgeNet *net, const LodgeBridgeRequest *request, GError **error)
{
    lodge_bridge_recover(net);
    g_autoptr(Change) change = plan_conversion(net, request, error);
    return change != NULL && execute(net, change, error);
}

gboolean
lodge_bridge_revert(LodgeNet *net, const char *bridge, gint64 confirm_within_ms, GError **error)
{
    lodge_bridge_recover(net);
    g_autoptr(Change) change = g_new0(Change, 1);
    LodgeLinkInfo info;
    if (!lodge_link_look(net->netlink, bridge, &info) || !g_str_equal(info.kind, "bridge")) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "there is no bridge %s", bridge);
    }
    g_auto(GStrv) ports = lodge_link_ports(net->netlink, info.index, error);
    if (ports == NULL) {
        return FALSE;
    }
    if (g_strv_length(ports) != 1) {
        g_autofree char *list = g_strjoinv(", ", ports);
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "bridge %s must have its uplink as only port, and has: %s (guests "
                               "must be stopped first)",
                               bridge, *list != '\0' ? list : "none");
    }
    change->uplink = g_strdup(ports[0]);
    change->bridge = g_strdup(bridge);
    change->deadline = lodge_deadline_in(confirm_within_ms);
    change->state = lodge_link_state_capture(net->netlink, info.index, error);
    return change->state != NULL && execute(net, change, error);
}

gboolean
lodge_bridge_confirm(LodgeNet *net, char **out_bridge, char **out_uplink, gboolean *out_is_bridge,
                     GError **error)
{
    g_autofree char *path = NULL;
    if (!claim(net->store, ".bridge.confirmed", &path)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                               "nothing waits for confirmation (was it undone already?)");
    }
    end_watchdog(net->store);
    g_autoptr(Change) change = read_pending(path, error);
    unlink(path);
    if (change == NULL) {
        return FALSE;
    }
    if (!change->to_bridge) {
        delete_bridge(net, change->bridge);
    }
    *out_bridge = g_steal_pointer(&change->bridge);
    *out_uplink = g_steal_pointer(&change->uplink);
    *out_is_bridge = change->to_bridge;
    return TRUE;
}
