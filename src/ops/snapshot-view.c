/* Looking at snapshots: reads files, asks no QEMU, so it can't wait. */
#include "config.h"

#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "ops/layer-files.h"
#include "ops/snapshot.h"
#include "qemu/qcow2.h"
#include "store/snapshots.h"

enum {
    CONF_LIMIT_BYTES = 256 << 10,
};

static void
view_free(gpointer data)
{
    LodgeSnapshotView *view = data;
    lodge_snapshot_free(view->snapshot);
    g_free(view->problem);
    g_free(view);
}

static void
change_free(gpointer data)
{
    LodgeSnapshotChange *change = data;
    g_free(change->what);
    g_free(change->before);
    g_free(change->after);
    g_free(change);
}

static guint64
allocated(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (guint64)info.st_blocks * 512 : 0;
}

static void
look(const LodgeStore *store, const char *guest, LodgeSnapshotView *view)
{
    const LodgeSnapshot *snapshot = view->snapshot;
    for (guint i = 0; i < snapshot->disks->len; i++) {
        g_autoptr(GError) problem = NULL;
        const LodgeSnapshotDisk *disk = snapshot->disks->pdata[i];
        g_autofree char *path = lodge_store_guest_path(store, guest, disk->file);
        g_autoptr(GPtrArray) chain = lodge_disk_chain(
            path, disk->format == LODGE_FORMAT_RAW ? "raw" : "qcow2", &problem);
        view->disk_bytes += allocated(path);
        if (chain == NULL && view->problem == NULL) {
            view->problem = g_strdup_printf("disk %s: %s", disk->name, problem->message);
        }
    }
    g_autofree char *memory = lodge_store_snapshot_path(store, guest, snapshot->name, "memory");
    if (snapshot->memory_bytes != 0 && !g_file_test(memory, G_FILE_TEST_EXISTS) &&
        view->problem == NULL) {
        view->problem = g_strdup_printf("%s is missing", memory);
    }
}

static gint
compare_times(gconstpointer a, gconstpointer b)
{
    const LodgeSnapshot *first = *(const LodgeSnapshot *const *)a;
    const LodgeSnapshot *second = *(const LodgeSnapshot *const *)b;
    int order = g_strcmp0(first->made, second->made);
    return order != 0 ? order : strcmp(first->name, second->name);
}

static LodgeSnapshotView *
add_view(GPtrArray *views, LodgeSnapshot *snapshot, guint depth)
{
    LodgeSnapshotView *view = g_new0(LodgeSnapshotView, 1);
    view->snapshot = snapshot;
    view->depth = depth;
    g_ptr_array_add(views, view);
    return view;
}

/* Take those whose parent is @parent ("": the roots) out of @children, each followed by its own. */
static void
add_children(GPtrArray *views, GHashTable *children, const char *parent, guint depth)
{
    gpointer list = NULL;
    if (!g_hash_table_steal_extended(children, parent, NULL, &list)) {
        return;
    }
    g_autoptr(GPtrArray) own = list;
    for (guint i = 0; i < own->len; i++) {
        LodgeSnapshot *snapshot = own->pdata[i];
        add_view(views, snapshot, depth)->is_last = i + 1 == own->len;
        add_children(views, children, snapshot->name, depth + 1);
    }
}

/* The views of @all, a tree, those of one parent by their times. @all gives its elements away. */
static GPtrArray *
views_of(GPtrArray *all)
{
    GPtrArray *views = g_ptr_array_new_with_free_func(view_free);
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) children = g_hash_table_new_full(g_str_hash, g_str_equal, NULL,
                                                           (GDestroyNotify)g_ptr_array_unref);
    g_ptr_array_sort(all, compare_times);
    for (guint i = 0; i < all->len; i++) {
        g_hash_table_add(names, ((LodgeSnapshot *)all->pdata[i])->name);
    }
    for (guint i = 0; i < all->len; i++) {
        LodgeSnapshot *snapshot = all->pdata[i];
        gboolean has_parent = snapshot->parent != NULL &&
                              g_hash_table_contains(names, snapshot->parent);
        const char *parent = has_parent ? snapshot->parent : "";
        GPtrArray *own = g_hash_table_lookup(children, parent);
        if (own == NULL) {
            own = g_ptr_array_new();
            g_hash_table_insert(children, (gpointer)parent, own);
        }
        g_ptr_array_add(own, snapshot);
    }
    add_children(views, children, "", 0);
    /* Parents in a ring are nobody's descendants: somebody edited them. They are shown all the
     * same. */
    for (guint i = 0; i < all->len; i++) {
        LodgeSnapshot *snapshot = all->pdata[i];
        if (snapshot->parent != NULL && g_hash_table_contains(children, snapshot->parent)) {
            add_view(views, snapshot, 0);
        }
    }
    g_ptr_array_set_free_func(all, NULL);
    return views;
}

GPtrArray *
lodge_snapshots(const LodgeStore *store, const char *guest, GError **error)
{
    g_autoptr(LodgeGuest) definition = lodge_store_guest(store, guest, error);
    g_autoptr(GPtrArray) all = definition != NULL ? lodge_store_all_snapshots(store, guest, error)
                                                  : NULL;
    if (all == NULL) {
        return NULL;
    }
    GPtrArray *views = views_of(all);
    for (guint i = 0; i < views->len; i++) {
        LodgeSnapshotView *view = views->pdata[i];
        view->is_current = g_strcmp0(definition->snapshot, view->snapshot->name) == 0;
        look(store, guest, view);
    }
    return views;
}

/* --- Differences ------------------------------------------------------------------------------ */

static LodgeKeyFile *
read_definition(const char *path, GError **error)
{
    gsize length = 0;
    g_autofree char *text = lodge_file_read(path, CONF_LIMIT_BYTES, &length, error);
    return text != NULL ? lodge_key_file_parse(path, text, length, error) : NULL;
}

/* Where the layers are is Lodge's affair, and no difference. */
static gboolean
is_of_layers(const LodgeEntry *entry)
{
    return g_str_equal(entry->key, "file") || g_str_equal(entry->key, "format") ||
           g_str_equal(entry->key, "snapshot") || g_str_equal(entry->key, "variables");
}

static void
add_change(GPtrArray *changes, const LodgeEntry *entry, const char *before, const char *after)
{
    LodgeSnapshotChange *change = g_new0(LodgeSnapshotChange, 1);
    change->what = g_str_equal(entry->group, "guest")
                       ? g_strdup(entry->key)
                       : g_strdup_printf("%s %s", entry->group, entry->key);
    change->before = g_strdup(before);
    change->after = g_strdup(after);
    g_ptr_array_add(changes, change);
}

static void
compare_definitions(GPtrArray *changes, const LodgeKeyFile *before, const LodgeKeyFile *after)
{
    for (gsize i = 0; i < before->count; i++) {
        const LodgeEntry *entry = &before->entries[i];
        const char *value = entry->key != NULL
                                ? lodge_key_file_value(after, entry->group, entry->key)
                                : NULL;
        if (entry->key != NULL && !is_of_layers(entry) && g_strcmp0(entry->value, value) != 0) {
            add_change(changes, entry, entry->value, value);
        }
    }
    for (gsize i = 0; i < after->count; i++) {
        const LodgeEntry *entry = &after->entries[i];
        if (entry->key != NULL && !is_of_layers(entry) &&
            lodge_key_file_value(before, entry->group, entry->key) == NULL) {
            add_change(changes, entry, NULL, entry->value);
        }
    }
}

/* The files of one side's disks; the guest's own if @snapshot is NULL. */
static GPtrArray *
chain_of(const LodgeStore *store, const LodgeGuest *guest, const LodgeSnapshot *snapshot,
         const char *disk)
{
    const char *file = NULL;
    int format = LODGE_FORMAT_QCOW2;
    const LodgeSnapshotDisk *kept = snapshot != NULL ? lodge_snapshot_disk(snapshot, disk) : NULL;
    if (kept != NULL) {
        file = kept->file;
        format = kept->format;
    }
    for (guint i = 0; snapshot == NULL && i < guest->disks->len; i++) {
        const LodgeDisk *now = guest->disks->pdata[i];
        if (g_str_equal(now->name, disk)) {
            file = now->file;
            format = now->format;
        }
    }
    if (file == NULL) {
        return NULL;
    }
    g_autofree char *path = g_path_is_absolute(file)
                                ? g_strdup(file)
                                : lodge_store_guest_path(store, guest->name, file);
    return lodge_disk_chain(path, format == LODGE_FORMAT_RAW ? "raw" : "qcow2", NULL);
}

/* What is in layers of @after that @before does not have. */
static guint64
bytes_between(const GPtrArray *before, const GPtrArray *after)
{
    guint64 bytes = 0;
    for (guint i = 0; i < after->len; i++) {
        const char *path = ((const LodgeLayer *)after->pdata[i])->path;
        for (guint j = 0; j < before->len; j++) {
            if (g_str_equal(((const LodgeLayer *)before->pdata[j])->path, path)) {
                return bytes;
            }
        }
        bytes += allocated(path);
    }
    return bytes;
}

static void
compare_disks(GPtrArray *changes, const LodgeStore *store, const LodgeGuest *guest,
              const LodgeSnapshot *before, const LodgeSnapshot *after)
{
    for (guint i = 0; i < before->disks->len; i++) {
        const LodgeSnapshotDisk *disk = before->disks->pdata[i];
        g_autoptr(GPtrArray) old = chain_of(store, guest, before, disk->name);
        g_autoptr(GPtrArray) fresh = chain_of(store, guest, after, disk->name);
        if (old == NULL || fresh == NULL) {
            continue;
        }
        LodgeSnapshotChange *change = g_new0(LodgeSnapshotChange, 1);
        change->what = g_strdup_printf("disk %s", disk->name);
        change->bytes = bytes_between(old, fresh);
        g_ptr_array_add(changes, change);
    }
}

GPtrArray *
lodge_snapshot_diff(const LodgeStore *store, const char *guest, const char *name, const char *to,
                    GError **error)
{
    g_autoptr(LodgeGuest) definition = lodge_store_guest(store, guest, error);
    g_autoptr(LodgeSnapshot)
        before = definition != NULL ? lodge_store_snapshot(store, guest, name, error) : NULL;
    g_autoptr(LodgeSnapshot)
        after = before != NULL && to != NULL ? lodge_store_snapshot(store, guest, to, error) : NULL;
    if (before == NULL || (to != NULL && after == NULL)) {
        return NULL;
    }
    g_autofree char *old_path = lodge_store_snapshot_path(store, guest, name, "guest.conf");
    g_autofree char *new_path = to != NULL
                                    ? lodge_store_snapshot_path(store, guest, to, "guest.conf")
                                    : lodge_store_guest_path(store, guest, "guest.conf");
    g_autoptr(LodgeKeyFile) old = read_definition(old_path, error);
    g_autoptr(LodgeKeyFile) fresh = old != NULL ? read_definition(new_path, error) : NULL;
    if (fresh == NULL) {
        return NULL;
    }
    GPtrArray *changes = g_ptr_array_new_with_free_func(change_free);
    compare_definitions(changes, old, fresh);
    compare_disks(changes, store, definition, before, after);
    return changes;
}
