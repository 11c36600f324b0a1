#include "config.h"

#include "host/pci.h"

#include "base/base.h"

enum {
    ATTRIBUTE_LIMIT_BYTES = 4096,
    CLASS_BRIDGE = 0x06,
};

static guint
number(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *text = lodge_file_read(path, ATTRIBUTE_LIMIT_BYTES, NULL, NULL);
    return text != NULL ? (guint)g_ascii_strtoull(text, NULL, 16) : 0;
}

/* The last part of what a link points to; NULL: there is no such link. */
static char *
link_name(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *target = g_file_read_link(path, NULL);
    return target != NULL ? g_path_get_basename(target) : NULL;
}

void
lodge_pci_device_free(LodgePciDevice *device)
{
    if (device != NULL) {
        g_free(device->address);
        g_free(device->driver);
        g_free(device);
    }
}

GPtrArray *
lodge_pci_devices(const char *root, GError **error)
{
    g_autofree char *base = g_strconcat(root, "/sys/bus/pci/devices", NULL);
    g_auto(GStrv) names = lodge_dir_names(base, error);
    if (names == NULL) {
        return NULL;
    }
    GPtrArray *devices = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_pci_device_free);
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autofree char *folder = g_build_filename(base, names[i], NULL);
        g_autofree char *group = link_name(folder, "iommu_group");
        LodgePciDevice *device = g_new0(LodgePciDevice, 1);
        device->address = g_strdup(names[i]);
        device->class = number(folder, "class");
        device->vendor = number(folder, "vendor");
        device->device = number(folder, "device");
        device->driver = link_name(folder, "driver");
        device->group = group != NULL ? (int)g_ascii_strtoll(group, NULL, 10) : -1;
        g_ptr_array_add(devices, device);
    }
    return devices;
}

const LodgePciDevice *
lodge_pci_device_at(const GPtrArray *devices, const char *address)
{
    for (guint i = 0; i < devices->len; i++) {
        const LodgePciDevice *device = devices->pdata[i];
        if (g_str_equal(device->address, address)) {
            return device;
        }
    }
    return NULL;
}

const char *
lodge_pci_class_word(const LodgePciDevice *device)
{
    static const char *const words[] = {
        "other",      "storage",   "network", "display", "multimedia", "memory", "bridge",
        "serial",     "system",    "input",   "docking", "processor",  "usb",    "wireless",
        "controller", "satellite", "crypto",  "signal",  "accelerator"};
    guint class = device->class >> 16 & 0xff;
    /* 0x0c is serial buses, nearly always USB. */
    if (class == 0x0c && (device->class >> 8 & 0xff) != 3) {
        return "serial bus";
    }
    return class < G_N_ELEMENTS(words) ? words[class] : "other";
}

gboolean
lodge_pci_is_bridge(const LodgePciDevice *device)
{
    return device->class >> 16 == CLASS_BRIDGE;
}

const char *
lodge_pci_obstacle(const GPtrArray *devices, const LodgePciDevice *device)
{
    if (lodge_pci_is_bridge(device)) {
        return "a bridge is the host's own";
    }
    if (device->group < 0) {
        return "no IOMMU group";
    }
    for (guint i = 0; i < devices->len; i++) {
        const LodgePciDevice *other = devices->pdata[i];
        if (other != device && other->group == device->group && !lodge_pci_is_bridge(other) &&
            other->driver != NULL && g_strcmp0(other->driver, "vfio-pci") != 0) {
            return "only its whole group: the host uses others of it";
        }
    }
    return NULL;
}
