/* A port's description and rules. Private to the net layer; the caller holds the network's lock. */
#pragma once

#include "net/net.h"

/* What was written for a port; NULL, without error, if it is not attached. */
LodgePort *lodge_net_read_port(const LodgeStore *store, const char *network, const char *link);

/* Give the port's tap its place in the network, up. */
gboolean lodge_net_connect_tap(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port,
                               GError **error);

/* See that the network is up and the port's forwards can be had, and have DHCP and DNS know it. */
gboolean lodge_net_check_port(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port,
                              GError **error);

/* Write the port's description and rules, instead of those that it had, in one transaction. */
gboolean lodge_net_admit(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port,
                         GError **error);
