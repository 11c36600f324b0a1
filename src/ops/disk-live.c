/* What changes of a disk that stays: its size and its limits. */
#include "config.h"

#include "base/base.h"
#include "ops/disk.h"
#include "ops/edit.h"
#include "ops/grow.h"
#include "ops/hotplug.h"
#include "qemu/img.h"

enum {
    MONITOR_TIMEOUT_MS = 10000,
};

/* "20G" or "+5G", which must be more than it has. */
static gboolean
parse_growth(const char *text, guint64 present_bytes, guint64 *out_bytes, GError **error)
{
    guint64 bytes = 0;
    gboolean is_more = *text == '+';
    if (!lodge_size_parse(text + (is_more ? 1 : 0), &bytes, error)) {
        return FALSE;
    }
    *out_bytes = is_more ? present_bytes + bytes : bytes;
    /* QEMU counts in sectors. */
    *out_bytes = (*out_bytes + 511) / 512 * 512;
    if (*out_bytes < present_bytes) {
        g_autofree char *present = lodge_size_human(present_bytes);
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "it has %s already, and disks only grow: less would cut off what is "
                               "there",
                               present);
    }
    return TRUE;
}

static gboolean
resize(const Session *session, const LodgeDiskView *view, guint64 size_bytes, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (lodge_disk_is_remote(view->file) || g_str_has_prefix(view->file, "/dev/")) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s grows by its own tools (`lvextend`, `rbd resize`), and the "
                               "guest sees it from its next start",
                               view->file);
    }
    if (session->state->has_qemu) {
        g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
        if (qmp == NULL) {
            return FALSE;
        }
        if (grow_disk(session, qmp, view->name, size_bytes, &problem)) {
            return TRUE;
        }
        if (problem != NULL) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
    }
    return lodge_img_resize(view->file, view->format, size_bytes, error);
}

/* The root file system, if the guest is such that it does. */
static gboolean
grow_with_disk(const Session *session, LodgeDiskGrowth *growth, GError **error)
{
    const LodgeGuestState *state = session->state;
    if (state->state != LODGE_STATE_RUNNING || state->inside == NULL ||
        grow_root(session, &growth->file_system, error)) {
        return TRUE;
    }
    return lodge_error_prefix(error,
                              "guest %s: disk root has grown, its file system has not (the next "
                              "start tries again)",
                              session->guest->name);
}

gboolean
lodge_disk_resize(const LodgeStore *store, const char *guest, const char *name, const char *size,
                  LodgeDiskGrowth *out_growth, GError **error)
{
    guint64 size_bytes = 0;
    *out_growth = (LodgeDiskGrowth){0};
    g_autoptr(Session) session = session_begin(store, guest, "disk resize", error);
    g_autoptr(LodgeDiskView) view = session != NULL ? lodge_disk_find(store, guest, name, error)
                                                    : NULL;
    if (view == NULL) {
        return FALSE;
    }
    if (view->problem != NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s", view->problem);
        return lodge_error_prefix(error, "guest %s: disk %s", guest, name);
    }
    if (!parse_growth(size, view->size_bytes, &size_bytes, error) ||
        !resize(session, view, size_bytes, error)) {
        return lodge_error_prefix(error, "guest %s: disk %s", guest, name);
    }
    g_autofree char *group = g_strconcat("disk ", name, NULL);
    g_autofree char *written = lodge_size_format(size_bytes);
    const char *const pairs[] = {"size", written, NULL};
    edit_section(session, EDIT_STARTED, group, pairs, NULL);
    out_growth->size_bytes = size_bytes;
    return edit_section(session, EDIT_DEFINITION, group, pairs, error) &&
           (!g_str_equal(name, "root") || grow_with_disk(session, out_growth, error));
}

gboolean
disk_set_limits(LodgeQmp *qmp, const LodgeDisk *disk, gint64 deadline, GError **error)
{
    g_autofree char *path = g_strconcat("/objects/limit-", disk->name, NULL);
    return lodge_qmp_run(qmp, deadline, error, "qom-set", "{s:s, s:s, s:o}", "path", path,
                         "property", "limits", "value", lodge_disk_limits(disk)) ||
           lodge_error_prefix(error, "disk %s", disk->name);
}
