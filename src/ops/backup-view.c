#include "config.h"

#include "base/base.h"
#include "ops/backup.h"
#include "ops/backup-files.h"
#include "ops/backup-place.h"

static void
backups_free(gpointer data)
{
    LodgeBackups *backups = data;
    g_free(backups->folder);
    g_free(backups->guest);
    g_ptr_array_unref(backups->points);
    g_free(backups);
}

GPtrArray *
lodge_backups(const char *folder, GError **error)
{
    g_auto(GStrv) places = backup_places(folder, error);
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(backups_free);
    for (gsize i = 0; places != NULL && places[i] != NULL; i++) {
        g_autoptr(BackupPlace) place = backup_place_look(places[i], error);
        if (place == NULL) {
            return NULL;
        }
        LodgeBackups *backups = g_new0(LodgeBackups, 1);
        backups->folder = g_steal_pointer(&place->folder);
        backups->guest = g_steal_pointer(&place->guest);
        backups->points = g_steal_pointer(&place->points);
        g_ptr_array_add(all, backups);
    }
    return places != NULL ? g_steal_pointer(&all) : NULL;
}

static gboolean
verify_place(const char *folder, const char *name, LodgeProgress *progress, guint *out_points,
             GError **error)
{
    g_autoptr(BackupPlace) place = backup_place_look(folder, error);
    if (place == NULL) {
        return FALSE;
    }
    if (name != NULL) {
        const LodgePoint *point = backup_place_find(place, name, error);
        *out_points += point != NULL;
        return point != NULL && backup_files_verify(place, point, TRUE, progress, error);
    }
    for (guint i = 0; i < place->points->len; i++) {
        if (!backup_files_verify(place, place->points->pdata[i], FALSE, progress, error)) {
            return FALSE;
        }
        (*out_points)++;
    }
    return TRUE;
}

gboolean
lodge_backup_verify(const char *folder, const char *point, LodgeProgress *progress,
                    guint *out_points, GError **error)
{
    g_auto(GStrv) places = backup_places(folder, error);
    *out_points = 0;
    if (places != NULL && point != NULL && places[1] != NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "%s holds backups of several guests: write %s, or another", folder,
                               places[0]);
    }
    for (gsize i = 0; places != NULL && places[i] != NULL; i++) {
        if (!verify_place(places[i], point, progress, out_points, error)) {
            return FALSE;
        }
    }
    return places != NULL;
}
