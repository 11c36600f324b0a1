/* Theory of operation: what changed since a point of a backup.
 *
 * The bitmap `lodge-ID-POINT` lies in the layer of a disk that was begun (or was on top) when the
 * point was made, and records what is written there since. A layer that comes on top of it, for a
 * snapshot, gets `lodge-ID-POINT+`, which records from its first block. So what changed since the
 * point is what all of these say, from the top of the chain down to the one without a plus; and
 * where a layer on that way has neither, as after going back to a snapshot from before the point,
 * that is not known, and the next backup is full. No bitmap is ever cleared: each point has its
 * own.
 *
 * Which points count stands in the guest's file backups.conf: new layers get bitmaps for these, and
 * a layer that is merged away hands theirs on. Others are removed by the next backup.
 * Private to this layer. */
#pragma once

#include <glib.h>

#include "ops/hotplug.h"
#include "ops/session.h"

/* "lodge-ID-POINT". Free with g_free. */
char *bitmap_name(const char *id, const char *point);

/* Write down that @point is the newest in the place @id (NULL: nothing counts for it any more), and
 * that @next (may be NULL) is being made. Of places that were not backed up to for long the oldest
 * is forgotten when there are more than four. */
gboolean bitmaps_note(const LodgeStore *store, const char *guest, const char *id,
                      const char *folder, const char *point, const char *next, GError **error);

/* The point that is being made in the place @id, or was by a command that was killed: its name is
 * not used again, as there may be bitmaps of it. NULL: none. Free with g_free. */
char *bitmaps_next(const LodgeStore *store, const char *guest, const char *id);

/* The names that count. Free with g_strfreev. */
char **bitmaps_noted(const LodgeStore *store, const char *guest);

/* The layer @path was made on top of a disk: let it record for the points that count. */
gboolean bitmaps_continue(const LodgeStore *store, const char *guest, const char *path,
                          GError **error);

/* The bitmaps of the chain below @path (included) that tell what changed since @name's point:
 * LodgeStorageBitmap that it frees. NULL: that is not known, @out_why says why (g_free). */
GArray *bitmaps_of_chain(const char *path, const char *format, const char *name, char **out_why);

/* The layer @from was merged into @into: what it says of points is to be said there. Failure is no
 * error: the next backup will be full. Files that no QEMU has. */
void bitmaps_hand_on(const LodgeStore *store, const char *guest, const char *from,
                     const char *into);
/* The same in a running QEMU, while the guest stands still, for nodes. */
void bitmaps_hand_on_live(const Hotplug *hotplug, const LodgeStore *store, const char *from,
                          const char *into);

/* Remove bitmaps from the disk's top layer that don't count, if they are Lodge's. */
void bitmaps_sweep(const Session *session, const LodgeDisk *disk);
