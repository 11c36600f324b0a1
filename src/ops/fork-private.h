/* How guests are made of a guest; private to this layer. */
#pragma once

#include <glib.h>

#include "model/snapshot.h"
#include "ops/capture.h"
#include "ops/fork.h"

typedef struct {
    const LodgeStore *store;
    const LodgeFork *what;
    LodgeProgress *progress;
    LodgeSnapshot *snapshot; /* what they stand on */
    char *text;              /* the source's definition of then */
    LodgeGuest *guest;       /* the same, read */
    gboolean runs;
    gboolean shares; /* its memory is in: */
    Capture capture;
} Forking;

/* Make one guest, to the point that was wished for; one that fails is removed. */
gboolean fork_one(const Forking *forking, const char *name, GError **error);

/* Remove what a fork_one() that was killed may have left. */
void fork_remove_unfinished(const Forking *forking, const char *name);

/* All of them, several at a time, each whatever becomes of the others. The error names those that
 * failed. INTERRUPTED: those that were made stay. */
gboolean fork_several(const Forking *forking, GError **error);

/* Fill a new guest's folder: disks, definition, seed. */
gboolean fork_folder(const Forking *forking, const char *name, const char *folder, GError **error);
