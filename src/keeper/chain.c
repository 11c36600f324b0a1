#include "config.h"

#include "keeper/chain.h"

#include <string.h>

#include "base/base.h"
#include "qemu/disks.h"
#include "qemu/qcow2.h"

/* The folder of the guest whose file @path is, if @file, "web1/root.qcow2", names it; else NULL. */
static char *
folder_of(const LodgeStore *store, const char *file, const char *path)
{
    const char *slash = strchr(file, '/');
    g_autofree char *name = slash != NULL ? g_strndup(file, (gsize)(slash - file)) : NULL;
    if (name == NULL || !lodge_name_check("guest", name, NULL)) {
        return NULL;
    }
    g_autofree char *whole = lodge_store_guest_path(store, name, slash + 1);
    g_autofree char *real = lodge_path_real(whole);
    return g_strcmp0(real, path) == 0 ? lodge_store_guest_path(store, name, NULL) : NULL;
}

static char *
find_folder(const LodgeStore *store, char **files, const char *path)
{
    char *folder = NULL;
    for (gsize i = 0; folder == NULL && files[i] != NULL; i++) {
        folder = folder_of(store, files[i], path);
    }
    return folder;
}

/* Does @path lie below a layer of Lodge's only as long as the guest is backed up? */
static gboolean
is_covered(const LodgeGuest *guest, const char *path)
{
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        g_autofree char *real = disk->covers != NULL ? lodge_path_real(disk->covers) : NULL;
        if (g_strcmp0(real, path) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
check(const LodgeStore *store, const LodgeGuest *guest, const GPtrArray *chain, GError **error)
{
    g_autofree char *images = g_build_filename(store->root, "images", NULL);
    g_autofree char *owner = lodge_store_guest_path(store, guest->name, NULL);
    g_autoptr(GPtrArray) part = g_ptr_array_new();
    g_auto(GStrv) files = g_strsplit(guest->forked_from != NULL ? guest->forked_from : "", " ", -1);
    for (guint i = 0; i < chain->len; i++) {
        LodgeLayer *layer = chain->pdata[i];
        g_autofree char *next = i > 0 ? find_folder(store, files, layer->path) : NULL;
        if (next != NULL || (i > 0 && is_covered(guest, layer->path))) {
            if (!lodge_disk_chain_check(part, owner, images, error)) {
                return FALSE;
            }
            g_ptr_array_set_size(part, 0);
            g_free(owner);
            owner = g_steal_pointer(&next);
        }
        g_ptr_array_add(part, layer);
    }
    return lodge_disk_chain_check(part, owner, images, error);
}

static gboolean
is_disk_of(const LodgeGuest *guest, const char *path)
{
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        /* What a backup covers is written again when it ends. */
        const char *file = disk->covers != NULL ? disk->covers : disk->file;
        g_autofree char *real = g_path_is_absolute(file) && !disk->read_only ? lodge_path_real(file)
                                                                             : NULL;
        if (g_strcmp0(real, path) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Beside a disk outside of the store may be those of other guests, which are none of its business.
 * Only then all definitions are looked at. */
static gboolean
check_others(const LodgeStore *store, const LodgeGuest *guest, const GPtrArray *chain,
             GError **error)
{
    g_autofree char *inside = g_build_filename(store->root, "x", NULL);
    g_autofree char *real = lodge_path_real(inside);
    gsize length = strlen(real) - 1;
    g_auto(GStrv) names = NULL;
    for (guint i = 1; i < chain->len; i++) {
        const LodgeLayer *layer = chain->pdata[i];
        if (strncmp(layer->path, real, length) == 0) {
            continue;
        }
        names = names != NULL ? names : lodge_store_guests(store, error);
        for (gsize n = 0; names != NULL && names[n] != NULL; n++) {
            g_autoptr(LodgeGuest) other = lodge_store_guest(store, names[n], NULL);
            if (other != NULL && !g_str_equal(names[n], guest->name) &&
                is_disk_of(other, layer->path)) {
                return lodge_error_set(error, LODGE_ERROR_INVALID,
                                       "it stands on %s, a disk that guest %s writes to",
                                       layer->path, names[n]);
            }
        }
    }
    return TRUE;
}

char *
lodge_guest_disk_path(const LodgeStore *store, const char *guest, const char *file)
{
    return g_path_is_absolute(file) || lodge_disk_is_remote(file)
               ? g_strdup(file)
               : lodge_store_guest_path(store, guest, file);
}

GPtrArray *
lodge_guest_chain(const LodgeStore *store, const LodgeGuest *guest, const char *file, int format,
                  GError **error)
{
    g_autofree char *path = lodge_guest_disk_path(store, guest->name, file);
    g_autoptr(GPtrArray)
        chain = lodge_disk_chain(path, format == LODGE_FORMAT_RAW ? "raw" : "qcow2", error);
    return chain != NULL && check(store, guest, chain, error) &&
                   check_others(store, guest, chain, error)
               ? g_steal_pointer(&chain)
               : NULL;
}
