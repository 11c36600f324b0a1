/* A guest's UEFI firmware, and its variables. */
#pragma once

#include <glib.h>

#include "host/firmware.h"
#include "model/model.h"

/* The firmware that this host has for the guest: with secure boot or without. UNSUPPORTED with the
 * mend if there is none. Free with lodge_firmware_free(). */
LodgeFirmware *lodge_firmware_for(const LodgeGuest *guest, GError **error);

/* Make the guest's variables at @path, a copy in qcow2 (which snapshots need) of what comes with
 * the firmware: with secure boot, Microsoft's keys are in it. Those that are there stay; a guest
 * without UEFI needs none. */
gboolean lodge_variables_make(const LodgeGuest *guest, const char *path, GError **error);
