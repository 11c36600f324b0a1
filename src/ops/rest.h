/* A running guest's file systems at rest, by its agent. Private to this layer. */
#pragma once

#include <glib.h>

#include "ops/session.h"
#include "qmp/agent-system.h"
#include "qmp/guest-agent.h"

typedef struct {
    LodgeAgent *lodge;     /* or NULL */
    LodgeGuestAgent *qemu; /* or NULL; neither: they are not at rest */
} Rest;

/* Bring them to rest: by lodge-agent where it is there, which lets them go on by itself when this
 * conversation ends, else by QEMU's agent. FALSE if none can, with the reason; then they are not.
 */
gboolean rest_begin(Rest *rest, const Session *session, GError **error);

/* Let them go on, if they are at rest. The guest must run. TIMEOUT if they were so no longer: what
 * was taken meanwhile is not consistent. Other errors: the agent did not answer. */
gboolean rest_end(Rest *rest, GError **error);

/* Without a word: an agent of QEMU's is not told. */
void rest_clear(Rest *rest);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Rest, rest_clear)
