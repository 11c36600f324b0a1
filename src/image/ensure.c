#include "config.h"

#include <string.h>

#include "image/internal.h"

enum {
    LOOK_AGAIN_MS = 100,
};

typedef gboolean (*Way)(const LodgeStore *store, const char *name, LodgeMakingMode mode,
                        LodgeProgress *progress, GError **error);

static gboolean
is_being_made(const LodgeStore *store, const char *name)
{
    g_autofree char *file = g_strdup_printf(".new-%s.lock", name);
    g_autofree char *path = lodge_store_image_path(store, file, NULL);
    return lodge_lock_is_held(path);
}

static gboolean
wait_for_maker(const LodgeStore *store, const char *name, LodgeProgress *progress, GError **error)
{
    lodge_progress_stage(progress, "another command is making image %s", name);
    while (is_being_made(store, name)) {
        if (!lodge_wait_for(LOOK_AGAIN_MS, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Try one way. Its reason goes to @reasons; what ends the whole undertaking goes to @error. */
static gboolean
try_way(Way way, const LodgeStore *store, const char *name, LodgeProgress *progress,
        GString *reasons, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (way(store, name, LODGE_MAKING_NEW, progress, &problem) ||
        g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_EXISTS)) {
        return TRUE;
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INTERRUPTED) ||
        g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    g_string_append_printf(reasons, "%s%s", reasons->len > 0 ? "; " : "", problem->message);
    return FALSE;
}

/* One attempt at all ways. @error BUSY: another command was quicker. */
static gboolean
make(const LodgeStore *store, const char *name, LodgeProgress *progress, GError **error)
{
    g_autoptr(LodgeImage) entry = lodge_catalogue_find(store, name, error);
    if (entry == NULL) {
        return FALSE;
    }
    g_autoptr(GString) reasons = g_string_new(NULL);
    g_autoptr(GError) end = NULL;
    if ((entry->recipe != NULL &&
         try_way(lodge_image_build_as, store, name, progress, reasons, &end)) ||
        (end == NULL && entry->url != NULL &&
         try_way(lodge_image_pull_as, store, name, progress, reasons, &end))) {
        return TRUE;
    }
    if (end != NULL) {
        g_propagate_error(error, g_steal_pointer(&end));
        return FALSE;
    }
    if (reasons->len == 0) {
        g_string_printf(reasons, "image %s: its catalogue entry has neither a recipe nor a URL",
                        name);
    }
    return lodge_error_set(error, LODGE_ERROR_FAILED,
                           "%s (or bring a disk of your own: `lodge image import %s FILE`)",
                           reasons->str, name);
}

gboolean
lodge_image_ensure(const LodgeStore *store, const char *name, LodgeProgress *progress,
                   GError **error)
{
    if (!lodge_image_name_check(name, error)) {
        return FALSE;
    }
    while (!lodge_image_is_here(store, name)) {
        g_autoptr(GError) problem = NULL;
        if (make(store, name, progress, &problem)) {
            return TRUE;
        }
        if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        if (!wait_for_maker(store, name, progress, error)) {
            return FALSE;
        }
    }
    return TRUE;
}
