/* Dirty bitmaps that are kept in qcow2 files, through qemu-img: files that nobody else writes.
 * Errors as in qemu/img.h. */
#pragma once

#include <glib.h>

typedef struct {
    char *name;
    gboolean in_use; /* some QEMU writes it now, or died while it did: of no use then */
} LodgeImgBitmap;

/* Those of a file: LodgeImgBitmap * that it frees. Works while a guest writes to the file, but
 * those that its QEMU has made since are not there yet. */
GPtrArray *lodge_img_bitmaps(const char *path, GError **error);

/* Make one that records from now on. EXISTS is not told apart. */
gboolean lodge_img_bitmap_add(const char *path, const char *name, GError **error);

gboolean lodge_img_bitmap_remove(const char *path, const char *name, GError **error);

/* Make @name as a copy of what @from has of that name. */
gboolean lodge_img_bitmap_copy(const char *path, const char *name, const char *from,
                               GError **error);
