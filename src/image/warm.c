#include "config.h"

#include "image/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "image/internal.h"

#define CONF "parked.json"
#define FOLDER "warm"

enum {
    CONF_LIMIT_BYTES = 65536,
    FOLDER_MODE = 0700,
};

struct LodgeWarmMaking {
    const LodgeStore *store;
    char *image;
    char *key;
    char *parent;
    char *folder; /* NULL once it has its name */
    char *lock_path;
    int lock_fd;
};

void
lodge_warm_free(LodgeWarm *warm)
{
    if (warm != NULL) {
        g_free(warm->folder);
        g_free(warm->key);
        g_free(warm->made);
        g_free(warm->disk);
        g_free(warm->qemu);
        g_free(warm->host_key);
        g_free(warm);
    }
}

static LodgeWarm *
read_one(const char *parent, const char *name)
{
    g_autofree char *path = g_build_filename(parent, name, CONF, NULL);
    g_autoptr(json_t) conf = lodge_json_read(path, CONF_LIMIT_BYTES, NULL);
    const char *dash = strchr(name, '-');
    if (conf == NULL || dash == NULL) {
        return NULL;
    }
    LodgeWarm *warm = g_new0(LodgeWarm, 1);
    warm->folder = g_build_filename(parent, name, NULL);
    warm->key = g_strndup(name, (gsize)(dash - name));
    warm->made = g_strdup(lodge_json_string(conf, "made", ""));
    warm->disk = g_strdup(lodge_json_string(conf, "disk", ""));
    warm->qemu = g_strdup(lodge_json_string(conf, "qemu", ""));
    warm->host_key = g_strdup(lodge_json_string(conf, "host_key", NULL));
    warm->asks_anew = lodge_json_bool(conf, "asks_anew", FALSE);
    warm->kvm = lodge_json_bool(conf, "kvm", FALSE);
    warm->tap = lodge_json_bool(conf, "tap", FALSE);
    warm->cpus = (guint)lodge_json_int(conf, "cpus", 0);
    warm->memory_bytes = (guint64)lodge_json_int(conf, "memory_bytes", 0);
    warm->disk_bytes = (guint64)lodge_json_int(conf, "disk_bytes", 0);
    warm->allocated_bytes = lodge_tree_allocated(warm->folder);
    return warm;
}

GPtrArray *
lodge_warm_list(const LodgeStore *store, const char *image)
{
    GPtrArray *all = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_warm_free);
    g_autofree char *parent = lodge_store_image_path(store, image, FOLDER);
    g_auto(GStrv) names = lodge_dir_names(parent, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        LodgeWarm *warm = read_one(parent, names[i]);
        if (warm != NULL) {
            g_ptr_array_add(all, warm);
        }
    }
    return all;
}

LodgeWarm *
lodge_warm_find(const LodgeStore *store, const char *image, const char *key)
{
    LodgeWarm *found = NULL;
    g_autofree char *parent = lodge_store_image_path(store, image, FOLDER);
    g_autofree char *prefix = g_strconcat(key, "-", NULL);
    g_auto(GStrv) names = lodge_dir_names(parent, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        LodgeWarm *warm = g_str_has_prefix(names[i], prefix) ? read_one(parent, names[i]) : NULL;
        if (warm != NULL) {
            lodge_warm_free(found);
            found = warm;
        }
    }
    return found;
}

gboolean
lodge_warm_overlay(const LodgeStore *store, const char *image, const LodgeWarm *warm,
                   const char *path, guint64 size_bytes, GError **error)
{
    lodge_autofd lock_fd = lodge_image_lock(store, image, error);
    if (lock_fd < 0) {
        return FALSE;
    }
    g_autofree char *conf = g_build_filename(warm->folder, CONF, NULL);
    g_autofree char *disk = g_build_filename(warm->folder, LODGE_WARM_DISK, NULL);
    gboolean fine = g_file_test(conf, G_FILE_TEST_EXISTS)
                        ? lodge_img_create_overlay(path, disk, "qcow2", size_bytes, error)
                        : lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                                          "the parked machine was dropped just now");
    lodge_image_unlock(store, image, lodge_fd_steal(&lock_fd));
    return fine;
}

/* What makers left that died. */
static void
sweep(const char *parent)
{
    g_autoptr(GDir) folder = g_dir_open(parent, 0, NULL);
    for (const char *name; folder != NULL && (name = g_dir_read_name(folder)) != NULL;) {
        if (!g_str_has_prefix(name, ".new-")) {
            continue;
        }
        gsize length = strlen(name) - (g_str_has_suffix(name, ".lock") ? strlen(".lock") : 0);
        g_autofree char *base = g_strndup(name, length);
        g_autofree char *path = g_build_filename(parent, base, NULL);
        g_autofree char *lock_path = g_strconcat(path, ".lock", NULL);
        lodge_autofd lock_fd = lodge_lock_take(lock_path, NULL);
        if (lock_fd >= 0) {
            lodge_tree_remove(path, NULL);
            unlink(lock_path);
        }
    }
}

LodgeWarmMaking *
lodge_warm_begin(const LodgeStore *store, const char *image, const char *key, GError **error)
{
    g_autoptr(LodgeWarmMaking) making = g_new0(LodgeWarmMaking, 1);
    making->store = store;
    making->image = g_strdup(image);
    making->key = g_strdup(key);
    making->lock_fd = -1;
    making->parent = lodge_store_image_path(store, image, FOLDER);
    if (!lodge_dir_make(making->parent, FOLDER_MODE, error)) {
        return NULL;
    }
    sweep(making->parent);
    g_autofree char *folder = g_strdup_printf("%s/.new-%s", making->parent, key);
    making->lock_path = g_strconcat(folder, ".lock", NULL);
    making->lock_fd = lodge_lock_take(making->lock_path, error);
    if (making->lock_fd < 0) {
        if (error != NULL && g_error_matches(*error, LODGE_ERROR, LODGE_ERROR_BUSY)) {
            g_clear_error(error);
            lodge_error_set(error, LODGE_ERROR_BUSY, "another command is parking image %s just now",
                            image);
        }
        return NULL;
    }
    making->folder = g_steal_pointer(&folder);
    if (!lodge_tree_remove(making->folder, error) ||
        !lodge_dir_make(making->folder, FOLDER_MODE, error)) {
        return NULL;
    }
    return g_steal_pointer(&making);
}

const char *
lodge_warm_folder(const LodgeWarmMaking *making)
{
    return making->folder;
}

int
lodge_warm_lock(const LodgeWarmMaking *making)
{
    return making->lock_fd;
}

static gboolean
sync_file(const LodgeWarmMaking *making, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(making->folder, name, NULL);
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return (fd >= 0 && fsync(fd) == 0) || lodge_error_errno(error, errno, "Syncing %s", path);
}

static gboolean
write_conf(const LodgeWarmMaking *making, const LodgeWarm *warm, GError **error)
{
    g_autofree char *path = g_build_filename(making->folder, CONF, NULL);
    g_autoptr(json_t) conf = json_pack(
        "{s:s, s:s, s:s, s:b, s:b, s:i, s:I, s:I, s:o, s:b}", "made", warm->made, "disk",
        warm->disk, "qemu", warm->qemu, "kvm", warm->kvm, "tap", warm->tap, "cpus", (int)warm->cpus,
        "memory_bytes", (json_int_t)warm->memory_bytes, "disk_bytes", (json_int_t)warm->disk_bytes,
        "host_key", lodge_json_string_or_null(warm->host_key), "asks_anew", warm->asks_anew);
    g_autofree char *text = json_dumps(conf, JSON_INDENT(2));
    return lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error);
}

/* Of the same shape, with another key: what they were made with has changed. */
static void
drop_stale(const LodgeWarmMaking *making, const LodgeWarm *fresh, const char *its_folder)
{
    g_autoptr(GPtrArray) all = lodge_warm_list(making->store, making->image);
    for (guint i = 0; i < all->len; i++) {
        const LodgeWarm *warm = all->pdata[i];
        if (!g_str_equal(warm->folder, its_folder) && warm->cpus == fresh->cpus &&
            warm->memory_bytes == fresh->memory_bytes && warm->kvm == fresh->kvm &&
            warm->tap == fresh->tap) {
            lodge_warm_drop(making->store, making->image, warm, NULL);
        }
    }
}

gboolean
lodge_warm_commit(LodgeWarmMaking *making, const LodgeWarm *warm, GError **error)
{
    static const char *const files[] = {LODGE_WARM_DISK, LODGE_WARM_MEMORY, LODGE_WARM_STATE};
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        if (!sync_file(making, files[i], error)) {
            return FALSE;
        }
    }
    g_autofree char *final = g_strdup_printf("%s/%s-%" G_GINT64_FORMAT, making->parent, making->key,
                                             g_get_real_time() / G_USEC_PER_SEC);
    lodge_autofd lock_fd = lodge_image_lock(making->store, making->image, error);
    if (lock_fd < 0) {
        return FALSE;
    }
    g_autoptr(LodgeImage) image = lodge_store_image(making->store, making->image, error);
    gboolean fine = image != NULL;
    if (fine && g_strcmp0(image->disk, warm->disk) != 0) {
        fine = lodge_error_set(error, LODGE_ERROR_BUSY, "image %s was made anew meanwhile",
                               making->image);
    }
    fine = fine && write_conf(making, warm, error) &&
           (rename(making->folder, final) == 0 || lodge_error_errno(error, errno, "%s", final));
    lodge_image_unlock(making->store, making->image, lodge_fd_steal(&lock_fd));
    if (fine) {
        g_clear_pointer(&making->folder, g_free);
        drop_stale(making, warm, final);
    }
    return fine;
}

void
lodge_warm_making_free(LodgeWarmMaking *making)
{
    if (making == NULL) {
        return;
    }
    if (making->folder != NULL) {
        lodge_tree_remove(making->folder, NULL);
    }
    if (making->lock_fd >= 0) {
        unlink(making->lock_path);
        lodge_fd_clear(&making->lock_fd);
    }
    g_free(making->image);
    g_free(making->key);
    g_free(making->parent);
    g_free(making->folder);
    g_free(making->lock_path);
    g_free(making);
}

gboolean
lodge_warm_drop(const LodgeStore *store, const char *image, const LodgeWarm *warm, GError **error)
{
    static const char *const files[] = {CONF, LODGE_WARM_MEMORY, LODGE_WARM_STATE};
    lodge_autofd lock_fd = lodge_image_lock(store, image, error);
    if (lock_fd < 0) {
        return FALSE;
    }
    gboolean fine = TRUE;
    for (gsize i = 0; fine && i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(warm->folder, files[i], NULL);
        fine = unlink(path) == 0 || errno == ENOENT || lodge_error_errno(error, errno, "%s", path);
    }
    lodge_image_prune(store, image);
    lodge_image_unlock(store, image, lodge_fd_steal(&lock_fd));
    return fine;
}

void
lodge_warm_prune(const char *image_folder, const char *disk, GHashTable *needed)
{
    g_autofree char *parent = g_build_filename(image_folder, FOLDER, NULL);
    sweep(parent);
    g_auto(GStrv) names = lodge_dir_names(parent, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autoptr(LodgeWarm) warm = read_one(parent, names[i]);
        g_autofree char *file = g_build_filename(FOLDER, names[i], LODGE_WARM_DISK, NULL);
        gboolean is_current = warm != NULL && g_strcmp0(warm->disk, disk) == 0;
        if (!is_current && !g_hash_table_contains(needed, file)) {
            g_autofree char *path = g_build_filename(parent, names[i], NULL);
            lodge_tree_remove(path, NULL);
        }
    }
    rmdir(parent); /* the last one has gone */
}

void
lodge_warm_sweep(const LodgeStore *store, const char *image)
{
    g_autofree char *parent = lodge_store_image_path(store, image, FOLDER);
    sweep(parent);
    rmdir(parent); /* unless something is in it */
}

/* The oldest of all; the image's name goes to @out_image (g_free). */
static LodgeWarm *
find_oldest(const LodgeStore *store, char **out_image)
{
    LodgeWarm *oldest = NULL;
    g_auto(GStrv) images = lodge_store_images(store, NULL);
    for (gsize i = 0; images != NULL && images[i] != NULL; i++) {
        g_autoptr(GPtrArray) all = lodge_warm_list(store, images[i]);
        while (all->len > 0) {
            LodgeWarm *warm = g_ptr_array_steal_index(all, 0);
            gboolean is_older = oldest == NULL || strcmp(warm->made, oldest->made) < 0;
            if (is_older) {
                g_free(*out_image);
                *out_image = g_strdup(images[i]);
                lodge_warm_free(oldest);
                oldest = warm;
            } else {
                lodge_warm_free(warm);
            }
        }
    }
    return oldest;
}

gboolean
lodge_warm_make_room(const LodgeStore *store, guint64 need_bytes)
{
    for (;;) {
        guint64 there = lodge_file_system_free(store->root);
        g_autofree char *image = NULL;
        g_autoptr(LodgeWarm) oldest = NULL;
        if (there == 0 || there >= need_bytes) {
            return TRUE;
        }
        oldest = find_oldest(store, &image);
        if (oldest == NULL || !lodge_warm_drop(store, image, oldest, NULL)) {
            return FALSE;
        }
    }
}
