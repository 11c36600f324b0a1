/* From a guest's disks into the files of a point. Private to this layer. */
#pragma once

#include <glib.h>

#include "ops/backup-place.h"
#include "ops/session.h"

/* A disk at rest: what is to be copied, and where to. */
typedef struct {
    const LodgeDisk *disk; /* borrowed */
    GPtrArray *chain;      /* lodge_guest_chain() */
    const char *path;      /* of its top file */
    const char *format;
    char *below;     /* the parent's file; NULL: it is copied whole */
    GArray *changes; /* LodgeStorageBitmap; NULL: it is copied whole */
    LodgePointDisk *entry;
} BackupSource;

/* An empty list. */
GPtrArray *backup_sources_new(void);
/* @file relative to the guest's folder, or absolute. The errors of lodge_guest_chain(). */
gboolean backup_sources_add(GPtrArray *sources, const LodgeStore *store, const LodgeGuest *guest,
                            const LodgeDisk *disk, const char *file, int format, GError **error);

/* Find out which of them need only what changed since the newest point of the place, and give all
 * an entry in @point. With @full none does. */
void backup_sources_compare(GPtrArray *sources, const BackupPlace *place, gboolean full,
                            LodgePoint *point);

/* Copy them into the folder of the point that was begun, and note what was written after reading it
 * back. Bytes copied go to @out_bytes. */
gboolean backup_sources_copy(const GPtrArray *sources, const BackupPlace *place,
                             const LodgePoint *point, LodgeProgress *progress, guint64 *out_bytes,
                             GError **error);
