/* What a running guest can take. Private to this layer. */
#pragma once

#include <glib.h>

#include "ops/session.h"

typedef struct {
    const Session *session;
    const LodgeGuest *old;   /* as it runs */
    const LodgeGuest *fresh; /* as it shall be */
    const char *object;      /* the disk's or NIC's name; NULL */
} LiveChange;

/* Apply the change of [@section] @key. TRUE: done. FALSE with an error: it could not be; FALSE
 * without one: such a key never changes live. */
gboolean live_apply(const char *section, const char *key, const LiveChange *change, GError **error);
