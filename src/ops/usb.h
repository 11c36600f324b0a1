/* The host's USB devices in guests. Rules stand in the definition, [usb NAME] device=…; the keeper
 * plugs in what is there at start, lodge_usb_plugged() what comes later. */
#pragma once

#include <glib.h>

#include "host/usb.h"
#include "ops/disk.h"

/* Which guest's rule takes @device, and under which name. Strings with g_free; FALSE: none. */
gboolean lodge_usb_owner(const LodgeStore *store, const LodgeUsbDevice *device, char **out_guest,
                         char **out_name);

/* Give a guest the device @spec, now if it runs and the device is plugged in, and whenever both are
 * so. @name NULL makes one. BUSY if another guest's rule takes it. */
gboolean lodge_usb_attach(const LodgeStore *store, const char *guest, const char *spec,
                          const char *name, LodgeDiskResult *out_result, GError **error);

/* Take it away: @which is its name, or the spec it was attached by. */
gboolean lodge_usb_detach(const LodgeStore *store, const char *guest, const char *which,
                          LodgeDiskResult *out_result, GError **error);

/* The device at @port was plugged in: give it to the running guest whose rule takes it. For udev.
 * What is nobody's is fine; the guest, or NULL, goes to @out_guest (g_free). */
gboolean lodge_usb_plugged(const LodgeStore *store, const char *port, char **out_guest,
                           GError **error);
