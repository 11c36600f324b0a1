/* Limits and memory of a guest that runs. Private to this layer, for verbs that hold a session. */
#pragma once

#include <glib.h>

#include "ops/session.h"

/* Have the limits of session->guest, as it was read last, hold now. TRUE too if it does not run.
 * UNSUPPORTED if this host or user can't limit it; FAILED names what the kernel refuses. Writes a
 * few files, and talks to nobody. */
gboolean lodge_limits_apply(const Session *session, GError **error);

/* Let the guest have @size_bytes of memory from now on, until it ends: less by its balloon, more
 * than it was started with by plugging memory in, up to memory-max=. The guest needs a moment to
 * follow. @least_bytes: what it has surely, 0 if that is not known; QEMU is asked only for more.
 * BUSY if it does not run; USAGE if the size is out of bounds; else QEMU's refusal. */
gboolean lodge_memory_set_live(const Session *session, guint64 least_bytes, guint64 size_bytes,
                               GError **error);
