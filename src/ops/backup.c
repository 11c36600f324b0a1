/* Theory of operation: a point is made of disks at rest.
 *
 *   FOLDER/GUEST/.new-TIME   is begun
 *   layers/                  the disks are covered with new layers, as by a snapshot of disks, and
 *                            these begin the bitmap of this point
 *   backups.conf             says that this point is being made
 *   (the job lock is let go)
 *   qemu-storage-daemon      copies what bitmaps name, from below the new layers
 *   the files                are read back
 *   FOLDER/GUEST/TIME        is the point's name: now it counts
 *   (the job lock is taken)
 *   backups.conf             says so
 *   layers/                  are merged again
 *
 * While it is copied the guest starts, stops and is killed as its owner likes: who does so finds
 * the lock of backups held, and leaves the layers alone (session.c).
 *
 * The guest's QEMU has nothing to do with the target, which may be slow or full. Bitmaps of the
 * last point stay until the next has its name. What a killed command left is a snapshot that was
 * begun (the next command on the guest, or its keeper, takes it away) and a hidden folder (the next
 * backup does). */
#include "config.h"

#include "ops/backup.h"

#include <string.h>

#include "base/base.h"
#include "ops/backup-bitmaps.h"
#include "ops/backup-copy.h"
#include "ops/backup-files.h"
#include "ops/backup-merge.h"
#include "model/keep.h"
#include "ops/snapshot-mend.h"
#include "ops/snapshot-private.h"
#include "qemu/img-bitmap.h"
#include "store/snapshots.h"

enum {
    COME_BACK_MS = 120 * 1000, /* as long as `stop` waits, and longer */
};

typedef struct {
    Session *session;
    const LodgeBackupWish *wish;
    const char *folder; /* of backups */
    LodgeProgress *progress;
    BackupPlace *place;
    LodgePoint *point;
    LodgeSnapshot *cover;
    char *cover_folder; /* its folder's name */
    GPtrArray *sources;
    LodgeBackupDone *done;
} Backup;

static void
backup_clear(Backup *backup)
{
    g_clear_pointer(&backup->sources, g_ptr_array_unref);
    g_clear_pointer(&backup->cover, lodge_snapshot_free);
    g_clear_pointer(&backup->cover_folder, g_free);
    g_clear_pointer(&backup->place, backup_place_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Backup, backup_clear)

void
lodge_backup_done_free(LodgeBackupDone *done)
{
    if (done != NULL) {
        lodge_point_free(done->point);
        g_ptr_array_unref(done->removed);
        g_free(done->folder);
        g_free(done);
    }
}

/* Disks that are not in a point: what is elsewhere and read-only is its own keeper's affair. */
static gboolean
is_left_out(const LodgeDisk *disk)
{
    return disk->read_only && (g_path_is_absolute(disk->file) || lodge_disk_is_remote(disk->file));
}

static gboolean
check_disks(const Backup *backup, GError **error)
{
    const LodgeGuest *guest = backup->session->guest;
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        if (!is_left_out(disk) && lodge_disk_is_remote(disk->file)) {
            return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                                   "disk %s is on another machine, %s, where it must be backed up "
                                   "(detach it, or let it be read-only)",
                                   disk->name, disk->file);
        }
    }
    return TRUE;
}

/* A folder within the guest's own would be deleted with it. */
static gboolean
check_folder(const Backup *backup, GError **error)
{
    const Session *session = backup->session;
    g_autofree char *inside = lodge_store_guest_path(session->store, session->guest->name, "x");
    g_autofree char *target = g_build_filename(backup->folder, "x", NULL);
    g_autofree char *real_inside = lodge_path_real(inside);
    g_autofree char *real_target = lodge_path_real(target);
    *strrchr(real_inside, 'x') = '\0';
    return !g_str_has_prefix(real_target, real_inside) ||
           lodge_error_set(error, LODGE_ERROR_USAGE,
                           "%s is in the guest's own folder, and would go with it", backup->folder);
}

static gboolean
note(const Backup *backup, const char *point, const char *next, GError **error)
{
    const Session *session = backup->session;
    return bitmaps_note(session->store, session->guest->name, backup->place->id, backup->folder,
                        point, next, error);
}

static LodgePointKind
kind_of(int kind)
{
    switch ((LodgeSnapshotKind)kind) {
    case LODGE_SNAPSHOT_STOPPED:
        return LODGE_POINT_STOPPED;
    case LODGE_SNAPSHOT_FROZEN:
        return LODGE_POINT_FROZEN;
    case LODGE_SNAPSHOT_PLUG:
    case LODGE_SNAPSHOT_RUNNING:
        break;
    }
    return LODGE_POINT_PLUG;
}

/* Bring the disks to rest. */
static gboolean
cover(Backup *backup, GError **error)
{
    Session *session = backup->session;
    g_autofree char *name = g_strconcat("backup-", backup->point->name, NULL);
    g_autofree char *begins = bitmap_name(backup->place->id, backup->point->name);
    backup->cover_folder = snapshot_staging_name(name);
    backup->cover = snapshot_cover(session, name, begins, backup->progress, error);
    if (backup->cover == NULL) {
        return FALSE;
    }
    backup->done->pause_ms = backup->cover->pause_ms;
    backup->point->kind = kind_of(backup->cover->kind);
    lodge_fault("backup-covered");
    return TRUE;
}

/* Take the job lock again; who has it may be waiting for the guest's end. */
static gboolean
come_back(const Backup *backup, GError **error)
{
    Session *session = backup->session;
    if (session->job == NULL) {
        session->job = lodge_job_begin_within(session->store, session->guest->name, "backup",
                                              lodge_deadline_in(COME_BACK_MS), error);
    }
    return session->job != NULL && session_refresh(session, error);
}

/* Merge the layers that were put over the disks. The point is made, or will not be: what can't be
 * merged now is by the next command. */
static void
uncover(const Backup *backup)
{
    g_autoptr(GError) problem = NULL;
    if (backup->cover == NULL) {
        return;
    }
    lodge_progress_stage(backup->progress, "new layers are merged");
    if (!come_back(backup, &problem) || !snapshot_mend(backup->session, &problem)) {
        lodge_progress_stage(backup->progress, "merging waits for the next command: %s",
                             problem->message);
    }
}

static gboolean
list_sources(Backup *backup, GError **error)
{
    const Session *session = backup->session;
    const LodgeGuest *guest = session->guest;
    backup->sources = backup_sources_new();
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        const LodgeSnapshotDisk *covered = lodge_snapshot_disk(backup->cover, disk->name);
        if (!is_left_out(disk) &&
            !backup_sources_add(backup->sources, session->store, guest, disk,
                                covered != NULL ? covered->file : disk->file,
                                covered != NULL ? covered->format : disk->format, error)) {
            return FALSE;
        }
    }
    backup_sources_compare(backup->sources, backup->place, backup->wish->full, backup->point);
    return TRUE;
}

static gboolean
keep_seed(const Backup *backup, GError **error)
{
    static const char *const names[] = {"seed.txt", "seed.iso"};
    const Session *session = backup->session;
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *from = lodge_store_guest_path(session->store, session->guest->name,
                                                       names[i]);
        g_autofree char *to = backup_place_staged(backup->place, backup->point->name, names[i]);
        if (!g_file_test(from, G_FILE_TEST_EXISTS)) {
            continue;
        }
        backup->point->seed = g_strdup(names[i]);
        backup->point->seed_sha256 = backup_file_keep(from, to, error);
        return backup->point->seed_sha256 != NULL;
    }
    return TRUE;
}

/* Copy a small file into the point, if it is there. Its SHA-256 goes to @out_sum. */
static gboolean
keep_file(const Backup *backup, const char *from, const char *name, char **out_sum, GError **error)
{
    g_autofree char *to = backup_place_staged(backup->place, backup->point->name, name);
    if (!g_file_test(from, G_FILE_TEST_EXISTS)) {
        return TRUE;
    }
    *out_sum = backup_file_keep(from, to, error);
    return *out_sum != NULL;
}

/* Definition, UEFI variables and the TPM's state of the moment are where the cover is. */
static gboolean
keep_files(const Backup *backup, GError **error)
{
    const Session *session = backup->session;
    const char *guest = session->guest->name;
    const char *folder = backup->cover_folder;
    LodgePoint *point = backup->point;
    g_autofree char *tpm = lodge_store_snapshot_path(session->store, guest, folder, SNAPSHOT_TPM);
    g_autofree char *conf = lodge_store_snapshot_path(session->store, guest, folder,
                                                      SNAPSHOT_DEFINITION);
    g_autofree char *variables = lodge_store_snapshot_path(session->store, guest, folder,
                                                           SNAPSHOT_VARIABLES);
    return keep_file(backup, conf, PLACE_DEFINITION, &point->definition, error) &&
           keep_seed(backup, error) && keep_file(backup, tpm, PLACE_TPM, &point->tpm, error) &&
           (!lodge_guest_is_uefi(session->guest) ||
            keep_file(backup, variables, PLACE_VARIABLES, &point->variables, error));
}

static gboolean
make(Backup *backup, GError **error)
{
    const LodgePoint *newest = backup_place_newest(backup->place);
    if (!cover(backup, error)) {
        return FALSE;
    }
    if (!list_sources(backup, error) || !keep_files(backup, error) ||
        !note(backup, newest != NULL ? newest->name : NULL, backup->point->name, error)) {
        return FALSE;
    }
    lodge_fault("backup-noted");
    g_clear_pointer(&backup->session->job, lodge_job_end);
    if (!backup_sources_copy(backup->sources, backup->place, backup->point, backup->progress,
                             &backup->done->copied_bytes, error) ||
        !backup_place_publish(backup->place, backup->point, error)) {
        return FALSE;
    }
    lodge_fault("backup-published");
    return TRUE;
}

/* Remove bitmaps that count no more; the definition names the tops again. */
static void
sweep_bitmaps(const Backup *backup)
{
    const Session *session = backup->session;
    g_autoptr(LodgeGuest) now = lodge_store_guest(session->store, session->guest->name, NULL);
    for (guint i = 0; session->job != NULL && now != NULL && i < now->disks->len; i++) {
        bitmaps_sweep(session, now->disks->pdata[i]);
    }
}

/* As it was before. */
static void
undo(Backup *backup)
{
    const LodgePoint *newest = backup_place_newest(backup->place);
    lodge_interrupt_forget();
    lodge_progress_failed(backup->progress);
    backup_place_abandon(backup->place, backup->point->name);
    note(backup, newest != NULL ? newest->name : NULL, NULL, NULL);
    uncover(backup);
    sweep_bitmaps(backup);
}

static void
finish(Backup *backup)
{
    note(backup, backup->point->name, NULL, NULL);
    lodge_fault("backup-recorded");
    uncover(backup);
    sweep_bitmaps(backup);
    lodge_event_append(
        backup->session->store, backup->wish->guest, "backed-up",
        json_pack("{s:s, s:s}", "folder", backup->place->folder, "point", backup->point->name));
}

/* Remove what is not to be kept, the oldest first. */
static gboolean
thin_out(Backup *backup, const LodgeKeep *keep, GError **error)
{
    BackupPlace *place = backup->place;
    g_autoptr(GTimeZone) zone = g_time_zone_new_local();
    g_autofree gint64 *times = g_new0(gint64, place->points->len + 1);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < place->points->len; i++) {
        const LodgePoint *point = place->points->pdata[i];
        times[i] = lodge_point_time(point->name);
        g_ptr_array_add(names, g_strdup(point->name));
    }
    g_autofree gboolean *chosen = lodge_keep_choose(keep, times, names->len, zone);
    for (guint i = 0; i < names->len; i++) {
        if (chosen[i]) {
            continue;
        }
        lodge_progress_stage(backup->progress, "point %s goes", (const char *)names->pdata[i]);
        if (!backup_merge_remove(place, names->pdata[i], error)) {
            return FALSE;
        }
        g_ptr_array_add(backup->done->removed, g_strdup(names->pdata[i]));
    }
    return TRUE;
}

static gboolean
begin(Backup *backup, GError **error)
{
    const char *guest = backup->session->guest->name;
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    if (!check_disks(backup, error) || !check_folder(backup, error)) {
        return FALSE;
    }
    backup->place = backup_place_open(backup->folder, guest, error);
    if (backup->place == NULL) {
        return FALSE;
    }
    g_autofree char *killed = bitmaps_next(backup->session->store, guest, backup->place->id);
    g_autofree char *name = backup_place_begin(backup->place, killed, error);
    if (name == NULL) {
        return FALSE;
    }
    backup->point = backup->done->point = lodge_point_new(name);
    backup->done->folder = g_strdup(backup->place->folder);
    backup->point->guest = g_strdup(guest);
    backup->point->made = g_date_time_format_iso8601(now);
    lodge_fault("backup-begun");
    return TRUE;
}

/* The list, after the point came to it. */
static gboolean
relist(Backup *backup, GError **error)
{
    LodgePoint *point = backup_place_read(backup->place, backup->point->name, error);
    if (point != NULL) {
        g_ptr_array_add(backup->place->points, point);
    }
    return point != NULL;
}

/* What to keep, said or by the definition; FALSE, with no error, if that is all. */
static gboolean
find_keep(const LodgeBackupWish *wish, const LodgeGuest *guest, LodgeKeep *out_keep)
{
    const char *words = wish->keep != NULL ? wish->keep : guest->backup_keep;
    return words != NULL && !g_str_equal(words, "all") && lodge_keep_parse(words, out_keep, NULL);
}

static gboolean
check_wish(const LodgeBackupWish *wish, const LodgeGuest *guest, GError **error)
{
    LodgeKeep keep;
    if (wish->keep != NULL && !g_str_equal(wish->keep, "all") &&
        !lodge_keep_parse(wish->keep, &keep, error)) {
        return lodge_error_prefix(error, "--keep");
    }
    return wish->folder != NULL || guest->backup_target != NULL ||
           lodge_error_set(error, LODGE_ERROR_USAGE,
                           "say into which folder (or once for all: `lodge set %s "
                           "backup.target=FOLDER`)",
                           wish->guest);
}

LodgeBackupDone *
lodge_backup(const LodgeStore *store, const LodgeBackupWish *wish, LodgeProgress *progress,
             GError **error)
{
    LodgeKeep keep = {0};
    g_autoptr(Session) session = session_begin(store, wish->guest, "backup", error);
    g_autoptr(LodgeJob) job = session != NULL && check_wish(wish, session->guest, error)
                                  ? lodge_job_begin_backup(store, wish->guest, error)
                                  : NULL;
    if (job == NULL) {
        return NULL;
    }
    /* The session's definition is read anew meanwhile. */
    g_autofree char *folder = g_strdup(wish->folder != NULL ? wish->folder
                                                            : session->guest->backup_target);
    gboolean thins = find_keep(wish, session->guest, &keep);
    g_autoptr(LodgeBackupDone) done = g_new0(LodgeBackupDone, 1);
    done->removed = g_ptr_array_new_with_free_func(g_free);
    g_auto(Backup) backup = {.session = session,
                             .wish = wish,
                             .folder = folder,
                             .done = done,
                             .progress = lodge_job_progress(job, progress)};
    gboolean begun = begin(&backup, error);
    if (!begun || !make(&backup, error)) {
        lodge_error_prefix(error, "guest %s: backup", wish->guest);
        if (begun) {
            undo(&backup);
        }
        return NULL;
    }
    finish(&backup);
    /* Old points are the target's affair. */
    g_clear_pointer(&session->job, lodge_job_end);
    if (thins && (!relist(&backup, error) || !thin_out(&backup, &keep, error))) {
        lodge_error_prefix(error, "guest %s: the backup is made; but old points", wish->guest);
        return NULL;
    }
    return g_steal_pointer(&done);
}
