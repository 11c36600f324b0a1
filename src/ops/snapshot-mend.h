/* Finding a guest's snapshots in order again. Private to this layer. */
#pragma once

#include <glib.h>

#include "ops/session.h"

/* Is there anything that a command has not finished? A look at a few names, for each verb. */
gboolean snapshot_needs_mending(const LodgeStore *store, const char *guest);

/* Undo or finish what commands that were killed left: nothing is then there that no name owns, the
 * guest's disks hold all that it wrote, and a guest that stood still for them goes on. */
gboolean snapshot_mend(const Session *session, GError **error);
