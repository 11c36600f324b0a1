#include "config.h"

#include "host/usb.h"

#include <string.h>

#include "base/base.h"

enum {
    ATTRIBUTE_LIMIT_BYTES = 4096,
    HUB_CLASS = 9,
};

const char *
lodge_sysroot(void)
{
    const char *root = g_getenv("LODGE_SYSROOT");
    return root != NULL ? root : "";
}

/* An attribute's text without the white space around; NULL: there is none. A device's own words
 * come from outside: control characters are replaced. */
static char *
attribute(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *text = lodge_file_read(path, ATTRIBUTE_LIMIT_BYTES, NULL, NULL);
    return text != NULL ? lodge_text_printable(g_strstrip(text)) : NULL;
}

static guint
number(const char *folder, const char *name, guint base)
{
    g_autofree char *text = attribute(folder, name);
    return text != NULL ? (guint)g_ascii_strtoull(text, NULL, base) : 0;
}

static char *
title_of(const char *folder)
{
    g_autofree char *maker = attribute(folder, "manufacturer");
    g_autofree char *model = attribute(folder, "product");
    if (maker != NULL && model != NULL && !g_str_has_prefix(model, maker)) {
        return g_strdup_printf("%s %s", maker, model);
    }
    return g_strdup(model != NULL ? model : maker != NULL ? maker : "");
}

/* Its interfaces are the folders "<port>:1.0" …; each has a link to its driver. */
static char *
drivers_of(const char *folder, const char *port)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *prefix = g_strconcat(port, ":", NULL);
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autofree char *link = g_build_filename(folder, names[i], "driver", NULL);
        g_autofree char *target = g_str_has_prefix(names[i], prefix) ? g_file_read_link(link, NULL)
                                                                     : NULL;
        g_autofree char *driver = target != NULL ? g_path_get_basename(target) : NULL;
        if (driver != NULL && !g_ptr_array_find_with_equal_func(found, driver, g_str_equal, NULL)) {
            g_ptr_array_add(found, g_steal_pointer(&driver));
        }
    }
    g_ptr_array_add(found, NULL);
    return g_strjoinv(" ", (char **)found->pdata);
}

void
lodge_usb_device_free(LodgeUsbDevice *device)
{
    if (device != NULL) {
        g_free(device->port);
        g_free(device->serial);
        g_free(device->title);
        g_free(device->speed);
        g_free(device->drivers);
        g_free(device);
    }
}

GPtrArray *
lodge_usb_devices(const char *root, GError **error)
{
    g_autofree char *base = g_strconcat(root, "/sys/bus/usb/devices", NULL);
    g_auto(GStrv) names = lodge_dir_names(base, error);
    if (names == NULL) {
        return NULL;
    }
    GPtrArray *devices = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_usb_device_free);
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autofree char *folder = g_build_filename(base, names[i], NULL);
        if (!g_ascii_isdigit(*names[i]) || strchr(names[i], ':') != NULL ||
            number(folder, "bDeviceClass", 16) == HUB_CLASS) {
            continue;
        }
        LodgeUsbDevice *device = g_new0(LodgeUsbDevice, 1);
        device->port = g_strdup(names[i]);
        device->bus = number(folder, "busnum", 10);
        device->address = number(folder, "devnum", 10);
        device->vendor = number(folder, "idVendor", 16);
        device->product = number(folder, "idProduct", 16);
        device->serial = attribute(folder, "serial");
        device->title = title_of(folder);
        device->speed = attribute(folder, "speed");
        device->drivers = drivers_of(folder, names[i]);
        g_ptr_array_add(devices, device);
    }
    return devices;
}

gboolean
lodge_usb_matches(const LodgeUsbDevice *device, const LodgeUsbSpec *spec)
{
    switch (spec->kind) {
    case LODGE_USB_BY_ADDRESS:
        return device->bus == spec->bus && device->address == spec->address;
    case LODGE_USB_BY_PORT:
        return g_str_equal(device->port, spec->port);
    case LODGE_USB_BY_PRODUCT:
        return device->vendor == spec->vendor && device->product == spec->product &&
               (*spec->serial == '\0' || g_strcmp0(device->serial, spec->serial) == 0);
    }
    return FALSE;
}

char *
lodge_usb_node(const char *root, const LodgeUsbDevice *device)
{
    return g_strdup_printf("%s/dev/bus/usb/%03u/%03u", root, device->bus, device->address);
}
