/* A snapshot: snapshot.conf in <guest>/snapshots/NAME. */
#pragma once

#include <glib.h>

#include "model/schema.h"

/* In the order of the words in the key table of snapshot.c. */
typedef enum {
    LODGE_SNAPSHOT_STOPPED, /* the guest was stopped: its disks are all there is */
    LODGE_SNAPSHOT_RUNNING, /* it ran, and its memory is here */
    LODGE_SNAPSHOT_FROZEN,  /* it ran; disks only, its file systems were at rest */
    LODGE_SNAPSHOT_PLUG,    /* it ran; disks only, as if the plug had been pulled */
} LodgeSnapshotKind;

typedef struct {
    char *name;
    char *file; /* relative to the guest's folder */
    int format; /* LodgeDiskFormat */
} LodgeSnapshotDisk;

typedef struct {
    char *name;
    char *parent; /* NULL: it has none */
    char *made;   /* ISO 8601 */
    char *description;
    int kind;             /* LodgeSnapshotKind */
    guint pause_ms;       /* how long the guest stood still for it */
    guint64 memory_bytes; /* of the file `memory` beside it; 0: there is none */
    char *qemu;           /* the QEMU that can read that memory: its version */
    gboolean kvm;         /* and how it ran the guest */
    gboolean paused;      /* the guest was paused before, and is when it is restored */
    char *variables;      /* UEFI's, a file beside it; NULL: none */
    char *tpm;            /* its TPM's state, the same */
    char *layout;         /* where its QEMU had devices that came and went; NULL: none did */
    GPtrArray *disks;     /* LodgeSnapshotDisk *: the layers that hold its disks */
} LodgeSnapshot;

LodgeSnapshot *lodge_snapshot_new(const char *name);

/* Parse a snapshot.conf. INVALID error with line and reason. */
LodgeSnapshot *lodge_snapshot_parse(const char *name, const char *text, gsize length,
                                    GError **error);

/* As the text of a snapshot.conf. Free with g_free. */
char *lodge_snapshot_format(const LodgeSnapshot *snapshot);

/* Add a disk; texts are copied. */
void lodge_snapshot_add_disk(LodgeSnapshot *snapshot, const char *name, const char *file,
                             int format);

/* Borrowed; NULL if it has no disk of that name. */
LodgeSnapshotDisk *lodge_snapshot_disk(const LodgeSnapshot *snapshot, const char *name);

/* "stopped", "running" … Static. */
const char *lodge_snapshot_kind_word(int kind);

void lodge_snapshot_free(LodgeSnapshot *snapshot);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeSnapshot, lodge_snapshot_free)
