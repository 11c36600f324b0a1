/* Images made of guests. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "store/store.h"

/* Make the image @name of a stopped guest's first disk, which is copied. @seal: a hidden copy of it
 * boots first, and what is the guest's own is removed there; the guest itself is not touched. On
 * any failure nothing is left. Errors: NOT_FOUND; EXISTS: the image is here; BUSY: the guest runs;
 * UNSUPPORTED: sealing needs an agent in it. */
gboolean lodge_image_make(const LodgeStore *store, const char *guest, const char *name,
                          gboolean seal, LodgeProgress *progress, GError **error);
