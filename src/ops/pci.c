/* Theory of operation
 *
 * The rules are written first, then the devices taken and plugged in; what fails takes all of it
 * back. QEMU opens the device's group by itself, and locks the guest's memory for it: a QEMU that
 * was started without such a device is allowed that now. */
#include "config.h"

#include "ops/pci.h"

#include "base/base.h"
#include "host/usb.h"
#include "keeper/pcis.h"
#include "ops/edit.h"
#include "ops/hotplug.h"
#include "qemu/command.h"
#include "qemu/spawn.h"

enum {
    MONITOR_TIMEOUT_MS = 30000, /* all of the guest's memory is mapped for the device */
    DETACH_TIMEOUT_MS = 10000,
};

static const LodgePci *
find_name(const LodgeGuest *guest, const char *name)
{
    for (guint i = 0; i < guest->pcis->len; i++) {
        const LodgePci *pci = guest->pcis->pdata[i];
        if (g_str_equal(pci->name, name)) {
            return pci;
        }
    }
    return NULL;
}

/* --- What is to come ------------------------------------------------------------------------- */

/* "network", or "network-2". */
static char *
invent_name(const LodgeGuest *guest, const LodgePciDevice *device)
{
    g_autofree char *stem = g_strdelimit(g_strdup(lodge_pci_class_word(device)), " ", '-');
    char *name = g_strdup(stem);
    for (guint i = 2; find_name(guest, name) != NULL; i++) {
        g_free(name);
        name = g_strdup_printf("%s-%u", stem, i);
    }
    return name;
}

static void
add_rule(LodgeGuest *guest, const LodgePciDevice *device, const char *name)
{
    LodgePci *pci = g_new0(LodgePci, 1);
    pci->name = name != NULL ? g_strdup(name) : invent_name(guest, device);
    pci->device = g_strdup(device->address);
    g_ptr_array_add(guest->pcis, pci);
}

/* Add what is wished for to the definition in memory, and look whether it can be. */
static gboolean
plan(const Session *session, const LodgePciWish *wish, GError **error)
{
    LodgeGuest *guest = session->guest;
    char address[LODGE_PCI_ADDRESS_BYTES];
    g_autoptr(GPtrArray) devices = lodge_pci_devices(lodge_sysroot(), error);
    if (devices == NULL || !lodge_pci_address_parse(wish->address, address, error)) {
        return FALSE;
    }
    const LodgePciDevice *device = lodge_pci_device_at(devices, address);
    const LodgePci *rule = lodge_pci_rule(guest, address);
    if (rule != NULL) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "it has PCI device %s already, as %s",
                               address, rule->name);
    }
    if (wish->name != NULL && !lodge_name_check("PCI device", wish->name, error)) {
        return FALSE;
    }
    if (wish->name != NULL && find_name(guest, wish->name) != NULL) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "it has a PCI device %s already",
                               wish->name);
    }
    if (device != NULL) {
        add_rule(guest, device, wish->name);
    }
    for (guint i = 0; device != NULL && wish->group && i < devices->len; i++) {
        const LodgePciDevice *other = devices->pdata[i];
        if (other->group == device->group && device->group >= 0 && !lodge_pci_is_bridge(other) &&
            lodge_pci_rule(guest, other->address) == NULL) {
            add_rule(guest, other, NULL);
        }
    }
    return lodge_pci_check(session->store, guest, address, error);
}

/* --- Into a running guest -------------------------------------------------------------------- */

static gboolean
plug(const Session *session, const Hotplug *hotplug, const LodgePci *pci, GError **error)
{
    g_autofree char *folder = lodge_store_guest_path(session->store, session->guest->name, NULL);
    g_autofree char *id = g_strconcat("pci-", pci->name, NULL);
    if (hotplug_has_device(hotplug, id)) {
        return TRUE;
    }
    if (!lodge_pcis_take(session->store, session->guest, pci->name, lodge_qemu_uid(folder),
                         error)) {
        return FALSE;
    }
    g_autofree char *port = hotplug_find_place(hotplug, LODGE_BUS_VIRTIO, error);
    if (port != NULL && hotplug_add_device(hotplug, lodge_pci_device(pci, port), error)) {
        return TRUE;
    }
    lodge_pcis_give_back(session->store, session->guest->name, pci->device);
    return lodge_error_prefix(error, "PCI device %s", pci->device);
}

/* Those from @first on. What came is taken away again if the next one does not. */
static gboolean
plug_all(const Session *session, guint first, GError **error)
{
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    const Hotplug hotplug = {qmp, session->guest, lodge_deadline_in(MONITOR_TIMEOUT_MS)};
    if (qmp == NULL || !lodge_qemu_allow_locked(session->state->qemu_pid,
                                                lodge_pcis_locked_bytes(session->guest), error)) {
        return FALSE;
    }
    for (guint i = first; i < session->guest->pcis->len; i++) {
        if (plug(session, &hotplug, session->guest->pcis->pdata[i], error)) {
            continue;
        }
        while (i-- > first) {
            const LodgePci *pci = session->guest->pcis->pdata[i];
            g_autofree char *id = g_strconcat("pci-", pci->name, NULL);
            if (hotplug_remove_device(&hotplug, id, NULL)) {
                lodge_pcis_give_back(session->store, session->guest->name, pci->device);
            }
        }
        return FALSE;
    }
    return TRUE;
}

/* Why the running guest can't have it now; NULL: it can. */
static const char *
obstacle(const LodgeGuest *guest)
{
    return lodge_machine_type(guest) == LODGE_MACHINE_MICROVM
               ? "machine=microvm takes nothing while the guest runs"
               : NULL;
}

static gboolean
write_rules(const Session *session, EditWhere where, guint first, GError **error)
{
    for (guint i = first; i < session->guest->pcis->len; i++) {
        const LodgePci *pci = session->guest->pcis->pdata[i];
        const char *const pairs[] = {"device", pci->device, NULL};
        g_autofree char *group = g_strconcat("pci ", pci->name, NULL);
        if (!edit_section(session, where, group, pairs, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
enter_rules(const Session *session, guint first, LodgeDiskResult *result, GError **error)
{
    const LodgeGuest *guest = session->guest;
    g_autofree char *before = NULL;
    g_autoptr(GKeyFile) file = lodge_store_guest_file(session->store, guest->name, &before, error);
    if (file == NULL) {
        return FALSE;
    }
    result->why = session->state->has_qemu ? obstacle(guest) : NULL;
    result->outcome = !session->state->has_qemu ? LODGE_PLUG_STORED
                      : result->why != NULL     ? LODGE_PLUG_PENDING
                                                : LODGE_PLUG_LIVE;
    if (!write_rules(session, EDIT_DEFINITION, first, error) ||
        (result->outcome == LODGE_PLUG_LIVE && !plug_all(session, first, error))) {
        lodge_store_guest_write(session->store, guest->name, before, NULL);
        return FALSE;
    }
    if (result->outcome == LODGE_PLUG_LIVE) {
        write_rules(session, EDIT_STARTED, first, NULL);
    }
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = first; i < guest->pcis->len; i++) {
        const LodgePci *pci = guest->pcis->pdata[i];
        g_string_append_printf(names, "%s%s", names->len > 0 ? ", " : "", pci->name);
    }
    result->name = g_string_free(g_steal_pointer(&names), FALSE);
    return TRUE;
}

gboolean
lodge_pci_attach(const LodgeStore *store, const LodgePciWish *wish, LodgeDiskResult *out_result,
                 GError **error)
{
    g_autoptr(Session) session = session_begin(store, wish->guest, "pci attach", error);
    if (session == NULL) {
        return FALSE;
    }
    guint first = session->guest->pcis->len;
    return (plan(session, wish, error) && enter_rules(session, first, out_result, error)) ||
           lodge_error_prefix(error, "guest %s", wish->guest);
}

/* --- Away ------------------------------------------------------------------------------------ */

static gboolean
unplug(const Session *session, const LodgePci *pci, const char *address, GError **error)
{
    g_autofree char *id = g_strconcat("pci-", pci->name, NULL);
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    const Hotplug hotplug = {qmp, session->guest, lodge_deadline_in(DETACH_TIMEOUT_MS)};
    if (qmp == NULL || !hotplug_remove_device(&hotplug, id, error)) {
        return FALSE;
    }
    lodge_pcis_give_back(session->store, session->guest->name, address);
    return TRUE;
}

gboolean
lodge_pci_detach(const LodgeStore *store, const char *guest, const char *which,
                 LodgeDiskResult *out_result, GError **error)
{
    char address[LODGE_PCI_ADDRESS_BYTES] = "";
    g_autoptr(Session) session = session_begin(store, guest, "pci detach", error);
    if (session == NULL) {
        return FALSE;
    }
    const LodgePci *pci = find_name(session->guest, which);
    if (pci == NULL && lodge_pci_address_parse(which, address, NULL)) {
        pci = lodge_pci_rule(session->guest, address);
    }
    if (pci == NULL) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                               "guest %s has no PCI device “%s” (`lodge pci list` shows who has "
                               "what)",
                               guest, which);
    }
    lodge_pci_address_parse(pci->device, address, NULL);
    g_autofree char *group = g_strconcat("pci ", pci->name, NULL);
    out_result->outcome = session->state->has_qemu ? LODGE_PLUG_LIVE : LODGE_PLUG_STORED;
    if (session->state->has_qemu && !unplug(session, pci, address, error)) {
        return lodge_error_prefix(error, "guest %s: PCI device %s", guest, pci->name);
    }
    out_result->name = g_strdup(pci->name);
    edit_section(session, EDIT_STARTED, group, NULL, NULL);
    return edit_section(session, EDIT_DEFINITION, group, NULL, error);
}
