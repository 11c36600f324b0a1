/* Files of a point: brought to disk, read back, copied. Private to this layer. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "model/point.h"
#include "ops/backup-place.h"

/* The SHA-256 of a file as it is on disk, past what the host remembers of it, in hexadecimal
 * digits. Its size goes to @out_bytes (may be NULL). NULL on error, INTERRUPTED among them. */
char *backup_file_sum(const char *path, guint64 *out_bytes, GError **error);

/* Bring a file to disk, and note size and SHA-256 of what is read back. */
gboolean backup_file_note(const char *path, LodgePointDisk *disk, GError **error);

/* Copy a small file, and give its SHA-256. NULL on error. */
char *backup_file_keep(const char *from, const char *to, GError **error);

/* Compare all files of a point itself, and those that its disks stand on (@with_parents), with what
 * was noted. INVALID names the first that differs. */
gboolean backup_files_verify(const BackupPlace *place, const LodgePoint *point,
                             gboolean with_parents, LodgeProgress *progress, GError **error);
