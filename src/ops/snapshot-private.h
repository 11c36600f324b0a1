/* How snapshots are made and left; private to this layer. */
#pragma once

#include <glib.h>

#include "ops/hotplug.h"
#include "ops/session.h"
#include "ops/snapshot.h"

/* Files of a snapshot's folder besides snapshot.conf. */
#define SNAPSHOT_DEFINITION "guest.conf"
#define SNAPSHOT_MEMORY "memory"
#define SNAPSHOT_VARIABLES "variables"
#define SNAPSHOT_TPM "tpm"
/* Beside the folders: a guest whose memory is being read. */
#define SNAPSHOT_LOADING ".loading"

/* A new top layer for a disk. */
typedef struct {
    const LodgeDisk *disk; /* borrowed from the guest */
    char *below;           /* relative to the guest's folder, or absolute: what it is to stand on */
    int below_format;      /* LodgeDiskFormat */
    char *file;            /* the same, of the new layer */
    int file_format;       /* qcow2, unless it is a layer that is there */
} FreshLayer;

/* The folder of a snapshot that is not finished: ".new-NAME". Free with g_free. */
char *snapshot_staging_name(const char *name);

/* Cover the disks of the guest with new layers, all at one moment, so that what they were is read
 * at leisure: as a snapshot of disks that is begun and never finished. snapshot_mend() takes the
 * layers away again, as it does if we die meanwhile; whether the guest runs is then its own affair.
 * @begins: a bitmap that the new layers begin (NULL: none). What is below them is in the result;
 * free it with lodge_snapshot_free(). On error nothing of it stays. */
LodgeSnapshot *snapshot_cover(Session *session, const char *name, const char *begins,
                              LodgeProgress *progress, GError **error);

/* An empty list, and one more; texts are copied. */
GPtrArray *fresh_layers_new(void);
void fresh_layers_add(GPtrArray *all, const LodgeDisk *disk, const char *below, int below_format,
                      const char *file, int file_format);

/* New layers for all disks of @guest that are written, above what it names for them, with
 * @elsewhere those outside of its folder too, which have them for a while only; files are named,
 * not made. UNSUPPORTED names a disk that can't have one. FreshLayer * that it frees. */
GPtrArray *fresh_layers_plan(const LodgeStore *store, const LodgeGuest *guest, gboolean elsewhere,
                             GError **error);
/* Write them down as given up, then make their files; @more (may be NULL) is a file given up with
 * them. */
gboolean fresh_layers_make(const Session *session, const GPtrArray *fresh, const char *more,
                           GError **error);

/* Have the definition text @file name the layers, the snapshot (NULL: none) and the variables
 * (NULL: as they are). */
void fresh_layers_name(GKeyFile *file, const GPtrArray *fresh, const char *snapshot,
                       const char *variables);

/* Write the definition with these: fresh_layers_name() on guest.conf, and on what the running guest
 * has taken. */
gboolean fresh_layers_store(const Session *session, const GPtrArray *fresh, const char *snapshot,
                            GError **error);

/* As lodge_snapshot_delete(), but other guests may stand on its layers: these stay for them, and go
 * when they have gone. If it can't be, its name is gone all the same, and the next command tries
 * again. */
gboolean snapshot_forget(const LodgeStore *store, const char *guest, const char *name,
                         GError **error);

/* Write down that the snapshot's layers are given up: as soon as nothing names them they go. */
gboolean snapshot_give_up(const Session *session, const LodgeSnapshot *snapshot, GError **error);

/* A copy of a small file, synced. */
gboolean snapshot_copy_file(const char *from, const char *to, GError **error);

/* A name for a new file in the guest's folder layers/, like "layers/root-3.qcow2". Free it. */
char *snapshot_layer_name(const LodgeStore *store, const char *guest, const char *disk);

/* A name for a new folder of a TPM's state in the guest's folder, like "tpm-1". Free it. */
char *snapshot_tpm_name(const LodgeStore *store, const char *guest);

/* The running guest. */
typedef struct {
    const Session *session;
    Hotplug hotplug;
    GPtrArray *nodes; /* json_t *: {"node": what is written now, "overlay": what will be} */
    char *layout;     /* for LodgeSnapshot */
    gboolean was_running;
    gint64 stopped_us, resumed_us; /* by QEMU's events; 0: it did not */
} LiveSnapshot;

/* Connect, and see that memory can be written if it is to be. */
gboolean live_snapshot_begin(LiveSnapshot *live, const Session *session, LodgeQmp *qmp,
                             gboolean with_memory, GError **error);
void live_snapshot_clear(LiveSnapshot *live);

/* Give QEMU the new layers, unused yet. */
gboolean live_snapshot_add_layers(LiveSnapshot *live, const GPtrArray *fresh, GError **error);

/* Have it stand still. */
gboolean live_snapshot_stop(LiveSnapshot *live, GError **error);

/* Write memory to @fd while the guest runs, until it has stopped for the rest. */
gboolean live_snapshot_write_memory(LiveSnapshot *live, int fd, GError **error);

/* All disks at one stroke: from now on the new layers are written. */
gboolean live_snapshot_switch(LiveSnapshot *live, GError **error);

/* Write the rest of memory, which live_snapshot_write_memory() began. */
gboolean live_snapshot_finish_memory(LiveSnapshot *live, GError **error);

/* Let the guest go on, if it ran before. */
gboolean live_snapshot_resume(LiveSnapshot *live, GError **error);

/* After a failure or somebody's death: end what QEMU does for a snapshot, drop layers that it does
 * not use. @out_switched: does it use the new ones? */
gboolean live_snapshot_undo(LiveSnapshot *live, const GPtrArray *fresh, gboolean *out_switched,
                            GError **error);

/* QEMU's version, "7.2.22". Free with g_free. */
char *live_snapshot_qemu(const LodgeQmp *qmp);

/* Have the guest, started to wait for it, read its memory, or what of it @path holds. */
gboolean live_snapshot_load(const Session *session, const char *path, GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LiveSnapshot, live_snapshot_clear)
