/* An image being made, whatever of. */
#pragma once

#include <glib.h>

#include "base/base.h"
#include "store/store.h"

/* An image about to be made: a staging, with a folder "work" in it that is removed at the end. */
typedef struct {
    const LodgeStore *store;
    LodgeProgress *progress;
    LodgeStaging *staging;
    LodgeImage *image; /* its disk, kernel and initrd are names in the work folder */
    char *work;
    GPtrArray *others; /* char *: paths of an OVA's further disks; NULL: none */
} LodgeMaking;

typedef enum { LODGE_MAKING_NEW, LODGE_MAKING_ANEW } LodgeMakingMode;

/* Steals @image in every case. NEW: error EXISTS if the image is here; ANEW: it will be replaced.
 */
gboolean lodge_making_begin(LodgeMaking *making, const LodgeStore *store, LodgeImage *image,
                            LodgeMakingMode mode, LodgeProgress *progress, GError **error);
char *lodge_making_path(const LodgeMaking *making, const char *file);

/* Check the files that the image names, and give them and image.conf their places. */
gboolean lodge_making_finish(LodgeMaking *making, const char *origin, GError **error);

/* Turn the foreign disk @file into "disk.qcow2" of the work folder, and further ones of an OVA into
 * "more-1.qcow2" …: unpacked, recognised, checked, converted. @file in the work folder may be used
 * up. */
gboolean lodge_making_adopt(LodgeMaking *making, const char *file, const char *format,
                            gboolean trusted, GError **error);

void lodge_making_clear(LodgeMaking *making);

/* Remove a tree in which files may be of subordinate ids of ours. */
void lodge_making_remove_stubborn(const char *path);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LodgeMaking, lodge_making_clear)
