/* New layers on top of a guest's disks: planned, made, named. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "keeper/chain.h"
#include "ops/backup-bitmaps.h"
#include "ops/given-up.h"
#include "ops/snapshot-private.h"
#include "qemu/img.h"

#define FOLDER "layers"

enum {
    COPY_LIMIT_BYTES = 128 << 20,
};

static void
fresh_free(gpointer data)
{
    FreshLayer *fresh = data;
    g_free(fresh->below);
    g_free(fresh->file);
    g_free(fresh);
}

GPtrArray *
fresh_layers_new(void)
{
    return g_ptr_array_new_with_free_func(fresh_free);
}

void
fresh_layers_add(GPtrArray *all, const LodgeDisk *disk, const char *below, int below_format,
                 const char *file, int file_format)
{
    FreshLayer *fresh = g_new0(FreshLayer, 1);
    fresh->disk = disk;
    fresh->below = g_strdup(below);
    fresh->below_format = below_format;
    fresh->file = g_strdup(file);
    fresh->file_format = file_format;
    g_ptr_array_add(all, fresh);
}

char *
snapshot_layer_name(const LodgeStore *store, const char *guest, const char *disk)
{
    for (guint number = 1;; number++) {
        g_autofree char *file = g_strdup_printf("%s/%s-%u.qcow2", FOLDER, disk, number);
        g_autofree char *path = lodge_store_guest_path(store, guest, file);
        if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
            return g_steal_pointer(&file);
        }
    }
}

char *
snapshot_tpm_name(const LodgeStore *store, const char *guest)
{
    for (guint number = 1;; number++) {
        g_autofree char *folder = g_strdup_printf("tpm-%u", number);
        g_autofree char *path = lodge_store_guest_path(store, guest, folder);
        if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
            return g_steal_pointer(&folder);
        }
    }
}

static gboolean
check_disk(const LodgeDisk *disk, gboolean elsewhere, GError **error)
{
    if (disk->covers != NULL) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "disk %s has still the layer of a backup that was interrupted over "
                               "%s (`lodge check` with the guest's name and --repair)",
                               disk->name, disk->covers);
    }
    if (lodge_disk_is_remote(disk->file) || (!elsewhere && g_path_is_absolute(disk->file))) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "disk %s is %s, outside of the guest's folder, where Lodge keeps no "
                               "layers (detach it, or let it be read-only)",
                               disk->name, disk->file);
    }
    return TRUE;
}

GPtrArray *
fresh_layers_plan(const LodgeStore *store, const LodgeGuest *guest, gboolean elsewhere,
                  GError **error)
{
    g_autoptr(GPtrArray) all = fresh_layers_new();
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        if (disk->read_only) {
            continue;
        }
        if (!check_disk(disk, elsewhere, error)) {
            return NULL;
        }
        g_autofree char *file = snapshot_layer_name(store, guest->name, disk->name);
        fresh_layers_add(all, disk, disk->file, disk->format, file, LODGE_FORMAT_QCOW2);
    }
    return g_steal_pointer(&all);
}

static gboolean
give_up_first(const Session *session, const GPtrArray *fresh, const char *more, GError **error)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new();
    for (guint i = 0; i < fresh->len; i++) {
        g_ptr_array_add(files, ((const FreshLayer *)fresh->pdata[i])->file);
    }
    if (more != NULL) {
        g_ptr_array_add(files, (gpointer)more);
    }
    g_ptr_array_add(files, NULL);
    return given_up_add(session->store, session->guest->name, (const char *const *)files->pdata,
                        error);
}

gboolean
fresh_layers_make(const Session *session, const GPtrArray *fresh, const char *more, GError **error)
{
    const char *guest = session->guest->name;
    g_autofree char *folder = lodge_store_guest_path(session->store, guest, FOLDER);
    if (!give_up_first(session, fresh, more, error) || !lodge_dir_make(folder, 0755, error)) {
        return FALSE;
    }
    lodge_fault("layers-planned");
    for (guint i = 0; i < fresh->len; i++) {
        const FreshLayer *layer = fresh->pdata[i];
        g_autofree char *path = lodge_store_guest_path(session->store, guest, layer->file);
        g_autofree char *below = lodge_guest_disk_path(session->store, guest, layer->below);
        const char *format = layer->below_format == LODGE_FORMAT_RAW ? "raw" : "qcow2";
        if (!lodge_img_create_overlay(path, below, format, 0, error) ||
            !bitmaps_continue(session->store, guest, path, error)) {
            return lodge_error_prefix(error, "disk %s", layer->disk->name);
        }
    }
    lodge_fault("layers-made");
    return TRUE;
}

void
fresh_layers_name(GKeyFile *file, const GPtrArray *fresh, const char *snapshot,
                  const char *variables)
{
    for (guint i = 0; i < fresh->len; i++) {
        const FreshLayer *layer = fresh->pdata[i];
        g_autofree char *group = g_strconcat("disk ", layer->disk->name, NULL);
        if (g_key_file_has_group(file, group)) {
            g_key_file_set_string(file, group, "file", layer->file);
            if (layer->file_format == LODGE_FORMAT_RAW) {
                g_key_file_set_string(file, group, "format", "raw");
            } else {
                g_key_file_remove_key(file, group, "format", NULL); /* qcow2 is the default */
            }
            if (g_path_is_absolute(layer->below) && !g_path_is_absolute(layer->file)) {
                g_key_file_set_string(file, group, "covers", layer->below);
            } else {
                g_key_file_remove_key(file, group, "covers", NULL);
            }
        }
    }
    if (snapshot != NULL) {
        g_key_file_set_string(file, "guest", "snapshot", snapshot);
    } else {
        g_key_file_remove_key(file, "guest", "snapshot", NULL);
    }
    if (variables != NULL) {
        g_key_file_set_string(file, "guest", "variables", variables);
    }
}

gboolean
fresh_layers_store(const Session *session, const GPtrArray *fresh, const char *snapshot,
                   GError **error)
{
    const char *guest = session->guest->name;
    g_autofree char *before = NULL;
    g_autoptr(GKeyFile) file = lodge_store_guest_file(session->store, guest, &before, error);
    g_autoptr(GKeyFile) started = lodge_store_guest_started(session->store, guest);
    if (file == NULL) {
        return FALSE;
    }
    fresh_layers_name(file, fresh, snapshot, NULL);
    g_autofree char *text = lodge_key_file_text(file, before);
    if (!lodge_store_guest_write(session->store, guest, text, error)) {
        return FALSE;
    }
    if (started != NULL) {
        fresh_layers_name(started, fresh, snapshot, NULL);
        g_autofree char *taken = g_key_file_to_data(started, NULL, NULL);
        lodge_store_guest_write_started(session->store, guest, taken, NULL);
    }
    return TRUE;
}

gboolean
snapshot_copy_file(const char *from, const char *to, GError **error)
{
    gsize length = 0;
    g_autofree char *content = lodge_file_read(from, COPY_LIMIT_BYTES, &length, error);
    return content != NULL &&
           lodge_file_write(to, content, length, 0600, LODGE_WRITE_DEFAULT, error);
}
