#include "config.h"

#include "ops/backup-copy.h"

#include "base/base.h"
#include "keeper/chain.h"
#include "ops/backup-bitmaps.h"
#include "ops/backup-files.h"
#include "qemu/img.h"
#include "qemu/qcow2.h"
#include "qemu/storage.h"

static void
source_free(gpointer data)
{
    BackupSource *source = data;
    g_clear_pointer(&source->changes, g_array_unref);
    g_ptr_array_unref(source->chain);
    g_free(source->below);
    g_free(source);
}

GPtrArray *
backup_sources_new(void)
{
    return g_ptr_array_new_with_free_func(source_free);
}

gboolean
backup_sources_add(GPtrArray *sources, const LodgeStore *store, const LodgeGuest *guest,
                   const LodgeDisk *disk, const char *file, int format, GError **error)
{
    GPtrArray *chain = lodge_guest_chain(store, guest, file, format, error);
    if (chain == NULL) {
        return lodge_error_prefix(error, "disk %s", disk->name);
    }
    BackupSource *source = g_new0(BackupSource, 1);
    source->disk = disk;
    source->chain = chain;
    source->format = format == LODGE_FORMAT_RAW ? "raw" : "qcow2";
    source->path = ((const LodgeLayer *)chain->pdata[0])->path;
    g_ptr_array_add(sources, source);
    return TRUE;
}

/* What to copy of it. Returns why all of it; NULL: only what changed. */
static char *
compare(BackupSource *source, const BackupPlace *place, const LodgePoint *newest)
{
    char *why = NULL;
    g_autoptr(GError) problem = NULL;
    if (lodge_point_disk(newest, source->disk->name) == NULL) {
        return g_strdup("the disk was not there before");
    }
    g_autofree char *below = backup_place_disk(place, newest, source->disk->name, &problem);
    if (below == NULL) {
        return g_strdup_printf("the last point can't be read: %s", problem->message);
    }
    g_autofree char *name = bitmap_name(place->id, newest->name);
    source->changes = bitmaps_of_chain(source->path, source->format, name, &why);
    if (source->changes != NULL) {
        source->below = g_steal_pointer(&below);
    }
    return why;
}

void
backup_sources_compare(GPtrArray *sources, const BackupPlace *place, gboolean full,
                       LodgePoint *point)
{
    const LodgePoint *newest = backup_place_newest(place);
    for (guint i = 0; i < sources->len; i++) {
        BackupSource *source = sources->pdata[i];
        char *why = full || newest == NULL ? NULL : compare(source, place, newest);
        LodgePointDisk *entry = lodge_point_add_disk(point, source->disk->name);
        entry->file = g_strconcat(source->disk->name, ".qcow2", NULL);
        entry->full = source->changes == NULL;
        entry->why = why;
        source->entry = entry;
    }
    if (newest != NULL && !lodge_point_is_full(point)) {
        point->parent = g_strdup(newest->name);
    }
}

static gboolean
open_source(LodgeStorage *storage, const BackupSource *source, const char *target,
            const char *nodes[2], GError **error)
{
    source->entry->size_bytes = ((const LodgeLayer *)source->chain->pdata[0])->virtual_size_bytes;
    if (!lodge_img_create_compressed(target, source->below, source->entry->size_bytes, error)) {
        return FALSE;
    }
    g_autoptr(GPtrArray) chain = lodge_disk_chain(target, "qcow2", error);
    return chain != NULL && lodge_storage_open(storage, nodes[0], source->chain, FALSE, error) &&
           lodge_storage_open(storage, nodes[1], chain, TRUE, error);
}

static gboolean
copy_all(LodgeStorage *storage, const GPtrArray *sources, char *const *targets,
         LodgeProgress *progress, guint64 *out_bytes, GError **error)
{
    g_autofree LodgeStorageCopy *copies = g_new0(LodgeStorageCopy, sources->len + 1);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < sources->len; i++) {
        const BackupSource *source = sources->pdata[i];
        const char *nodes[2] = {g_strdup_printf("from%u", i), g_strdup_printf("to%u", i)};
        g_ptr_array_add(names, (gpointer)nodes[0]);
        g_ptr_array_add(names, (gpointer)nodes[1]);
        copies[i] = (LodgeStorageCopy){nodes[0], nodes[1], source->changes};
        if (!open_source(storage, source, targets[i], nodes, error)) {
            return lodge_error_prefix(error, "disk %s", source->disk->name);
        }
    }
    lodge_fault("backup-opened");
    return lodge_storage_copy(storage, copies, sources->len, progress, out_bytes, error) &&
           lodge_storage_end(storage, error);
}

gboolean
backup_sources_copy(const GPtrArray *sources, const BackupPlace *place, const LodgePoint *point,
                    LodgeProgress *progress, guint64 *out_bytes, GError **error)
{
    g_autoptr(GPtrArray) targets = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(LodgeStorage) storage = lodge_storage_start(error);
    for (guint i = 0; i < sources->len; i++) {
        const BackupSource *source = sources->pdata[i];
        g_ptr_array_add(targets, backup_place_staged(place, point->name, source->entry->file));
    }
    lodge_progress_stage(progress, "what changed is copied");
    if (storage == NULL ||
        !copy_all(storage, sources, (char *const *)targets->pdata, progress, out_bytes, error)) {
        return FALSE;
    }
    lodge_fault("backup-copied");
    lodge_progress_stage(progress, "it is read back");
    for (guint i = 0; i < sources->len; i++) {
        const BackupSource *source = sources->pdata[i];
        lodge_progress_part(progress, (double)i / sources->len, source->disk->name);
        if (!backup_file_note(targets->pdata[i], source->entry, error)) {
            return lodge_error_prefix(error, "disk %s", source->disk->name);
        }
    }
    return TRUE;
}
