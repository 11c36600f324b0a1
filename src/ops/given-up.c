#include "config.h"

#include "ops/given-up.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "store/snapshots.h"

enum {
    LIST_LIMIT_BYTES = 1 << 20,
};

static char *
list_path(const LodgeStore *store, const char *guest)
{
    return lodge_store_snapshot_path(store, guest, ".given-up", NULL);
}

/* The list names what is removed: anything but a plain file below the guest's folder is not ours.
 */
static gboolean
is_plain(const char *line)
{
    return *line != '\0' && *line != '/' && strstr(line, "..") == NULL;
}

char **
given_up_read(const LodgeStore *store, const char *guest, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autofree char *path = list_path(store, guest);
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *text = lodge_file_read(path, LIST_LIMIT_BYTES, NULL, &problem);
    if (text == NULL && !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return NULL;
    }
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        if (is_plain(lines[i])) {
            g_ptr_array_add(files, g_strdup(lines[i]));
        }
    }
    g_ptr_array_add(files, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&files), FALSE);
}

gboolean
given_up_write(const LodgeStore *store, const char *guest, const char *const *files, GError **error)
{
    g_autofree char *path = list_path(store, guest);
    if (files[0] == NULL) {
        return unlink(path) == 0 || errno == ENOENT || lodge_error_errno(error, errno, "%s", path);
    }
    g_autofree char *joined = g_strjoinv("\n", (char **)files);
    g_autofree char *text = g_strconcat(joined, "\n", NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    return lodge_dir_make(folder, 0755, error) &&
           lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error);
}

gboolean
given_up_add(const LodgeStore *store, const char *guest, const char *const *files, GError **error)
{
    g_auto(GStrv) old = given_up_read(store, guest, error);
    if (old == NULL) {
        return FALSE;
    }
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    for (gsize i = 0; old[i] != NULL; i++) {
        g_ptr_array_add(all, old[i]);
    }
    for (gsize i = 0; files[i] != NULL; i++) {
        if (!g_strv_contains((const char *const *)old, files[i])) {
            g_ptr_array_add(all, (gpointer)files[i]);
        }
    }
    g_ptr_array_add(all, NULL);
    return given_up_write(store, guest, (const char *const *)all->pdata, error);
}
