/* The files are asked themselves, by their headers: a definition names only the top of each chain.
 */
#include "config.h"

#include "ops/disk-tree.h"

#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "ops/disk.h"
#include "qemu/disks.h"
#include "qemu/qcow2.h"
#include "store/snapshots.h"

enum {
    FOLDER_DEPTH_LIMIT = 4,
    LAYER_LIMIT = 64,
};

typedef struct {
    LodgeDiskNode *node;
    char *below; /* the path that it stands on; NULL: nothing */
    gboolean is_wanted;
} Entry;

typedef struct {
    const LodgeStore *store;
    const char *guest; /* only what is needed for this one; NULL: all */
    GHashTable *entries;
} Forest;

static void
user_free(gpointer data)
{
    LodgeDiskUser *user = data;
    g_free(user->guest);
    g_free(user->disk);
    g_free(user->snapshot);
    g_free(user);
}

static void
node_free(gpointer data)
{
    LodgeDiskNode *node = data;
    g_free(node->path);
    g_free(node->shown);
    g_free(node->image);
    g_free(node->problem);
    g_ptr_array_unref(node->users);
    g_free(node);
}

static void
entry_free(gpointer data)
{
    Entry *entry = data;
    if (entry->node != NULL) {
        node_free(entry->node);
    }
    g_free(entry->below);
    g_free(entry);
}

static char *
shown_path(const LodgeStore *store, const char *path)
{
    g_autofree char *inside = g_build_filename(store->root, "x", NULL);
    g_autofree char *root = lodge_path_real(inside);
    gsize length = strlen(root) - 1;
    return g_strdup(strncmp(path, root, length) == 0 ? path + length : path);
}

static void
read_header(Entry *entry)
{
    struct stat info;
    LodgeDiskNode *node = entry->node;
    if (lodge_disk_is_remote(node->path)) {
        return;
    }
    if (stat(node->path, &info) < 0) {
        node->problem = g_strdup("missing");
        return;
    }
    node->allocated_bytes = (guint64)info.st_blocks * 512;
    node->size_bytes = S_ISREG(info.st_mode) ? (guint64)info.st_size : 0;
    if (!S_ISREG(info.st_mode) || !lodge_qcow2_is(node->path)) {
        return;
    }
    g_autoptr(GError) problem = NULL;
    g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(node->path, &problem);
    if (header == NULL) {
        node->problem = g_strdup(problem->message);
        return;
    }
    node->size_bytes = header->virtual_size_bytes;
    node->problem = header->corrupt ? g_strdup("damaged") : NULL;
    if (header->backing_file != NULL) {
        entry->below = lodge_qcow2_resolve(node->path, header->backing_file);
    }
}

/* The entry of @path, with all that it stands on. A raw disk's content is its guest's, and never
 * believed to be a header. */
static Entry *
add_file(Forest *forest, const char *path, gboolean is_raw)
{
    Entry *first = NULL;
    g_autofree char *next = lodge_disk_is_remote(path) ? g_strdup(path) : lodge_path_real(path);
    for (int i = 0; next != NULL && i < LAYER_LIMIT; i++) {
        Entry *entry = g_hash_table_lookup(forest->entries, next);
        gboolean is_known = entry != NULL;
        if (!is_known) {
            entry = g_new0(Entry, 1);
            entry->node = g_new0(LodgeDiskNode, 1);
            entry->node->path = g_strdup(next);
            entry->node->shown = shown_path(forest->store, next);
            entry->node->users = g_ptr_array_new_with_free_func(user_free);
            g_hash_table_insert(forest->entries, entry->node->path, entry);
            read_header(entry);
            if (is_raw && i == 0) {
                g_clear_pointer(&entry->below, g_free);
            }
        }
        first = first != NULL ? first : entry;
        if (is_known) {
            break;
        }
        g_free(next);
        next = g_strdup(entry->below);
    }
    return first;
}

static void
add_user(Forest *forest, const char *guest, const char *disk, const char *snapshot,
         const char *path, int format)
{
    Entry *entry = add_file(forest, path, format == LODGE_FORMAT_RAW);
    LodgeDiskUser *user = g_new0(LodgeDiskUser, 1);
    user->guest = g_strdup(guest);
    user->disk = g_strdup(disk);
    user->snapshot = g_strdup(snapshot);
    g_ptr_array_add(entry->node->users, user);
}

/* All qcow2 files below a folder, so that what nobody names is seen too. */
static void
add_folder(Forest *forest, const char *folder, const char *image, int depth)
{
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        struct stat info;
        g_autofree char *path = g_build_filename(folder, names[i], NULL);
        if (lstat(path, &info) < 0) {
            continue;
        }
        if (S_ISDIR(info.st_mode) && depth < FOLDER_DEPTH_LIMIT) {
            add_folder(forest, path, image, depth + 1);
        } else if (S_ISREG(info.st_mode) && g_str_has_suffix(names[i], ".qcow2") &&
                   !g_str_has_prefix(names[i], "nvram") && lodge_qcow2_is(path)) {
            LodgeDiskNode *node = add_file(forest, path, FALSE)->node;
            g_free(node->image);
            node->image = g_strdup(image);
        }
    }
}

static void
add_image(Forest *forest, const char *name)
{
    g_autofree char *folder = lodge_store_image_path(forest->store, name, NULL);
    g_autoptr(LodgeImage) image = lodge_store_image(forest->store, name, NULL);
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    add_folder(forest, folder, name, 0);
    for (gsize i = 0; image != NULL && names != NULL && names[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(folder, names[i], NULL);
        g_autofree char *real = lodge_path_real(path);
        Entry *entry = g_hash_table_lookup(forest->entries, real);
        if (entry != NULL && !lodge_image_names(image, names[i])) {
            entry->node->is_replaced = TRUE;
        }
    }
}

/* What can't be read of a guest hides that part only. */
static void
add_guest(Forest *forest, const char *name)
{
    const LodgeStore *store = forest->store;
    g_autofree char *folder = lodge_store_guest_path(store, name, NULL);
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, name, NULL);
    g_autoptr(GPtrArray) snapshots = lodge_store_all_snapshots(store, name, NULL);
    for (guint i = 0; guest != NULL && i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        g_autofree char *path = lodge_disk_path(store, name, disk->file);
        add_user(forest, name, disk->name, NULL, path, disk->format);
    }
    for (guint i = 0; snapshots != NULL && i < snapshots->len; i++) {
        const LodgeSnapshot *snapshot = snapshots->pdata[i];
        for (guint j = 0; j < snapshot->disks->len; j++) {
            const LodgeSnapshotDisk *disk = snapshot->disks->pdata[j];
            g_autofree char *path = lodge_disk_path(store, name, disk->file);
            add_user(forest, name, disk->name, snapshot->name, path, disk->format);
        }
    }
    add_folder(forest, folder, NULL, 0);
}

static gboolean
is_of_guest(const Forest *forest, const LodgeDiskNode *node)
{
    for (guint i = 0; i < node->users->len; i++) {
        const LodgeDiskUser *user = node->users->pdata[i];
        if (g_str_equal(user->guest, forest->guest)) {
            return TRUE;
        }
    }
    g_autofree char *folder = lodge_store_guest_path(forest->store, forest->guest, "x");
    g_autofree char *real = lodge_path_real(folder);
    return strncmp(node->path, real, strlen(real) - 1) == 0;
}

/* Mark what shall be shown: all, or what the guest needs. */
static void
choose(Forest *forest)
{
    GHashTableIter iterator;
    gpointer value;
    g_hash_table_iter_init(&iterator, forest->entries);
    while (g_hash_table_iter_next(&iterator, NULL, &value)) {
        Entry *entry = value;
        if (forest->guest != NULL && !is_of_guest(forest, entry->node)) {
            continue;
        }
        for (int i = 0; entry != NULL && i < LAYER_LIMIT; i++) {
            entry->is_wanted = TRUE;
            entry = entry->below != NULL ? g_hash_table_lookup(forest->entries, entry->below)
                                         : NULL;
        }
    }
}

static gint
compare(gconstpointer a, gconstpointer b)
{
    const Entry *first = *(const Entry *const *)a;
    const Entry *second = *(const Entry *const *)b;
    return strcmp(first->node->shown, second->node->shown);
}

/* Take the files that stand on @below out of @all, each followed by those that stand on it. */
static void
emit(GPtrArray *nodes, GPtrArray *all, const char *below, guint depth)
{
    LodgeDiskNode *last = NULL;
    for (guint i = 0; i < all->len; i++) {
        Entry *entry = all->pdata[i];
        if (entry->node == NULL || g_strcmp0(entry->below, below) != 0) {
            continue;
        }
        last = g_steal_pointer(&entry->node);
        last->depth = depth;
        g_ptr_array_add(nodes, last);
        if (depth < LAYER_LIMIT) {
            emit(nodes, all, last->path, depth + 1);
        }
    }
    if (last != NULL) {
        last->is_last = TRUE;
    }
}

static GPtrArray *
arrange(Forest *forest)
{
    GHashTableIter iterator;
    gpointer value;
    GPtrArray *nodes = g_ptr_array_new_with_free_func(node_free);
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    g_hash_table_iter_init(&iterator, forest->entries);
    while (g_hash_table_iter_next(&iterator, NULL, &value)) {
        if (((Entry *)value)->is_wanted) {
            g_ptr_array_add(all, value);
        }
    }
    g_ptr_array_sort(all, compare);
    emit(nodes, all, NULL, 0);
    /* A ring has no beginning: it is shown all the same. */
    for (guint i = 0; i < all->len; i++) {
        Entry *entry = all->pdata[i];
        if (entry->node != NULL) {
            LodgeDiskNode *node = g_steal_pointer(&entry->node);
            g_free(node->problem);
            node->problem = g_strdup("stands on itself");
            node->is_last = TRUE;
            g_ptr_array_add(nodes, node);
        }
    }
    return nodes;
}

GPtrArray *
lodge_disk_tree(const LodgeStore *store, const char *guest, GError **error)
{
    g_autoptr(LodgeGuest) wanted = guest != NULL ? lodge_store_guest(store, guest, error) : NULL;
    g_auto(GStrv) images = guest == NULL || wanted != NULL ? lodge_store_images(store, error)
                                                           : NULL;
    g_auto(GStrv) guests = images != NULL ? lodge_store_guests(store, error) : NULL;
    if (guests == NULL) {
        return NULL;
    }
    Forest forest = {.store = store, .guest = guest};
    g_autoptr(GHashTable)
        entries = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, entry_free);
    forest.entries = entries;
    for (gsize i = 0; images[i] != NULL; i++) {
        add_image(&forest, images[i]);
    }
    for (gsize i = 0; guests[i] != NULL; i++) {
        add_guest(&forest, guests[i]);
    }
    choose(&forest);
    return arrange(&forest);
}

/* --- Who else needs a file -------------------------------------------------------------------- */

typedef struct {
    const LodgeStore *store;
    const char *guest, *disk, *file; /* as lodge_disk_dependents() is told */
    GHashTable *names;
} Question;

static gboolean
is_asked_for(const Question *question, const LodgeDiskNode *node)
{
    g_autofree char *inside = lodge_store_guest_path(question->store, question->guest, "x");
    g_autofree char *real = lodge_path_real(question->file != NULL ? question->file : inside);
    return question->file != NULL ? g_str_equal(node->path, real)
                                  : strncmp(node->path, real, strlen(real) - 1) == 0;
}

static void
note_users(Question *question, const LodgeDiskNode *node)
{
    for (guint i = 0; i < node->users->len; i++) {
        const LodgeDiskUser *user = node->users->pdata[i];
        gboolean is_own = g_str_equal(user->guest, question->guest);
        if (!is_own) {
            g_hash_table_add(question->names, g_strdup(user->guest));
        } else if (question->file != NULL && user->snapshot != NULL) {
            g_hash_table_add(question->names,
                             g_strdup_printf("snapshot %s of %s", user->snapshot, user->guest));
        } else if (question->file != NULL && g_strcmp0(user->disk, question->disk) != 0) {
            g_hash_table_add(question->names,
                             g_strdup_printf("disk %s of %s", user->disk, user->guest));
        }
    }
}

static int
compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

char **
lodge_disk_dependents(const LodgeStore *store, const char *guest, const char *disk,
                      const char *file, GError **error)
{
    g_autoptr(GPtrArray) nodes = lodge_disk_tree(store, NULL, error);
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    Question question = {store, guest, disk, file, names};
    for (guint i = 0; nodes != NULL && i < nodes->len; i++) {
        const LodgeDiskNode *node = nodes->pdata[i];
        if (!is_asked_for(&question, node)) {
            continue;
        }
        note_users(&question, node);
        for (guint j = i + 1; j < nodes->len; j++) {
            const LodgeDiskNode *above = nodes->pdata[j];
            if (above->depth <= node->depth) {
                break;
            }
            note_users(&question, above);
        }
    }
    if (nodes == NULL) {
        return NULL;
    }
    GPtrArray *list = g_ptr_array_new();
    GHashTableIter iterator;
    gpointer name;
    g_hash_table_iter_init(&iterator, names);
    while (g_hash_table_iter_next(&iterator, &name, NULL)) {
        g_ptr_array_add(list, g_strdup(name));
    }
    g_ptr_array_sort(list, compare_names);
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, FALSE);
}

gboolean
lodge_disk_refuse_needed(const LodgeStore *store, const char *guest, const char *disk,
                         const char *file, const char *what, GError **error)
{
    g_auto(GStrv) names = lodge_disk_dependents(store, guest, disk, file, error);
    if (names == NULL) {
        return FALSE;
    }
    if (names[0] == NULL) {
        return TRUE;
    }
    g_autofree char *list = g_strjoinv(", ", names);
    return lodge_error_set(error, LODGE_ERROR_BUSY,
                           "%s%s can't be %s, as its data is needed by %s (`lodge disk tree` shows "
                           "how)",
                           file != NULL ? "" : "guest ", file != NULL ? file : guest, what, list);
}
