/* What the files of the net layer share. */
#pragma once

#include <nftables/libnftables.h>

#include "net/net.h"
#include "net/netlink.h"

struct LodgeNet {
    const LodgeStore *store;
    char *table;
    LodgeNetlink *netlink;
    struct nft_ctx *nft; /* made at first use */
};

/* Take the network's lock, which orders all that changes it, or the host's, which orders changes of
 * what networks share. A network's is taken first. -1 on error. */
int lodge_net_lock(const LodgeStore *store, const char *network, GError **error);
/* The same without waiting for who holds it: BUSY. For keepers, whom a holder may be ending. */
int lodge_net_lock_at_once(const LodgeStore *store, const char *network, GError **error);
int lodge_net_lock_host(const LodgeStore *store, GError **error);

/* <run>/networks/.sysctls.json */
char *lodge_net_sysctl_memory(const LodgeStore *store);

/* What carries the name of the store, so that no other's link is touched. Free with g_free. */
char *lodge_net_alias(const LodgeStore *store, const char *network);

/* Run nftables commands as one transaction. The caller holds the host's lock. */
gboolean lodge_net_nft(LodgeNet *net, const char *commands, GError **error);

/* Bring the whole ruleset in line with the networks that are up, but @except (may be NULL). */
gboolean lodge_net_reload_firewall(LodgeNet *net, const char *except, GError **error);

/* What the host and the other networks have, of LodgeOwnedPrefix *; what is on @bridge (may be
 * NULL) does not count. */
GPtrArray *lodge_net_taken_prefixes(LodgeNet *net, const char *name, const char *bridge,
                                    GError **error);

/* Make a tap a port of the network's bridge, in its VLANs, and set it up. UNSUPPORTED if it has
 * VLANs and the bridge does not keep such apart. */
gboolean lodge_net_enslave(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port,
                           GError **error);
