/* The host's USB devices, as sysfs shows them. */
#pragma once

#include <glib.h>

#include "base/usb-spec.h"

typedef struct {
    char *port; /* "1-2.3" */
    guint bus, address;
    guint vendor, product;
    char *serial;  /* NULL: none */
    char *title;   /* maker and model, printable; "" if it says nothing */
    char *speed;   /* Mbit/s as sysfs writes it: "480" */
    char *drivers; /* the host's drivers that have its interfaces, "usb-storage"; "" none */
} LodgeUsbDevice;

/* The devices below <root>/sys, without hubs, in order of their ports. @root is "" but in tests. A
 * host without USB has none. LodgeUsbDevice * that it frees. */
GPtrArray *lodge_usb_devices(const char *root, GError **error);
void lodge_usb_device_free(LodgeUsbDevice *device);

gboolean lodge_usb_matches(const LodgeUsbDevice *device, const LodgeUsbSpec *spec);

/* The node that gives access to it: <root>/dev/bus/usb/001/004. Free with g_free. */
char *lodge_usb_node(const char *root, const LodgeUsbDevice *device);

/* Where /sys and /dev are: "", or $LODGE_SYSROOT for tests against a made-up host. */
const char *lodge_sysroot(void);
