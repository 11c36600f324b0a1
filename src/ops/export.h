/* Guests' and images' disks as files for other hosts. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "store/store.h"

typedef struct {
    const char *what;     /* an image's or a guest's name; "image/NAME" or "guest/NAME" tell */
    const char *snapshot; /* of a guest: as it was then, also while it runs; NULL: as it is */
    const char *disk;     /* of a guest: which one; NULL: the first, for an OVA all */
    const char *file;
    const char *format; /* lodge_export_formats(); NULL: by the file's name */
    gboolean compressed;
} LodgeExportWish;

/* What was written, and what another host wants to know of it. */
typedef struct {
    char *name;
    char *format;
    char *os;           /* "debian-12", as the catalogue names it; NULL: unknown */
    guint64 size_bytes; /* of the disk, as a guest sees it */
    guint64 file_bytes;
    guint64 memory_bytes;
    gboolean uefi;
    gboolean agent;   /* QEMU's agent is in it */
    gboolean nocloud; /* cloud-init is in it */
} LodgeExported;

/* Write it. NOT_FOUND, with a suggestion; BUSY: the guest runs, and no snapshot is named; USAGE: a
 * name that is both, a wrong format; errors of lodge_export_write(). Clear @out_exported. */
gboolean lodge_export(const LodgeStore *store, const LodgeExportWish *wish, LodgeProgress *progress,
                      LodgeExported *out_exported, GError **error);
void lodge_exported_clear(LodgeExported *exported);

/* The `openstack` command that uploads @file, as words for a shell. Free with g_free. */
char *lodge_export_openstack(const LodgeExported *exported, const char *file);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LodgeExported, lodge_exported_clear)
