/* Into a running guest by its agent: Lodge's own where it is there, else QEMU's. Private to this
 * layer. */
#pragma once

#include <glib.h>

#include "qmp/agent.h"
#include "qmp/guest-agent.h"
#include "store/store.h"

typedef struct {
    LodgeAgent *lodge;     /* or NULL */
    LodgeGuestAgent *qemu; /* or NULL */
    int lock_fd;           /* QEMU's agent serves one at a time */
} Way;

/* Start from this; way_clear() may be called on it at any time. */
#define WAY_NONE ((Way){.lock_fd = -1})

/* Find the agent that is there, before @deadline. BUSY if the guest does not run, or has none. */
gboolean way_open(const LodgeStore *store, const char *name, gint64 deadline, Way *out_way,
                  GError **error);
void way_clear(Way *way);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Way, way_clear)

/* Set UNSUPPORTED: @what needs lodge-agent, and how to get it. Returns FALSE. */
gboolean way_needs_lodge_agent(const char *name, const char *what, GError **error);
