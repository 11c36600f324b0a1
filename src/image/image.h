/* The image layer's public header: where images come from, and what a guest's first boot is told.
 *
 * <root>/images/NAME/image.conf         names the current files
 *                    disk-TIME.qcow2    never written again: guests' disks are overlays of it
 *                    kernel-TIME, initrd-TIME
 * An image that is made anew gets new files beside the old, and image.conf is replaced; old ones go
 * once no guest stands on them. <root>/catalogue and <root>/recipes come before those shipped. */
#pragma once

#include <glib.h>

#include "base/base.h"
#include "store/store.h"

/* All entries, sorted by name: an array of LodgeImage * that frees them. An entry that can't be
 * parsed is an error: INVALID, naming the file and line. */
GPtrArray *lodge_catalogue_list(const LodgeStore *store, GError **error);

/* One entry; free with lodge_image_free. NOT_FOUND with a suggestion, INVALID. */
LodgeImage *lodge_catalogue_find(const LodgeStore *store, const char *name, GError **error);

/* Make an image, or make it anew. While it lasts a staging holds the name: BUSY if another command
 * is making it. A failure, a kill or an interrupt (INTERRUPTED) leaves what was there before.
 * build: by the catalogue entry's recipe. NOT_FOUND: no such entry; UNSUPPORTED: it can't be built;
 * FAILED: the recipe's reason, and where its output is kept; or too little disk space.
 * pull: from the catalogue entry's URL. UNSUPPORTED: it has none; FAILED: the network's reason, or
 * a wrong checksum; INVALID: no checksum, or the file is no disk that can be trusted. What a broken
 * network left is taken up by the next pull; any other failure leaves nothing. */
gboolean lodge_image_build(const LodgeStore *store, const char *name, LodgeProgress *progress,
                           GError **error);
gboolean lodge_image_pull(const LodgeStore *store, const char *name, LodgeProgress *progress,
                          GError **error);

typedef struct {
    const char *file;   /* qcow2, raw, vmdk, vdi, vhdx, vpc, an OVA, or one of them compressed */
    const char *format; /* of the disk; NULL: recognised (raw only if it has a boot sector) */
    gboolean trusted;   /* may it stand on other files of this host? They are merged in */
    const LodgeImage *like; /* title, user, memory, provision … of the new image; NULL: defaults */
} LodgeImageImport;

/* Make an image from a file, which is copied and not needed afterwards. Errors: EXISTS; BUSY;
 * NOT_FOUND: no such file; INVALID: what is wrong with it. */
gboolean lodge_image_import(const LodgeStore *store, const char *name,
                            const LodgeImageImport *import, LodgeProgress *progress,
                            GError **error);

/* Have the image here: done if it is, else built, else pulled. If another command is making it just
 * now, wait for that and use its result. Error: each way's reason, and the mend. */
gboolean lodge_image_ensure(const LodgeStore *store, const char *name, LodgeProgress *progress,
                            GError **error);

/* Make @path, a guest's disk, an overlay of the image's current disk. @size_bytes 0: the image's
 * default; less than the disk has is a USAGE error. @path must be below <root>/guests: there
 * an image's removal looks for who needs it, and the two exclude each other. Returns the image as
 * it was then (its kernel and initrd go with that disk); free with lodge_image_free. NULL on error:
 * NOT_FOUND: no such image. */
LodgeImage *lodge_image_overlay(const LodgeStore *store, const char *name, const char *path,
                                guint64 size_bytes, GError **error);

/* Names of the guests that stand on any of the image's files or name it, guests being made
 * included, and those whose definition can't be read. Free with g_strfreev. */
char **lodge_image_dependents(const LodgeStore *store, const char *name, GError **error);

/* Remove it. NOT_FOUND; BUSY: being made, or needed by guests, which are named. */
gboolean lodge_image_delete(const LodgeStore *store, const char *name, GError **error);

/* --- What nobody needs --- */

typedef enum {
    LODGE_GARBAGE_IMAGE,     /* a whole image that no guest needs */
    LODGE_GARBAGE_OLD_FILE,  /* a file of an image that was made anew since */
    LODGE_GARBAGE_DOWNLOAD,  /* a download that was not finished */
    LODGE_GARBAGE_LOG,       /* what a build said that failed */
    LODGE_GARBAGE_ABANDONED, /* left by a command that was killed */
} LodgeGarbageKind;

typedef struct {
    LodgeGarbageKind kind;
    char *image; /* whose; NULL: no image's */
    char *path;
    char *what; /* a few words for people */
    guint64 bytes;
} LodgeGarbage;

/* What can go, without taking any lock; @whole_images: images that no guest needs too. If a guest's
 * definition can't be read, no image's files are listed: it might need any. An array of
 * LodgeGarbage * that frees them. */
GPtrArray *lodge_garbage_find(const LodgeStore *store, gboolean whole_images, GError **error);

/* Remove it, if it is still not needed; else @out_gone is FALSE. BUSY: the image is being made. */
gboolean lodge_garbage_remove(const LodgeStore *store, const LodgeGarbage *garbage,
                              gboolean *out_gone, GError **error);

/* What a guest learns at its first boot. Strings are borrowed; NULL: nothing said. Newlines and
 * other control characters in them (except user_data) are a USAGE error. */
typedef struct {
    int kind; /* LodgeProvision */
    const char *hostname;
    const char *instance_id; /* another one makes cloud-init start over; NULL: from the hostname */
    const char *user;        /* NULL or "root": root */
    const char *groups;      /* divided by commas */
    const char *shell;
    const char *password_hash; /* in the form of crypt(5); NULL: no password */
    const char *const *authorized_keys;
    const char *const
        *macs;             /* of the guest's NICs, in order; NULL: all that are named en* or eth* */
    const char *user_data; /* cloud-init only: what the user wants besides, in any of its forms */
} LodgeSeed;

/* Write the seed into @folder, mode 0600. LODGE: seed.txt, for QEMU's fw_cfg file opt/lodge/seed.
 * NOCLOUD: seed.iso, a volume "cidata", to be attached as a virtio disk. NONE: nothing. */
gboolean lodge_seed_write(const char *folder, const LodgeSeed *seed, GError **error);
