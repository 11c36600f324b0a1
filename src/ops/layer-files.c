#include "config.h"

#include "ops/layer-files.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/given-up.h"
#include "qemu/disks.h"
#include "qemu/img.h"
#include "store/snapshots.h"

static const char *
format_word(int format)
{
    return format == LODGE_FORMAT_RAW ? "raw" : "qcow2";
}

char *
layer_files_folder(const LodgeStore *store, const char *guest)
{
    g_autofree char *inside = lodge_store_guest_path(store, guest, "x");
    g_autofree char *real = lodge_path_real(inside);
    return g_path_get_dirname(real);
}

const char *
layer_files_relative(const char *folder, const char *path)
{
    gsize length = strlen(folder);
    return strncmp(path, folder, length) == 0 && path[length] == '/' ? path + length + 1 : NULL;
}

const char *
layer_files_name(const char *folder, const char *path)
{
    const char *relative = layer_files_relative(folder, path);
    return relative != NULL ? relative : path;
}

char *
layer_files_path(const char *folder, const char *name)
{
    return g_path_is_absolute(name) ? g_strdup(name) : g_build_filename(folder, name, NULL);
}

typedef struct {
    const LodgeStore *store;
    const char *folder;
    GPtrArray *layers;
} Gathering;

/* Add a layer, on @below, unless it is known. Returns its index. */
static int
add_layer(const Gathering *gathering, const char *disk, const LodgeLayer *layer, int below)
{
    int known = layers_find(gathering->layers, layer->path);
    return known >= 0 ? known
                      : (int)layers_add(gathering->layers, disk, layer->path, layer->format, below);
}

/* Add the layers of the chain that begins at @file, those in the guest's folder, and the one that
 * @covers names (may be NULL). The index of the top one goes to @out_top, -1 if it is elsewhere. */
static gboolean
add_chain(const Gathering *gathering, const LodgeSnapshotDisk *disk, const char *covers,
          int *out_top, GError **error)
{
    g_autofree char *path = g_build_filename(gathering->folder, disk->file, NULL);
    g_autofree char *covered = covers != NULL ? lodge_path_real(covers) : NULL;
    const char *format = format_word(disk->format);
    g_autoptr(GPtrArray) chain = lodge_disk_chain(path, format, error);
    int below = -1;
    for (guint i = chain != NULL ? chain->len : 0; i > 0; i--) {
        const LodgeLayer *layer = chain->pdata[i - 1];
        if (lodge_layer_is_text(layer)) {
            return lodge_error_set(error, LODGE_ERROR_INVALID, "%s stands on %s, which is no disk",
                                   path, layer->path);
        }
        if (g_strcmp0(covered, layer->path) == 0) {
            below = add_layer(gathering, disk->name, layer, -1);
            Layer *elsewhere = gathering->layers->pdata[below];
            elsewhere->elsewhere = elsewhere->given_up = TRUE;
        } else {
            below = layer_files_relative(gathering->folder, layer->path) != NULL
                        ? add_layer(gathering, disk->name, layer, below)
                        : -1;
        }
    }
    *out_top = below;
    return chain != NULL;
}

static gboolean
add_named(const Gathering *gathering, const LodgeSnapshotDisk *disk, const char *covers,
          GError **error)
{
    int top = -1;
    if (g_path_is_absolute(disk->file) || lodge_disk_is_remote(disk->file)) {
        return TRUE;
    }
    if (!add_chain(gathering, disk, covers, &top, error)) {
        return lodge_error_prefix(error, "disk %s", disk->name);
    }
    if (top >= 0) {
        ((Layer *)gathering->layers->pdata[top])->named = TRUE;
    }
    return TRUE;
}

static gboolean
add_snapshots(const Gathering *gathering, const char *guest, GError **error)
{
    g_autoptr(GPtrArray) all = lodge_store_all_snapshots(gathering->store, guest, error);
    for (guint i = 0; all != NULL && i < all->len; i++) {
        const LodgeSnapshot *snapshot = all->pdata[i];
        for (guint j = 0; j < snapshot->disks->len; j++) {
            const LodgeSnapshotDisk *disk = snapshot->disks->pdata[j];
            if (!add_named(gathering, disk, NULL, error)) {
                return lodge_error_prefix(error, "snapshot %s", snapshot->name);
            }
        }
    }
    return all != NULL;
}

/* One that is in no chain has nothing above it that matters: what stands on it was given up too. */
static void
add_given_up(const Gathering *gathering, const char *file)
{
    g_autofree char *path = g_build_filename(gathering->folder, file, NULL);
    int known = layers_find(gathering->layers, path);
    if (known < 0 && g_file_test(path, G_FILE_TEST_EXISTS)) {
        known = (int)layers_add(gathering->layers, "", path, "qcow2", -1);
    }
    if (known >= 0) {
        ((Layer *)gathering->layers->pdata[known])->given_up = TRUE;
    }
}

/* What the definition names besides disks. */
static void
add_other(const Gathering *gathering, const char *file)
{
    g_autofree char *path = g_build_filename(gathering->folder, file, NULL);
    if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        guint index = layers_add(gathering->layers, "", path, "qcow2", -1);
        ((Layer *)gathering->layers->pdata[index])->named = TRUE;
    }
}

/* Note which of our layers another guest's chain contains. */
static void
note_chain(const Gathering *gathering, const char *other, const char *file, int format)
{
    g_autofree char *path = g_path_is_absolute(file)
                                ? g_strdup(file)
                                : lodge_store_guest_path(gathering->store, other, file);
    g_autoptr(GPtrArray) chain = lodge_disk_is_remote(file)
                                     ? NULL
                                     : lodge_disk_chain(path, format_word(format), NULL);
    for (guint i = 0; chain != NULL && i < chain->len; i++) {
        int index = layers_find(gathering->layers, ((const LodgeLayer *)chain->pdata[i])->path);
        if (index >= 0) {
            Layer *layer = gathering->layers->pdata[index];
            g_free(layer->outside);
            layer->outside = g_strdup(other);
        }
    }
}

static void
note_guest(const Gathering *gathering, const char *other)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(gathering->store, other, NULL);
    g_autoptr(GPtrArray) all = lodge_store_all_snapshots(gathering->store, other, NULL);
    for (guint i = 0; guest != NULL && i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        note_chain(gathering, other, disk->file, disk->format);
    }
    for (guint i = 0; all != NULL && i < all->len; i++) {
        const LodgeSnapshot *snapshot = all->pdata[i];
        for (guint j = 0; j < snapshot->disks->len; j++) {
            const LodgeSnapshotDisk *disk = snapshot->disks->pdata[j];
            note_chain(gathering, other, disk->file, disk->format);
        }
    }
}

GPtrArray *
layer_files_gather(const LodgeStore *store, const char *guest, GError **error)
{
    g_autoptr(LodgeGuest) definition = lodge_store_guest(store, guest, error);
    g_autoptr(GPtrArray) layers = layers_new();
    g_autofree char *folder = layer_files_folder(store, guest);
    const Gathering gathering = {store, folder, layers};
    for (guint i = 0; definition != NULL && i < definition->disks->len; i++) {
        const LodgeDisk *disk = definition->disks->pdata[i];
        const LodgeSnapshotDisk named = {disk->name, disk->file, disk->format};
        if (!add_named(&gathering, &named, disk->covers, error)) {
            return NULL;
        }
    }
    if (definition != NULL) {
        add_other(&gathering, definition->variables);
        add_other(&gathering, definition->tpm_state);
    }
    g_auto(GStrv) given_up = definition != NULL ? given_up_read(store, guest, error) : NULL;
    if (given_up == NULL || !add_snapshots(&gathering, guest, error)) {
        return NULL;
    }
    for (gsize i = 0; given_up[i] != NULL; i++) {
        add_given_up(&gathering, given_up[i]);
    }
    g_auto(GStrv) others = lodge_store_guests(store, error);
    for (gsize i = 0; others != NULL && others[i] != NULL; i++) {
        if (!g_str_equal(others[i], guest)) {
            note_guest(&gathering, others[i]);
        }
    }
    return others != NULL ? g_steal_pointer(&layers) : NULL;
}

static gboolean
repoint_snapshots(const Session *session, const char *from, const char *into, int format,
                  GError **error)
{
    const char *guest = session->guest->name;
    g_autoptr(GPtrArray) all = lodge_store_all_snapshots(session->store, guest, error);
    for (guint i = 0; all != NULL && i < all->len; i++) {
        const LodgeSnapshot *snapshot = all->pdata[i];
        gboolean changed = FALSE;
        for (guint j = 0; j < snapshot->disks->len; j++) {
            LodgeSnapshotDisk *disk = snapshot->disks->pdata[j];
            if (g_str_equal(disk->file, from)) {
                g_free(disk->file);
                disk->file = g_strdup(into);
                disk->format = format;
                changed = TRUE;
            }
        }
        if (changed &&
            !lodge_store_snapshot_write(session->store, guest, snapshot->name, snapshot, error)) {
            return FALSE;
        }
    }
    return all != NULL;
}

/* In a definition's text; FALSE if nothing in it names @from. */
static gboolean
repoint_groups(GKeyFile *file, const char *from, const char *into, int format)
{
    gboolean changed = FALSE;
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    for (gsize i = 0; groups[i] != NULL; i++) {
        g_autofree char *name = g_str_has_prefix(groups[i], "disk ")
                                    ? g_key_file_get_string(file, groups[i], "file", NULL)
                                    : NULL;
        if (g_strcmp0(name, from) == 0) {
            /* One elsewhere is called as its owner called it. */
            g_autofree char *covers = g_key_file_get_string(file, groups[i], "covers", NULL);
            gboolean elsewhere = g_path_is_absolute(into) && covers != NULL;
            g_key_file_set_string(file, groups[i], "file", elsewhere ? covers : into);
            if (elsewhere) {
                g_key_file_remove_key(file, groups[i], "covers", NULL);
            }
            if (format == LODGE_FORMAT_RAW) {
                g_key_file_set_string(file, groups[i], "format", "raw");
            } else {
                g_key_file_remove_key(file, groups[i], "format", NULL);
            }
            changed = TRUE;
        }
    }
    return changed;
}

static gboolean
repoint_definition(const Session *session, const char *from, const char *into, int format,
                   GError **error)
{
    const char *guest = session->guest->name;
    g_autoptr(GKeyFile) file = lodge_store_guest_file(session->store, guest, NULL, error);
    g_autoptr(GKeyFile) started = lodge_store_guest_started(session->store, guest);
    if (file == NULL) {
        return FALSE;
    }
    if (started != NULL && repoint_groups(started, from, into, format)) {
        g_autofree char *text = g_key_file_to_data(started, NULL, NULL);
        lodge_store_guest_write_started(session->store, guest, text, NULL);
    }
    if (!repoint_groups(file, from, into, format)) {
        return TRUE;
    }
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    return lodge_store_guest_write(session->store, guest, text, error);
}

gboolean
layer_files_repoint(const Session *session, const Layer *from, const Layer *into, GError **error)
{
    const char *guest = session->guest->name;
    g_autofree char *folder = layer_files_folder(session->store, guest);
    g_autoptr(GPtrArray) layers = layer_files_gather(session->store, guest, error);
    const char *old = layer_files_name(folder, from->file);
    const char *fresh = layer_files_name(folder, into->file);
    int format = g_str_equal(into->format, "raw") ? LODGE_FORMAT_RAW : LODGE_FORMAT_QCOW2;
    int index = layers != NULL ? layers_find(layers, from->file) : -1;
    for (guint i = 0; index >= 0 && i < layers->len; i++) {
        const Layer *above = layers->pdata[i];
        if (above->below == index &&
            !lodge_img_rebase(above->file, into->file, into->format, error)) {
            return FALSE;
        }
    }
    return layers != NULL && repoint_snapshots(session, old, fresh, format, error) &&
           repoint_definition(session, old, fresh, format, error) &&
           (unlink(from->file) == 0 || errno == ENOENT ||
            lodge_error_errno(error, errno, "%s", from->file));
}
