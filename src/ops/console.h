/* A guest's serial console: one may write to it, all may watch. */
#pragma once

#include <glib.h>

#include "store/store.h"

/* Take the console of a running guest for writing: a connected socket, and in @out_lock_fd the lock
 * to keep as long. -1 with BUSY if the guest does not run, or (@out_writer then is its process, 0
 * before) somebody else writes. QEMU's socket serves one client. */
int lodge_console_open(const LodgeStore *store, const char *name, int *out_lock_fd,
                       pid_t *out_writer, GError **error);

/* The console's log as it grows, over its rotations. */
typedef struct LodgeConsoleLog LodgeConsoleLog;

/* Open it at its end, or @back_bytes before that, at the start of a line. */
LodgeConsoleLog *lodge_console_log_open(const LodgeStore *store, const char *name, gsize back_bytes,
                                        GError **error);
void lodge_console_log_free(LodgeConsoleLog *log);

/* Poll it for POLLIN: then there may be more to read. */
int lodge_console_log_fd(const LodgeConsoleLog *log);
/* What was written since, at most @size bytes; 0: nothing now. */
gsize lodge_console_log_read(LodgeConsoleLog *log, char *buffer, gsize size);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeConsoleLog, lodge_console_log_free)
