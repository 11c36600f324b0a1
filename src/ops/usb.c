/* Theory of operation: QEMU can't open a USB device, and need not.
 *
 * QEMU runs as a user that owns nothing, and /dev/bus/usb belongs to root. Instead of giving away
 * the device's node, whoever plugs it in opens it and passes the descriptor; usb-host takes it by
 * its hostdevice= (libusb's libusb_wrap_sys_device()). So QEMU gets that one device, and nothing
 * more when another one is plugged into the same port. When the device is pulled, QEMU's usb-host
 * stays behind, detached; it is replaced when the device comes back. */
#include "config.h"

#include "ops/usb.h"

#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "ops/edit.h"
#include "ops/hotplug.h"
#include "qemu/command.h"

enum {
    MONITOR_TIMEOUT_MS = 10000,
    DETACH_TIMEOUT_MS = 10000,
    BUSY_RETRIES = 100,
    BUSY_PAUSE_MS = 200,
};

static const LodgeUsb *
find_rule(const LodgeGuest *guest, const LodgeUsbDevice *device)
{
    for (guint i = 0; i < guest->usbs->len; i++) {
        LodgeUsbSpec spec;
        const LodgeUsb *usb = guest->usbs->pdata[i];
        if (lodge_usb_spec_parse(usb->device, &spec, NULL) && lodge_usb_matches(device, &spec)) {
            return usb;
        }
    }
    return NULL;
}

static const LodgeUsb *
find_name(const LodgeGuest *guest, const char *name)
{
    for (guint i = 0; i < guest->usbs->len; i++) {
        const LodgeUsb *usb = guest->usbs->pdata[i];
        if (g_str_equal(usb->name, name)) {
            return usb;
        }
    }
    return NULL;
}

gboolean
lodge_usb_owner(const LodgeStore *store, const LodgeUsbDevice *device, char **out_guest,
                char **out_name)
{
    g_auto(GStrv) names = lodge_store_guests(store, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autoptr(LodgeGuest) guest = lodge_store_guest(store, names[i], NULL);
        const LodgeUsb *usb = guest != NULL ? find_rule(guest, device) : NULL;
        if (usb != NULL) {
            *out_guest = g_strdup(guest->name);
            *out_name = g_strdup(usb->name);
            return TRUE;
        }
    }
    return FALSE;
}

/* What is plugged in and meant by @spec; NULL without error: nothing. */
static LodgeUsbDevice *
find_device(const LodgeUsbSpec *spec, GError **error)
{
    g_autoptr(GPtrArray) devices = lodge_usb_devices(lodge_sysroot(), error);
    for (guint i = 0; devices != NULL && i < devices->len; i++) {
        if (lodge_usb_matches(devices->pdata[i], spec)) {
            return g_ptr_array_steal_index(devices, i);
        }
    }
    return NULL;
}

/* Is a device of that id there, and alive? One whose host device was pulled is detached. */
static gboolean
is_attached(const Hotplug *hotplug, const char *id)
{
    g_autofree char *path = g_strconcat("/machine/peripheral/", id, NULL);
    g_autoptr(json_t) value = lodge_qmp_ask(hotplug->qmp, hotplug->deadline, NULL, "qom-get",
                                            "{s:s, s:s}", "path", path, "property", "attached");
    return json_is_true(value);
}

/* Have the running QEMU take @device under @name; it may have it already. */
static gboolean
plug(const Session *session, const char *name, const LodgeUsbDevice *device, GError **error)
{
    g_autofree char *id = g_strconcat("usb-", name, NULL);
    g_autofree char *node = lodge_usb_node(lodge_sysroot(), device);
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    const Hotplug hotplug = {qmp, session->guest, lodge_deadline_in(MONITOR_TIMEOUT_MS)};
    if (qmp == NULL || is_attached(&hotplug, id)) {
        return qmp != NULL;
    }
    if (hotplug_has_device(&hotplug, id) && !hotplug_remove_device(&hotplug, id, error)) {
        return FALSE;
    }
    g_autofree char *path = hotplug_pass(&hotplug, node, TRUE, error);
    if (path == NULL) {
        return FALSE;
    }
    gboolean fine = hotplug_add_device(&hotplug,
                                       json_pack("{s:s, s:s, s:s, s:s}", "driver", "usb-host", "id",
                                                 id, "bus", "usb.0", "hostdevice", path),
                                       error);
    /* QEMU has made itself a copy. */
    lodge_qmp_run(qmp, hotplug.deadline, NULL, "remove-fd", "{s:i}", "fdset-id",
                  (int)g_ascii_strtoll(path + strlen("/dev/fdset/"), NULL, 10));
    return fine || lodge_error_prefix(error, "USB device %s (%s)", device->port, node);
}

/* A name for the rule: the device's own, as far as it goes. */
static char *
invent_name(const LodgeGuest *guest, const LodgeUsbDevice *device)
{
    g_autoptr(GString) name = g_string_new(NULL);
    for (const char *c = device != NULL ? device->title : ""; *c != '\0' && name->len < 24; c++) {
        if (g_ascii_isalnum(*c)) {
            g_string_append_c(name, g_ascii_tolower(*c));
        } else if (name->len > 0 && name->str[name->len - 1] != '-') {
            g_string_append_c(name, '-');
        }
    }
    while (name->len > 0 && name->str[name->len - 1] == '-') {
        g_string_truncate(name, name->len - 1);
    }
    g_autofree char *stem = g_strdup(name->len > 0 ? name->str : "usb");
    g_autofree char *found = g_strdup(stem);
    for (guint i = 2; find_name(guest, found) != NULL; i++) {
        g_free(found);
        found = g_strdup_printf("%s-%u", stem, i);
    }
    return g_steal_pointer(&found);
}

static gboolean
check_attach(const Session *session, const LodgeUsbSpec *spec, const LodgeUsbDevice *device,
             const char *text, const char *name, GError **error)
{
    g_autofree char *owner = NULL;
    g_autofree char *rule = NULL;
    if (lodge_machine_type(session->guest) == LODGE_MACHINE_MICROVM) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "machine=microvm has no USB");
    }
    if (device == NULL && spec->kind == LODGE_USB_BY_ADDRESS) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                               "there is no USB device %s (`lodge usb list` shows them)", text);
    }
    if (device != NULL && lodge_usb_owner(session->store, device, &owner, &rule)) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "USB device %s is %s of guest %s (`lodge usb detach %s %s`)", text,
                               rule, owner, owner, rule);
    }
    return lodge_name_check("USB device", name, error) &&
           (find_name(session->guest, name) == NULL ||
            lodge_error_set(error, LODGE_ERROR_EXISTS, "it has a USB device %s already", name));
}

static gboolean
enter_rule(const Session *session, const char *name, const char *rule, const LodgeUsbDevice *device,
           LodgeDiskResult *result, GError **error)
{
    const char *guest = session->guest->name;
    const char *const pairs[] = {"device", rule, NULL};
    g_autofree char *group = g_strconcat("usb ", name, NULL);
    g_autofree char *before = NULL;
    g_autoptr(GKeyFile) file = lodge_store_guest_file(session->store, guest, &before, error);
    if (file == NULL || !edit_section(session, EDIT_DEFINITION, group, pairs, error)) {
        return FALSE;
    }
    result->outcome = session->state->has_qemu ? LODGE_PLUG_LIVE : LODGE_PLUG_STORED;
    if (session->state->has_qemu && device == NULL) {
        result->outcome = LODGE_PLUG_PENDING;
        result->why = "it is not plugged in";
    } else if (session->state->has_qemu && !plug(session, name, device, error)) {
        lodge_store_guest_write(session->store, guest, before, NULL);
        return FALSE;
    }
    /* Whether it is plugged in or not, the rule is in force. */
    edit_section(session, EDIT_STARTED, group, pairs, NULL);
    result->name = g_strdup(name);
    return TRUE;
}

gboolean
lodge_usb_attach(const LodgeStore *store, const char *guest, const char *spec, const char *name,
                 LodgeDiskResult *out_result, GError **error)
{
    LodgeUsbSpec parsed;
    g_autoptr(GError) problem = NULL;
    if (!lodge_usb_spec_parse(spec, &parsed, error)) {
        return FALSE;
    }
    g_autoptr(Session) session = session_begin(store, guest, "usb attach", error);
    if (session == NULL) {
        return FALSE;
    }
    LodgeUsbDevice *device = find_device(&parsed, &problem);
    g_autofree char *own_name = name != NULL ? g_strdup(name) : invent_name(session->guest, device);
    /* An address changes with each plugging: what stays is the port. */
    const char *rule = parsed.kind == LODGE_USB_BY_ADDRESS && device != NULL ? device->port : spec;
    gboolean fine = problem == NULL &&
                    check_attach(session, &parsed, device, spec, own_name, &problem) &&
                    enter_rule(session, own_name, rule, device, out_result, &problem);
    lodge_usb_device_free(device);
    if (!fine) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return lodge_error_prefix(error, "guest %s", guest);
    }
    return TRUE;
}

/* The rule called @which, or made of that spec, or taking the device that the spec means. */
static const LodgeUsb *
find_which(const LodgeGuest *guest, const char *which)
{
    LodgeUsbSpec spec;
    const LodgeUsb *found = find_name(guest, which);
    for (guint i = 0; found == NULL && i < guest->usbs->len; i++) {
        const LodgeUsb *usb = guest->usbs->pdata[i];
        found = g_str_equal(usb->device, which) ? usb : NULL;
    }
    if (found == NULL && lodge_usb_spec_parse(which, &spec, NULL)) {
        LodgeUsbDevice *device = find_device(&spec, NULL);
        found = device != NULL ? find_rule(guest, device) : NULL;
        lodge_usb_device_free(device);
    }
    return found;
}

gboolean
lodge_usb_detach(const LodgeStore *store, const char *guest, const char *which,
                 LodgeDiskResult *out_result, GError **error)
{
    g_autoptr(Session) session = session_begin(store, guest, "usb detach", error);
    if (session == NULL) {
        return FALSE;
    }
    const LodgeUsb *usb = find_which(session->guest, which);
    if (usb == NULL) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                               "guest %s has no USB device “%s” (`lodge usb list` shows who has "
                               "what)",
                               guest, which);
    }
    g_autofree char *group = g_strconcat("usb ", usb->name, NULL);
    g_autofree char *id = g_strconcat("usb-", usb->name, NULL);
    out_result->outcome = LODGE_PLUG_STORED;
    if (session->state->has_qemu) {
        g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
        const Hotplug hotplug = {qmp, session->guest, lodge_deadline_in(DETACH_TIMEOUT_MS)};
        if (qmp == NULL || !hotplug_remove_device(&hotplug, id, error)) {
            return lodge_error_prefix(error, "guest %s: USB device %s", guest, usb->name);
        }
        out_result->outcome = LODGE_PLUG_LIVE;
    }
    out_result->name = g_strdup(usb->name);
    edit_section(session, EDIT_STARTED, group, NULL, NULL);
    return edit_section(session, EDIT_DEFINITION, group, NULL, error);
}

/* Another verb may be at work on the guest for a while. */
static Session *
begin_patiently(const LodgeStore *store, const char *guest, GError **error)
{
    for (guint i = 0;; i++) {
        g_autoptr(GError) problem = NULL;
        Session *session = session_begin(store, guest, "usb plugged", &problem);
        if (session != NULL || i == BUSY_RETRIES ||
            !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
            if (session == NULL) {
                g_propagate_error(error, g_steal_pointer(&problem));
            }
            return session;
        }
        if (!lodge_wait_for(BUSY_PAUSE_MS, error)) {
            return NULL;
        }
    }
}

gboolean
lodge_usb_plugged(const LodgeStore *store, const char *port, char **out_guest, GError **error)
{
    LodgeUsbSpec spec;
    g_autofree char *guest = NULL;
    g_autofree char *name = NULL;
    *out_guest = NULL;
    /* udev tells of interfaces and root hubs too, whose names are no ports. */
    if (!lodge_usb_spec_parse(port, &spec, NULL) || spec.kind != LODGE_USB_BY_PORT) {
        return TRUE;
    }
    g_autoptr(GError) problem = NULL;
    LodgeUsbDevice *device = find_device(&spec, &problem);
    gboolean fine = problem == NULL;
    if (device != NULL && lodge_usb_owner(store, device, &guest, &name)) {
        g_autoptr(LodgeGuestState) state = lodge_store_state(store, guest);
        g_autoptr(Session) session = state->has_qemu ? begin_patiently(store, guest, &problem)
                                                     : NULL;
        fine = !state->has_qemu || (session != NULL && (!session->state->has_qemu ||
                                                        plug(session, name, device, &problem)));
        if (fine && session != NULL) {
            *out_guest = g_steal_pointer(&guest);
        }
    }
    lodge_usb_device_free(device);
    if (!fine) {
        g_propagate_error(error, g_steal_pointer(&problem));
    }
    return fine;
}
