/* While a link becomes a port of a bridge or ceases to be one, the kernel drops what comes in on
 * it. A detour leads frames for the host around that: what comes in on the link is received by the
 * bridge, whether the link is its port or not. Private to the net layer. */
#pragma once

#include <glib.h>

#include "net/net-private.h"

/* Lead frames that come in on link @uplink, for its MAC, to @bridge, which has that MAC too and is
 * up; when it is back the bridge is running, even if it has no other port. FALSE, with nothing
 * changed: this kernel can't. */
gboolean lodge_detour_begin(LodgeNet *net, const char *uplink, const char *bridge);
/* Remove all of it, also what a killed one left. */
void lodge_detour_end(LodgeNet *net);

/* Wait until frames that were under way when something changed have gone their way: each processor
 * has done what it was at, and what waited for it. */
void lodge_detour_let_pass(void);

/* Wait until bridge @bridge, whose first port is there, sends: a worker of the kernel sees to that.
 * FALSE: it does not. */
gboolean lodge_detour_await_bridge(LodgeNet *net, const char *bridge);
