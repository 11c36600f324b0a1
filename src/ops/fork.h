/* Guests made of guests. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "store/store.h"

typedef struct {
    const char *source;
    const char *const *names; /* of the guests to be; NULL-terminated */
    gboolean full;            /* disks of their own, not layers on the source's */
    gint64 timeout_ms;        /* for the answer of each, if the source runs; 0: don't wait */
} LodgeFork;

/* Make guests that are what @what->source is: of one that runs, memory and disks, and it goes on
 * after a pause, which goes to @out_pause_ms (0: it is stopped); each is told who it is before it
 * has a network. Of one that is stopped, its disks; they learn it at their first boot. EXISTS if a
 * name is taken; UNSUPPORTED names what can't be forked. Each is made
 * whatever becomes of the others; those that fail are removed, and named in the error. INTERRUPTED:
 * those that were made by then stay. */
gboolean lodge_fork(const LodgeStore *store, const LodgeFork *what, guint *out_pause_ms,
                    LodgeProgress *progress, GError **error);
