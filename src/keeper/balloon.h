/* How much memory a guest with balloon=auto shall have. Pure. Private to the keeper. */
#pragma once

#include <glib.h>

#include "host/ksm.h"

typedef struct {
    LodgeMemory host;
    guint64 most_bytes;     /* memory= */
    guint64 least_bytes;    /* memory-min= */
    guint64 now_bytes;      /* what the balloon leaves it */
    gint64 available_bytes; /* what the guest could give without swapping, as its driver says;
                             * -1: it says nothing */
} BalloonSight;

/* The size to ask for: @sight->now_bytes if nothing is to change.
 * The host is short when less than a tenth is available or tasks wait for memory: an eighth of
 * most_bytes is taken, but only what the guest has available beyond a reserve of a sixteenth, and
 * never below the least. It has enough from a fifth on: an eighth is given back. A guest that is
 * itself short gets back sooner, unless the host is short too. */
guint64 balloon_target(const BalloonSight *sight);
