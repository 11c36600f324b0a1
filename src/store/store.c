#include "config.h"

#include "store/store.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"

enum {
    DEFINITION_LIMIT_BYTES = 256 << 10,
};

#define SYSTEM_ROOT "/var/lib/lodge"

static LodgeStore *
store_new(char *root, char *run)
{
    LodgeStore *store = g_new0(LodgeStore, 1);
    store->root = root;
    store->run = run;
    return store;
}

LodgeStore *
lodge_store_open(GError **error)
{
    const char *folder = g_getenv("LODGE_DIR");
    if (folder != NULL && *folder != '\0') {
        if (!g_path_is_absolute(folder)) {
            lodge_error_set(error, LODGE_ERROR_USAGE, "LODGE_DIR=%s must be an absolute path",
                            folder);
            return NULL;
        }
        return store_new(g_strdup(folder), g_build_filename(folder, "run", NULL));
    }
    if (geteuid() == 0) {
        return store_new(g_strdup(SYSTEM_ROOT), g_strdup("/run/lodge"));
    }
    /* Without XDG_RUNTIME_DIR GLib falls back to the cache folder, which is the user's own too. */
    return store_new(g_build_filename(g_get_user_data_dir(), "lodge", NULL),
                     g_build_filename(g_get_user_runtime_dir(), "lodge", NULL));
}

void
lodge_store_free(LodgeStore *store)
{
    if (store != NULL) {
        g_free(store->root);
        g_free(store->run);
        g_free(store);
    }
}

gboolean
lodge_store_is_system(const LodgeStore *store)
{
    return g_str_equal(store->root, SYSTEM_ROOT);
}

char *
lodge_store_guest_path(const LodgeStore *store, const char *name, const char *file)
{
    return g_build_filename(store->root, "guests", name, file, NULL);
}

char *
lodge_store_image_path(const LodgeStore *store, const char *name, const char *file)
{
    return g_build_filename(store->root, "images", name, file, NULL);
}

char *
lodge_store_run_path(const LodgeStore *store, const char *name, const char *file)
{
    return g_build_filename(store->run, "guests", name, file, NULL);
}

char **
lodge_store_guests(const LodgeStore *store, GError **error)
{
    g_autofree char *folder = g_build_filename(store->root, "guests", NULL);
    return lodge_dir_names(folder, error);
}

char **
lodge_store_images(const LodgeStore *store, GError **error)
{
    g_autofree char *folder = g_build_filename(store->root, "images", NULL);
    return lodge_dir_names(folder, error);
}

/* Turn "no such file" into "no such guest", and say which name was meant. */
static void
explain_absence(char **names, const char *what, const char *name, GError **error)
{
    g_auto(GStrv) all = names;
    g_clear_error(error);
    g_autofree char *hint = all != NULL ? lodge_text_suggestion(name, (const char *const *)all)
                                        : g_strdup("");
    lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "no %s “%s”%s", what, name, hint);
}

LodgeGuest *
lodge_store_guest(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (!lodge_name_check("guest", name, error)) {
        return NULL;
    }
    gsize length = 0;
    g_autofree char *path = lodge_store_guest_path(store, name, "guest.conf");
    g_autofree char *text = lodge_file_read(path, DEFINITION_LIMIT_BYTES, &length, &problem);
    if (text != NULL) {
        return lodge_guest_parse(name, text, length, error);
    }
    g_autofree char *folder = lodge_store_guest_path(store, name, NULL);
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND) &&
        g_file_test(folder, G_FILE_TEST_IS_DIR)) {
        lodge_error_set(
            error, LODGE_ERROR_INVALID,
            "guest %s has lost its definition, %s (bring it back, or `lodge delete %s`)", name,
            path, name);
        return NULL;
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        explain_absence(lodge_store_guests(store, NULL), "guest", name, &problem);
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return NULL;
}

LodgeImage *
lodge_store_image(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (!lodge_image_name_check(name, error)) {
        return NULL;
    }
    gsize length = 0;
    g_autofree char *path = lodge_store_image_path(store, name, "image.conf");
    g_autofree char *text = lodge_file_read(path, DEFINITION_LIMIT_BYTES, &length, &problem);
    if (text != NULL) {
        return lodge_image_parse(name, text, length, error);
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        explain_absence(lodge_store_images(store, NULL), "image", name, &problem);
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return NULL;
}
