/* What the files of the bridge conversion share. Private to this layer. */
#pragma once

#include "net/bridge.h"
#include "net/link-state.h"
#include "net/net-private.h"

/* A change that may have to be undone. */
typedef struct {
    char *uplink;
    char *bridge;
    gboolean to_bridge;
    gint64 deadline; /* of g_get_monotonic_time() */
    LodgeLinkState *state;
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
/* Remove the bridge, which no port needs any more. */
void lodge_bridge_remove(LodgeNet *net, const char *bridge);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeBridgeChange, lodge_bridge_change_free)
