/* Guests that have a route instead of a bridge. Private to the net layer. */
#pragma once

#include "net/net-private.h"

/* May the port have the routes that it names? EXISTS error that names both if they overlap what the
 * host or another guest has. */
gboolean lodge_net_check_routes(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port,
                                GError **error);

/* Route the port's addresses and routes to its tap, which goes up. */
gboolean lodge_net_route_tap(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port,
                             GError **error);

/* Undo what the port has on the uplink, and on its tap if that is there. */
void lodge_net_forget_routed(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port);
