/* Theory of operation: a drive's tray.
 *
 * Changing the disc opens the tray (a guest that has locked it is asked, then given some seconds),
 * takes the old disc out with its node and descriptor, opens the new one here, passes it, inserts
 * it and closes the tray. The definition is changed first; when the tray stays shut it is put back
 * as it was. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "ops/disk.h"
#include "ops/edit.h"
#include "ops/hotplug.h"

enum {
    MONITOR_TIMEOUT_MS = 10000,
    TRAY_TIMEOUT_MS = 4000,
};

#define NO_DRIVE "it gets a drive only then (--bus scsi gives it one at once)"

static const LodgeCdrom *
find_drive(const LodgeGuest *guest, const char *name)
{
    for (guint i = 0; i < guest->cdroms->len; i++) {
        const LodgeCdrom *cdrom = guest->cdroms->pdata[i];
        if (name == NULL || g_str_equal(cdrom->name, name)) {
            return cdrom;
        }
    }
    return NULL;
}

static gboolean
is_opening(const json_t *event, gpointer id)
{
    const json_t *data = lodge_qmp_event_data(event);
    return g_strcmp0(lodge_json_string(data, "id", NULL), id) == 0 &&
           lodge_json_bool(data, "tray-open", FALSE);
}

/* What query-block says of the drive @id. New reference; NULL without error: there is none. */
static json_t *
query_drive(const Hotplug *hotplug, const char *id, GError **error)
{
    gsize i = 0;
    const json_t *entry = NULL;
    g_autofree char *path = g_strconcat("/machine/peripheral/", id, NULL);
    g_autoptr(json_t)
        blocks = lodge_qmp_ask(hotplug->qmp, hotplug->deadline, error, "query-block", NULL);
    json_array_foreach (blocks, i, entry) {
        const char *qdev = lodge_json_string(entry, "qdev", "");
        if (g_str_equal(qdev, path) || g_str_equal(qdev, id)) {
            return json_incref((json_t *)entry);
        }
    }
    return NULL;
}

static gboolean
open_tray(const Hotplug *hotplug, const char *id, gboolean force, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (!lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "blockdev-open-tray", "{s:s, s:b}",
                       "id", id, "force", force)) {
        return FALSE;
    }
    g_autoptr(json_t) drive = query_drive(hotplug, id, error);
    if (drive == NULL || lodge_json_bool(drive, "tray_open", FALSE)) {
        return drive != NULL;
    }
    /* The guest has locked it. QEMU has pressed the button; now the guest decides. */
    gint64 deadline = MIN(hotplug->deadline, lodge_deadline_in(TRAY_TIMEOUT_MS));
    g_autoptr(json_t) event = lodge_qmp_wait_event(hotplug->qmp, "DEVICE_TRAY_MOVED", is_opening,
                                                   (gpointer)id, deadline, &problem);
    if (event != NULL) {
        return TRUE;
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "the guest keeps its tray locked (unmount the disc there, or say "
                               "--force)");
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

static gboolean
take_out(const Hotplug *hotplug, const char *id, const char *node, GError **error)
{
    if (!lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "blockdev-remove-medium", "{s:s}",
                       "id", id)) {
        return FALSE;
    }
    /* A disc that Lodge put in is node cN; what is behind another name is not ours to remove. */
    return *node != 'c' ||
           hotplug_drop_nodes(hotplug, 'c', (guint)g_ascii_strtoull(node + 1, NULL, 10), error);
}

static char *
load_disc(const Hotplug *hotplug, const char *file, GError **error)
{
    int number = hotplug_free_number(hotplug, 'c', error);
    if (number < 0) {
        return NULL;
    }
    g_autofree char *name = g_strdup_printf("c%d", number);
    g_autofree char *path = hotplug_pass(hotplug, file, FALSE, error);
    if (path == NULL || !hotplug_add_node(hotplug, lodge_disc_node(name, path), error)) {
        return NULL;
    }
    return g_steal_pointer(&name);
}

static gboolean
put_in(const Hotplug *hotplug, const char *id, const char *file, GError **error)
{
    g_autofree char *node = load_disc(hotplug, file, error);
    if (node == NULL) {
        return FALSE;
    }
    if (lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "blockdev-insert-medium",
                      "{s:s, s:s}", "id", id, "node-name", node)) {
        return TRUE;
    }
    hotplug_drop_nodes(hotplug, 'c', (guint)g_ascii_strtoull(node + 1, NULL, 10), NULL);
    return FALSE;
}

static gboolean
exchange(const Hotplug *hotplug, const char *id, const char *old_node, const char *file,
         gboolean force, GError **error)
{
    if (!open_tray(hotplug, id, force, error) ||
        (old_node != NULL && !take_out(hotplug, id, old_node, error))) {
        return FALSE;
    }
    /* The tray is closed even if the disc could not be put in: it was asked to be empty at least.
     */
    gboolean fine = file == NULL || put_in(hotplug, id, file, error);
    return lodge_qmp_run(hotplug->qmp, hotplug->deadline, fine ? error : NULL,
                         "blockdev-close-tray", "{s:s}", "id", id) &&
           fine;
}

/* A running guest gets a drive of its own on a bus that can take one. */
static gboolean
add_drive(const Hotplug *hotplug, const LodgeCdrom *cdrom, GError **error)
{
    LodgeBus bus = lodge_drive_bus(hotplug->guest, cdrom->bus, TRUE);
    g_autofree char *place_name = hotplug_find_place(hotplug, bus, error);
    g_autofree char *node = place_name != NULL && cdrom->file != NULL
                                ? load_disc(hotplug, cdrom->file, error)
                                : NULL;
    if (place_name == NULL || (node == NULL && cdrom->file != NULL)) {
        return FALSE;
    }
    const LodgeDrivePlace place = {.bus = place_name, .unit = -1};
    if (hotplug_add_device(hotplug, lodge_cdrom_device(hotplug->guest, cdrom, node, &place),
                           error)) {
        return TRUE;
    }
    if (node != NULL) {
        hotplug_drop_nodes(hotplug, 'c', (guint)g_ascii_strtoull(node + 1, NULL, 10), NULL);
    }
    return FALSE;
}

static gboolean
apply(const Session *session, const char *name, gboolean force, LodgeDiskResult *result,
      GError **error)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(session->store, session->guest->name, error);
    const LodgeCdrom *cdrom = guest != NULL ? find_drive(guest, name) : NULL;
    result->outcome = LODGE_PLUG_STORED;
    if (cdrom == NULL || !session->state->has_qemu) {
        return cdrom != NULL;
    }
    g_autoptr(GError) problem = NULL;
    g_autofree char *id = g_strconcat("cdrom-", cdrom->name, NULL);
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    if (qmp == NULL) {
        return FALSE;
    }
    const Hotplug hotplug = {qmp, guest, lodge_deadline_in(MONITOR_TIMEOUT_MS)};
    g_autoptr(json_t) drive = query_drive(&hotplug, id, &problem);
    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    result->outcome = LODGE_PLUG_LIVE;
    if (drive != NULL) {
        const char *node = lodge_json_string(json_object_get(drive, "inserted"), "node-name", NULL);
        return exchange(&hotplug, id, node, cdrom->file, force, error);
    }
    if (lodge_drive_bus(guest, cdrom->bus, TRUE) == LODGE_BUS_SCSI) {
        return add_drive(&hotplug, cdrom, error);
    }
    result->outcome = LODGE_PLUG_PENDING;
    result->why = NO_DRIVE;
    return TRUE;
}

static gboolean
check_change(const Session *session, const char *drive, const char *file, const char *bus,
             const LodgeCdrom *before, GError **error)
{
    const LodgeSection *section = lodge_section_find(lodge_guest_sections(), "cdrom");
    const char *guest = session->guest->name;
    if (before == NULL && (file == NULL || (drive != NULL && bus == NULL))) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                               "it has no drive %s%s(`lodge cdrom %s list` shows them; insert with "
                               "--bus makes one)",
                               drive != NULL ? drive : "", drive != NULL ? " " : "", guest);
    }
    if (before != NULL && bus != NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "--bus is for a new drive, and it has %s already (`lodge set %s "
                               "cdrom.%s.bus=%s`)",
                               before->name, guest, before->name, bus);
    }
    if (file != NULL && !g_file_test(file, G_FILE_TEST_EXISTS)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "%s: no such file", file);
    }
    return (drive == NULL || lodge_name_check("drive", drive, error)) &&
           (bus == NULL || lodge_schema_value(lodge_section_key(section, "bus"), bus, NULL, error));
}

gboolean
lodge_cdrom_change(const LodgeStore *store, const char *guest, const char *drive, const char *file,
                   const char *bus, gboolean force, LodgeDiskResult *out_result, GError **error)
{
    g_autoptr(Session) session = session_begin(store, guest, "cdrom", error);
    if (session == NULL) {
        return FALSE;
    }
    const LodgeCdrom *before = find_drive(session->guest, drive);
    g_autofree char *path = file != NULL ? g_canonicalize_filename(file, NULL) : NULL;
    if (!check_change(session, drive, path, bus, before, error)) {
        return lodge_error_prefix(error, "guest %s", guest);
    }
    const char *name = before != NULL ? before->name : drive != NULL ? drive : "cd";
    g_autofree char *group = g_strconcat("cdrom ", name, NULL);
    const char *const pairs[] = {"file", path != NULL ? path : "", bus != NULL ? "bus" : NULL, bus,
                                 NULL};
    g_autofree char *text = NULL;
    g_autoptr(GKeyFile) written = lodge_store_guest_file(store, guest, &text, error);
    if (written == NULL || !edit_section(session, EDIT_DEFINITION, group, pairs, error)) {
        return FALSE;
    }
    if (!apply(session, name, force, out_result, error)) {
        lodge_store_guest_write(store, guest, text, NULL);
        return lodge_error_prefix(error, "guest %s: drive %s", guest, name);
    }
    if (out_result->outcome == LODGE_PLUG_LIVE) {
        edit_section(session, EDIT_STARTED, group, pairs, NULL);
    }
    out_result->name = g_strdup(name);
    return TRUE;
}
