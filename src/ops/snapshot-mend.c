#include "config.h"

#include "ops/snapshot-mend.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "keeper/chain.h"
#include "ops/given-up.h"
#include "ops/disk.h"
#include "ops/merge.h"
#include "ops/snapshot-private.h"
#include "qmp/guest-agent.h"
#include "store/snapshots.h"

#define STAGING ".new-"
#define GONE ".gone-"

enum {
    MONITOR_TIMEOUT_MS = 10000,
    THAW_TIMEOUT_MS = 5000,
};

char *
snapshot_staging_name(const char *name)
{
    return g_strconcat(STAGING, name, NULL);
}

gboolean
snapshot_needs_mending(const LodgeStore *store, const char *guest)
{
    g_auto(GStrv) names = lodge_store_snapshots_hidden(store, guest);
    return names[0] != NULL;
}

/* What is below the layer of a disk that covers one elsewhere. */
static void
add_elsewhere(const LodgeStore *store, const LodgeGuest *guest, const LodgeDisk *disk,
              GPtrArray *all)
{
    g_autofree char *path = lodge_guest_disk_path(store, guest->name, disk->file);
    g_autoptr(GPtrArray) chain = lodge_disk_chain(path, "qcow2", NULL);
    const LodgeLayer *below = chain != NULL && chain->len > 1 ? chain->pdata[1] : NULL;
    if (below != NULL) {
        int format = g_str_equal(below->format, "raw") ? LODGE_FORMAT_RAW : LODGE_FORMAT_QCOW2;
        fresh_layers_add(all, disk, disk->covers, format, disk->covers, format);
    }
}

/* The layers that the snapshot @snapshot, half made, was to be covered with, as far as the
 * definition still has their disks. */
static GPtrArray *
covers_of(const LodgeStore *store, const LodgeGuest *guest, const LodgeSnapshot *snapshot)
{
    GPtrArray *all = fresh_layers_new();
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        const LodgeSnapshotDisk *kept = lodge_snapshot_disk(snapshot, disk->name);
        if (disk->covers != NULL) {
            add_elsewhere(store, guest, disk, all);
        } else if (kept != NULL) {
            fresh_layers_add(all, disk, kept->file, kept->format, kept->file, kept->format);
        }
    }
    return all;
}

/* A command that was killed may have left file systems at rest. */
static void
thaw(const Session *session)
{
    g_autofree char *path = lodge_store_run_path(session->store, session->guest->name,
                                                 "agent.sock");
    gint64 deadline = lodge_deadline_in(THAW_TIMEOUT_MS);
    g_autoptr(LodgeGuestAgent)
        agent = session->state->agent ? lodge_guest_agent_connect(path, deadline, NULL) : NULL;
    if (agent != NULL) {
        lodge_guest_agent_thaw(agent, deadline, NULL, NULL);
    }
}

/* What QEMU does for it ends. @out_switched: QEMU writes the new layers; the definition must go on
 * naming them. */
static gboolean
undo_live(const Session *session, const LodgeSnapshot *snapshot, const GPtrArray *covers,
          gboolean *out_switched, GError **error)
{
    g_auto(LiveSnapshot) live = {0};
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    if (qmp == NULL || !live_snapshot_begin(&live, session, qmp, FALSE, error) ||
        !live_snapshot_undo(&live, covers, out_switched, error)) {
        return FALSE;
    }
    if (snapshot->paused) {
        return TRUE;
    }
    gboolean fine = lodge_qmp_run(qmp, live.hotplug.deadline, error, "cont", NULL);
    if (fine) {
        session_await_state(session, LODGE_STATE_RUNNING);
    }
    return fine;
}

/* The layers it was to keep are nobody's any more, and the definition stands on its parent. */
static gboolean
drop_name(const Session *session, const LodgeSnapshot *snapshot, GError **error)
{
    g_autoptr(GPtrArray) none = fresh_layers_new();
    return snapshot_give_up(session, snapshot, error) &&
           fresh_layers_store(session, none, snapshot->parent, error);
}

static gboolean
abandon(const Session *session, const char *folder_name, GError **error)
{
    const LodgeGuest *guest = session->guest;
    const char *name = folder_name + strlen(STAGING);
    g_autofree char *folder = lodge_store_snapshot_path(session->store, guest->name, folder_name,
                                                        NULL);
    g_autoptr(LodgeSnapshot)
        snapshot = lodge_store_snapshot_in(session->store, guest->name, folder_name, name, NULL);
    if (snapshot == NULL) {
        return lodge_tree_remove(folder, error); /* it had not come to anything */
    }
    gboolean has_qemu = session->state->has_qemu;
    gboolean switched = FALSE;
    g_autoptr(GPtrArray) covers = covers_of(session->store, guest, snapshot);
    if (has_qemu && !undo_live(session, snapshot, covers, &switched, error)) {
        return FALSE;
    }
    if (has_qemu && snapshot->kind != LODGE_SNAPSHOT_RUNNING) {
        thaw(session);
    }
    if (g_strcmp0(guest->snapshot, name) == 0) {
        /* QEMU without the new layers: what they cover is what it writes, so it is named again. */
        gboolean fine = has_qemu && !switched
                            ? fresh_layers_store(session, covers, snapshot->parent, error)
                            : drop_name(session, snapshot, error);
        if (!fine) {
            return FALSE;
        }
    }
    return lodge_tree_remove(folder, error);
}

/* A guest that has read half of its memory is none. Its disks are as the snapshot left them. */
static gboolean
end_loading(const Session *session, GError **error)
{
    g_autofree char *path = lodge_store_snapshot_path(session->store, session->guest->name,
                                                      SNAPSHOT_LOADING, NULL);
    if (session->state->has_qemu && !session_kill(session, error)) {
        return FALSE;
    }
    unlink(path);
    return TRUE;
}

gboolean
snapshot_mend(const Session *given, GError **error)
{
    /* A session of its own: what is mended changes the definition and the state. */
    Session session = *given;
    g_autoptr(LodgeGuest) guest = lodge_store_guest(given->store, given->guest->name, error);
    g_autoptr(LodgeGuestState) state = lodge_store_state(given->store, given->guest->name);
    session.guest = guest;
    session.state = state;
    if (guest == NULL) {
        return FALSE;
    }
    g_auto(GStrv) names = lodge_store_snapshots_hidden(session.store, guest->name);
    if (g_strv_contains((const char *const *)names, SNAPSHOT_LOADING)) {
        if (!end_loading(&session, error)) {
            return FALSE;
        }
        lodge_guest_state_free(state);
        state = session.state = lodge_store_state(given->store, guest->name);
    }
    gboolean fine = merge_mend(&session, error);
    for (gsize i = 0; fine && names[i] != NULL; i++) {
        g_autofree char *path = lodge_store_snapshot_path(session.store, guest->name, names[i],
                                                          NULL);
        if (g_str_has_prefix(names[i], STAGING)) {
            fine = abandon(&session, names[i], error);
        } else if (g_str_has_prefix(names[i], GONE)) {
            fine = lodge_tree_remove(path, error);
        }
    }
    return fine && merge_given_up(&session, NULL, error);
}

static gboolean
check_readable(const LodgeStore *store, const char *guest, GError **error)
{
    g_autoptr(GPtrArray) disks = lodge_disks(store, guest, error);
    g_autoptr(GPtrArray) snapshots = disks != NULL ? lodge_snapshots(store, guest, error) : NULL;
    for (guint i = 0; snapshots != NULL && i < disks->len; i++) {
        const LodgeDiskView *disk = disks->pdata[i];
        if (disk->problem != NULL) {
            return lodge_error_set(error, LODGE_ERROR_INVALID, "disk %s: %s", disk->name,
                                   disk->problem);
        }
    }
    for (guint i = 0; snapshots != NULL && i < snapshots->len; i++) {
        const LodgeSnapshotView *view = snapshots->pdata[i];
        if (view->problem != NULL) {
            return lodge_error_set(error, LODGE_ERROR_INVALID, "snapshot %s: %s",
                                   view->snapshot->name, view->problem);
        }
    }
    return snapshots != NULL;
}

static gboolean
repair_guest(const LodgeStore *store, const char *guest, GError **error)
{
    g_autoptr(Session) session = session_begin(store, guest, "check", error);
    return session != NULL &&
           (!snapshot_needs_mending(store, guest) || lodge_store_is_backed_up(store, guest) ||
            snapshot_mend(session, error));
}

gboolean
lodge_snapshot_check(const LodgeStore *store, const char *guest, gboolean repair,
                     gboolean *out_mended, GError **error)
{
    g_autoptr(LodgeGuest) definition = lodge_store_guest(store, guest, error);
    if (definition == NULL) {
        return FALSE;
    }
    /* While another command is at work on it nothing of this is a fault. */
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, guest);
    *out_mended = state->job == NULL && lodge_store_snapshots_unfinished(store, guest);
    if (*out_mended && !repair) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "guest %s: a command on its snapshots was interrupted (`lodge check "
                               "%s --repair` puts that in order)",
                               guest, guest);
    }
    return (!repair || repair_guest(store, guest, error)) &&
           (check_readable(store, guest, error) || lodge_error_prefix(error, "guest %s", guest));
}
