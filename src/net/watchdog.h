/* lodge-network --watch-bridge: undoes an unconfirmed change of the host's network. */
#pragma once

#include "store/store.h"

/* Watch until the change is confirmed or its time is over, and undo it then. *@report_fd is told
 * when watching has begun. */
gboolean lodge_watch_bridge(const LodgeStore *store, int *report_fd, GError **error);
