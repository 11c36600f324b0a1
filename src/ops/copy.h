/* Copying files between this host and a guest. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "store/store.h"

typedef struct {
    const char *guest;      /* its name */
    const char *guest_path; /* absolute */
    const char *host_path;  /* "-": standard input or output */
    gboolean into_guest;
} LodgeCopy;

typedef struct {
    guint64 files;
    guint64 bytes;
    guint64 skipped; /* devices, sockets, and links that lead out of the tree */
} LodgeCopied;

/* Take what a user wrote: one of @from and @to is "GUEST:PATH", as scp has it: a colon before any
 * slash. USAGE if neither or both are, or the path is not absolute. The texts point into the words,
 * but for the guest's name, which is @out_copy->guest and to be freed with g_free. */
gboolean lodge_copy_parse(const char *from, const char *to, LodgeCopy *out_copy, GError **error);

/* Copy a file or a tree as `cp -r` names it. Each file appears when it is whole. By lodge-agent;
 * QEMU's agent takes single files. @out_copied may be NULL. */
gboolean lodge_copy(const LodgeStore *store, const LodgeCopy *copy, LodgeProgress *progress,
                    LodgeCopied *out_copied, GError **error);
