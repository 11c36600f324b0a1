/* Theory of operation: a snapshot of a guest that runs.
 *
 * QEMU writes the guest's memory into a file as it would send it to another host, while the guest
 * runs; when what is left takes some milliseconds, it stops the guest and waits ("pre-switchover").
 * Then disks turn to their new layers, QEMU writes the rest, and the guest goes on. So the guest
 * stands still for what it wrote last, whatever its size. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "keeper/chain.h"
#include "ops/live-layout.h"
#include "ops/snapshot-private.h"

enum {
    MONITOR_TIMEOUT_MS = 10000,
    DOWNTIME_MS = 30,
    LOOK_MS = 1,
    PATIENT_PASSES = 8, /* then the guest is stopped for what is left, however much it is */
    IMPATIENT_DOWNTIME_MS = 600000,
    LOG_LIMIT_BYTES = 1 << 20,
};
#define BANDWIDTH_BYTES (G_GINT64_CONSTANT(64) << 30)

/* A guest may let go of a disk when nobody waits for it any more: then what reads the state would
 * be given one too many. */
static gboolean
check_disks(const LiveSnapshot *live, GError **error)
{
    static const char group[] = "disk ";
    const Session *session = live->session;
    g_autoptr(GKeyFile) started = lodge_store_guest_started(session->store, session->guest->name);
    g_auto(GStrv) groups = started != NULL ? g_key_file_get_groups(started, NULL) : NULL;
    for (gsize i = 0; groups != NULL && groups[i] != NULL; i++) {
        const char *name = groups[i] + strlen(group);
        if (!g_str_has_prefix(groups[i], group)) {
            continue;
        }
        g_autofree char *id = g_strconcat("disk-", name, NULL);
        if (!hotplug_has_device(&live->hotplug, id)) {
            return lodge_error_set(
                error, LODGE_ERROR_UNSUPPORTED,
                "the guest has let go of disk %s, which it still has by its "
                "definition (`lodge disk detach %s %s` ends that, or restart it)",
                name, session->guest->name, name);
        }
    }
    return TRUE;
}

gboolean
live_snapshot_begin(LiveSnapshot *live, const Session *session, LodgeQmp *qmp, gboolean with_memory,
                    GError **error)
{
    live->session = session;
    live->hotplug = (Hotplug){qmp, session->guest, lodge_deadline_in(MONITOR_TIMEOUT_MS)};
    live->nodes = g_ptr_array_new_with_free_func((GDestroyNotify)json_decref);
    g_autoptr(json_t)
        status = lodge_qmp_ask(qmp, live->hotplug.deadline, error, "query-status", NULL);
    live->was_running = lodge_json_bool(status, "running", FALSE);
    return status != NULL && (!with_memory || (check_disks(live, error) &&
                                               live_layout(&live->hotplug, session->state->qemu_pid,
                                                           &live->layout, error)));
}

void
live_snapshot_clear(LiveSnapshot *live)
{
    g_clear_pointer(&live->nodes, g_ptr_array_unref);
    g_clear_pointer(&live->layout, g_free);
}

static void
renew_deadline(LiveSnapshot *live)
{
    live->hotplug.deadline = lodge_deadline_in(MONITOR_TIMEOUT_MS);
}

/* "d0-s2", if "d0-s1" is there. */
static char *
overlay_node(const GPtrArray *names, guint number)
{
    guint last = 0;
    const char *top = names->pdata[0];
    const char *found = strstr(top, "-s");
    if (found != NULL) {
        last = (guint)g_ascii_strtoull(found + 2, NULL, 10);
    }
    return g_strdup_printf("d%u-s%u", number, last + 1);
}

static gboolean
add_layer(LiveSnapshot *live, const FreshLayer *fresh, GError **error)
{
    const Hotplug *hotplug = &live->hotplug;
    int number = hotplug_disk_number(hotplug, fresh->disk->name, error);
    g_autoptr(GPtrArray) names = number >= 0 ? hotplug_disk_layers(hotplug, (guint)number, error)
                                             : NULL;
    if (names == NULL || names->len == 0) {
        return FALSE;
    }
    g_autofree char *path = lodge_store_guest_path(live->session->store, live->session->guest->name,
                                                   fresh->file);
    g_autofree char *node = overlay_node(names, (guint)number);
    g_autofree char *file_node = g_strconcat(node, "-file", NULL);
    g_autoptr(GPtrArray) chain = g_ptr_array_new();
    LodgeLayer layer = {.path = path, .format = (char *)"qcow2"};
    g_ptr_array_add(chain, &layer);
    const LodgeDiskNodes nodes = {fresh->disk, (guint)number, chain};
    g_autofree char *set = hotplug_pass(hotplug, path, TRUE, error);
    if (set == NULL) {
        return FALSE;
    }
    json_t *file = lodge_disk_file_node(&nodes, 0, set);
    json_object_set_new(file, "node-name", json_string(file_node));
    json_t *format = lodge_disk_format_node(&nodes, 0);
    json_object_set_new(format, "node-name", json_string(node));
    json_object_set_new(format, "file", json_string(file_node));
    /* A command that was killed may have left the file's node without the format's. */
    lodge_qmp_run(hotplug->qmp, hotplug->deadline, NULL, "blockdev-del", "{s:s}", "node-name",
                  file_node);
    gboolean has_file = hotplug_add_node(hotplug, file, error);
    if (!has_file) {
        json_decref(format);
        return FALSE;
    }
    if (!hotplug_add_node(hotplug, format, error)) {
        return FALSE;
    }
    g_ptr_array_add(live->nodes, json_pack("{s:s, s:s}", "node", (const char *)names->pdata[0],
                                           "overlay", node));
    return TRUE;
}

gboolean
live_snapshot_add_layers(LiveSnapshot *live, const GPtrArray *fresh, GError **error)
{
    renew_deadline(live);
    for (guint i = 0; i < fresh->len; i++) {
        const FreshLayer *layer = fresh->pdata[i];
        if (!add_layer(live, layer, error)) {
            return lodge_error_prefix(error, "disk %s", layer->disk->name);
        }
    }
    return TRUE;
}

gboolean
live_snapshot_stop(LiveSnapshot *live, GError **error)
{
    renew_deadline(live); /* file systems may have been long in coming to rest */
    return !live->was_running ||
           lodge_qmp_run(live->hotplug.qmp, live->hotplug.deadline, error, "stop", NULL);
}

static gboolean
set_capabilities(const Hotplug *hotplug, gboolean waits, GError **error)
{
    return lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "migrate-set-capabilities",
                         "{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities", "capability", "events",
                         "state", 1, "capability", "pause-before-switchover", "state", waits);
}

static gint64
event_time_us(const json_t *event)
{
    const json_t *time = json_object_get(event, "timestamp");
    return lodge_json_int(time, "seconds", 0) * G_USEC_PER_SEC +
           lodge_json_int(time, "microseconds", 0);
}

static gboolean
explain_failure(const Hotplug *hotplug, GError **error)
{
    g_autoptr(json_t) report = lodge_qmp_ask(hotplug->qmp, lodge_deadline_in(MONITOR_TIMEOUT_MS),
                                             NULL, "query-migrate", NULL);
    g_autofree char *why = lodge_text_printable(
        lodge_json_string(report, "error-desc", "QEMU gives no reason"));
    return lodge_error_set(error, LODGE_ERROR_FAILED, "memory: %s", why);
}

/* Wait until QEMU's migration is @wanted. */
static gboolean
await_migration(LiveSnapshot *live, const char *wanted, GError **error)
{
    const Hotplug *hotplug = &live->hotplug;
    for (;;) {
        g_autoptr(json_t) event = lodge_qmp_next_event(hotplug->qmp, LODGE_NO_DEADLINE, error);
        if (event == NULL) {
            return FALSE;
        }
        const char *name = lodge_qmp_event_name(event);
        const json_t *data = lodge_qmp_event_data(event);
        const char *status = lodge_json_string(data, "status", "");
        if (g_str_equal(name, "STOP")) {
            live->stopped_us = event_time_us(event);
        } else if (g_str_equal(name, "MIGRATION_PASS") &&
                   lodge_json_int(data, "pass", 0) == PATIENT_PASSES) {
            lodge_qmp_run(hotplug->qmp, lodge_deadline_in(MONITOR_TIMEOUT_MS), NULL,
                          "migrate-set-parameters", "{s:i}", "downtime-limit",
                          IMPATIENT_DOWNTIME_MS);
        } else if (g_str_equal(name, "MIGRATION") && g_str_equal(status, wanted)) {
            return TRUE;
        } else if (g_str_equal(name, "MIGRATION") &&
                   (g_str_equal(status, "failed") || g_str_equal(status, "cancelled"))) {
            return explain_failure(hotplug, error);
        }
    }
}

static gboolean
hand_over(const Hotplug *hotplug, int fd, GError **error)
{
    g_autoptr(json_t)
        done = lodge_qmp_call_fd(hotplug->qmp, "getfd", json_pack("{s:s}", "fdname", "memory"), fd,
                                 hotplug->deadline, error);
    return done != NULL;
}

gboolean
live_snapshot_write_memory(LiveSnapshot *live, int fd, GError **error)
{
    renew_deadline(live);
    const Hotplug *hotplug = &live->hotplug;
    if (!set_capabilities(hotplug, TRUE, error) ||
        !lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "migrate-set-parameters",
                       "{s:I, s:i}", "max-bandwidth", (json_int_t)BANDWIDTH_BYTES, "downtime-limit",
                       DOWNTIME_MS) ||
        !hand_over(hotplug, fd, error) ||
        !lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "migrate", "{s:s}", "uri",
                       "fd:memory")) {
        return FALSE;
    }
    lodge_fault("create-migrating");
    gboolean fine = await_migration(live, "pre-switchover", error);
    renew_deadline(live);
    return fine;
}

gboolean
live_snapshot_switch(LiveSnapshot *live, GError **error)
{
    json_t *actions = json_array();
    for (guint i = 0; i < live->nodes->len; i++) {
        const json_t *pair = live->nodes->pdata[i];
        json_array_append_new(actions, json_pack("{s:s, s:{s:O, s:O}}", "type", "blockdev-snapshot",
                                                 "data", "node", json_object_get(pair, "node"),
                                                 "overlay", json_object_get(pair, "overlay")));
    }
    if (json_array_size(actions) == 0) {
        json_decref(actions);
        return TRUE;
    }
    g_autoptr(json_t) done = lodge_qmp_call(live->hotplug.qmp, "transaction",
                                            json_pack("{s:o}", "actions", actions),
                                            live->hotplug.deadline, error);
    return done != NULL;
}

gboolean
live_snapshot_finish_memory(LiveSnapshot *live, GError **error)
{
    const Hotplug *hotplug = &live->hotplug;
    return lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "migrate-continue", "{s:s}",
                         "state", "pre-switchover") &&
           await_migration(live, "completed", error);
}

/* QEMU says that a migration is complete some moments before it lets the guest go on, and does not
 * say when it does. */
static gboolean
await_rest(const Hotplug *hotplug, GError **error)
{
    for (;;) {
        g_autoptr(json_t)
            status = lodge_qmp_ask(hotplug->qmp, hotplug->deadline, error, "query-status", NULL);
        const char *word = lodge_json_string(status, "status", "");
        if (status == NULL || !g_str_equal(word, "finish-migrate")) {
            return status != NULL;
        }
        if (lodge_deadline_passed(hotplug->deadline)) {
            return lodge_error_set(error, LODGE_ERROR_TIMEOUT, "memory: QEMU does not finish");
        }
        if (!lodge_wait_for(LOOK_MS, error)) {
            return FALSE;
        }
    }
}

gboolean
live_snapshot_resume(LiveSnapshot *live, GError **error)
{
    renew_deadline(live);
    const Hotplug *hotplug = &live->hotplug;
    if (!live->was_running) {
        return TRUE;
    }
    if (!await_rest(hotplug, error) ||
        !lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "cont", NULL)) {
        return FALSE;
    }
    g_autoptr(json_t)
        event = lodge_qmp_wait_event(hotplug->qmp, "RESUME", NULL, NULL, hotplug->deadline, NULL);
    live->resumed_us = event != NULL ? event_time_us(event) : 0;
    if (live->stopped_us == 0) {
        g_autoptr(json_t) stop = lodge_qmp_wait_event(hotplug->qmp, "STOP", NULL, NULL,
                                                      lodge_deadline_in(0), NULL);
        live->stopped_us = stop != NULL ? event_time_us(stop) : 0;
    }
    session_await_state(live->session, LODGE_STATE_RUNNING);
    return TRUE;
}

/* End a migration that goes on, whoever began it. */
static gboolean
cancel_migration(LiveSnapshot *live, GError **error)
{
    static const char *const going[] = {
        "setup", "active", "pre-switchover", "device", "wait-unplug", "cancelling", NULL};
    const Hotplug *hotplug = &live->hotplug;
    g_autoptr(json_t)
        report = lodge_qmp_ask(hotplug->qmp, hotplug->deadline, error, "query-migrate", NULL);
    if (report == NULL) {
        return FALSE;
    }
    if (!g_strv_contains(going, lodge_json_string(report, "status", ""))) {
        return TRUE;
    }
    if (!lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "migrate_cancel", NULL)) {
        return FALSE;
    }
    for (;;) {
        g_autoptr(json_t) event = lodge_qmp_wait_event(hotplug->qmp, "MIGRATION", NULL, NULL,
                                                       hotplug->deadline, error);
        const char *status = lodge_json_string(event != NULL ? lodge_qmp_event_data(event) : NULL,
                                               "status", "");
        if (event == NULL || g_str_equal(status, "cancelled") || g_str_equal(status, "failed") ||
            g_str_equal(status, "completed")) {
            return event != NULL;
        }
    }
}

static guint
depth_below(const LiveSnapshot *live, const FreshLayer *fresh)
{
    g_autofree char *path = lodge_guest_disk_path(live->session->store, live->session->guest->name,
                                                  fresh->below);
    const char *format = fresh->below_format == LODGE_FORMAT_RAW ? "raw" : "qcow2";
    g_autoptr(GPtrArray) chain = lodge_disk_chain(path, format, NULL);
    return chain != NULL ? chain->len : 0;
}

/* Does QEMU use a layer more than what is below the new one? */
static gboolean
look_at_layers(LiveSnapshot *live, const FreshLayer *fresh, gboolean *out_used, GError **error)
{
    const Hotplug *hotplug = &live->hotplug;
    g_autoptr(GError) problem = NULL;
    int number = hotplug_disk_number(hotplug, fresh->disk->name, &problem);
    g_autoptr(GPtrArray) names = number >= 0 ? hotplug_disk_layers(hotplug, (guint)number, error)
                                             : NULL;
    if (number < 0) {
        return TRUE; /* the running guest does not have this disk */
    }
    *out_used = *out_used || (names != NULL && names->len > depth_below(live, fresh));
    return names != NULL;
}

gboolean
live_snapshot_undo(LiveSnapshot *live, const GPtrArray *fresh, gboolean *out_switched,
                   GError **error)
{
    renew_deadline(live);
    *out_switched = FALSE;
    if (!cancel_migration(live, error) || !await_rest(&live->hotplug, error)) {
        return FALSE;
    }
    for (guint i = 0; i < fresh->len; i++) {
        if (!look_at_layers(live, fresh->pdata[i], out_switched, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

char *
live_snapshot_qemu(const LodgeQmp *qmp)
{
    int version = lodge_qmp_version(qmp);
    return g_strdup_printf("%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}

/* A QEMU that can't read what it is given says why, and ends. */
static gboolean
explain_end(const Session *session, GError **error)
{
    g_autofree char *path = lodge_store_run_path(session->store, session->guest->name, "qemu.log");
    g_autofree char *text = lodge_file_read(path, LOG_LIMIT_BYTES, NULL, NULL);
    g_autofree char *words = lodge_text_last_line(text != NULL ? text : "");
    if (*words != '\0') {
        g_clear_error(error);
        lodge_error_set(error, LODGE_ERROR_FAILED, "QEMU: %s", words);
    }
    return FALSE;
}

gboolean
live_snapshot_load(const Session *session, const char *path, GError **error)
{
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    if (qmp == NULL) {
        return FALSE;
    }
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    g_auto(LiveSnapshot) live = {.session = session};
    live.hotplug = (Hotplug){qmp, session->guest, lodge_deadline_in(MONITOR_TIMEOUT_MS)};
    if (!set_capabilities(&live.hotplug, FALSE, error) || !hand_over(&live.hotplug, fd, error)) {
        return FALSE;
    }
    lodge_fault("restore-loading");
    return (lodge_qmp_run(qmp, live.hotplug.deadline, error, "migrate-incoming", "{s:s}", "uri",
                          "fd:memory") &&
            await_migration(&live, "completed", error)) ||
           explain_end(session, error);
}
