/* Which disk files stand on which, over images, guests and snapshots. */
#pragma once

#include <glib.h>

#include "store/store.h"

/* Somebody whose disk a file is. */
typedef struct {
    char *guest;
    char *disk;
    char *snapshot; /* the disk as it was then; NULL: as it is now */
} LodgeDiskUser;

/* One file. */
typedef struct {
    char *path;
    char *shown;             /* below the store's folder if it is in there, else as path */
    guint depth;             /* how many files it stands on, as far as they are known */
    gboolean is_last;        /* among those that stand on the same file */
    guint64 size_bytes;      /* as a guest sees it; 0: unknown */
    guint64 allocated_bytes; /* on this host */
    char *image;             /* the image whose file it is; NULL: none */
    gboolean is_replaced;    /* the image has a newer one */
    GPtrArray *users;        /* LodgeDiskUser * */
    char *problem;           /* NULL: all well */
} LodgeDiskNode;

/* All disk files of images and guests, and what they stand on, in the order of a tree: each is
 * followed by those that stand on it. With @guest only its own and what these stand on. Bears with
 * damage, and says it. Asks no QEMU. An array of LodgeDiskNode * that frees them. Error: NOT_FOUND,
 * no such guest. */
GPtrArray *lodge_disk_tree(const LodgeStore *store, const char *guest, GError **error);

/* Who else needs a file of @guest: with @file NULL any file in its folder, needed by other guests
 * ("web2"); else that file, which is its @disk, needed by anything but that disk as it is now
 * ("web2", "snapshot monday of web1"). In order, free with g_strfreev. NULL on error. */
char **lodge_disk_dependents(const LodgeStore *store, const char *guest, const char *disk,
                             const char *file, GError **error);

/* BUSY if lodge_disk_dependents() finds any, naming them. @what would be done: "deleted". */
gboolean lodge_disk_refuse_needed(const LodgeStore *store, const char *guest, const char *disk,
                                  const char *file, const char *what, GError **error);
