#include "config.h"

#include "ops/backup-bitmaps.h"

#include <string.h>

#include "base/base.h"
#include "keeper/chain.h"
#include "qemu/img-bitmap.h"
#include "qemu/storage.h"

#define PREFIX "lodge-"
#define RECORD "backups.conf"

enum {
    RECORD_LIMIT_BYTES = 64 << 10,
    PLACES_AT_MOST = 4,
};

char *
bitmap_name(const char *id, const char *point)
{
    return g_strdup_printf(PREFIX "%s-%s", id, point);
}

static GKeyFile *
read_record(const LodgeStore *store, const char *guest)
{
    GKeyFile *file = g_key_file_new();
    g_autofree char *path = lodge_store_guest_path(store, guest, RECORD);
    g_autofree char *text = lodge_file_read(path, RECORD_LIMIT_BYTES, NULL, NULL);
    if (text != NULL) {
        g_key_file_load_from_data(file, text, (gsize)-1, G_KEY_FILE_KEEP_COMMENTS, NULL);
    }
    return file;
}

/* Places by the time of their newest point. */
static void
forget_oldest(GKeyFile *file)
{
    gsize count = 0;
    g_auto(GStrv) groups = g_key_file_get_groups(file, &count);
    const char *oldest = NULL;
    g_autofree char *oldest_point = NULL;
    for (gsize i = 0; i < count; i++) {
        g_autofree char *point = g_key_file_get_string(file, groups[i], "point", NULL);
        if (oldest == NULL || g_strcmp0(point, oldest_point) < 0) {
            oldest = groups[i];
            g_free(oldest_point);
            oldest_point = g_steal_pointer(&point);
        }
    }
    if (count > PLACES_AT_MOST) {
        g_key_file_remove_group(file, oldest, NULL);
    }
}

static void
set(GKeyFile *file, const char *group, const char *key, const char *value)
{
    if (value != NULL) {
        g_key_file_set_string(file, group, key, value);
    } else {
        g_key_file_remove_key(file, group, key, NULL);
    }
}

gboolean
bitmaps_note(const LodgeStore *store, const char *guest, const char *id, const char *folder,
             const char *point, const char *next, GError **error)
{
    g_autofree char *path = lodge_store_guest_path(store, guest, RECORD);
    g_autoptr(GKeyFile) file = read_record(store, guest);
    g_autofree char *group = g_strconcat("place ", id, NULL);
    if (point == NULL && next == NULL) {
        g_key_file_remove_group(file, group, NULL);
    } else {
        set(file, group, "folder", folder);
        set(file, group, "point", point);
        set(file, group, "next", next);
        forget_oldest(file);
    }
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    return lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error);
}

char *
bitmaps_next(const LodgeStore *store, const char *guest, const char *id)
{
    g_autoptr(GKeyFile) file = read_record(store, guest);
    g_autofree char *group = g_strconcat("place ", id, NULL);
    return g_key_file_get_string(file, group, "next", NULL);
}

char **
bitmaps_noted(const LodgeStore *store, const char *guest)
{
    g_autoptr(GKeyFile) file = read_record(store, guest);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    for (gsize i = 0; groups[i] != NULL; i++) {
        static const char *const keys[] = {"point", "next"};
        for (gsize j = 0; g_str_has_prefix(groups[i], "place ") && j < G_N_ELEMENTS(keys); j++) {
            g_autofree char *point = g_key_file_get_string(file, groups[i], keys[j], NULL);
            if (point != NULL) {
                g_ptr_array_add(names, bitmap_name(groups[i] + strlen("place "), point));
            }
        }
    }
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}

gboolean
bitmaps_continue(const LodgeStore *store, const char *guest, const char *path, GError **error)
{
    g_auto(GStrv) names = bitmaps_noted(store, guest);
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autofree char *name = g_strconcat(names[i], "+", NULL);
        if (!lodge_img_bitmap_add(path, name, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* What a file has of @name, with or without a plus. */
static const LodgeImgBitmap *
find(const GPtrArray *bitmaps, const char *name)
{
    gsize length = strlen(name);
    for (guint i = 0; bitmaps != NULL && i < bitmaps->len; i++) {
        const LodgeImgBitmap *bitmap = bitmaps->pdata[i];
        if (strncmp(bitmap->name, name, length) == 0 &&
            (bitmap->name[length] == '\0' || g_str_equal(bitmap->name + length, "+"))) {
            return bitmap;
        }
    }
    return NULL;
}

static void
storage_bitmap_clear(gpointer data)
{
    g_free(((LodgeStorageBitmap *)data)->name);
}

GArray *
bitmaps_of_chain(const char *path, const char *format, const char *name, char **out_why)
{
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(LodgeStorageBitmap));
    g_array_set_clear_func(found, storage_bitmap_clear);
    g_autoptr(GPtrArray) chain = lodge_disk_chain(path, format, NULL);
    for (guint depth = 0; chain != NULL && depth < chain->len; depth++) {
        const LodgeLayer *layer = chain->pdata[depth];
        const LodgeLayer *top = chain->pdata[0];
        if (!g_str_equal(layer->format, "qcow2")) {
            break;
        }
        if (layer->virtual_size_bytes != top->virtual_size_bytes) {
            *out_why = g_strdup("the disk has another size now");
            return NULL;
        }
        g_autoptr(GPtrArray) bitmaps = lodge_img_bitmaps(layer->path, NULL);
        const LodgeImgBitmap *bitmap = find(bitmaps, name);
        if (bitmap == NULL) {
            break;
        }
        if (bitmap->in_use) {
            *out_why = g_strdup("QEMU was killed since the last backup");
            return NULL;
        }
        LodgeStorageBitmap one = {depth, g_strdup(bitmap->name)};
        g_array_append_val(found, one);
        if (g_str_equal(bitmap->name, name)) {
            return g_steal_pointer(&found);
        }
    }
    *out_why = g_strdup(g_str_equal(format, "raw")
                            ? "a raw disk can't note what changes"
                            : "what changed is not known (QEMU was killed, or it went back to what "
                              "it was before)");
    return NULL;
}

void
bitmaps_hand_on(const LodgeStore *store, const char *guest, const char *from, const char *into)
{
    g_auto(GStrv) names = bitmaps_noted(store, guest);
    g_autoptr(GPtrArray) upper = names[0] != NULL ? lodge_img_bitmaps(from, NULL) : NULL;
    g_autoptr(GPtrArray) lower = upper != NULL && upper->len > 0 ? lodge_img_bitmaps(into, NULL)
                                                                 : NULL;
    for (gsize i = 0; lower != NULL && names[i] != NULL; i++) {
        const LodgeImgBitmap *bitmap = find(upper, names[i]);
        /* With a plus, the lower one's recorded what the merge wrote. */
        if (bitmap != NULL && !bitmap->in_use && g_str_equal(bitmap->name, names[i]) &&
            find(lower, names[i]) == NULL) {
            lodge_img_bitmap_copy(into, names[i], from, NULL);
        }
    }
}

/* The bitmaps of a node as QEMU tells of them. New reference, an array. */
static json_t *
of_node(const Hotplug *hotplug, const char *name)
{
    gsize i = 0;
    const json_t *node = NULL;
    g_autoptr(json_t) nodes = lodge_qmp_ask(hotplug->qmp, hotplug->deadline, NULL,
                                            "query-named-block-nodes", "{s:b}", "flat", 1);
    json_array_foreach (nodes, i, node) {
        if (g_str_equal(lodge_json_string(node, "node-name", ""), name)) {
            json_t *list = json_object_get(node, "dirty-bitmaps");
            return list != NULL ? json_incref(list) : json_array();
        }
    }
    return json_array();
}

static gboolean
has(const json_t *bitmaps, const char *name)
{
    gsize i = 0;
    const json_t *bitmap = NULL;
    json_array_foreach (bitmaps, i, bitmap) {
        if (g_str_equal(lodge_json_string(bitmap, "name", ""), name) &&
            !lodge_json_bool(bitmap, "inconsistent", FALSE)) {
            return TRUE;
        }
    }
    return FALSE;
}

void
bitmaps_hand_on_live(const Hotplug *hotplug, const LodgeStore *store, const char *from,
                     const char *into)
{
    g_auto(GStrv) names = bitmaps_noted(store, hotplug->guest->name);
    if (names[0] == NULL) {
        return;
    }
    g_autoptr(json_t) upper = of_node(hotplug, from);
    g_autoptr(json_t) lower = of_node(hotplug, into);
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autofree char *plus = g_strconcat(names[i], "+", NULL);
        if (!has(upper, names[i]) || has(lower, names[i]) || has(lower, plus)) {
            continue;
        }
        /* Both or none: one that is there and empty would lie. */
        lodge_qmp_run(hotplug->qmp, hotplug->deadline, NULL, "transaction",
                      "{s:[{s:s, s:{s:s, s:s, s:b, s:i}}, {s:s, s:{s:s, s:s, s:[{s:s, s:s}]}}]}",
                      "actions", "type", "block-dirty-bitmap-add", "data", "node", into, "name",
                      names[i], "persistent", 1, "granularity", 65536, "type",
                      "block-dirty-bitmap-merge", "data", "node", into, "target", names[i],
                      "bitmaps", "node", from, "name", names[i]);
    }
}

/* Does a bitmap of Lodge's count no more? */
static gboolean
is_stale(char **noted, const char *name)
{
    gsize length = strlen(name) - (g_str_has_suffix(name, "+") ? 1 : 0);
    for (gsize i = 0; noted[i] != NULL; i++) {
        if (strlen(noted[i]) == length && strncmp(noted[i], name, length) == 0) {
            return FALSE;
        }
    }
    return g_str_has_prefix(name, PREFIX);
}

static void
sweep_live(const Session *session, const LodgeDisk *disk, char **noted)
{
    gsize i = 0;
    const json_t *bitmap = NULL;
    g_autoptr(LodgeQmp) qmp = session_monitor(session, 10000, NULL);
    const Hotplug hotplug = {qmp, session->guest, lodge_deadline_in(10000)};
    int number = qmp != NULL ? hotplug_disk_number(&hotplug, disk->name, NULL) : -1;
    g_autoptr(GPtrArray) nodes = number >= 0 ? hotplug_disk_layers(&hotplug, (guint)number, NULL)
                                             : NULL;
    if (nodes == NULL || nodes->len == 0) {
        return;
    }
    g_autoptr(json_t) bitmaps = of_node(&hotplug, nodes->pdata[0]);
    json_array_foreach (bitmaps, i, bitmap) {
        const char *name = lodge_json_string(bitmap, "name", "");
        if (is_stale(noted, name)) {
            lodge_qmp_run(qmp, hotplug.deadline, NULL, "block-dirty-bitmap-remove", "{s:s, s:s}",
                          "node", (const char *)nodes->pdata[0], "name", name);
        }
    }
}

void
bitmaps_sweep(const Session *session, const LodgeDisk *disk)
{
    g_auto(GStrv) noted = bitmaps_noted(session->store, session->guest->name);
    if (disk->read_only || disk->format != LODGE_FORMAT_QCOW2) {
        return;
    }
    if (session->state->has_qemu) {
        sweep_live(session, disk, noted);
        return;
    }
    g_autofree char *path = lodge_guest_disk_path(session->store, session->guest->name, disk->file);
    g_autoptr(GPtrArray) bitmaps = lodge_img_bitmaps(path, NULL);
    for (guint i = 0; bitmaps != NULL && i < bitmaps->len; i++) {
        const LodgeImgBitmap *bitmap = bitmaps->pdata[i];
        if (is_stale(noted, bitmap->name)) {
            lodge_img_bitmap_remove(path, bitmap->name, NULL);
        }
    }
}
