/* Logs that somebody else appends to are kept from growing without end. */
#pragma once

#include <glib.h>

/* If the file at @path is larger than @limit_bytes, move its content to @path.1 and empty it; its
 * writer, which has it open for appending, goes on at its start. On a disk that is too full for
 * that its last megabyte stays in it, at most. Returns TRUE if it is shorter now. Failure is no
 * error: the next time will come. */
gboolean keeper_rotate_log(const char *path, guint64 limit_bytes);
