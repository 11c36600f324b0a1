/* Doing away with layers that nobody names, by the plan of layers.h. Private to this layer. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "ops/layers.h"
#include "ops/session.h"

/* Remove and merge what was given up, on the running guest too. Each step leaves the guest and its
 * snapshots as they are; interrupted, the next call goes on. */
gboolean merge_given_up(const Session *session, LodgeProgress *progress, GError **error);

/* Finish a merge that was interrupted, or forget it where it did not come to pass. */
gboolean merge_mend(const Session *session, GError **error);

/* --- The running guest (merge-live.c) --- */

/* Is the layer part of what the running guest has open? */
gboolean merge_is_live(const Session *session, const Layer *layer);

/* Merge @layer into the one below while the guest runs. */
gboolean merge_live(const Session *session, const GPtrArray *layers, const LayerStep *step,
                    LodgeProgress *progress, GError **error);

/* --- The journal, <guest>/snapshots/.merging --- */

typedef struct {
    char *from, *into; /* below the guest's folder */
    char *format;      /* of the second */
    gboolean done;     /* both hold the same now: what names the first may name the second */
    gboolean resume;   /* the guest stands still for it */
} Merging;

/* NULL without error: there is none. */
Merging *merging_read(const Session *session);
gboolean merging_write(const Session *session, const Merging *merging, GError **error);
void merging_end(const Session *session);
void merging_free(Merging *merging);

/* Name the second where the first was named; its file goes. */
gboolean merging_repoint(const Session *session, const Merging *merging, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Merging, merging_free)
