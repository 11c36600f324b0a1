#include "config.h"

#include "ops/rewind.h"

#include <string.h>

#include "base/base.h"
#include "model/schedule.h"
#include "store/snapshots.h"

char **
lodge_snapshots_scheduled(const LodgeStore *store, const char *guest, GError **error)
{
    g_autoptr(LodgeGuest) definition = lodge_store_guest(store, guest, error);
    g_auto(GStrv) names = definition != NULL ? lodge_store_snapshots(store, guest, error) : NULL;
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(g_free);
    /* Sorted by name, and so by time. */
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        if (lodge_schedule_time(names[i]) >= 0) {
            g_ptr_array_add(found, g_strdup(names[i]));
        }
    }
    g_ptr_array_add(found, NULL);
    return names != NULL ? (char **)g_ptr_array_free(g_steal_pointer(&found), FALSE) : NULL;
}

static gboolean
read_schedule(const LodgeStore *store, const char *guest, LodgeSchedule *out_schedule,
              GError **error)
{
    g_autoptr(LodgeGuest) definition = lodge_store_guest(store, guest, error);
    if (definition == NULL) {
        return FALSE;
    }
    if (definition->snapshots == NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "guest %s has no schedule (`lodge set %s \"snapshots=every 10m keep "
                               "6\"` gives it one)",
                               guest, guest);
    }
    return lodge_schedule_parse(definition->snapshots, out_schedule, error);
}

LodgeSnapshot *
lodge_snapshot_create_scheduled(const LodgeStore *store, const char *guest, LodgeProgress *progress,
                                GError **error)
{
    LodgeSchedule schedule;
    if (!read_schedule(store, guest, &schedule, error)) {
        return NULL;
    }
    g_autofree char *name = lodge_schedule_name(g_get_real_time() / G_USEC_PER_SEC);
    const LodgeSnapshotWish wish = {
        .guest = guest, .name = name, .disks_only = schedule.disks_only};
    g_autoptr(LodgeSnapshot) made = lodge_snapshot_create(store, &wish, progress, error);
    g_auto(GStrv) names = made != NULL ? lodge_snapshots_scheduled(store, guest, error) : NULL;
    guint count = names != NULL ? g_strv_length(names) : 0;
    for (guint i = 0; i + schedule.keep < count; i++) {
        if (!lodge_snapshot_delete(store, guest, names[i], progress, error)) {
            return NULL;
        }
    }
    return names != NULL ? g_steal_pointer(&made) : NULL;
}

char *
lodge_rewind_find(const LodgeStore *store, const char *guest, gint64 time_s, GError **error)
{
    g_auto(GStrv) names = lodge_snapshots_scheduled(store, guest, error);
    const char *found = NULL;
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        found = lodge_schedule_time(names[i]) <= time_s ? names[i] : found;
    }
    if (found != NULL || names == NULL) {
        return g_strdup(found);
    }
    if (names[0] == NULL) {
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                        "guest %s has no scheduled snapshots (`lodge set %s \"snapshots=every 10m "
                        "keep 6\"`; `lodge snapshot restore` goes back to others)",
                        guest, guest);
        return NULL;
    }
    gint64 age_s = g_get_real_time() / G_USEC_PER_SEC - lodge_schedule_time(names[0]);
    g_autofree char *age = lodge_duration_human(MAX(age_s, 0) * 1000);
    lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                    "guest %s has no scheduled snapshot of then: the oldest, %s, is %s old", guest,
                    names[0], age);
    return NULL;
}
