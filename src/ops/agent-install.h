/* lodge-agent in guests that were made without it. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "store/store.h"

typedef struct {
    const char *by; /* how it went in: "lodge-agent", "qemu-guest-agent", "ssh" */
    char *said;     /* what the installing did, lines */
    char *version;  /* of the agent that answers now; NULL: it has no port to answer on yet */
} LodgeAgentInstalled;

void lodge_agent_installed_clear(LodgeAgentInstalled *installed);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LodgeAgentInstalled, lodge_agent_installed_clear)

/* Put the program and what starts it at boot into a running Linux guest, by the agent that is
 * there, else by SSH as its login user, who must be root or may use sudo without password. Wait
 * until it answers. FAILED with the guest's reason. @out_installed is untouched on failure. */
gboolean lodge_agent_install(const LodgeStore *store, const char *name, LodgeProgress *progress,
                             LodgeAgentInstalled *out_installed, GError **error);
