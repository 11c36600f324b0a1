/* What the files of the bridge conversion share. Private to this layer. */
#pragma once

#include "net/bridge.h"
#include "net/link-state.h"
#include "net/net-private.h"
#include "net/persist/host-files.h"

/* A change that may have to be undone. */
typedef struct {
    char *uplink;
    char *bridge;
    gboolean to_bridge;
    gint64 deadline; /* of g_get_monotonic_time() */
    LodgeLinkState *state;
    LodgeHostChange *files; /* forward makes the bridge last; NULL: no file is touched */
    char *sysroot;          /* of the files */
} LodgeBridgeChange;

void lodge_bridge_change_free(LodgeBridgeChange *change);
json_t *lodge_bridge_change_json(const LodgeBridgeChange *change);
LodgeBridgeChange *lodge_bridge_change_read(const char *path, GError **error);

/* Send the batches that make @change; on error it may be half done. */
gboolean lodge_bridge_carry_out(LodgeNet *net, const LodgeBridgeChange *change, GError **error);
/* Put back what was before @change, not begun, half done or whole. */
gboolean lodge_bridge_reverse(LodgeNet *net, const LodgeBridgeChange *change, GError **error);
/* What carrying it out would do, a line each. */
char **lodge_bridge_describe(const LodgeBridgeChange *change, GError **error);
/* --- The host's files (bridge-files.c) --- */

/* Find out which files a change to a bridge writes. */
gboolean lodge_bridge_files_plan(LodgeNet *net, LodgeBridgeChange *change, GError **error);
/* Those that were written when the bridge was made; none is fine. */
gboolean lodge_bridge_files_recall(const LodgeStore *store, LodgeBridgeChange *change,
                                   GError **error);
/* Make them fit the change, tell the manager, and see that the host keeps its addresses. On error
 * they are as before. */
gboolean lodge_bridge_files_write(LodgeNet *net, const LodgeBridgeChange *change, GError **error);
/* Make them fit what was before the change. */
gboolean lodge_bridge_files_take_back(LodgeNet *net, const LodgeBridgeChange *change,
                                      GError **error);
/* The change is confirmed: what is remembered for a bridge that is gone is forgotten. */
void lodge_bridge_files_settle(const LodgeStore *store, const LodgeBridgeChange *change);

/* Remove the bridge, which no port needs any more. */
void lodge_bridge_remove(LodgeNet *net, const char *bridge);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeBridgeChange, lodge_bridge_change_free)
