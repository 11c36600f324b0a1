/* Where a guest's disks may be, some of which stand on other guests' files. Private to the keeper.
 */
#pragma once

#include <glib.h>

#include "store/store.h"

/* lodge_disk_chain_check() for @chain of a disk in @folder, the guest's. A file that the definition
 * says it was forked from is right too, and what is below it if it is right for that file's guest:
 * nobody writes such a file any more. */
gboolean keeper_check_chain(const LodgeStore *store, const LodgeGuest *guest, const char *folder,
                            const GPtrArray *chain, GError **error);
