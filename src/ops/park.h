/* Parking an image: see image/warm.h. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "store/store.h"

typedef struct {
    const char *image;
    const char *cpus; /* as the user wrote them; NULL: the image's */
    const char *memory;
    const char *accel;
    const char *network; /* `user`, or any other, which are all alike; NULL: the other as root */
    gboolean again;      /* even if one of that shape is there */
} LodgePark;

/* Boot the image in hiding, wait until it answers and is idle, and keep it there. One that is
 * parked already is fine. UNSUPPORTED: it can't be; BUSY: another command is at it; FAILED: the
 * reason, or there is no room. Nothing is left of one that fails. */
gboolean lodge_park(const LodgeStore *store, const LodgePark *what, LodgeProgress *progress,
                    GError **error);

/* Drop all of an image's parked machines; @out_count says how many. */
gboolean lodge_unpark(const LodgeStore *store, const char *image, guint *out_count, GError **error);

/* Park what @guest was made of in the background, at the lowest priority, if that makes sense: it
 * can be parked and is not, there is room for it, and neither LODGE_PARK=off in the environment nor
 * the image's park=off forbids it. Never fails. */
void lodge_park_later(const LodgeStore *store, const char *guest);
