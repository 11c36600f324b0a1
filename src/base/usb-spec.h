/* Which of a host's USB devices is meant. */
#pragma once

#include <glib.h>

typedef enum {
    LODGE_USB_BY_ADDRESS, /* "1.4": bus and address, until it is unplugged */
    LODGE_USB_BY_PORT,    /* "1-2.3": what is plugged in there */
    LODGE_USB_BY_PRODUCT, /* "046d:c52b", "0781:5567:4C530001": a make, or one piece of it */
} LodgeUsbKind;

typedef struct {
    LodgeUsbKind kind;
    guint bus, address;
    char port[32];
    guint vendor, product;
    char serial[128]; /* "": any */
} LodgeUsbSpec;

/* Read it. USAGE error that shows the three forms. */
gboolean lodge_usb_spec_parse(const char *text, LodgeUsbSpec *out_spec, GError **error);
