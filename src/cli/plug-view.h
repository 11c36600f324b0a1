/* Saying what became of something that was plugged in or out. */
#pragma once

#include "cli/cli.h"
#include "ops/disk.h"

/* Print it, as a line or as JSON, and free the result's name. @kind is "disk", "cdrom", "usb".
 * Returns TRUE. */
gboolean lodge_view_plug(const LodgeCli *cli, const char *guest, const char *kind,
                         LodgeDiskResult *result, gboolean comes);
