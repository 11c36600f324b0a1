/* The host's own interface becomes a port of a bridge, and back, without a packet lost; undone by
 * itself unless confirmed in time. */
#pragma once

#include "net/net.h"

typedef struct {
    const char *uplink; /* "eth0" */
    const char *bridge; /* "br0" */
    gint64 confirm_within_ms;
} LodgeBridgeRequest;

/* Why @uplink can't become a port of @bridge: NOT_FOUND, USAGE, EXISTS or UNSUPPORTED, with the way
 * out. */
gboolean lodge_bridge_preflight(LodgeNet *net, const char *uplink, const char *bridge,
                                GError **error);

/* What would be done, a line each, in order. Free with g_strfreev. Changes nothing. */
char **lodge_bridge_plan(LodgeNet *net, const LodgeBridgeRequest *request, GError **error);

/* Do it. From then on the watchdog, a process of its own, undoes it unless lodge_bridge_confirm()
 * comes in time. On error everything is as it was. BUSY if another change is unconfirmed. */
gboolean lodge_bridge_convert(LodgeNet *net, const LodgeBridgeRequest *request, GError **error);

/* The way back: the bridge's only uplink gets its addresses and routes; likewise to be confirmed.
 * BUSY if guests are on the bridge. */
gboolean lodge_bridge_revert(LodgeNet *net, const char *bridge, gint64 confirm_within_ms,
                             GError **error);

/* Keep the change that is unconfirmed. Its bridge and uplink go to the outputs (g_free);
 * @out_is_bridge says which way it went. NOT_FOUND if there is none, or it came too late. */
gboolean lodge_bridge_confirm(LodgeNet *net, char **out_bridge, char **out_uplink,
                              gboolean *out_is_bridge, GError **error);

/* Undo the unconfirmed change now. For the watchdog, and for `lodge network confirm --undo`. TRUE
 * if there was none left. */
gboolean lodge_bridge_undo(LodgeNet *net, GError **error);

/* If a change is unconfirmed and its watchdog was killed: undo it. Every network command asks. */
void lodge_bridge_recover(LodgeNet *net);

/* <run>/networks/.bridge.json, and the lock that the watchdog holds. */
char *lodge_bridge_pending_path(const LodgeStore *store);
char *lodge_bridge_watchdog_path(const LodgeStore *store);
