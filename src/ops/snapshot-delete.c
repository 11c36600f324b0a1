#include "config.h"

#include <stdio.h>
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "ops/edit.h"
#include "ops/given-up.h"
#include "ops/layer-files.h"
#include "ops/merge.h"
#include "ops/snapshot-mend.h"
#include "ops/snapshot-private.h"
#include "store/snapshots.h"

gboolean
snapshot_give_up(const Session *session, const LodgeSnapshot *snapshot, GError **error)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new();
    for (guint i = 0; i < snapshot->disks->len; i++) {
        g_ptr_array_add(files, ((const LodgeSnapshotDisk *)snapshot->disks->pdata[i])->file);
    }
    g_ptr_array_add(files, NULL);
    return given_up_add(session->store, session->guest->name, (const char *const *)files->pdata,
                        error);
}

/* Other guests' disks may stand on its layers. */
static gboolean
check_unneeded(const Session *session, const LodgeSnapshot *snapshot, GError **error)
{
    const char *guest = session->guest->name;
    g_autofree char *folder = layer_files_folder(session->store, guest);
    g_autoptr(GPtrArray) layers = layer_files_gather(session->store, guest, error);
    for (guint i = 0; layers != NULL && i < snapshot->disks->len; i++) {
        const LodgeSnapshotDisk *disk = snapshot->disks->pdata[i];
        g_autofree char *path = g_build_filename(folder, disk->file, NULL);
        int index = layers_find(layers, path);
        const Layer *layer = index >= 0 ? layers->pdata[index] : NULL;
        if (layer != NULL && layer->outside != NULL) {
            return lodge_error_set(error, LODGE_ERROR_BUSY,
                                   "guest %s stands on it (delete that guest first)",
                                   layer->outside);
        }
    }
    return layers != NULL;
}

/* Its children become its parent's. */
static gboolean
hand_children_on(const Session *session, const LodgeSnapshot *gone, GError **error)
{
    const char *guest = session->guest->name;
    const char *const pairs[] = {"snapshot", gone->parent != NULL ? gone->parent : "", NULL};
    g_autoptr(GPtrArray) all = lodge_store_all_snapshots(session->store, guest, error);
    for (guint i = 0; all != NULL && i < all->len; i++) {
        LodgeSnapshot *snapshot = all->pdata[i];
        if (g_strcmp0(snapshot->parent, gone->name) != 0) {
            continue;
        }
        g_free(snapshot->parent);
        snapshot->parent = g_strdup(gone->parent);
        if (!lodge_store_snapshot_write(session->store, guest, snapshot->name, snapshot, error)) {
            return FALSE;
        }
    }
    if (all == NULL || g_strcmp0(session->guest->snapshot, gone->name) != 0) {
        return all != NULL;
    }
    edit_section(session, EDIT_STARTED, "guest", pairs, NULL);
    return edit_section(session, EDIT_DEFINITION, "guest", pairs, error);
}

static gboolean
delete_snapshot(const Session *session, const LodgeSnapshot *snapshot, LodgeProgress *progress,
                GError **error)
{
    const char *guest = session->guest->name;
    g_autofree char *hidden = g_strconcat(".gone-", snapshot->name, NULL);
    g_autofree char *path = lodge_store_snapshot_path(session->store, guest, snapshot->name, NULL);
    g_autofree char *gone = lodge_store_snapshot_path(session->store, guest, hidden, NULL);
    if (!snapshot_give_up(session, snapshot, error)) {
        return FALSE;
    }
    lodge_fault("delete-given-up");
    if (!hand_children_on(session, snapshot, error)) {
        return FALSE;
    }
    lodge_fault("delete-handed-on");
    if (rename(path, gone) < 0) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    lodge_fault("delete-unnamed");
    lodge_progress_stage(progress, "its files are removed");
    if (!lodge_tree_remove(gone, error)) {
        return FALSE;
    }
    lodge_event_append(session->store, guest, "snapshot-deleted",
                       json_pack("{s:s}", "snapshot", snapshot->name));
    return merge_given_up(session, progress, error);
}

gboolean
lodge_snapshot_delete(const LodgeStore *store, const char *guest, const char *name,
                      LodgeProgress *progress, GError **error)
{
    g_autoptr(Session) session = session_begin(store, guest, "snapshot delete", error);
    g_autoptr(LodgeSnapshot)
        snapshot = session != NULL ? lodge_store_snapshot(store, guest, name, error) : NULL;
    return snapshot != NULL &&
           ((check_unneeded(session, snapshot, error) &&
             delete_snapshot(session, snapshot, lodge_job_progress(session->job, progress),
                             error)) ||
            lodge_error_prefix(error, "guest %s: snapshot %s", guest, name));
}

gboolean
snapshot_forget(const LodgeStore *store, const char *guest, const char *name, GError **error)
{
    g_autoptr(Session) session = session_begin(store, guest, "fork", error);
    g_autoptr(LodgeSnapshot)
        snapshot = session != NULL ? lodge_store_snapshot(store, guest, name, error) : NULL;
    if (snapshot == NULL || delete_snapshot(session, snapshot, NULL, error)) {
        return snapshot != NULL;
    }
    /* For want of space: a name takes none, so it becomes one that was never whole, which the next
     * command puts in order. */
    g_autofree char *staging = snapshot_staging_name(name);
    g_autofree char *path = lodge_store_snapshot_path(store, guest, name, NULL);
    g_autofree char *hidden = lodge_store_snapshot_path(store, guest, staging, NULL);
    rename(path, hidden);
    return FALSE;
}
