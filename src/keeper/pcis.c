/* Theory of operation
 *
 * What was taken is written down first, a line "ADDRESS GROUP DRIVER" each in the run folder's file
 * `pci`: whoever finds the guest without QEMU gives it back, also after a keeper that was killed. A
 * device that vfio-pci had before stays with it ("vfio-pci"): somebody set it aside.
 *
 * QEMU opens /dev/vfio/GROUP by itself, as its user, to whom that node belongs meanwhile. */
#include "config.h"

#include "keeper/pcis.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "host/pci-bind.h"
#include "host/usb.h"

#define LOCKED_BESIDES_BYTES (G_GUINT64_CONSTANT(1) << 30)

enum { RECORD_LIMIT_BYTES = 64 << 10 };

guint64
lodge_pcis_locked_bytes(const LodgeGuest *guest)
{
    return guest->pcis->len > 0
               ? MAX(guest->memory_bytes, guest->memory_max_bytes) + LOCKED_BESIDES_BYTES
               : 0;
}

const LodgePci *
lodge_pci_rule(const LodgeGuest *guest, const char *address)
{
    for (guint i = 0; i < guest->pcis->len; i++) {
        const LodgePci *pci = guest->pcis->pdata[i];
        char parsed[LODGE_PCI_ADDRESS_BYTES];
        if (lodge_pci_address_parse(pci->device, parsed, NULL) && g_str_equal(parsed, address)) {
            return pci;
        }
    }
    return NULL;
}

gboolean
lodge_pci_owner(const LodgeStore *store, const char *address, char **out_guest, char **out_name)
{
    g_auto(GStrv) names = lodge_store_guests(store, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autoptr(LodgeGuest) guest = lodge_store_guest(store, names[i], NULL);
        const LodgePci *pci = guest != NULL ? lodge_pci_rule(guest, address) : NULL;
        if (pci != NULL) {
            *out_guest = g_strdup(guest->name);
            *out_name = g_strdup(pci->name);
            return TRUE;
        }
    }
    return FALSE;
}

/* Another guest's rule, which would have its group open, or a driver of the host's. */
static gboolean
check_neighbour(const LodgeStore *store, const LodgeGuest *guest, const LodgePciDevice *device,
                const LodgePciDevice *other, GError **error)
{
    g_autofree char *owner = NULL;
    g_autofree char *rule = NULL;
    if (lodge_pci_is_bridge(other) || lodge_pci_rule(guest, other->address) != NULL) {
        return TRUE;
    }
    if (lodge_pci_owner(store, other->address, &owner, &rule) && !g_str_equal(owner, guest->name)) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "PCI device %s is of one IOMMU group (%d) with %s, which is guest "
                               "%s's (`lodge pci detach %s %s`)",
                               device->address, device->group, other->address, owner, owner, rule);
    }
    return other->driver == NULL || g_str_equal(other->driver, "vfio-pci") ||
           lodge_error_set(error, LODGE_ERROR_BUSY,
                           "PCI device %s is of one IOMMU group (%d) with %s (%s), which the host "
                           "uses, and reaches its memory: only a whole group can go to a guest "
                           "(`lodge pci attach %s %s --group` gives all of it)",
                           device->address, device->group, other->address, other->driver,
                           guest->name, device->address);
}

static gboolean
check_device(const LodgeStore *store, const LodgeGuest *guest, const GPtrArray *devices,
             const char *address, GError **error)
{
    g_autofree char *owner = NULL;
    g_autofree char *rule = NULL;
    const LodgePciDevice *device = lodge_pci_device_at(devices, address);
    if (device == NULL) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                               "this host has no PCI device %s (`lodge pci list` shows them)",
                               address);
    }
    if (lodge_pci_is_bridge(device)) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "PCI device %s is a bridge, which is the host's own", address);
    }
    if (device->group < 0) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "PCI device %s has no IOMMU group: VT-d or AMD-Vi may be off in the "
                               "firmware, or intel_iommu=on missing from the kernel's command line",
                               address);
    }
    if (lodge_pci_owner(store, address, &owner, &rule) && !g_str_equal(owner, guest->name)) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "PCI device %s is %s of guest %s (`lodge pci detach %s %s`)",
                               address, rule, owner, owner, rule);
    }
    for (guint i = 0; i < devices->len; i++) {
        const LodgePciDevice *other = devices->pdata[i];
        if (other != device && other->group == device->group &&
            !check_neighbour(store, guest, device, other, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
lodge_pci_check(const LodgeStore *store, const LodgeGuest *guest, const char *address,
                GError **error)
{
    g_autoptr(GPtrArray) devices = lodge_pci_devices(lodge_sysroot(), error);
    return devices != NULL && check_device(store, guest, devices, address, error);
}

/* --- Taking ---------------------------------------------------------------------------------- */

static char *
read_record(const char *path)
{
    char *text = lodge_file_read(path, RECORD_LIMIT_BYTES, NULL, NULL);
    return text != NULL ? text : g_strdup("");
}

/* One that stands there already is ours: its present driver says nothing of the one before. */
static gboolean
record(const LodgeStore *store, const char *guest, const LodgePciDevice *device, GError **error)
{
    g_autofree char *path = lodge_store_run_path(store, guest, "pci");
    g_autofree char *text = read_record(path);
    if (strstr(text, device->address) != NULL) {
        return TRUE;
    }
    g_autofree char *more = g_strdup_printf("%s%s %d %s\n", text, device->address, device->group,
                                            device->driver != NULL ? device->driver : "");
    return lodge_file_write(path, more, strlen(more), 0644, LODGE_WRITE_NO_SYNC, error);
}

static gboolean
take(const LodgeStore *store, const LodgeGuest *guest, const GPtrArray *devices,
     const LodgePci *pci, uid_t uid, GError **error)
{
    const char *root = lodge_sysroot();
    char address[LODGE_PCI_ADDRESS_BYTES];
    if (!lodge_pci_address_parse(pci->device, address, error) ||
        !check_device(store, guest, devices, address, error)) {
        return FALSE;
    }
    const LodgePciDevice *device = lodge_pci_device_at(devices, address);
    return record(store, guest->name, device, error) && lodge_pci_take(root, device, error) &&
           lodge_pci_lend_group(root, device->group, uid, error);
}

gboolean
lodge_pcis_take(const LodgeStore *store, const LodgeGuest *guest, const char *name, uid_t uid,
                GError **error)
{
    if (guest->pcis->len == 0) {
        return TRUE;
    }
    if (geteuid() != 0) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "only root can give a guest the host's PCI devices");
    }
    g_autoptr(GPtrArray) devices = lodge_pci_devices(lodge_sysroot(), error);
    for (guint i = 0; devices != NULL && i < guest->pcis->len; i++) {
        const LodgePci *pci = guest->pcis->pdata[i];
        if ((name == NULL || g_str_equal(name, pci->name)) &&
            !take(store, guest, devices, pci, uid, error)) {
            char address[LODGE_PCI_ADDRESS_BYTES];
            gboolean known = name != NULL && lodge_pci_address_parse(pci->device, address, NULL);
            lodge_pcis_give_back(store, guest->name, known ? address : NULL);
            return FALSE;
        }
    }
    return devices != NULL;
}

/* --- Giving back ----------------------------------------------------------------------------- */

/* Is the group still needed by a line that stays, or whose turn is yet to come? Its node stays
 * lent.
 */
static gboolean
is_group_used(char **lines, gsize present, const char *group, const char *address)
{
    for (gsize i = 0; lines[i] != NULL; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", 3);
        if (g_strv_length(words) == 3 && g_str_equal(words[1], group) &&
            (i > present || (address != NULL && !g_str_equal(words[0], address)))) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The record goes last: giving back a second time does no harm. */
void
lodge_pcis_give_back(const LodgeStore *store, const char *guest, const char *address)
{
    const char *root = lodge_sysroot();
    g_autofree char *path = lodge_store_run_path(store, guest, "pci");
    g_autofree char *text = read_record(path);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GString) left = g_string_new(NULL);
    for (gsize i = 0; lines[i] != NULL; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", 3);
        if (g_strv_length(words) != 3 || (address != NULL && !g_str_equal(words[0], address))) {
            g_string_append_printf(left, "%s%s", lines[i], *lines[i] != '\0' ? "\n" : "");
            continue;
        }
        if (!is_group_used(lines, i, words[1], address)) {
            lodge_pci_lend_group(root, (int)g_ascii_strtoll(words[1], NULL, 10), 0, NULL);
        }
        if (!g_str_equal(words[2], "vfio-pci")) {
            lodge_pci_give_back(root, words[0], words[2], NULL);
        }
    }
    if (left->len == 0) {
        unlink(path);
    } else {
        lodge_file_write(path, left->str, left->len, 0644, LODGE_WRITE_NO_SYNC, NULL);
    }
}
