/* Theory of operation: an image being made.
 *
 * The maker works in <root>/images/.new-NAME/work, under the staging's lock. When its files are
 * good they get names with the time in them and leave the work folder, which is removed. Then:
 *  - there is no such image yet: image.conf is written beside them, and the staging gets the name;
 *  - there is: guests' disks are overlays of its present files, so these stay. The new files are
 *    moved in beside them, and image.conf is replaced, which is the moment the new ones count.
 *    Killed before that moment, the new files are litter, which the next pruning removes. */
#include "config.h"

#include "image/making.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/internal.h"

enum {
    FILE_MODE = 0644,
    PART_COUNT = 3,
    REMOVE_TIMEOUT_MS = 60 * 1000,
};

/* The files that an image consists of: between prefix and suffix stands the time. */
typedef struct {
    const char *prefix;
    const char *suffix;
    char **name; /* the image's field */
} Part;

static void
list_parts(LodgeImage *image, Part parts[PART_COUNT])
{
    parts[0] = (Part){"disk-", ".qcow2", &image->disk};
    parts[1] = (Part){"kernel-", "", &image->kernel};
    parts[2] = (Part){"initrd-", "", &image->initrd};
}

/* A recipe that an ordinary user ran, and that was killed before it could clear up, leaves files of
 * that user's subordinate ids: only somebody inside such a user namespace can remove them. */
void
lodge_making_remove_stubborn(const char *path)
{
    const char *const argv[] = {"mmdebstrap", "--unshare-helper", "rm", "-rf", "--", path, NULL};
    if (!lodge_tree_remove(path, NULL)) {
        lodge_process_run_argv(argv, REMOVE_TIMEOUT_MS, NULL, NULL);
        lodge_tree_remove(path, NULL);
    }
}

static LodgeStaging *
begin_staging(const LodgeStore *store, const char *name, GError **error)
{
    g_autofree char *file = g_strdup_printf(".new-%s", name);
    g_autofree char *folder = lodge_store_image_path(store, file, NULL);
    g_autofree char *lock = g_strconcat(folder, ".lock", NULL);
    LodgeStaging *staging = lodge_staging_begin(store, LODGE_STORE_IMAGES, name, NULL);
    if (staging == NULL && !lodge_lock_is_held(lock)) {
        lodge_making_remove_stubborn(folder);
    }
    return staging != NULL ? staging : lodge_staging_begin(store, LODGE_STORE_IMAGES, name, error);
}

gboolean
lodge_making_begin(LodgeMaking *making, const LodgeStore *store, LodgeImage *image,
                   LodgeMakingMode mode, LodgeProgress *progress, GError **error)
{
    *making = (LodgeMaking){.store = store, .progress = progress, .image = image};
    making->staging = begin_staging(store, image->name, error);
    if (making->staging == NULL) {
        return FALSE;
    }
    /* Asked now that nobody else can be making it. */
    if (mode == LODGE_MAKING_NEW && lodge_image_is_here(store, image->name)) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "image %s exists already", image->name);
    }
    making->work = g_build_filename(lodge_staging_folder(making->staging), "work", NULL);
    return lodge_dir_make(making->work, 0755, error);
}

gboolean
lodge_image_is_here(const LodgeStore *store, const char *name)
{
    g_autoptr(LodgeImage) image = lodge_store_image(store, name, NULL);
    if (image == NULL || image->disk == NULL) {
        return FALSE;
    }
    g_autofree char *disk = lodge_store_image_path(store, name, image->disk);
    return g_file_test(disk, G_FILE_TEST_IS_REGULAR);
}

char *
lodge_making_path(const LodgeMaking *making, const char *file)
{
    return g_build_filename(making->work, file, NULL);
}

void
lodge_making_clear(LodgeMaking *making)
{
    if (making->work != NULL) {
        lodge_making_remove_stubborn(making->work);
    }
    lodge_staging_free(making->staging);
    lodge_image_free(making->image);
    g_free(making->work);
    g_clear_pointer(&making->others, g_ptr_array_unref);
    *making = (LodgeMaking){0};
}

static gboolean
check_disk(LodgeMaking *making, const char *name, guint64 *out_bytes, GError **error)
{
    g_autofree char *disk = lodge_making_path(making, name);
    g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(disk, error);
    if (header == NULL || !lodge_img_check_foreign(disk, "qcow2", error) ||
        !lodge_img_check(disk, "qcow2", error)) {
        return lodge_error_prefix(error, "the disk that was made");
    }
    *out_bytes = header->virtual_size_bytes;
    return TRUE;
}

static gboolean
check_disks(LodgeMaking *making, GError **error)
{
    guint64 size_bytes = 0;
    g_auto(GStrv) more = lodge_image_more(making->image);
    if (!check_disk(making, making->image->disk, &size_bytes, error)) {
        return FALSE;
    }
    making->image->size_bytes = MAX(making->image->size_bytes, size_bytes);
    for (gsize i = 0; more[i] != NULL; i++) {
        if (!check_disk(making, more[i], &size_bytes, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Data first, then the names: after a power failure an image is whole or not there. */
static gboolean
sync_file(const char *path, GError **error)
{
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fchmod(fd, FILE_MODE) < 0 || fsync(fd) < 0) {
        return lodge_error_errno(error, errno, "Syncing %s", path);
    }
    return TRUE;
}

static gint64
choose_stamp(const LodgeMaking *making)
{
    for (gint64 stamp = g_get_real_time() / G_USEC_PER_SEC;; stamp++) {
        g_autofree char *file = g_strdup_printf("disk-%" G_GINT64_FORMAT ".qcow2", stamp);
        g_autofree char *path = lodge_store_image_path(making->store, making->image->name, file);
        if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
            return stamp;
        }
    }
}

/* Bring a file to disk, and into the staging as @name. */
static gboolean
place(const LodgeMaking *making, const char *file, const char *name, GError **error)
{
    g_autofree char *from = lodge_making_path(making, file);
    g_autofree char *to = g_build_filename(lodge_staging_folder(making->staging), name, NULL);
    return sync_file(from, error) &&
           (rename(from, to) == 0 || lodge_error_errno(error, errno, "Naming %s", to));
}

static gboolean
name_more(LodgeMaking *making, gint64 stamp, GError **error)
{
    g_auto(GStrv) more = lodge_image_more(making->image);
    for (gsize i = 0; more[i] != NULL; i++) {
        char *name = g_strdup_printf("disk-%" G_GINT64_FORMAT "-%zu.qcow2", stamp, i + 2);
        if (!place(making, more[i], name, error)) {
            g_free(name);
            return FALSE;
        }
        g_free(more[i]);
        more[i] = name;
    }
    g_free(making->image->more_disks);
    making->image->more_disks = more[0] != NULL ? g_strjoinv(" ", more) : NULL;
    return TRUE;
}

/* Move the files from the work folder into the staging, under their final names. */
static gboolean
name_parts(LodgeMaking *making, GError **error)
{
    Part parts[PART_COUNT];
    gint64 stamp = choose_stamp(making);
    list_parts(making->image, parts);
    for (int i = 0; i < PART_COUNT; i++) {
        if (*parts[i].name == NULL) {
            continue;
        }
        g_autofree char *name = g_strdup_printf("%s%" G_GINT64_FORMAT "%s", parts[i].prefix, stamp,
                                                parts[i].suffix);
        if (!place(making, *parts[i].name, name, error)) {
            return FALSE;
        }
        g_free(*parts[i].name);
        *parts[i].name = g_steal_pointer(&name);
    }
    return name_more(making, stamp, error) && lodge_tree_remove(making->work, error);
}

static gboolean
write_conf(const LodgeMaking *making, const char *folder, GError **error)
{
    g_autofree char *text = lodge_image_format(making->image);
    g_autofree char *path = g_build_filename(folder, "image.conf", NULL);
    /* What can't be read back must not be written: a recipe's kernel arguments are foreign. */
    g_autoptr(LodgeImage) again = lodge_image_parse(making->image->name, text, strlen(text), error);
    return again != NULL &&
           lodge_file_write(path, text, strlen(text), FILE_MODE, LODGE_WRITE_DEFAULT, error);
}

static gboolean
move(const LodgeMaking *making, const char *folder, const char *name, GError **error)
{
    g_autofree char *from = g_build_filename(lodge_staging_folder(making->staging), name, NULL);
    g_autofree char *to = g_build_filename(folder, name, NULL);
    return rename(from, to) == 0 || lodge_error_errno(error, errno, "Naming %s", to);
}

/* Beside the old files of an image that is there already. */
static gboolean
move_in(LodgeMaking *making, const char *folder, GError **error)
{
    Part parts[PART_COUNT];
    gboolean fine = TRUE;
    g_auto(GStrv) more = lodge_image_more(making->image);
    list_parts(making->image, parts);
    for (int i = 0; fine && i < PART_COUNT; i++) {
        fine = *parts[i].name == NULL || move(making, folder, *parts[i].name, error);
    }
    for (gsize i = 0; fine && more[i] != NULL; i++) {
        fine = move(making, folder, more[i], error);
    }
    return fine && write_conf(making, folder, error);
}

static gboolean
replace(LodgeMaking *making, const char *folder, GError **error)
{
    const char *name = making->image->name;
    lodge_autofd lock_fd = lodge_image_lock(making->store, name, error);
    if (lock_fd < 0) {
        return FALSE;
    }
    gboolean fine = move_in(making, folder, error);
    lodge_image_prune(making->store, name);
    lodge_image_unlock(making->store, name, lodge_fd_steal(&lock_fd));
    return fine;
}

gboolean
lodge_making_finish(LodgeMaking *making, const char *origin, GError **error)
{
    LodgeImage *image = making->image;
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    lodge_progress_stage(making->progress, "checking the disk");
    if (!check_disks(making, error) || !name_parts(making, error)) {
        return FALSE;
    }
    g_free(image->made);
    g_free(image->origin);
    image->made = g_date_time_format(now, "%Y-%m-%dT%H:%M:%SZ");
    image->origin = g_strdup(origin);
    g_autofree char *folder = lodge_store_image_path(making->store, image->name, NULL);
    if (g_file_test(folder, G_FILE_TEST_IS_DIR)) {
        return replace(making, folder, error);
    }
    return write_conf(making, lodge_staging_folder(making->staging), error) &&
           lodge_staging_commit(making->staging, FALSE, error);
}
