/* dnsmasq's files of reservations. Private to the net layer; the caller holds the network's lock.
 */
#pragma once

#include "net/net.h"

/* Write one NIC's reservation and names. */
gboolean lodge_net_write_entry(const LodgeStore *store, const LodgeNetwork *network,
                               const LodgePort *port, GError **error);

/* Whose lease of the port's IPv4 address stands in dnsmasq's file, if it is another MAC's: of a
 * guest of this name that was deleted, or of this NIC before its MAC changed. NULL: nobody's. Free
 * with g_free. */
char *lodge_net_former_mac(const LodgeStore *store, const char *network, const LodgePort *port);

/* Give back what the NIC had on other networks than @network. The caller holds no network's lock.
 */
void lodge_net_release_elsewhere(const LodgeStore *store, const char *network,
                                 const LodgePort *port);

/* Write those of all guests of the store that are on the network. */
gboolean lodge_net_write_entries(const LodgeStore *store, const LodgeNetwork *network,
                                 GError **error);
