#include "config.h"

#include <string.h>

#include "image/internal.h"

enum {
    ENTRY_LIMIT_BYTES = 64 << 10,
};

static const char suffix[] = ".conf";

static gboolean
add_names(GHashTable *names, const char *folder, GError **error)
{
    g_auto(GStrv) files = lodge_dir_names(folder, error);
    for (gsize i = 0; files != NULL && files[i] != NULL; i++) {
        if (g_str_has_suffix(files[i], suffix)) {
            char *name = g_strndup(files[i], strlen(files[i]) - strlen(suffix));
            g_hash_table_add(names, name);
        }
    }
    return files != NULL;
}

static int
compare(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of all entries, sorted, NULL-terminated. */
static GPtrArray *
list_names(const LodgeStore *store, GError **error)
{
    g_autofree char *own = g_build_filename(store->root, "catalogue", NULL);
    g_autofree char *shipped = lodge_program_own("catalogue", LODGE_DATA_DIR);
    g_autoptr(GHashTable) set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (!add_names(set, own, error) || !add_names(set, shipped, error)) {
        return NULL;
    }
    GHashTableIter iterator;
    gpointer name;
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_hash_table_iter_init(&iterator, set);
    while (g_hash_table_iter_next(&iterator, &name, NULL)) {
        g_ptr_array_add(names, g_strdup(name));
    }
    g_ptr_array_sort(names, compare);
    g_ptr_array_add(names, NULL);
    return names;
}

static LodgeImage *
read_entry(const LodgeStore *store, const char *name, GError **error)
{
    gsize length = 0;
    g_autofree char *file = g_strconcat(name, suffix, NULL);
    g_autofree char *path = lodge_image_resource(store, "catalogue", file);
    g_autofree char *text = lodge_file_read(path, ENTRY_LIMIT_BYTES, &length, error);
    LodgeImage *image = text != NULL ? lodge_image_parse(name, text, length, error) : NULL;
    if (text != NULL && image == NULL) {
        lodge_error_prefix(error, "catalogue entry %s", path);
    }
    return image;
}

LodgeImage *
lodge_catalogue_find(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (!lodge_image_name_check(name, error)) {
        return NULL;
    }
    LodgeImage *image = read_entry(store, name, &problem);
    if (image != NULL) {
        return image;
    }
    if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return NULL;
    }
    g_autoptr(GPtrArray) names = list_names(store, NULL);
    g_autofree char *hint = names != NULL
                                ? lodge_text_suggestion(name, (const char *const *)names->pdata)
                                : g_strdup("");
    lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                    "the catalogue has no image “%s”%s (`lodge image list` shows them)", name,
                    hint);
    return NULL;
}

GPtrArray *
lodge_catalogue_list(const LodgeStore *store, GError **error)
{
    g_autoptr(GPtrArray) names = list_names(store, error);
    if (names == NULL) {
        return NULL;
    }
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_image_free);
    for (guint i = 0; i + 1 < names->len; i++) {
        LodgeImage *image = read_entry(store, names->pdata[i], error);
        if (image == NULL) {
            return NULL;
        }
        g_ptr_array_add(list, image);
    }
    return g_steal_pointer(&list);
}
