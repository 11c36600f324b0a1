/* Looking at disks: reads headers and file sizes, asks no QEMU, so it can't wait. */
#include "config.h"

#include <sys/stat.h>

#include "base/base.h"
#include "ops/disk.h"
#include "qemu/disks.h"
#include "qemu/img.h"

char *
lodge_disk_path(const LodgeStore *store, const char *guest, const char *file)
{
    return g_path_is_absolute(file) || lodge_disk_is_remote(file)
               ? g_strdup(file)
               : lodge_store_guest_path(store, guest, file);
}

void
lodge_disk_view_free(LodgeDiskView *view)
{
    if (view != NULL) {
        g_free(view->guest);
        g_free(view->name);
        g_free(view->file);
        g_free(view->format);
        g_free(view->bus);
        g_free(view->problem);
        g_ptr_array_unref(view->chain);
        g_free(view);
    }
}

static LodgeDiskView *
look(const LodgeStore *store, const LodgeGuest *guest, const LodgeDisk *disk)
{
    struct stat info;
    g_autoptr(GError) problem = NULL;
    LodgeDiskView *view = g_new0(LodgeDiskView, 1);
    view->guest = g_strdup(guest->name);
    view->name = g_strdup(disk->name);
    view->file = lodge_disk_path(store, guest->name, disk->file);
    view->format = g_strdup(disk->format == LODGE_FORMAT_RAW ? "raw" : "qcow2");
    view->bus = g_strdup(lodge_bus_word(lodge_drive_bus(guest, disk->bus, FALSE)));
    view->chain = g_ptr_array_new_with_free_func(g_free);
    view->is_read_only = disk->read_only;
    if (!lodge_disk_is_remote(view->file) && stat(view->file, &info) == 0) {
        view->allocated_bytes = (guint64)info.st_blocks * 512;
    }
    g_autoptr(GPtrArray) chain = lodge_disk_chain(view->file, view->format, &problem);
    for (guint i = 0; chain != NULL && i < chain->len; i++) {
        const LodgeLayer *layer = chain->pdata[i];
        g_ptr_array_add(view->chain, g_strdup(layer->path));
        if (i == 0) {
            view->size_bytes = layer->virtual_size_bytes;
        }
    }
    view->problem = problem != NULL ? g_strdup(problem->message) : NULL;
    return view;
}

/* A definition that can't be read hides its own disks only. */
static void
add_disks_of(GPtrArray *views, const LodgeStore *store, const char *name)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, name, NULL);
    for (guint i = 0; guest != NULL && i < guest->disks->len; i++) {
        g_ptr_array_add(views, look(store, guest, guest->disks->pdata[i]));
    }
}

GPtrArray *
lodge_disks(const LodgeStore *store, const char *guest, GError **error)
{
    g_autoptr(GPtrArray)
        views = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_disk_view_free);
    if (guest != NULL) {
        g_autoptr(LodgeGuest) definition = lodge_store_guest(store, guest, error);
        if (definition == NULL) {
            return NULL;
        }
        add_disks_of(views, store, guest);
        return g_steal_pointer(&views);
    }
    g_auto(GStrv) names = lodge_store_guests(store, error);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        add_disks_of(views, store, names[i]);
    }
    return names != NULL ? g_steal_pointer(&views) : NULL;
}

LodgeDiskView *
lodge_disk_find(const LodgeStore *store, const char *guest, const char *name, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autoptr(LodgeGuest) definition = lodge_store_guest(store, guest, error);
    if (definition == NULL) {
        return NULL;
    }
    for (guint i = 0; i < definition->disks->len; i++) {
        const LodgeDisk *disk = definition->disks->pdata[i];
        if (g_str_equal(disk->name, name)) {
            return look(store, definition, disk);
        }
        g_ptr_array_add(names, disk->name);
    }
    g_ptr_array_add(names, NULL);
    g_autofree char *hint = lodge_text_suggestion(name, (const char *const *)names->pdata);
    lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                    "guest %s has no disk “%s”%s (`lodge disk list %s` shows them)", guest, name,
                    hint, guest);
    return NULL;
}

gboolean
lodge_disk_check(const LodgeStore *store, const char *guest, const char *name,
                 LodgeProgress *progress, GError **error)
{
    g_autoptr(LodgeDiskView) only = name != NULL ? lodge_disk_find(store, guest, name, error)
                                                 : NULL;
    g_autoptr(Session) session = name == NULL || only != NULL
                                     ? session_begin(store, guest, "disk check", error)
                                     : NULL;
    if (session == NULL) {
        return FALSE;
    }
    if (session->state->has_qemu) {
        session_refuse_state(session, error);
        return lodge_error_prefix(error, "a disk in use can't be checked");
    }
    g_autoptr(GPtrArray) views = lodge_disks(store, guest, error);
    for (guint i = 0; views != NULL && i < views->len; i++) {
        const LodgeDiskView *view = views->pdata[i];
        if ((name != NULL && !g_str_equal(view->name, name)) || lodge_disk_is_remote(view->file)) {
            continue;
        }
        lodge_progress_stage(progress, "disk %s is checked", view->name);
        if (view->problem != NULL) {
            return lodge_error_set(error, LODGE_ERROR_INVALID, "guest %s: disk %s: %s", guest,
                                   view->name, view->problem);
        }
        if (!lodge_img_check(view->file, view->format, error)) {
            return lodge_error_prefix(error, "guest %s: disk %s", guest, view->name);
        }
    }
    return views != NULL;
}
