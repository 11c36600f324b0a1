#include "config.h"

#include "store/snapshots.h"

#include <string.h>

#include "base/base.h"

enum {
    CONF_LIMIT_BYTES = 256 << 10,
};

char *
lodge_store_snapshot_path(const LodgeStore *store, const char *guest, const char *name,
                          const char *file)
{
    g_autofree char *folder = lodge_store_guest_path(store, guest, "snapshots");
    return g_build_filename(folder, name, file, NULL);
}

char **
lodge_store_snapshots(const LodgeStore *store, const char *guest, GError **error)
{
    g_autofree char *folder = lodge_store_guest_path(store, guest, "snapshots");
    return lodge_dir_names(folder, error);
}

char **
lodge_store_snapshots_hidden(const LodgeStore *store, const char *guest)
{
    g_autofree char *folder = lodge_store_guest_path(store, guest, "snapshots");
    g_autoptr(GDir) content = g_dir_open(folder, 0, NULL);
    GPtrArray *names = g_ptr_array_new();
    for (const char *name; content != NULL && (name = g_dir_read_name(content)) != NULL;) {
        if (*name == '.') {
            g_ptr_array_add(names, g_strdup(name));
        }
    }
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(names, FALSE);
}

gboolean
lodge_store_snapshots_unfinished(const LodgeStore *store, const char *guest)
{
    g_auto(GStrv) names = lodge_store_snapshots_hidden(store, guest);
    for (gsize i = 0; names[i] != NULL; i++) {
        if (!g_str_equal(names[i], ".given-up")) {
            return TRUE;
        }
    }
    return FALSE;
}

LodgeSnapshot *
lodge_store_snapshot_in(const LodgeStore *store, const char *guest, const char *folder_name,
                        const char *name, GError **error)
{
    gsize length = 0;
    g_autofree char *path = lodge_store_snapshot_path(store, guest, folder_name, "snapshot.conf");
    g_autofree char *text = lodge_file_read(path, CONF_LIMIT_BYTES, &length, error);
    return text != NULL ? lodge_snapshot_parse(name, text, length, error) : NULL;
}

LodgeSnapshot *
lodge_store_snapshot(const LodgeStore *store, const char *guest, const char *name, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (!lodge_name_check("snapshot", name, error)) {
        return NULL;
    }
    LodgeSnapshot *snapshot = lodge_store_snapshot_in(store, guest, name, name, &problem);
    if (snapshot != NULL) {
        return snapshot;
    }
    if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return NULL;
    }
    g_auto(GStrv) names = lodge_store_snapshots(store, guest, NULL);
    g_autofree char *hint = names != NULL ? lodge_text_suggestion(name, (const char *const *)names)
                                          : g_strdup("");
    lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                    "guest %s has no snapshot “%s”%s (`lodge snapshot list %s` shows them)", guest,
                    name, hint, guest);
    return NULL;
}

GPtrArray *
lodge_store_all_snapshots(const LodgeStore *store, const char *guest, GError **error)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_snapshot_free);
    g_auto(GStrv) names = lodge_store_snapshots(store, guest, error);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        LodgeSnapshot *snapshot = lodge_store_snapshot(store, guest, names[i], error);
        if (snapshot == NULL) {
            return NULL;
        }
        g_ptr_array_add(all, snapshot);
    }
    return names != NULL ? g_steal_pointer(&all) : NULL;
}

gboolean
lodge_store_snapshot_write(const LodgeStore *store, const char *guest, const char *folder_name,
                           const LodgeSnapshot *snapshot, GError **error)
{
    g_autofree char *path = lodge_store_snapshot_path(store, guest, folder_name, "snapshot.conf");
    g_autofree char *text = lodge_snapshot_format(snapshot);
    return lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error);
}
