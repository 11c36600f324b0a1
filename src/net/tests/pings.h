/* Pings at intervals of a millisecond, and what became of them. `ping` won't do: after its last
 * request it waits no longer than two round trips, so on a busy machine it calls lost what only
 * came late. */
#pragma once

#include "net/tests/netns.h"

typedef struct Pings Pings;

typedef struct {
    guint sent;
    guint lost;    /* not answered within a second after the last was sent */
    guint longest; /* most lost in a row */
} PingsResult;

/* Begin to ping @target, IPv4 or IPv6, from @netns (NULL: the host's), @count times. */
Pings *pings_begin(const Netns *netns, const char *target, guint count);
/* Wait for the end, and free. */
PingsResult pings_end(Pings *pings);
