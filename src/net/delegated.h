/* A prefix that was delegated to a network, on the host: the bridge's address of it, from which
 * dnsmasq tells guests, and their places in the filter.
 *
 *   <run>/networks/NET/delegated.json   what the network has now
 *   <root>/networks/NET.delegation      who its client is, and its last lease: so that the host
 *                                       gets the same prefix after a restart */
#pragma once

#include "net/delegation.h"
#include "net/net.h"

/* The /64 of a delegated prefix that guests get: its first. */
LodgePrefix lodge_delegated_subnet(const LodgePrefix *prefix);

/* The /64 that a network has now, as text; NULL: none. Free with g_free. */
char *lodge_net_delegated(const LodgeStore *store, const char *network);

/* Give a network that is up what was delegated on @uplink, or take it away (@client's lease is
 * none). The client's clock is CLOCK_BOOTTIME in ms, and says @now. BUSY if others are changing the
 * network just now; EXISTS if the prefix overlaps one of the host's or another network's. */
gboolean lodge_net_set_delegated(LodgeNet *net, const LodgeNetwork *network,
                                 const LodgeDelegationClient *client, gint64 now,
                                 const char *uplink, GError **error);

/* Add messages to the batch that give a bridge its address again. None is fine. */
void lodge_net_put_delegated(LodgeNet *net, const char *network, int bridge);
/* The network goes down: what does not go with its bridge goes. */
void lodge_net_remove_delegated(LodgeNet *net, const char *network);

/* Who the network's client is, made at first, and its lease if it is still valid. */
gboolean lodge_net_load_delegation(const LodgeStore *store, const char *network, gint64 now,
                                   LodgeDelegationClient *out_client, GError **error);
gboolean lodge_net_save_delegation(const LodgeStore *store, const char *network, gint64 now,
                                   const LodgeDelegationClient *client, GError **error);
/* The network is deleted. */
void lodge_net_forget_delegation(const LodgeStore *store, const char *network);

/* The link that the host's IPv6 default route leads to, of the least metric; NULL: none. Free with
 * g_free. */
char *lodge_net_default_link(LodgeNet *net, const char *except);
