/* Work that goes on beside ours, in a process of its own that is a copy of this one. */
#pragma once

#include <glib.h>

#include "base/progress.h"

typedef struct LodgeChild LodgeChild;

/* What the child does; @data is its copy. What it tells @progress reaches the parent. It
 * prints nothing. GLib's random numbers begin anew there, from 32 bits: what must differ from all
 * others is drawn by lodge_random(). */
typedef gboolean (*LodgeChildWork)(gpointer data, LodgeProgress *progress, GError **error);

/* Begin. The child is interrupted (see base/wait.h) by the signals that interrupt us, and by our
 * death, so that it too can unwind. */
LodgeChild *lodge_child_begin(LodgeChildWork work, gpointer data, GError **error);

/* For poll(): readable when there is something to hear, and at its end. -1 after that. */
int lodge_child_fd(const LodgeChild *child);

/* Hear what there is, after poll() said so; stages go to @progress (may be NULL). TRUE: it has
 * ended. */
gboolean lodge_child_hear(LodgeChild *child, LodgeProgress *progress);

/* Interrupt it. */
void lodge_child_interrupt(const LodgeChild *child);

/* Wait for its end, whatever signals come, and give its work's result; the error is the work's, or
 * FAILED if it was killed. */
gboolean lodge_child_end(LodgeChild *child, GError **error);

/* One that has not ended is killed. */
void lodge_child_free(LodgeChild *child);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeChild, lodge_child_free)
