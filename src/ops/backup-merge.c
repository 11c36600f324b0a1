/* Theory of operation: how a point goes.
 *
 * The next point's file of each disk, which stands on the one that goes, is merged into that, which
 * then takes its name: the large file stays where it is, and the little one is copied. Meanwhile
 * who reads the next point sees what it was: its own file covers what is half written below it. The
 * journal `.merging` names both, and each step can be done again. A point in it is none any more.
 */
#include "config.h"

#include "ops/backup-merge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/backup-files.h"
#include "qemu/img.h"

static char *
journal_path(const BackupPlace *place)
{
    return g_build_filename(place->folder, ".merging", NULL);
}

/* The points that a merge is of. FALSE: there is no journal. */
static gboolean
read_journal(const BackupPlace *place, char **out_goes, char **out_next)
{
    g_autofree char *path = journal_path(place);
    g_autoptr(GKeyFile) file = g_key_file_new();
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL)) {
        return FALSE;
    }
    *out_goes = g_key_file_get_string(file, "merging", "goes", NULL);
    *out_next = g_key_file_get_string(file, "merging", "next", NULL);
    if (*out_goes != NULL && *out_next != NULL && lodge_point_time(*out_goes) >= 0 &&
        lodge_point_time(*out_next) >= 0) {
        return TRUE;
    }
    g_clear_pointer(out_goes, g_free);
    g_clear_pointer(out_next, g_free);
    return FALSE;
}

static gboolean
merge_disk(const BackupPlace *place, const LodgePoint *goes, const LodgePoint *next,
           LodgePointDisk *disk, GError **error)
{
    const LodgePointDisk *below = lodge_point_disk(goes, disk->name);
    if (below == NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "point %s: it has no disk %s",
                               goes->name, disk->name);
    }
    g_autofree char *lower = backup_place_path(place, goes->name, below->file);
    g_autofree char *upper = backup_place_path(place, next->name, disk->file);
    /* Without the lower one this was done before. */
    if (g_file_test(lower, G_FILE_TEST_EXISTS)) {
        if (!lodge_img_commit(upper, lower, place->folder, error)) {
            return FALSE;
        }
        lodge_fault("backup-merged");
        if (rename(lower, upper) < 0) {
            return lodge_error_errno(error, errno, "%s", upper);
        }
    }
    lodge_fault("backup-renamed");
    disk->full = below->full;
    g_free(disk->why);
    disk->why = g_strdup(below->why);
    return backup_file_note(upper, disk, error);
}

static gboolean
merge(const BackupPlace *place, const LodgePoint *goes, LodgePoint *next, GError **error)
{
    for (guint i = 0; i < next->disks->len; i++) {
        LodgePointDisk *disk = next->disks->pdata[i];
        if (!disk->full && !merge_disk(place, goes, next, disk, error)) {
            return FALSE;
        }
    }
    g_free(next->parent);
    next->parent = lodge_point_is_full(next) ? NULL : g_strdup(goes->parent);
    return backup_place_write(place, next->name, next, error);
}

/* It loses its name at one stroke. */
static gboolean
drop(const BackupPlace *place, const char *point, GError **error)
{
    g_autofree char *hidden = g_strconcat(".gone-", point, NULL);
    g_autofree char *path = backup_place_path(place, point, NULL);
    g_autofree char *gone = backup_place_path(place, hidden, NULL);
    g_autofree char *journal = journal_path(place);
    if (rename(path, gone) < 0 && errno != ENOENT) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    lodge_fault("backup-dropped");
    unlink(journal);
    return lodge_tree_remove(gone, error);
}

/* Also after a death at any step. */
static gboolean
finish(const BackupPlace *place, const char *goes_name, const char *next_name, GError **error)
{
    g_autofree char *folder = backup_place_path(place, goes_name, NULL);
    if (g_file_test(folder, G_FILE_TEST_EXISTS)) {
        g_autoptr(LodgePoint) goes = backup_place_read(place, goes_name, error);
        g_autoptr(LodgePoint) next = goes != NULL ? backup_place_read(place, next_name, error)
                                                  : NULL;
        if (next == NULL) {
            return FALSE;
        }
        /* If it does not name the other any more, all but the removal was done. */
        if (g_strcmp0(next->parent, goes_name) == 0 && !merge(place, goes, next, error)) {
            return FALSE;
        }
    }
    return drop(place, goes_name, error);
}

static gboolean
begin(const BackupPlace *place, const char *goes, const char *next, GError **error)
{
    g_autofree char *path = journal_path(place);
    g_autofree char *text = g_strdup_printf("[merging]\ngoes=%s\nnext=%s\n", goes, next);
    return lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error);
}

static guint
index_of(const BackupPlace *place, const char *name)
{
    guint i = 0;
    while (i < place->points->len &&
           !g_str_equal(((const LodgePoint *)place->points->pdata[i])->name, name)) {
        i++;
    }
    return i;
}

gboolean
backup_merge_remove(BackupPlace *place, const char *name, GError **error)
{
    guint index = index_of(place, name);
    g_autofree char *gone = g_strdup(name);
    if (index + 1 >= place->points->len) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "point %s is the newest", name);
    }
    LodgePoint *next = place->points->pdata[index + 1];
    g_autofree char *next_name = g_strdup(next->name);
    if (g_strcmp0(next->parent, gone) == 0) {
        for (guint i = 0; i < next->disks->len; i++) {
            const LodgePointDisk *disk = next->disks->pdata[i];
            g_autofree char *path = backup_place_disk(place, next, disk->name, error);
            if (path == NULL) {
                return FALSE;
            }
        }
        if (!begin(place, gone, next_name, error)) {
            return FALSE;
        }
        lodge_fault("backup-merging");
    }
    if (!finish(place, gone, next_name, error)) {
        return lodge_error_prefix(error, "removing point %s", gone);
    }
    LodgePoint *fresh = backup_place_read(place, next_name, error);
    if (fresh == NULL) {
        return FALSE;
    }
    lodge_point_free(next);
    place->points->pdata[index + 1] = fresh;
    g_ptr_array_remove_index(place->points, index);
    return TRUE;
}

gboolean
backup_merge_mend(BackupPlace *place, GError **error)
{
    g_autofree char *goes = NULL;
    g_autofree char *next = NULL;
    return !read_journal(place, &goes, &next) || finish(place, goes, next, error);
}

void
backup_merge_hide(BackupPlace *place)
{
    g_autofree char *goes = NULL;
    g_autofree char *next = NULL;
    if (read_journal(place, &goes, &next)) {
        guint index = index_of(place, goes);
        if (index < place->points->len) {
            g_ptr_array_remove_index(place->points, index);
        }
    }
}
