/* Backups of guests into a folder, and guests out of backups. What is in such a folder:
 * docs/backups.md. Errors name the guest or the folder. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "model/point.h"
#include "store/store.h"

typedef struct {
    const char *guest;
    const char *folder; /* GUEST/ is made in it; NULL: the one that its definition names */
    gboolean full;      /* all, although what changed since the last is known */
    const char *keep; /* which points to keep, model/keep.h; NULL: as its definition says; "all" */
} LodgeBackupWish;

typedef struct {
    LodgePoint *point;
    guint64 copied_bytes; /* of the guest's disks, zeroes included */
    guint pause_ms;       /* how long a running guest stood still */
    char *folder;         /* where it is, FOLDER/GUEST */
    GPtrArray *removed;   /* char *: points that were not to be kept */
} LodgeBackupDone;

/* Make a point: all disks of the guest as they are at one moment. A guest that runs goes on
 * meanwhile. NOT_FOUND if there is no such folder; USAGE if none is said; UNSUPPORTED names a disk
 * that can't be part of it. On error nothing of it stays, and what changed is known as before. Free
 * the result. */
LodgeBackupDone *lodge_backup(const LodgeStore *store, const LodgeBackupWish *wish,
                              LodgeProgress *progress, GError **error);
void lodge_backup_done_free(LodgeBackupDone *done);

/* All points in a folder. */
typedef struct {
    char *folder; /* FOLDER/GUEST */
    char *guest;
    GPtrArray *points; /* LodgePoint *, the oldest first */
} LodgeBackups;

/* What @folder (or a GUEST's in it) holds, by guest: LodgeBackups * that it frees. NOT_FOUND if it
 * holds nothing. */
GPtrArray *lodge_backups(const char *folder, GError **error);

/* Read all of the points again and compare them with what was noted when they were made. @point
 * (may be NULL: all) is of the one guest in @folder. INVALID names the first file that is damaged.
 * How many were looked at goes to @out_points. */
gboolean lodge_backup_verify(const char *folder, const char *point, LodgeProgress *progress,
                             guint *out_points, GError **error);

typedef struct {
    const char *folder; /* FOLDER/GUEST, or FOLDER if there is one guest in it */
    const char *point;  /* its name, or how that begins; NULL: the newest */
    const char *name;   /* the guest's to be; NULL: as it was called */
    gboolean replace;   /* a guest of that name, which is stopped, goes */
} LodgeRestore;

/* Who would come of it, and is there such a guest already? The name is to be freed. */
gboolean lodge_restore_look(const LodgeStore *store, const LodgeRestore *wish, char **out_guest,
                            char **out_point, gboolean *out_exists, GError **error);

/* Make a guest of a point: stopped, verified, on nothing but its own files. Under another name it
 * gets addresses and MACs of its own, and no ports of the host. EXISTS if the name is taken. */
gboolean lodge_restore(const LodgeStore *store, const LodgeRestore *wish, LodgeProgress *progress,
                       GError **error);

typedef struct {
    const char *folder; /* FOLDER/GUEST, or FOLDER if there is one guest in it */
    const char *point;
    const char *at; /* an empty folder */
    gboolean nbd;   /* even where FUSE is there */
} LodgeBackupMount;

/* Have the disks of a point seen, read-only, until lodge_backup_unmount(): a raw file DISK.raw each
 * in @at, by FUSE; where that is not, as exports of an NBD server, whose socket is in @at. Returns
 * their paths or URIs; free with g_strfreev. */
char **lodge_backup_mount(const LodgeBackupMount *wish, GError **error);
gboolean lodge_backup_unmount(const char *folder, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeBackupDone, lodge_backup_done_free)
