/* What a guest's disk consists of, as far as that is the guest's. */
#pragma once

#include <glib.h>

#include "store/store.h"

/* lodge_disk_chain() of a disk's top @file, relative to the guest's folder, absolute or remote;
 * with the errors of that and of lodge_disk_chain_check(), and INVALID where it stands on a disk
 * outside of the store that another guest writes to. A file of another guest that the
 * definition says it was forked from is right too, and what is below it if it is right for that
 * guest: nobody writes such a file any more. So is a disk elsewhere that a backup covered. Whatever
 * is handed to QEMU or qemu-img comes from here, as a header is the guest's to write once it has
 * taken its QEMU over. */
GPtrArray *lodge_guest_chain(const LodgeStore *store, const LodgeGuest *guest, const char *file,
                             int format, GError **error);

/* The path of a disk's file as a definition names it: in the guest's folder, or absolute (or
 * remote) as it is. Free with g_free. */
char *lodge_guest_disk_path(const LodgeStore *store, const char *guest, const char *file);
