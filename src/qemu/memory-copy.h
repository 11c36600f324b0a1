/* A guest's memory, read out of its QEMU by another process: while it runs, and once more. */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* A block of memory that QEMU has mapped for itself alone. */
typedef struct {
    pid_t pid;          /* QEMU */
    guint64 address;    /* in QEMU */
    guint64 size_bytes; /* whole pages */
    int to_fd;          /* a file of that size, all holes; not taken */
} LodgeMemoryArea;

typedef struct LodgeMemoryCopy LodgeMemoryCopy;

/* See what there is to read; nothing is read yet. UNSUPPORTED if this way is not there: the memory
 * is shared with others (huge pages), or the system lets nobody look into that process. */
LodgeMemoryCopy *lodge_memory_copy_new(const LodgeMemoryArea *area, GError **error);

void lodge_memory_copy_free(LodgeMemoryCopy *copy);

/* How much of it is QEMU's own now, and not of the file that the mapping began with: so much each
 * later lodge_memory_copy_bring() has to look at. */
gboolean lodge_memory_copy_own_bytes(LodgeMemoryCopy *copy, guint64 *out_bytes, GError **error);

/* Bring the file to what QEMU has in memory now. Pages that QEMU never had stay holes, and nothing
 * is read of them, so that looking takes no memory. If QEMU runs meanwhile, each page is as it was
 * at some moment: call it again when it stands still, which is quicker, as only what has changed is
 * written. INTERRUPTED; FAILED: it ended. */
gboolean lodge_memory_copy_bring(LodgeMemoryCopy *copy, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeMemoryCopy, lodge_memory_copy_free)
