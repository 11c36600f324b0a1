/* The host's own interface becomes a port of a bridge, and back, without a packet lost; undone by
 * itself unless confirmed in time. */
#pragma once

#include "net/net.h"

typedef struct {
    const char *uplink; /* "eth0"; NULL: the way back, @bridge's only port gets all */
    const char *bridge; /* "br0" */
    gint64 confirm_within_ms;
    gboolean temporary;  /* until the host restarts: none of its files are touched */
    const char *sysroot; /* where those files are; NULL: the running system's */
} LodgeBridgeRequest;

/* Why @uplink can't become a port of @bridge: NOT_FOUND, USAGE, EXISTS or UNSUPPORTED, with the way
 * out. */
gboolean lodge_bridge_preflight(LodgeNet *net, const char *uplink, const char *bridge,
                                GError **error);

/* What a change would move, and how. */
typedef struct {
    char *uplink;
    char **addresses;    /* "192.0.2.2/24" */
    char **routes;       /* "default via 192.0.2.1", "198.51.100.0/24 via 192.0.2.1" */
    char **steps;        /* each message to the kernel in words, in order */
    char **files;        /* that are written, or taken back, when the change is confirmed */
    const char *manager; /* who reads them, "netplan"; NULL: none is touched */
} LodgeBridgePlan;

/* Look, and change nothing. The errors of lodge_bridge_change(). */
LodgeBridgePlan *lodge_bridge_plan(LodgeNet *net, const LodgeBridgeRequest *request,
                                   GError **error);
void lodge_bridge_plan_free(LodgeBridgePlan *plan);

/* Do it. From then on the watchdog, a process of its own, undoes it unless lodge_bridge_confirm()
 * comes in time. On error everything is as it was. BUSY if another change is unconfirmed, or if
 * guests are on a bridge that shall go; the errors of lodge_bridge_preflight(). */
gboolean lodge_bridge_change(LodgeNet *net, const LodgeBridgeRequest *request, GError **error);

/* The bridge of the change that waits to be confirmed (g_free), and how long it still does; NULL:
 * none waits. */
char *lodge_bridge_waiting(const LodgeStore *store, gint64 *out_left_ms);

/* What was confirmed. */
typedef struct {
    char bridge[16];
    char uplink[16];
    gboolean is_bridge;  /* FALSE: the way back */
    const char *manager; /* whose files were written; NULL: it lasts until the host restarts */
} LodgeBridgeConfirmed;

/* Keep the change that is unconfirmed, and make it last. NOT_FOUND if there is none, or it came too
 * late; another error if its files can't be written, or if the host would lose an address by them:
 * then the change goes on waiting, and is undone in time. */
gboolean lodge_bridge_confirm(LodgeNet *net, LodgeBridgeConfirmed *out_change, GError **error);

/* Undo it without waiting. NOT_FOUND if nothing is unconfirmed. */
gboolean lodge_bridge_undo_now(LodgeNet *net, GError **error);

/* For the watchdog: undo the unconfirmed change. TRUE if there was none left. */
gboolean lodge_bridge_undo(LodgeNet *net, GError **error);

/* Finish what a killed command, or a killed watchdog, left. Every command that changes networks
 * calls it first. Never waits. */
void lodge_bridge_recover(LodgeNet *net);

/* <run>/networks/.bridge.json, the lock that the watchdog holds, and the one that commands hold
 * while they are at work. */
char *lodge_bridge_pending_path(const LodgeStore *store);
char *lodge_bridge_watchdog_path(const LodgeStore *store);
char *lodge_bridge_command_path(const LodgeStore *store);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeBridgePlan, lodge_bridge_plan_free)
