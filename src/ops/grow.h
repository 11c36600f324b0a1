/* Disks that grow under a running guest. Private to this layer. */
#pragma once

#include <glib.h>

#include "ops/session.h"

/* Have the disk be as large, and the guest see it; or see only, if it is. FALSE without an error:
 * the running guest doesn't have that disk. */
gboolean grow_disk(const Session *session, LodgeQmp *qmp, const char *name, guint64 size_bytes,
                   GError **error);

/* Have the session's running guest grow its root file system to its disk's end, as Debian images
 * that Lodge builds do at each boot; @out_grown is FALSE, without an error, for a guest that has no
 * such program. It must have lodge-agent, and run. */
gboolean grow_root(const Session *session, gboolean *out_grown, GError **error);
