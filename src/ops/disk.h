/* Disks and CD drives of guests that exist. Each verb changes the definition, and the running guest
 * too where it can. Errors name the guest. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "ops/session.h"

/* What became of a change. */
typedef enum {
    LODGE_PLUG_STORED,  /* the guest is stopped: from its next start */
    LODGE_PLUG_LIVE,    /* the running guest has it */
    LODGE_PLUG_PENDING, /* the guest runs and can't take it: from its next start */
} LodgePlug;

/* What is to become a disk. Texts as the user wrote them; NULL: not said. */
typedef struct {
    const char *guest;
    const char *name;          /* attach: NULL makes one of the file's */
    const char *file;          /* attach */
    const char *size;          /* create */
    const char *format;        /* attach: NULL has a file recognised; a device is raw */
    const char *preallocation; /* create: off, metadata, falloc, full */
    const char *bus;
    gboolean read_only;
} LodgeDiskWish;

typedef struct {
    LodgePlug outcome;
    const char *why; /* PENDING: static text */
    char *name;      /* g_free */
} LodgeDiskResult;

/* Make an empty disk in the guest's folder. EXISTS if the name or its file is taken. */
gboolean lodge_disk_create(const LodgeStore *store, const LodgeDiskWish *wish,
                           LodgeProgress *progress, LodgeDiskResult *out_result, GError **error);

/* Use a file, block device or remote disk where it is. BUSY if a guest has it already. */
gboolean lodge_disk_attach(const LodgeStore *store, const LodgeDiskWish *wish,
                           LodgeProgress *progress, LodgeDiskResult *out_result, GError **error);

/* Take a disk away; @delete removes its file too, if it is in the guest's folder. */
gboolean lodge_disk_detach(const LodgeStore *store, const char *guest, const char *name,
                           gboolean delete, gint64 timeout_ms, LodgeDiskResult *out_result,
                           GError **error);

typedef struct {
    guint64 size_bytes;
    gboolean file_system; /* so has the root file system of the running guest */
} LodgeDiskGrowth;

/* Make a disk larger: @size is "20G" or "+5G". The running guest sees it at once; the root file
 * system of one that Lodge built, and that has lodge-agent, grows with it. */
gboolean lodge_disk_resize(const LodgeStore *store, const char *guest, const char *name,
                           const char *size, LodgeDiskGrowth *out_growth, GError **error);

/* Put the limits that @disk says in force, all at once, on the running guest behind @qmp. */
gboolean disk_set_limits(LodgeQmp *qmp, const LodgeDisk *disk, gint64 deadline, GError **error);
/* The same for the session's guest. */

/* A disk or disc as it is on this host. */
typedef struct {
    char *guest, *name;
    char *file; /* absolute, or a remote disk's name */
    char *format, *bus;
    guint64 size_bytes;      /* as the guest sees it; 0: unknown */
    guint64 allocated_bytes; /* of its own file */
    GPtrArray *chain;        /* char *: what it stands on, itself first; empty if unknown */
    char *problem;           /* why it can't be used; NULL: all well */
    gboolean is_read_only;
} LodgeDiskView;

/* All disks of @guest, or of all guests if NULL. Asks no QEMU. LodgeDiskView * that it frees. */
GPtrArray *lodge_disks(const LodgeStore *store, const char *guest, GError **error);
/* The disk @name of @guest. NOT_FOUND, with a suggestion. */
LodgeDiskView *lodge_disk_find(const LodgeStore *store, const char *guest, const char *name,
                               GError **error);
void lodge_disk_view_free(LodgeDiskView *view);

/* The file= of a definition in @guest's folder as an absolute path or remote name. g_free. */
char *lodge_disk_path(const LodgeStore *store, const char *guest, const char *file);

/* Look for damage in all disks of a guest, or in one. BUSY if the guest runs. */
gboolean lodge_disk_check(const LodgeStore *store, const char *guest, const char *name,
                          LodgeProgress *progress, GError **error);

/* --- CD drives --- */

/* Put the disc @file into a drive, or (NULL) take it out. @drive NULL: the first; a guest without
 * one gets one, on @bus if that is not NULL. @force opens a tray that the guest has locked. */
gboolean lodge_cdrom_change(const LodgeStore *store, const char *guest, const char *drive,
                            const char *file, const char *bus, gboolean force,
                            LodgeDiskResult *out_result, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeDiskView, lodge_disk_view_free)
