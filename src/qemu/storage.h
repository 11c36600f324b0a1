/* Copying disks by QEMU's storage daemon: it knows dirty bitmaps, and compresses. One that was
 * started ends with who started it. Errors: UNSUPPORTED if it is not installed; FAILED with what
 * QEMU says; those of qmp/qmp.h. */
#pragma once

#include <glib.h>

#include <jansson.h>

#include "base/progress.h"

typedef struct LodgeStorage LodgeStorage;

LodgeStorage *lodge_storage_start(GError **error);
/* End it: what it has written is on disk then. */
gboolean lodge_storage_end(LodgeStorage *storage, GError **error);
/* NULL is fine. One that was not ended is killed. */
void lodge_storage_free(LodgeStorage *storage);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeStorage, lodge_storage_free)

/* Open the files of @chain (lodge_disk_chain()), and no others, as the node @node; those below it
 * are "NODE-1", "NODE-2" … Only the top one, and only if @writable, is written. A disk that is only
 * read may be in use by others. */
gboolean lodge_storage_open(LodgeStorage *storage, const char *node, const GPtrArray *chain,
                            gboolean writable, GError **error);

/* Layer @depth of a chain (lodge_disk_chain()) as the arguments of blockdev-add. New reference. */
json_t *lodge_storage_node(const GPtrArray *chain, guint depth, const char *node,
                           gboolean writable);

/* A disk to be seen as a raw one. */
typedef struct {
    const char *path;   /* a qcow2 file */
    const char *folder; /* where it is, and all that it stands on */
    const char *name;   /* of the NBD export */
    const char *file;   /* for FUSE: an empty file that is covered by it */
} LodgeStorageView;

/* Can this process show files by FUSE? UNSUPPORTED with the mend if not. */
gboolean lodge_storage_can_fuse(GError **error);

/* Show disks, read-only, in a process of its own that stays until lodge_storage_hide(): @socket is
 * its monitor's. By FUSE, or, if @nbd is not NULL, by an NBD server that listens on the Unix socket
 * @nbd. What is shown are the files that are there now, even if others get their names meanwhile;
 * INVALID if one is not below its folder. By NBD the process can open no others. */
gboolean lodge_storage_show(const LodgeStorageView *views, gsize count, const char *socket,
                            const char *nbd, GError **error);
/* End the process that has the monitor @socket. NOT_FOUND if there is none. */
gboolean lodge_storage_hide(const char *socket, GError **error);

/* A bitmap of a chain's layer. */
typedef struct {
    guint depth; /* 0: the top */
    char *name;
} LodgeStorageBitmap;

/* Copy what any of the bitmaps names (all, if there are none) from one open node to another. */
typedef struct {
    const char *source;
    const char *target;
    const GArray *bitmaps; /* LodgeStorageBitmap; NULL: copy all */
} LodgeStorageCopy;

/* All or none. The bitmaps stay as they are. UNSUPPORTED if they don't fit the disk as it is now.
 * Parts of @progress (may be NULL) go from 0 to 1; bytes copied go to @out_bytes. */
gboolean lodge_storage_copy(LodgeStorage *storage, const LodgeStorageCopy *copies, gsize count,
                            LodgeProgress *progress, guint64 *out_bytes, GError **error);
