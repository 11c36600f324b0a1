/* A hidden guest in which an image is made: it has a store of its own in the making's folder, so
 * that no command sees it, and goes with that folder. Private to this layer. */
#pragma once

#include <glib.h>

#include "image/making.h"
#include "store/store.h"

/* What it boots; texts are borrowed. */
typedef struct {
    const char *disk;        /* what its own disk is a copy of */
    gboolean is_image;       /* it is an image's, so that standing on it is enough */
    const char *format;      /* of that disk */
    const char *const *only; /* the files that it and the variables consist of; NULL: an image's */
    const LodgeImage *like;  /* memory, CPUs, size, user, provision, agent */
    const char *kernel, *initrd, *kernel_arguments; /* paths; NULL: it boots its disk */
    const LodgeGuest *machine; /* whose kind of machine it is; NULL: the usual one */
    gboolean uefi;
    const char *variables; /* UEFI's, to be copied; NULL: as the firmware brings them */
} WorkshopWish;

typedef struct {
    LodgeMaking *making;
    LodgeStore store;
    char *log; /* what the steps said */
    char *old_dir;
    gboolean is_open;
} Workshop;

/* Boot it and wait until it answers; Lodge's agent is put in if it has none. */
gboolean workshop_open(Workshop *workshop, LodgeMaking *making, const WorkshopWish *wish,
                       GError **error);

/* Run a shell script in it, as root. FAILED, beginning with @what, with the end of what it said. */
gboolean workshop_run(Workshop *workshop, const char *what, const char *script, GError **error);

/* Copy a file or folder of this host into it. */
gboolean workshop_put(Workshop *workshop, const char *from, const char *to, GError **error);

/* Remove what is this machine's own: host keys, machine-id, logs, leases, histories, seeds. */
gboolean workshop_seal(Workshop *workshop, GError **error);

/* Shut it down, and make its disk the making's. */
gboolean workshop_finish(Workshop *workshop, GError **error);

/* Copy what guests boot beside the disk into the making, and name it there. NULL: nothing. */
gboolean workshop_copy_kernels(LodgeMaking *making, const char *kernel, const char *initrd,
                               GError **error);

/* End it, however it is. */
void workshop_clear(Workshop *workshop);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Workshop, workshop_clear)
