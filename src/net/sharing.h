/* Networks that stand on the bridge of another network, as the VLANs of a VLAN-aware one do.
 * Private to this layer. */
#pragma once

#include "net/net.h"

/* The network, not @network itself, that makes the bridge which @network is only put on; NULL:
 * none does. Free with g_free. */
char *lodge_net_bridge_maker(const LodgeStore *store, const LodgeNetwork *network);

/* The networks that are put on the bridge that @network makes, if @running those that run only.
 * Free with g_strfreev. */
char **lodge_net_sharers(const LodgeStore *store, const LodgeNetwork *network, gboolean running);
