/* Who stands on an image's files. The disks are asked themselves, by their headers: a definition
 * may be edited, and a snapshot's layers stand in none. */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/internal.h"

enum {
    FOLDER_DEPTH_LIMIT = 4,
    LAYER_LIMIT = 64,
    LOCK_TIMEOUT_MS = 60 * 1000,
    DEFINITION_LIMIT_BYTES = 256 << 10,
};

/* What is known of the use of one image folder's files. */
typedef struct {
    const LodgeStore *store;
    const char *image;
    char *folder;      /* the image's, with a slash at the end */
    GHashTable *files; /* names in that folder that somebody needs */
    GPtrArray *guests; /* their names */
    gboolean unknown;  /* some definition can't be read: anything might be needed */
    gboolean guest_needs;
} Use;

static void
use_clear(Use *use)
{
    g_free(use->folder);
    g_clear_pointer(&use->files, g_hash_table_unref);
    g_clear_pointer(&use->guests, g_ptr_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Use, use_clear)

static void
note_path(Use *use, const char *path)
{
    if (path != NULL && g_str_has_prefix(path, use->folder)) {
        g_hash_table_add(use->files, g_strdup(path + strlen(use->folder)));
        use->guest_needs = TRUE;
    }
}

/* Unlike lodge_qcow2_chain() this bears with damage: what can be followed is. */
static void
note_chain(Use *use, const char *disk)
{
    g_autofree char *path = g_strdup(disk);
    for (int i = 0; path != NULL && i < LAYER_LIMIT; i++) {
        g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(path, NULL);
        char *next = header != NULL && header->backing_file != NULL
                         ? lodge_qcow2_resolve(path, header->backing_file)
                         : NULL;
        g_free(path);
        path = next;
        note_path(use, path);
    }
}

static void
note_folder(Use *use, const char *folder, int depth)
{
    g_autoptr(GDir) content = g_dir_open(folder, 0, NULL);
    for (const char *name; content != NULL && (name = g_dir_read_name(content)) != NULL;) {
        struct stat info;
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (lstat(path, &info) < 0) {
            continue;
        }
        if (S_ISDIR(info.st_mode) && depth < FOLDER_DEPTH_LIMIT) {
            note_folder(use, path, depth + 1);
        } else if (S_ISREG(info.st_mode) && lodge_qcow2_is(path)) {
            note_chain(use, path);
        }
    }
}

static void
note_relative(Use *use, const char *folder, const char *file)
{
    if (file != NULL) {
        g_autofree char *joined = g_canonicalize_filename(file, folder);
        g_autofree char *path = lodge_path_real(joined);
        note_path(use, path);
        note_chain(use, path);
    }
}

/* A guest being made may have no definition yet; any other's must be readable. */
static void
note_definition(Use *use, const char *folder, const char *name, gboolean is_staging)
{
    gsize length = 0;
    g_autofree char *path = g_build_filename(folder, "guest.conf", NULL);
    g_autofree char *text = lodge_file_read(path, DEFINITION_LIMIT_BYTES, &length, NULL);
    g_autoptr(LodgeGuest) guest = text != NULL ? lodge_guest_parse(name, text, length, NULL) : NULL;
    if (guest == NULL) {
        use->unknown = use->unknown || !is_staging;
        use->guest_needs = use->guest_needs || !is_staging;
        return;
    }
    note_relative(use, folder, guest->kernel);
    note_relative(use, folder, guest->initrd);
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        note_relative(use, folder, disk->file);
    }
    use->guest_needs = use->guest_needs || g_strcmp0(guest->image, use->image) == 0;
}

static void
note_guest(Use *use, const char *guests, const char *entry)
{
    gboolean is_staging = g_str_has_prefix(entry, ".new-");
    const char *name = is_staging ? entry + strlen(".new-") : entry;
    g_autofree char *folder = g_build_filename(guests, entry, NULL);
    g_autofree char *lock = g_strconcat(folder, ".lock", NULL);
    /* An abandoned one is litter, and needs nothing. */
    if ((*entry == '.' && !is_staging) || !g_file_test(folder, G_FILE_TEST_IS_DIR) ||
        (is_staging && !lodge_lock_is_held(lock))) {
        return;
    }
    use->guest_needs = FALSE;
    note_folder(use, folder, 0);
    note_definition(use, folder, name, is_staging);
    if (use->guest_needs) {
        g_ptr_array_add(use->guests, g_strdup(name));
    }
}

static int
compare(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static gboolean
find_use(Use *use, const LodgeStore *store, const char *image, GError **error)
{
    g_autofree char *guests = g_build_filename(store->root, "guests", NULL);
    g_autofree char *inside = lodge_store_image_path(store, image, "x");
    g_autofree char *real = lodge_path_real(inside);
    *use = (Use){.store = store, .image = image, .folder = g_strndup(real, strlen(real) - 1)};
    use->files = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    use->guests = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) problem = NULL;
    g_autoptr(GDir) content = g_dir_open(guests, 0, &problem);
    if (content == NULL && !g_error_matches(problem, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "%s", problem->message);
    }
    for (const char *entry; content != NULL && (entry = g_dir_read_name(content)) != NULL;) {
        note_guest(use, guests, entry);
    }
    g_ptr_array_sort(use->guests, compare);
    return TRUE;
}

char **
lodge_image_dependents(const LodgeStore *store, const char *name, GError **error)
{
    g_auto(Use) use = {0};
    if (!find_use(&use, store, name, error)) {
        return NULL;
    }
    g_ptr_array_add(use.guests, NULL);
    return g_strdupv((char **)use.guests->pdata);
}

static char *
lock_path(const LodgeStore *store, const char *name)
{
    g_autofree char *file = g_strdup_printf(".use-%s.lock", name);
    return g_build_filename(store->root, "images", file, NULL);
}

int
lodge_image_lock(const LodgeStore *store, const char *name, GError **error)
{
    g_autofree char *path = lock_path(store, name);
    return lodge_lock_take_within(path, LOCK_TIMEOUT_MS, error);
}

void
lodge_image_unlock(const LodgeStore *store, const char *name, int lock_fd)
{
    g_autofree char *path = lock_path(store, name);
    unlink(path);
    close(lock_fd);
}

static gboolean
is_file_of_image(const char *name)
{
    static const char *const prefixes[] = {"disk-", "kernel-", "initrd-"};
    for (gsize i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        if (g_str_has_prefix(name, prefixes[i])) {
            return TRUE;
        }
    }
    return FALSE;
}

char **
lodge_image_unneeded(const LodgeStore *store, const char *name, GError **error)
{
    g_auto(Use) use = {0};
    g_autoptr(LodgeImage) image = lodge_store_image(store, name, NULL);
    if (!find_use(&use, store, name, error)) {
        return NULL;
    }
    GPtrArray *list = g_ptr_array_new();
    g_auto(GStrv) files = lodge_dir_names(use.folder, NULL);
    for (gsize i = 0; image != NULL && !use.unknown && files != NULL && files[i] != NULL; i++) {
        if (is_file_of_image(files[i]) && !lodge_image_names(image, files[i]) &&
            !g_hash_table_contains(use.files, files[i])) {
            g_ptr_array_add(list, g_strdup(files[i]));
        }
    }
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, FALSE);
}

static void
prune_parked(const LodgeStore *store, const char *name)
{
    g_auto(Use) use = {0};
    g_autoptr(LodgeImage) image = lodge_store_image(store, name, NULL);
    if (image != NULL && find_use(&use, store, name, NULL) && !use.unknown) {
        lodge_warm_prune(use.folder, image->disk, use.files);
    }
}

void
lodge_image_prune(const LodgeStore *store, const char *name)
{
    prune_parked(store, name);
    g_auto(GStrv) files = lodge_image_unneeded(store, name, NULL);
    for (gsize i = 0; files != NULL && files[i] != NULL; i++) {
        g_autofree char *path = lodge_store_image_path(store, name, files[i]);
        unlink(path);
    }
}

static gboolean
remove_unneeded(const LodgeStore *store, const char *name, GError **error)
{
    g_auto(GStrv) guests = lodge_image_dependents(store, name, error);
    if (guests == NULL) {
        return FALSE;
    }
    if (guests[0] != NULL) {
        g_autofree char *list = g_strjoinv(", ", guests);
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "image %s is needed by %s (delete these guests first)", name, list);
    }
    return lodge_store_remove(store, LODGE_STORE_IMAGES, name, error);
}

gboolean
lodge_image_delete(const LodgeStore *store, const char *name, GError **error)
{
    g_autofree char *folder = lodge_store_image_path(store, name, NULL);
    g_autoptr(GError) problem = NULL;
    g_autoptr(LodgeImage) image = lodge_store_image(store, name, &problem);
    /* One whose image.conf is damaged may be deleted too. */
    if (image == NULL && (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_USAGE) ||
                          !g_file_test(folder, G_FILE_TEST_IS_DIR))) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    g_autoptr(LodgeStaging) staging = lodge_staging_begin(store, LODGE_STORE_IMAGES, name, error);
    lodge_autofd lock_fd = staging != NULL ? lodge_image_lock(store, name, error) : -1;
    if (lock_fd < 0) {
        return FALSE;
    }
    gboolean fine = remove_unneeded(store, name, error);
    lodge_image_unlock(store, name, lodge_fd_steal(&lock_fd));
    return fine;
}

LodgeImage *
lodge_image_overlay(const LodgeStore *store, const char *name, const char *path, guint64 size_bytes,
                    GError **error)
{
    /* A first look, for the plain answer where there is no such image and thus no lock. */
    g_autoptr(LodgeImage) first = lodge_store_image(store, name, error);
    lodge_autofd lock_fd = first != NULL ? lodge_image_lock(store, name, error) : -1;
    if (lock_fd < 0) {
        return NULL;
    }
    g_autoptr(LodgeImage) image = lodge_store_image(store, name, error);
    gboolean fine = image != NULL;
    if (fine && image->disk == NULL) {
        fine = lodge_error_set(error, LODGE_ERROR_INVALID, "image %s has no disk", name);
    }
    if (fine) {
        g_autofree char *disk = lodge_store_image_path(store, name, image->disk);
        fine = lodge_img_create_overlay(path, disk, "qcow2",
                                        size_bytes != 0 ? size_bytes : image->size_bytes, error);
    }
    lodge_image_unlock(store, name, lodge_fd_steal(&lock_fd));
    return fine ? g_steal_pointer(&image) : NULL;
}
