/* Theory of operation: making and removing folders at one stroke.
 *
 * <root>/guests/.new-NAME    a folder being made; its `lock` file is held by the maker
 * <root>/guests/.gone-NAME-X a folder being removed
 *
 * A folder gets its name by renameat2(RENAME_NOREPLACE), and loses it by a rename too, so a name is
 * never half there. Whoever stages anything first sweeps away hidden folders whose lock nobody
 * holds: their makers or removers were killed. */
#include "config.h"

#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

enum {
    END_TIMEOUT_MS = 5000,
    /* Who sweeps takes each lock for a moment, ours too if it was not ours yet. */
    SWEEP_MS = 500,
};

struct LodgeStaging {
    char *name;
    char *parent;
    char *folder;
    char *lock_path;
    int lock_fd;
};

static const char *const kind_folders[] = {
    [LODGE_STORE_GUESTS] = "guests", [LODGE_STORE_IMAGES] = "images"};
static const char *const kind_words[] = {
    [LODGE_STORE_GUESTS] = "guest", [LODGE_STORE_IMAGES] = "image"};

/* An image may be made in a hidden guest, which outlives a maker that was killed: see
 * ops/workshop.c. Its keeper first, which would start it again. */
static void
end_inside(const char *folder)
{
    static const char *const locks[] = {"keeper.lock", "qemu.lock"};
    for (gsize i = 0; i < G_N_ELEMENTS(locks); i++) {
        g_autofree char *path = g_build_filename(folder, "work/box/run/guests/box", locks[i], NULL);
        lodge_autofd holder = lodge_lock_open_holder(path, NULL);
        if (holder >= 0 && lodge_pid_fd_signal(holder, SIGKILL, NULL)) {
            lodge_pid_fd_await(holder, END_TIMEOUT_MS);
        }
    }
}

/* Lock files stand beside the folders, ".new-NAME.lock", so that a folder's content is its own. A
 * lock may be there alone: @entry is the one or the other. */
static void
sweep_one(const char *parent, const char *entry)
{
    gsize length = strlen(entry) - (g_str_has_suffix(entry, ".lock") ? strlen(".lock") : 0);
    g_autofree char *name = g_strndup(entry, length);
    g_autofree char *path = g_build_filename(parent, name, NULL);
    g_autofree char *lock_path = g_strconcat(path, ".lock", NULL);
    lodge_autofd lock_fd = lodge_lock_take(lock_path, NULL);
    if (lock_fd >= 0) {
        end_inside(path);
        lodge_tree_remove(path, NULL);
        unlink(lock_path);
    }
}

static void
sweep(const char *parent)
{
    g_autoptr(GDir) folder = g_dir_open(parent, 0, NULL);
    for (const char *name; folder != NULL && (name = g_dir_read_name(folder)) != NULL;) {
        if (g_str_has_prefix(name, ".new-") || g_str_has_prefix(name, ".gone-")) {
            sweep_one(parent, name);
        }
    }
}

void
lodge_staging_sweep(const LodgeStore *store)
{
    for (gsize i = 0; i < G_N_ELEMENTS(kind_folders); i++) {
        g_autofree char *parent = g_build_filename(store->root, kind_folders[i], NULL);
        sweep(parent);
    }
}

char **
lodge_staging_abandoned(const LodgeStore *store, LodgeStoreKind kind)
{
    GPtrArray *list = g_ptr_array_new();
    g_autofree char *parent = g_build_filename(store->root, kind_folders[kind], NULL);
    g_autoptr(GDir) folder = g_dir_open(parent, 0, NULL);
    for (const char *name; folder != NULL && (name = g_dir_read_name(folder)) != NULL;) {
        g_autofree char *path = g_build_filename(parent, name, NULL);
        g_autofree char *lock_path = g_strconcat(path, ".lock", NULL);
        if ((g_str_has_prefix(name, ".new-") || g_str_has_prefix(name, ".gone-")) &&
            !g_str_has_suffix(name, ".lock") && !lodge_lock_is_held(lock_path)) {
            g_ptr_array_add(list, g_steal_pointer(&path));
        }
    }
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, FALSE);
}

static gboolean
check_free(const LodgeStaging *staging, LodgeStoreKind kind, GError **error)
{
    g_autofree char *final = g_build_filename(staging->parent, staging->name, NULL);
    if (kind == LODGE_STORE_GUESTS && g_file_test(final, G_FILE_TEST_EXISTS)) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "guest %s exists already", staging->name);
    }
    return TRUE;
}

static LodgeStaging *
begin(const LodgeStore *store, LodgeStoreKind kind, const char *name, gboolean replace,
      GError **error)
{
    g_autoptr(LodgeStaging) staging = g_new0(LodgeStaging, 1);
    staging->lock_fd = -1;
    staging->name = g_strdup(name);
    staging->parent = g_build_filename(store->root, kind_folders[kind], NULL);
    if ((!replace && !check_free(staging, kind, error)) ||
        !lodge_dir_make(staging->parent, 0755, error)) {
        return NULL;
    }
    sweep(staging->parent);
    g_autofree char *folder = g_strdup_printf("%s/.new-%s", staging->parent, name);
    staging->lock_path = g_strconcat(folder, ".lock", NULL);
    staging->lock_fd = lodge_lock_take_within(staging->lock_path, SWEEP_MS, error);
    if (staging->lock_fd < 0) {
        if (error != NULL && g_error_matches(*error, LODGE_ERROR, LODGE_ERROR_BUSY)) {
            g_clear_error(error);
            lodge_error_set(error, LODGE_ERROR_BUSY,
                            "%s %s is being made by another command just now", kind_words[kind],
                            name);
        }
        return NULL;
    }
    if (kind == LODGE_STORE_GUESTS) {
        lodge_store_creating_end(store, name);
    }
    /* From here on the folder is ours to remove. */
    staging->folder = g_steal_pointer(&folder);
    if ((!replace && !check_free(staging, kind, error)) ||
        !lodge_tree_remove(staging->folder, error) ||
        !lodge_dir_make(staging->folder, kind == LODGE_STORE_GUESTS ? 0700 : 0755, error)) {
        return NULL;
    }
    return g_steal_pointer(&staging);
}

LodgeStaging *
lodge_staging_begin(const LodgeStore *store, LodgeStoreKind kind, const char *name, GError **error)
{
    return begin(store, kind, name, FALSE, error);
}

LodgeStaging *
lodge_staging_begin_over(const LodgeStore *store, LodgeStoreKind kind, const char *name,
                         GError **error)
{
    return begin(store, kind, name, TRUE, error);
}

const char *
lodge_staging_folder(const LodgeStaging *staging)
{
    return staging->folder;
}

static void
sync_folder(const char *path)
{
    lodge_autofd fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
    }
}

gboolean
lodge_staging_commit(LodgeStaging *staging, gboolean replace, GError **error)
{
    g_autofree char *final = g_build_filename(staging->parent, staging->name, NULL);
    sync_folder(staging->folder);
    if (renameat2(AT_FDCWD, staging->folder, AT_FDCWD, final, RENAME_NOREPLACE) == 0) {
        g_clear_pointer(&staging->folder, g_free);
        sync_folder(staging->parent);
        return TRUE;
    }
    if (errno == EEXIST && !replace) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "%s exists already", staging->name);
    }
    /* Exchanged, the old folder has the staging's name, and goes when the staging is freed. */
    if (errno == EEXIST &&
        renameat2(AT_FDCWD, staging->folder, AT_FDCWD, final, RENAME_EXCHANGE) == 0) {
        sync_folder(staging->parent);
        return TRUE;
    }
    return lodge_error_errno(error, errno, "Naming %s", final);
}

void
lodge_staging_free(LodgeStaging *staging)
{
    if (staging == NULL) {
        return;
    }
    if (staging->folder != NULL) {
        lodge_tree_remove(staging->folder, NULL);
    }
    if (staging->lock_fd >= 0) {
        unlink(staging->lock_path);
        lodge_fd_clear(&staging->lock_fd);
    }
    g_free(staging->name);
    g_free(staging->parent);
    g_free(staging->folder);
    g_free(staging->lock_path);
    g_free(staging);
}

gboolean
lodge_store_remove(const LodgeStore *store, LodgeStoreKind kind, const char *name, GError **error)
{
    g_autofree char *parent = g_build_filename(store->root, kind_folders[kind], NULL);
    g_autofree char *path = g_build_filename(parent, name, NULL);
    g_autofree char *gone = g_strdup_printf("%s/.gone-%s-%08x", parent, name, g_random_int());
    g_autofree char *lock_path = g_strconcat(gone, ".lock", NULL);
    sweep(parent);
    lodge_autofd lock_fd = lodge_lock_take(lock_path, error);
    if (lock_fd < 0) {
        return FALSE;
    }
    gboolean fine = rename(path, gone) == 0 ||
                    lodge_error_errno(error, errno, "Removing %s %s", kind_words[kind], name);
    if (fine && kind == LODGE_STORE_GUESTS) {
        lodge_store_creating_end(store, name);
    }
    fine = fine && lodge_tree_remove(gone, error);
    unlink(lock_path);
    return fine;
}
