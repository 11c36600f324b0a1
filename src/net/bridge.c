/* Theory of operation: moving the host's addresses to a bridge, and back.
 *
 * What the link has is captured and written to .bridge.json; the watchdog is started, and has said
 * that it watches, before anything changes. Then the bridge is made with the uplink's MAC, up, and
 * gets the addresses, IPv6 without duplicate detection. When the kernel has made them work:
 *
 *   detour          what comes in on the uplink is received as if on the bridge (net/detour.h)
 *   first batch     neighbours to the bridge, uplink becomes a port; the bridge starts sending
 *   second batch    routes replaced, addresses off the uplink
 *   detour's end
 *
 * Until the second batch what goes out takes the uplink. So nothing is lost, however long the
 * kernel takes for a port. The way back is the same in the other order.
 *
 * A batch is no transaction: each acknowledgement is looked at, and on the first failure the
 * reverse batch is sent, made of the same captured messages. Undoing is that reverse batch too. Who
 * removes .bridge.json by a rename, confirmation or undo, has decided; the other comes too late.
 * Who is killed behind its rename leaves that file, and the next command goes on there. */
#include "config.h"

#include "net/bridge.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"
#include "net/bridge-private.h"
#include "net/detour.h"
#include "net/dhcp-client.h"
#include "net/link.h"

enum {
    WATCHDOG_START_MS = 20000,
    WATCHDOG_END_MS = 10000,
    LOCK_TIMEOUT_MS = 30000,
};

/* What .bridge.json becomes when its fate is decided; removed when all that follows is done. */
#define CONFIRMED ".bridge.confirmed"
#define FAILED ".bridge.failed"
#define UNDOING ".bridge.undoing"

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

char *
lodge_bridge_command_path(const LodgeStore *store)
{
    return folder_path(store, ".bridge.command.lock");
}

/* One command at a time: what one has begun must not look like what a killed one left. */
static int
lock_commands(const LodgeStore *store, gint64 timeout_ms, GError **error)
{
    g_autofree char *path = lodge_bridge_command_path(store);
    g_autofree char *folder = g_path_get_dirname(path);
    return lodge_dir_make(folder, 0755, error) ? lodge_lock_take_within(path, timeout_ms, error)
                                               : -1;
}

/* --- What is unconfirmed -------------------------------------------------------------------------
 */

static gboolean
write_pending(const LodgeStore *store, const LodgeBridgeChange *change, GError **error)
{
    g_autofree char *path = lodge_bridge_pending_path(store);
    g_autoptr(json_t) value = lodge_bridge_change_json(change);
    return lodge_json_publish(path, value, error);
}

/* Decide the change's fate: nobody else can any more. FALSE if somebody has. */
static gboolean
claim(const LodgeStore *store, const char *as, char **out_path)
{
    g_autofree char *pending = lodge_bridge_pending_path(store);
    *out_path = folder_path(store, as);
    return rename(pending, *out_path) == 0;
}

/* Back when it has ended: it must not take the next change for its own. */
static void
end_watchdog(const LodgeStore *store)
{
    g_autofree char *path = lodge_bridge_watchdog_path(store);
    pid_t pid = 0;
    lodge_autofd watchdog = lodge_lock_open_holder(path, &pid);
    if (watchdog >= 0 && pid != getpid()) {
        lodge_pid_fd_signal(watchdog, SIGTERM, NULL);
        lodge_pid_fd_await(watchdog, WATCHDOG_END_MS);
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
refuse_pending(const LodgeStore *store, GError **error)
{
    gint64 left_ms = 0;
    g_autofree char *bridge = lodge_bridge_waiting(store, &left_ms);
    return bridge == NULL ||
           lodge_error_set(error, LODGE_ERROR_BUSY,
                           "a change of %s waits for `lodge network confirm`, and is undone in "
                           "%" G_GINT64_FORMAT " s (at once: `lodge network confirm --undo`)",
                           bridge, MAX(left_ms, 0) / 1000);
}

static gboolean
execute(LodgeNet *net, LodgeBridgeChange *change, GError **error)
{
    g_autofree char *pending = lodge_bridge_pending_path(net->store);
    if (!write_pending(net->store, change, error) || !start_watchdog(error)) {
        unlink(pending);
        return FALSE;
    }
    if (lodge_bridge_carry_out(net, change, error)) {
        return TRUE;
    }
    g_autofree char *undone = NULL;
    if (claim(net->store, FAILED, &undone)) {
        lodge_bridge_reverse(net, change, NULL);
        unlink(undone);
        end_watchdog(net->store);
    }
    return lodge_error_prefix(error, "everything is as it was");
}

/* Go on with the undoing whose file is @path. */
static gboolean
finish_undo(LodgeNet *net, const char *path, GError **error)
{
    g_autoptr(LodgeBridgeChange) change = lodge_bridge_change_read(path, error);
    /* The links first: files and who reads them may take time. */
    gboolean fine = change != NULL && lodge_bridge_reverse(net, change, error);
    fine = change != NULL && lodge_bridge_files_take_back(net, change, fine ? error : NULL) && fine;
    unlink(path);
    lodge_event_append(net->store, NULL, "bridge-undone",
                       json_pack("{s:s?}", "bridge", change != NULL ? change->bridge : NULL));
    return fine;
}

gboolean
lodge_bridge_undo(LodgeNet *net, GError **error)
{
    g_autofree char *path = NULL;
    if (!claim(net->store, UNDOING, &path) && !g_file_test(path, G_FILE_TEST_EXISTS)) {
        return TRUE;
    }
    return finish_undo(net, path, error);
}

/* Go on with the confirmation whose file is @path; returns what was confirmed. */
static LodgeBridgeChange *
finish_confirm(LodgeNet *net, const char *path, GError **error)
{
    g_autoptr(LodgeBridgeChange) change = lodge_bridge_change_read(path, error);
    if (change != NULL && !change->to_bridge) {
        lodge_bridge_remove(net, change->bridge);
    }
    if (change != NULL) {
        lodge_bridge_files_settle(net->store, change);
        const char *from = change->to_bridge ? change->uplink : change->bridge;
        const char *to = change->to_bridge ? change->bridge : change->uplink;
        lodge_dhcp_client_move(from, to);
    }
    unlink(path);
    return g_steal_pointer(&change);
}

/* The caller holds the commands' lock. */
static void
recover(LodgeNet *net)
{
    g_autofree char *watchdog = lodge_bridge_watchdog_path(net->store);
    g_autofree char *pending = lodge_bridge_pending_path(net->store);
    g_autofree char *undoing = folder_path(net->store, UNDOING);
    g_autofree char *failed = folder_path(net->store, FAILED);
    g_autofree char *confirmed = folder_path(net->store, CONFIRMED);
    if (g_file_test(confirmed, G_FILE_TEST_EXISTS)) {
        end_watchdog(net->store);
        lodge_bridge_change_free(finish_confirm(net, confirmed, NULL));
    }
    if (g_file_test(failed, G_FILE_TEST_EXISTS)) {
        end_watchdog(net->store);
        finish_undo(net, failed, NULL);
    }
    gboolean is_pending = g_file_test(pending, G_FILE_TEST_EXISTS) ||
                          g_file_test(undoing, G_FILE_TEST_EXISTS);
    if (is_pending && !lodge_lock_is_held(watchdog)) {
        lodge_bridge_undo(net, NULL);
    }
}

void
lodge_bridge_recover(LodgeNet *net)
{
    g_autofree char *lock_path = lodge_bridge_command_path(net->store);
    if (!g_file_test(lock_path, G_FILE_TEST_EXISTS)) {
        return; /* nothing was ever begun since the host started */
    }
    /* Who holds it is at work: there is nothing to recover from. */
    lodge_autofd lock = lock_commands(net->store, 0, NULL);
    if (lock >= 0) {
        recover(net);
    }
}

char *
lodge_bridge_waiting(const LodgeStore *store, gint64 *out_left_ms)
{
    g_autofree char *path = lodge_bridge_pending_path(store);
    g_autoptr(LodgeBridgeChange) change = lodge_bridge_change_read(path, NULL);
    if (change == NULL) {
        return NULL;
    }
    *out_left_ms = (change->deadline - g_get_monotonic_time()) / 1000;
    return g_steal_pointer(&change->bridge);
}

/* --- The verbs -----------------------------------------------------------------------------------
 */

static LodgeBridgeChange *
plan_conversion(LodgeNet *net, const LodgeBridgeRequest *request, GError **error)
{
    g_autoptr(LodgeBridgeChange) change = g_new0(LodgeBridgeChange, 1);
    change->uplink = g_strdup(request->uplink);
    change->bridge = g_strdup(request->bridge);
    change->to_bridge = TRUE;
    change->sysroot = g_strdup(request->sysroot);
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
    if (change->state == NULL ||
        (!request->temporary && !lodge_bridge_files_plan(net, change, error))) {
        return NULL;
    }
    return g_steal_pointer(&change);
}

static LodgeBridgeChange *
plan_reversion(LodgeNet *net, const LodgeBridgeRequest *request, GError **error)
{
    g_autoptr(LodgeBridgeChange) change = g_new0(LodgeBridgeChange, 1);
    const char *bridge = request->bridge;
    LodgeLinkInfo info;
    if (!lodge_link_look(net->netlink, bridge, &info) || !g_str_equal(info.kind, "bridge")) {
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "there is no bridge %s", bridge);
        return NULL;
    }
    if (g_str_has_prefix(info.alias, "lodge ") && !g_str_equal(info.alias, "lodge uplink")) {
        lodge_error_set(error, LODGE_ERROR_USAGE,
                        "%s is the bridge of a network of Lodge's (`lodge network stop`)", bridge);
        return NULL;
    }
    g_auto(GStrv) ports = lodge_link_ports(net->netlink, info.index, error);
    if (ports == NULL) {
        return NULL;
    }
    if (g_strv_length(ports) != 1) {
        g_autofree char *list = g_strjoinv(", ", ports);
        lodge_error_set(error, LODGE_ERROR_BUSY,
                        "bridge %s must have its uplink as only port, and has: %s (guests must be "
                        "stopped first)",
                        bridge, *list != '\0' ? list : "none");
        return NULL;
    }
    change->uplink = g_strdup(ports[0]);
    change->bridge = g_strdup(bridge);
    change->sysroot = g_strdup(request->sysroot);
    change->state = lodge_link_state_capture(net->netlink, info.index, error);
    if (change->state == NULL ||
        (!request->temporary && !lodge_bridge_files_recall(net->store, change, error))) {
        return NULL;
    }
    return g_steal_pointer(&change);
}

static LodgeBridgeChange *
plan(LodgeNet *net, const LodgeBridgeRequest *request, GError **error)
{
    return request->uplink != NULL ? plan_conversion(net, request, error)
                                   : plan_reversion(net, request, error);
}

void
lodge_bridge_plan_free(LodgeBridgePlan *plan)
{
    if (plan != NULL) {
        g_free(plan->uplink);
        g_strfreev(plan->addresses);
        g_strfreev(plan->routes);
        g_strfreev(plan->steps);
        g_strfreev(plan->files);
        g_free(plan);
    }
}

static char **
file_names(const LodgeBridgeChange *change)
{
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();
    for (guint i = 0; change->files != NULL && i < change->files->after->len; i++) {
        const LodgeHostFile *file = change->files->after->pdata[i];
        g_strv_builder_add(names, file->path);
    }
    return g_strv_builder_end(names);
}

LodgeBridgePlan *
lodge_bridge_plan(LodgeNet *net, const LodgeBridgeRequest *request, GError **error)
{
    lodge_bridge_recover(net);
    g_autoptr(LodgeBridgeChange)
        change = refuse_pending(net->store, error) ? plan(net, request, error) : NULL;
    g_autoptr(LodgeBridgePlan) result = g_new0(LodgeBridgePlan, 1);
    result->steps = change != NULL ? lodge_bridge_describe(change, error) : NULL;
    if (result->steps == NULL) {
        return NULL;
    }
    result->uplink = g_strdup(change->uplink);
    result->addresses = lodge_link_state_addresses(change->state);
    result->routes = lodge_link_state_routes(change->state);
    result->files = file_names(change);
    result->manager = change->files != NULL ? lodge_manager_word(change->files->manager) : NULL;
    return g_steal_pointer(&result);
}

gboolean
lodge_bridge_change(LodgeNet *net, const LodgeBridgeRequest *request, GError **error)
{
    lodge_autofd lock = lock_commands(net->store, LOCK_TIMEOUT_MS, error);
    if (lock < 0) {
        return FALSE;
    }
    recover(net);
    g_autoptr(LodgeBridgeChange)
        change = refuse_pending(net->store, error) ? plan(net, request, error) : NULL;
    if (change == NULL) {
        return FALSE;
    }
    change->deadline = lodge_deadline_in(request->confirm_within_ms);
    return execute(net, change, error);
}

gboolean
lodge_bridge_confirm(LodgeNet *net, LodgeBridgeConfirmed *out_change, GError **error)
{
    g_autofree char *path = NULL;
    g_autofree char *pending = lodge_bridge_pending_path(net->store);
    lodge_autofd lock = lock_commands(net->store, LOCK_TIMEOUT_MS, error);
    if (lock < 0) {
        return FALSE;
    }
    recover(net);
    g_autoptr(LodgeBridgeChange) change = lodge_bridge_change_read(pending, NULL);
    if (change == NULL) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                               "nothing waits for confirmation (was it undone already?)");
    }
    lodge_detour_end(net); /* who made the change may have been killed at its end */
    if (!lodge_bridge_files_write(net, change, error)) {
        return lodge_error_prefix(error, "not confirmed, and undone in time");
    }
    if (!claim(net->store, CONFIRMED, &path)) {
        lodge_bridge_files_take_back(net, change, NULL);
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                               "it came too late: the change has just been undone");
    }
    end_watchdog(net->store);
    lodge_bridge_change_free(finish_confirm(net, path, error));
    *out_change = (LodgeBridgeConfirmed){
        .is_bridge = change->to_bridge,
        .manager = change->files != NULL ? lodge_manager_word(change->files->manager) : NULL,
    };
    g_strlcpy(out_change->bridge, change->bridge, sizeof out_change->bridge);
    g_strlcpy(out_change->uplink, change->uplink, sizeof out_change->uplink);
    return TRUE;
}

gboolean
lodge_bridge_undo_now(LodgeNet *net, GError **error)
{
    gint64 left_ms = 0;
    lodge_autofd lock = lock_commands(net->store, LOCK_TIMEOUT_MS, error);
    g_autofree char *bridge = lock >= 0 ? lodge_bridge_waiting(net->store, &left_ms) : NULL;
    if (bridge == NULL) {
        return lock >= 0 && lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                                            "nothing waits for confirmation: there is nothing to "
                                            "undo");
    }
    gboolean fine = lodge_bridge_undo(net, error);
    end_watchdog(net->store);
    return fine;
}
