/* Lodge's nftables ruleset, as text for libnftables. Pure.
 *
 * One table per family, `bridge` and `inet`, of one name, with sets and maps for everything that
 * varies: networks and ports come and go as elements, the chains stay as they are. */
#pragma once

#include <glib.h>

#include "model/model.h"
#include "net/port.h"

typedef struct {
    const LodgeNetwork *network;
    const GPtrArray *ports; /* LodgePort * */
} LodgeFirewallNetwork;

/* The tables' name: "lodge" for the system's own store, else one made of the store's folder, so
 * that installations never meet. Free with g_free. */
char *lodge_firewall_table(const char *store_root);

/* The whole ruleset for @networks (of LodgeFirewallNetwork *), replacing whatever was there, in one
 * transaction; without networks it only removes. Free with g_free. */
char *lodge_firewall_render(const char *table, const GPtrArray *networks);

/* What adds one port to a ruleset that has its network, and what removes it; either may be said
 * twice. Free with g_free. */
char *lodge_firewall_render_add(const char *table, const LodgeNetwork *network,
                                const LodgePort *port);
char *lodge_firewall_render_delete(const char *table, const LodgeNetwork *network,
                                   const LodgePort *port);
