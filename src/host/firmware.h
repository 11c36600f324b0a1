/* Where this box keeps UEFI firmware. */
#pragma once

#include <glib.h>

/* UEFI firmware for x86_64 guests. Paths are without the sysroot. */
typedef struct {
    char *code;        /* read-only image */
    char *code_format; /* "raw" or "qcow2" */
    char *vars;        /* template of a guest's own variable store */
    char *vars_format;
    gboolean secure_boot;
} LodgeFirmware;

void lodge_firmware_free(LodgeFirmware *firmware);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeFirmware, lodge_firmware_free)

/* The firmware to use, by QEMU's descriptors (/etc/qemu/firmware before /usr/share/qemu/firmware,
 * in their order), else where distributions are known to put it. @secure_boot: one that enforces
 * it, with Microsoft's keys enrolled where there is a choice; else one without. NULL if there is
 * none. */
LodgeFirmware *lodge_firmware_find(const char *sysroot, gboolean secure_boot);
