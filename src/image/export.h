/* A disk, with what it stands on, as one file for other hosts. */
#pragma once

#include <glib.h>

#include "base/base.h"

typedef struct {
    const char *path;        /* the top of its chain; nobody writes to it meanwhile */
    const char *format;      /* "qcow2" or "raw" */
    guint64 size_bytes;      /* as a guest sees it */
    const char *const *only; /* the files of its chain: no others are opened; NULL: any */
} LodgeExportDisk;

/* The machine, for formats that describe one. Strings are borrowed. */
typedef struct {
    const char *name;
    const char *title; /* NULL: none */
    guint cpus;
    guint64 memory_bytes;
    gboolean uefi;
    const LodgeExportDisk *disks;
    gsize disk_count; /* OVA: any; others: 1 */
} LodgeExportMachine;

/* Formats, for --format: "qcow2", "raw", "vmdk", "vdi", "vhdx", "vpc", "ova". NULL-terminated. */
const char *const *lodge_export_formats(void);
/* By a file's name: "disk.vmdk" is "vmdk"; qcow2 where the name says nothing. Static. */
const char *lodge_export_format_of(const char *file);

/* Write @file, which appears when it is whole and on disk; what is killed meanwhile leaves a hidden
 * folder beside it, which the next export to @file removes. OVA's disks are always compressed.
 * Errors: EXISTS; USAGE: a format that can't be @compressed; BUSY: another command writes it;
 * FAILED: too little space, looked at before. */
gboolean lodge_export_write(const LodgeExportMachine *machine, const char *file, const char *format,
                            gboolean compressed, LodgeProgress *progress, GError **error);

/* The OVF description of a machine whose disks are files of these names and sizes, in the order of
 * its disks. Free with g_free. */
char *lodge_ovf_write(const LodgeExportMachine *machine, const char *const *files,
                      const guint64 *file_bytes);
