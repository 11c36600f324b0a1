/* Scheduled snapshots, and going back to one. */
#pragma once

#include <glib.h>

#include "ops/snapshot.h"

/* Make one as the definition's snapshots= says, and delete the oldest scheduled ones beyond its
 * number. USAGE if it says nothing. Free the result with lodge_snapshot_free(). */
LodgeSnapshot *lodge_snapshot_create_scheduled(const LodgeStore *store, const char *guest,
                                               LodgeProgress *progress, GError **error);

/* A guest's scheduled snapshots, the oldest first: names. Free with g_strfreev. */
char **lodge_snapshots_scheduled(const LodgeStore *store, const char *guest, GError **error);

/* The newest scheduled snapshot that was made at @time_s (seconds of the Unix epoch) or before.
 * Free with g_free. NOT_FOUND says which is the oldest. */
char *lodge_rewind_find(const LodgeStore *store, const char *guest, gint64 time_s, GError **error);
