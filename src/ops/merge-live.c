#include "config.h"

#include <string.h>

#include "base/base.h"
#include "keeper/chain.h"
#include "ops/backup-bitmaps.h"
#include "ops/hotplug.h"
#include "ops/layer-files.h"
#include "ops/merge.h"
#include "qemu/img.h"

#define JOB "lodge-merge"

enum {
    MONITOR_TIMEOUT_MS = 10000,
    CANCEL_TIMEOUT_MS = 10000,
};

/* A disk of the running guest: its layers as they are on disk, and as QEMU has them. */
typedef struct {
    LodgeGuest *guest;
    const LodgeDisk *disk;
    guint number;
    GPtrArray *chain; /* LodgeLayer *, by the definition */
    GPtrArray *nodes; /* char *, by QEMU */
} LiveDisk;

static void
live_disk_clear(LiveDisk *disk)
{
    g_clear_pointer(&disk->guest, lodge_guest_free);
    g_clear_pointer(&disk->chain, g_ptr_array_unref);
    g_clear_pointer(&disk->nodes, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LiveDisk, live_disk_clear)

static GPtrArray *
chain_of(const Session *session, const LodgeDisk *disk)
{
    g_autofree char *path = lodge_guest_disk_path(session->store, session->guest->name, disk->file);
    return lodge_disk_chain(path, disk->format == LODGE_FORMAT_RAW ? "raw" : "qcow2", NULL);
}

/* The definition's disk that has the file in its chain, and how deep. FALSE: none. */
static gboolean
find_disk(const Session *session, const char *file, LiveDisk *out_disk, guint *out_depth)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(session->store, session->guest->name, NULL);
    for (guint i = 0; guest != NULL && i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        g_autoptr(GPtrArray) chain = chain_of(session, disk);
        for (guint depth = 0; chain != NULL && depth < chain->len; depth++) {
            if (g_str_equal(((const LodgeLayer *)chain->pdata[depth])->path, file)) {
                out_disk->disk = disk;
                out_disk->guest = g_steal_pointer(&guest);
                out_disk->chain = g_steal_pointer(&chain);
                *out_depth = depth;
                return TRUE;
            }
        }
    }
    return FALSE;
}

gboolean
merge_is_live(const Session *session, const Layer *layer)
{
    guint depth = 0;
    g_auto(LiveDisk) disk = {0};
    return find_disk(session, layer->file, &disk, &depth);
}

/* Ask QEMU for the disk's nodes. */
static gboolean
find_nodes(const Hotplug *hotplug, LiveDisk *disk, GError **error)
{
    int number = hotplug_disk_number(hotplug, disk->disk->name, error);
    disk->number = (guint)number;
    disk->nodes = number >= 0 ? hotplug_disk_layers(hotplug, disk->number, error) : NULL;
    return disk->nodes != NULL;
}

/* The node of a layer that was below the top when QEMU was started: it reads only. */
static gboolean
is_read_only(const char *node)
{
    const char *dash = strchr(node, '-');
    return dash != NULL && g_ascii_isdigit(dash[1]);
}

static json_t *
writable_file(const LiveDisk *disk, guint depth, const char *name, const char *path)
{
    g_autoptr(GPtrArray) chain = g_ptr_array_new();
    g_ptr_array_add(chain, disk->chain->pdata[depth]);
    const LodgeDiskNodes nodes = {disk->disk, disk->number, chain};
    json_t *node = lodge_disk_file_node(&nodes, 0, path);
    json_object_set_new(node, "node-name", json_string(name));
    return node;
}

/* What the format node is, with another file below. */
static json_t *
format_above(const LiveDisk *disk, guint depth, const char *file)
{
    const LodgeDiskNodes nodes = {disk->disk, disk->number, disk->chain};
    json_t *node = lodge_disk_format_node(&nodes, depth);
    json_object_set_new(node, "node-name", json_string(disk->nodes->pdata[depth]));
    json_object_set_new(node, "file", json_string(file));
    if (json_object_get(node, "backing") != NULL && depth + 1 < disk->nodes->len) {
        json_object_set_new(node, "backing", json_string(disk->nodes->pdata[depth + 1]));
    }
    return node;
}

/* Have QEMU able to write the layer: it gets another descriptor, and a file node that has it. A
 * second descriptor for the old node would not do: locks that QEMU took by the first stay with it
 * as long as it is in its set, and then stand in QEMU's own way. */
static gboolean
allow_writing(const Hotplug *hotplug, const LiveDisk *disk, guint depth, GError **error)
{
    const char *node = disk->nodes->pdata[depth];
    const LodgeLayer *layer = disk->chain->pdata[depth];
    g_autofree char *file = g_strconcat(node, "-w-file", NULL);
    g_autofree char *old = g_strconcat(node, "-file", NULL);
    if (!is_read_only(node) || hotplug_node_set(hotplug, file) >= 0) {
        return TRUE;
    }
    int old_set = hotplug_node_set(hotplug, old);
    g_autofree char *path = hotplug_pass(hotplug, layer->path, TRUE, error);
    if (path == NULL || !hotplug_add_node(hotplug, writable_file(disk, depth, file, path), error) ||
        !lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "blockdev-reopen", "{s:[o]}",
                       "options", format_above(disk, depth, file))) {
        return FALSE;
    }
    return hotplug_drop_file(hotplug, old, old_set, error);
}

static gboolean
is_our_job(const json_t *event, gpointer data)
{
    (void)data;
    const json_t *values = lodge_qmp_event_data(event);
    const char *name = lodge_qmp_event_name(event);
    return (g_str_equal(name, "BLOCK_JOB_READY") || g_str_equal(name, "BLOCK_JOB_COMPLETED") ||
            g_str_equal(name, "BLOCK_JOB_CANCELLED")) &&
           g_str_equal(lodge_json_string(values, "device", ""), JOB);
}

/* Wait until the job says @wanted; FALSE if it says anything else. */
static gboolean
await_job(const Hotplug *hotplug, const char *wanted, gint64 deadline, GError **error)
{
    g_autoptr(json_t)
        event = lodge_qmp_wait_event(hotplug->qmp, NULL, is_our_job, NULL, deadline, error);
    if (event == NULL) {
        return FALSE;
    }
    const char *problem = lodge_json_string(lodge_qmp_event_data(event), "error", NULL);
    if (problem != NULL || !g_str_equal(lodge_qmp_event_name(event), wanted)) {
        g_autofree char *shown = lodge_text_printable(problem != NULL ? problem : "it was ended");
        return lodge_error_set(error, LODGE_ERROR_FAILED, "merging: %s", shown);
    }
    return TRUE;
}

/* End the job, if there is one, and wait until it has ended. */
static void
cancel_job(const Hotplug *hotplug)
{
    gint64 deadline = lodge_deadline_in(CANCEL_TIMEOUT_MS);
    lodge_interrupt_hold(); /* it is an interruption that may have led here */
    if (lodge_qmp_run(hotplug->qmp, deadline, NULL, "block-job-cancel", "{s:s, s:b}", "device", JOB,
                      "force", 1)) {
        g_autoptr(json_t) event = NULL;
        do {
            g_clear_pointer(&event, json_decref);
            event = lodge_qmp_wait_event(hotplug->qmp, NULL, is_our_job, NULL, deadline, NULL);
        } while (event != NULL && g_str_equal(lodge_qmp_event_name(event), "BLOCK_JOB_READY"));
    }
    lodge_interrupt_release();
}

static gboolean
guest_runs(const Hotplug *hotplug)
{
    g_autoptr(json_t)
        status = lodge_qmp_ask(hotplug->qmp, hotplug->deadline, NULL, "query-status", NULL);
    return lodge_json_bool(status, "running", FALSE);
}

/* Between READY and the moment when the definition names the lower layer the guest must not write.
 */
static gboolean
turn(const Session *session, const Hotplug *hotplug, Merging *merging, GError **error)
{
    merging->resume = guest_runs(hotplug);
    lodge_fault("live-ready");
    if (!merging_write(session, merging, error) ||
        (merging->resume && !lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "stop", NULL))) {
        return FALSE;
    }
    lodge_fault("live-stopped");
    if (!lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "block-job-complete", "{s:s}",
                       "device", JOB) ||
        !await_job(hotplug, "BLOCK_JOB_COMPLETED", hotplug->deadline, error)) {
        return FALSE;
    }
    lodge_fault("live-turned");
    return TRUE;
}

/* From the stop of the guest until it goes on: not to be interrupted. */
static gboolean
change_over(const Session *session, const Hotplug *hotplug, const LiveDisk *disk, Merging *merging,
            GError **error)
{
    Hotplug now = *hotplug;
    now.deadline = lodge_deadline_in(MONITOR_TIMEOUT_MS);
    if (!turn(session, &now, merging, error) || !merging_repoint(session, merging, error)) {
        /* QEMU may write the lower layer while the definition names the upper one: not before that
         * is found out does the guest go on. */
        merge_mend(session, NULL);
        return FALSE;
    }
    lodge_fault("live-repointed");
    bitmaps_hand_on_live(&now, session->store, disk->nodes->pdata[0], disk->nodes->pdata[1]);
    hotplug_drop_layer(&now, disk->nodes->pdata[0], NULL);
    if (merging->resume && !lodge_qmp_run(now.qmp, now.deadline, error, "cont", NULL)) {
        return FALSE; /* who finds the journal tries again */
    }
    merging_end(session);
    if (merging->resume) {
        session_await_state(session, LODGE_STATE_RUNNING);
    }
    return TRUE;
}

static gboolean
commit_top(const Session *session, const Hotplug *hotplug, const LiveDisk *disk, Merging *merging,
           GError **error)
{
    g_autofree char *root = g_strdup_printf("d%u-limit", disk->number);
    if (!merging_write(session, merging, error)) {
        return FALSE;
    }
    if (!lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "block-commit",
                       "{s:s, s:s, s:s, s:s}", "job-id", JOB, "device", root, "top-node",
                       disk->nodes->pdata[0], "base-node", disk->nodes->pdata[1])) {
        merging_end(session);
        return FALSE;
    }
    if (!await_job(hotplug, "BLOCK_JOB_READY", LODGE_NO_DEADLINE, error)) {
        cancel_job(hotplug);
        merging_end(session);
        return FALSE;
    }
    lodge_interrupt_hold();
    gboolean fine = change_over(session, hotplug, disk, merging, error);
    lodge_interrupt_release();
    return fine;
}

static gboolean
set_read_only(const Hotplug *hotplug, const LiveDisk *disk, guint depth, gboolean read_only)
{
    g_autofree char *writable = g_strconcat(disk->nodes->pdata[depth], "-w-file", NULL);
    g_autofree char *own = g_strconcat(disk->nodes->pdata[depth], "-file", NULL);
    json_t *node = format_above(disk, depth,
                                hotplug_node_set(hotplug, writable) >= 0 ? writable : own);
    json_object_set_new(node, "read-only", json_boolean(read_only));
    return lodge_qmp_run(hotplug->qmp, hotplug->deadline, NULL, "blockdev-reopen", "{s:[o]}",
                         "options", node);
}

/* What the layer that goes says of points is kept below; for that it must be writable. */
static void
hand_bitmaps_on(const Session *session, const Hotplug *hotplug, const LiveDisk *disk, guint depth)
{
    g_auto(GStrv) names = bitmaps_noted(session->store, session->guest->name);
    if (names[0] != NULL && set_read_only(hotplug, disk, depth + 1, FALSE)) {
        bitmaps_hand_on_live(hotplug, session->store, disk->nodes->pdata[depth],
                             disk->nodes->pdata[depth + 1]);
        set_read_only(hotplug, disk, depth + 1, TRUE);
    }
}

static gboolean
commit_between(const Session *session, const Hotplug *hotplug, const LiveDisk *disk, guint depth,
               Merging *merging, GError **error)
{
    const LodgeLayer *above = disk->chain->pdata[depth - 1];
    const LodgeLayer *into = disk->chain->pdata[depth + 1];
    g_autofree char *root = g_strdup_printf("d%u-limit", disk->number);
    g_autofree char *folder = g_path_get_dirname(above->path);
    g_autofree char *name = lodge_path_relative(into->path, folder);
    if (!allow_writing(hotplug, disk, depth - 1, error) ||
        !merging_write(session, merging, error)) {
        return FALSE;
    }
    if (!lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "block-commit",
                       "{s:s, s:s, s:s, s:s, s:s}", "job-id", JOB, "device", root, "top-node",
                       disk->nodes->pdata[depth], "base-node", disk->nodes->pdata[depth + 1],
                       "backing-file", name)) {
        merging_end(session);
        return FALSE;
    }
    if (!await_job(hotplug, "BLOCK_JOB_COMPLETED", LODGE_NO_DEADLINE, error)) {
        cancel_job(hotplug);
        lodge_interrupt_hold();
        merge_mend(session, NULL);
        lodge_interrupt_release();
        return FALSE;
    }
    lodge_fault("live-between");
    Hotplug now = *hotplug;
    now.deadline = lodge_deadline_in(MONITOR_TIMEOUT_MS);
    if (!merging_repoint(session, merging, error)) {
        return FALSE;
    }
    merging_end(session);
    hand_bitmaps_on(session, &now, disk, depth);
    hotplug_drop_layer(&now, disk->nodes->pdata[depth], NULL);
    return TRUE;
}

/* What QEMU has must be what is on disk, else nothing here is safe to touch. */
static gboolean
compare(const LiveDisk *disk, GError **error)
{
    return disk->nodes->len == disk->chain->len ||
           lodge_error_set(error, LODGE_ERROR_FAILED,
                           "QEMU has %u layers of a disk that consists of %u (stop the guest "
                           "first)",
                           disk->nodes->len, disk->chain->len);
}

gboolean
merge_live(const Session *session, const GPtrArray *layers, const LayerStep *step,
           LodgeProgress *progress, GError **error)
{
    (void)progress;
    guint depth = 0;
    const Layer *layer = layers->pdata[step->layer];
    const Layer *into = layers->pdata[step->into];
    g_auto(LiveDisk) disk = {0};
    g_autofree char *folder = layer_files_folder(session->store, session->guest->name);
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    if (qmp == NULL) {
        return FALSE;
    }
    const Hotplug hotplug = {qmp, session->guest, lodge_deadline_in(MONITOR_TIMEOUT_MS)};
    if (!find_disk(session, layer->file, &disk, &depth)) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "%s is no disk's", layer->file);
    }
    g_autoptr(Merging) merging = g_new0(Merging, 1);
    merging->from = g_strdup(layer_files_relative(folder, layer->file));
    merging->into = g_strdup(layer_files_name(folder, into->file));
    merging->format = g_strdup(into->format);
    return find_nodes(&hotplug, &disk, error) && compare(&disk, error) &&
           allow_writing(&hotplug, &disk, depth + 1, error) &&
           (depth == 0 ? commit_top(session, &hotplug, &disk, merging, error)
                       : commit_between(session, &hotplug, &disk, depth, merging, error));
}

/* Does QEMU use the lower layer already? */
static gboolean
has_turned(const Session *session, const Hotplug *hotplug, const char *from)
{
    guint depth = 0;
    g_auto(LiveDisk) disk = {0};
    return find_disk(session, from, &disk, &depth) && find_nodes(hotplug, &disk, NULL) &&
           disk.nodes->len < disk.chain->len;
}

/* QEMU itself lets the layer above a merged one stand on what is below. */
static gboolean
was_passed_over(const Session *session, const char *from, const char *into, GError **error)
{
    g_autoptr(GPtrArray) layers = layer_files_gather(session->store, session->guest->name, error);
    int lower = layers != NULL ? layers_find(layers, into) : -1;
    for (guint i = 0; lower >= 0 && i < layers->len; i++) {
        const Layer *layer = layers->pdata[i];
        if (layer->below == lower && !g_str_equal(layer->file, from)) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean
merge_mend(const Session *session, GError **error)
{
    g_autoptr(Merging) merging = merging_read(session);
    if (merging == NULL) {
        merging_end(session); /* one that can't be read was never whole */
        return TRUE;
    }
    g_autofree char *folder = layer_files_folder(session->store, session->guest->name);
    g_autofree char *from = layer_files_path(folder, merging->from);
    g_autofree char *into = layer_files_path(folder, merging->into);
    if (merging->done || !session->state->has_qemu) {
        if ((merging->done || was_passed_over(session, from, into, NULL)) &&
            !merging_repoint(session, merging, error)) {
            return FALSE;
        }
        merging_end(session);
        return TRUE;
    }
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    if (qmp == NULL) {
        return FALSE;
    }
    const Hotplug hotplug = {qmp, session->guest, lodge_deadline_in(MONITOR_TIMEOUT_MS)};
    cancel_job(&hotplug);
    if ((has_turned(session, &hotplug, from) || was_passed_over(session, from, into, NULL)) &&
        !merging_repoint(session, merging, error)) {
        return FALSE;
    }
    if (merging->resume && !lodge_qmp_run(qmp, hotplug.deadline, error, "cont", NULL)) {
        return FALSE;
    }
    if (merging->resume) {
        session_await_state(session, LODGE_STATE_RUNNING);
    }
    merging_end(session);
    return TRUE;
}
