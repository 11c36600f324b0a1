/* Snapshots of guests: what they were at a moment, to go back to. Errors name the guest. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "model/snapshot.h"
#include "store/store.h"

typedef struct {
    const char *guest;
    const char *name;        /* NULL: one is made of the time */
    const char *description; /* NULL: none */
    gboolean disks_only; /* of a guest that runs: not its memory, but its file systems at rest */
    struct Capture *capture; /* of a guest that runs: its memory goes here, of the same moment, and
                                the snapshot is of the disks alone; NULL: no */
    const char *verb;        /* what the user asked for; NULL: "snapshot create" */
} LodgeSnapshotWish;

/* Make one. A guest that runs goes on; how long it stood still is in the result. EXISTS if the name
 * is taken; UNSUPPORTED names what can't be part of one. Free the result with
 * lodge_snapshot_free(); NULL on error: the guest is then as it was. */
LodgeSnapshot *lodge_snapshot_create(const LodgeStore *store, const LodgeSnapshotWish *wish,
                                     LodgeProgress *progress, GError **error);

/* Make the guest what it was, definition and all; what it is now is lost. If it was running then,
 * it continues there, unless @cold: then it is stopped. The snapshot stays. UNSUPPORTED, before
 * anything was touched, if this QEMU can't read its memory. */
gboolean lodge_snapshot_restore(const LodgeStore *store, const char *guest, const char *name,
                                gboolean cold, LodgeProgress *progress, GError **error);

/* Remove one: the guest and the other snapshots keep what they are. BUSY names the guests that
 * stand on it. */
gboolean lodge_snapshot_delete(const LodgeStore *store, const char *guest, const char *name,
                               LodgeProgress *progress, GError **error);

/* Finish or undo what commands that were killed left of the guest's snapshots, which each verb does
 * too where it can. @out_mended: there was something. Then look whether all disks and snapshots can
 * be read: INVALID names what can't. Without @repair nothing is touched, and what is to be mended
 * is a problem, too. */
gboolean lodge_snapshot_check(const LodgeStore *store, const char *guest, gboolean repair,
                              gboolean *out_mended, GError **error);

/* One line of the tree. */
typedef struct {
    LodgeSnapshot *snapshot;
    guint depth;         /* 0: it has no parent */
    gboolean is_last;    /* of its parent's */
    gboolean is_current; /* the guest's disks stand on it */
    guint64 disk_bytes;  /* allocated by its layers; what they share with others is theirs */
    char *problem;       /* why it can't be restored; NULL: all well */
} LodgeSnapshotView;

/* All of a guest's, parents before their children, children by time: LodgeSnapshotView * that it
 * frees. Asks no QEMU. */
GPtrArray *lodge_snapshots(const LodgeStore *store, const char *guest, GError **error);

/* What became different since. */
typedef struct {
    char *what;    /* "memory", "disk root" */
    char *before;  /* NULL: it was not there */
    char *after;   /* NULL: it is not there */
    guint64 bytes; /* of a disk: written since, as far as layers can tell */
} LodgeSnapshotChange;

/* Changes from the snapshot @name to the snapshot @to (NULL: the guest as it is):
 * LodgeSnapshotChange * that it frees. */
GPtrArray *lodge_snapshot_diff(const LodgeStore *store, const char *guest, const char *name,
                               const char *to, GError **error);
