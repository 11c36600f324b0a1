/* Theory of operation: an empty file <root>/creating/NAME says that the guest's `create` has not
 * ended yet. It is made before the guest's folder gets its name. All of them stand in one folder,
 * not in the guests', so that `list` of a thousand guests looks once and not a thousand times. One
 * whose guest isn't there means nothing: its `create` was killed before; staging sweeps it. */
#include "config.h"

#include "store/store.h"

#include <unistd.h>

#include "base/base.h"

static char *
path_of(const LodgeStore *store, const char *guest)
{
    return g_build_filename(store->root, "creating", guest, NULL);
}

gboolean
lodge_store_creating_begin(const LodgeStore *store, const char *guest, GError **error)
{
    g_autofree char *folder = g_build_filename(store->root, "creating", NULL);
    g_autofree char *path = path_of(store, guest);
    return lodge_dir_make(folder, 0755, error) &&
           lodge_file_write(path, "", 0, 0600, LODGE_WRITE_NO_SYNC, error);
}

void
lodge_store_creating_end(const LodgeStore *store, const char *guest)
{
    g_autofree char *path = path_of(store, guest);
    unlink(path);
}

gboolean
lodge_store_is_creating(const LodgeStore *store, const char *guest)
{
    g_autofree char *path = path_of(store, guest);
    return access(path, F_OK) == 0;
}

char **
lodge_store_creating(const LodgeStore *store)
{
    g_autofree char *folder = g_build_filename(store->root, "creating", NULL);
    return lodge_dir_names(folder, NULL);
}
