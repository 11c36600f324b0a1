/* The uplink of a bridged network whose bridge is Lodge's. Private to the net layer; the caller
 * holds the network's lock. */
#pragma once

#include "net/net-private.h"

/* Make the uplink (with vlan= a link for its tag) a port of the network's bridge. BUSY if the host
 * itself uses it: has addresses on it, or has given it to another bridge. */
gboolean lodge_net_take_uplink(LodgeNet *net, const LodgeNetwork *network, int bridge,
                               GError **error);

/* Put it back as it was before. What is gone is fine. */
gboolean lodge_net_give_uplink_back(LodgeNet *net, const LodgeNetwork *network, GError **error);
