/* Theory of operation: what nobody needs any more is found without any lock, for people to look at;
 * removed is what is still not needed once the lock is held that its makers and users take:
 *
 *   an image's older files    its use lock, as for making overlays (lodge_image_prune)
 *   downloads, logs of builds the staging of that image's name, which its makers hold
 *   abandoned work            each staging's own lock, which a living maker holds
 *   a whole image             as `image delete` does */
#include "config.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/internal.h"

static void
garbage_free(gpointer data)
{
    LodgeGarbage *garbage = data;
    g_free(garbage->path);
    g_free(garbage->image);
    g_free(garbage->what);
    g_free(garbage);
}

/* @path and @what are taken. */
static void
add(GPtrArray *list, LodgeGarbageKind kind, const char *image, char *path, char *what)
{
    LodgeGarbage *garbage = g_new0(LodgeGarbage, 1);
    garbage->kind = kind;
    garbage->image = g_strdup(image);
    garbage->path = path;
    garbage->what = what;
    garbage->bytes = lodge_tree_allocated(path);
    g_ptr_array_add(list, garbage);
}

static gboolean
add_old_files(GPtrArray *list, const LodgeStore *store, const char *name, GError **error)
{
    g_auto(GStrv) files = lodge_image_unneeded(store, name, error);
    for (gsize i = 0; files != NULL && files[i] != NULL; i++) {
        add(list, LODGE_GARBAGE_OLD_FILE, name, lodge_store_image_path(store, name, files[i]),
            g_strdup_printf("older than image %s is now", name));
    }
    return files != NULL;
}

/* An image that no guest stands on or names. */
static gboolean
add_image(GPtrArray *list, const LodgeStore *store, const char *name, GError **error)
{
    g_auto(GStrv) guests = lodge_image_dependents(store, name, error);
    if (guests != NULL && guests[0] == NULL) {
        add(list, LODGE_GARBAGE_IMAGE, name, lodge_store_image_path(store, name, NULL),
            g_strdup_printf("image %s, which no guest needs", name));
    }
    return guests != NULL;
}

/* The image's name in "pull-NAME=digits" and "build-NAME.log"; NULL if it is none of ours. */
static char *
image_of_cache(const char *file, LodgeGarbageKind *out_kind)
{
    const char *equals = strrchr(file, '=');
    if (g_str_has_prefix(file, "pull-") && equals != NULL) {
        *out_kind = LODGE_GARBAGE_DOWNLOAD;
        return g_strndup(file + strlen("pull-"), (gsize)(equals - file) - strlen("pull-"));
    }
    if (g_str_has_prefix(file, "build-") && g_str_has_suffix(file, ".log")) {
        *out_kind = LODGE_GARBAGE_LOG;
        return g_strndup(file + strlen("build-"), strlen(file) - strlen("build-.log"));
    }
    return NULL;
}

static gboolean
is_being_made(const LodgeStore *store, const char *image)
{
    g_autofree char *file = g_strdup_printf(".new-%s.lock", image);
    g_autofree char *path = lodge_store_image_path(store, file, NULL);
    return lodge_lock_is_held(path);
}

static void
add_cache(GPtrArray *list, const LodgeStore *store)
{
    g_autofree char *folder = g_build_filename(store->root, "cache", NULL);
    g_auto(GStrv) files = lodge_dir_names(folder, NULL);
    for (gsize i = 0; files != NULL && files[i] != NULL; i++) {
        LodgeGarbageKind kind = LODGE_GARBAGE_LOG;
        g_autofree char *image = image_of_cache(files[i], &kind);
        if (image == NULL || !lodge_image_name_check(image, NULL) || is_being_made(store, image)) {
            continue;
        }
        add(list, kind, image, g_build_filename(folder, files[i], NULL),
            kind == LODGE_GARBAGE_LOG ? g_strdup_printf("log of a failed build of %s", image)
                                      : g_strdup_printf("unfinished download of %s", image));
    }
}

static void
add_abandoned(GPtrArray *list, const LodgeStore *store, LodgeStoreKind kind)
{
    g_auto(GStrv) paths = lodge_staging_abandoned(store, kind);
    for (gsize i = 0; paths[i] != NULL; i++) {
        add(list, LODGE_GARBAGE_ABANDONED, NULL, g_strdup(paths[i]),
            g_strdup("left by an interrupted command"));
    }
}

GPtrArray *
lodge_garbage_find(const LodgeStore *store, gboolean whole_images, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(garbage_free);
    g_auto(GStrv) names = lodge_store_images(store, error);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        guint before = list->len;
        if (whole_images && !add_image(list, store, names[i], error)) {
            return NULL;
        }
        if (list->len == before && !add_old_files(list, store, names[i], error)) {
            return NULL;
        }
    }
    add_cache(list, store);
    add_abandoned(list, store, LODGE_STORE_IMAGES);
    add_abandoned(list, store, LODGE_STORE_GUESTS);
    return names != NULL ? g_steal_pointer(&list) : NULL;
}

static gboolean
remove_cached(const LodgeStore *store, const LodgeGarbage *garbage, GError **error)
{
    g_autoptr(LodgeStaging)
        staging = lodge_staging_begin(store, LODGE_STORE_IMAGES, garbage->image, error);
    return staging != NULL && lodge_tree_remove(garbage->path, error);
}

static gboolean
remove_old(const LodgeStore *store, const LodgeGarbage *garbage, GError **error)
{
    int lock_fd = lodge_image_lock(store, garbage->image, error);
    if (lock_fd < 0) {
        return FALSE;
    }
    lodge_image_prune(store, garbage->image);
    lodge_image_unlock(store, garbage->image, lock_fd);
    return TRUE;
}

gboolean
lodge_garbage_remove(const LodgeStore *store, const LodgeGarbage *garbage, gboolean *out_gone,
                     GError **error)
{
    gboolean fine = TRUE;
    switch (garbage->kind) {
    case LODGE_GARBAGE_IMAGE:
        fine = lodge_image_delete(store, garbage->image, error);
        break;
    case LODGE_GARBAGE_OLD_FILE:
        fine = remove_old(store, garbage, error);
        break;
    case LODGE_GARBAGE_DOWNLOAD:
    case LODGE_GARBAGE_LOG:
        fine = remove_cached(store, garbage, error);
        break;
    case LODGE_GARBAGE_ABANDONED:
        lodge_staging_sweep(store);
        lodge_making_remove_stubborn(garbage->path);
        break;
    }
    *out_gone = !g_file_test(garbage->path, G_FILE_TEST_EXISTS);
    return fine;
}
