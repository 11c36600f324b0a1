/* Disk image files through qemu-img. Paths may be relative to the working directory. Errors: those
 * of lodge_process_run(), prefixed with what was to be done; a full disk says its mend. */
#pragma once

#include <glib.h>

#include "base/base.h"
#include "qemu/qcow2.h"

/* In the order of qemu-img's words. */
typedef enum {
    LODGE_PREALLOCATION_OFF,
    LODGE_PREALLOCATION_METADATA,
    LODGE_PREALLOCATION_FALLOC,
    LODGE_PREALLOCATION_FULL
} LodgePreallocation;

typedef struct {
    char *format;
    guint64 virtual_size_bytes;
    guint64 actual_size_bytes; /* allocated on disk */
    char *backing_file;        /* as it stands there; NULL: none */
    char *backing_format;
    char *data_file; /* NULL: none */
    gboolean encrypted;
    gboolean dirty;
    gboolean corrupt;
} LodgeImgInfo;

typedef struct {
    const char *source;
    const char *source_format;  /* never guessed */
    const char *target;         /* must not exist; removed again if this fails */
    const char *target_format;  /* NULL: qcow2 */
    const char *target_options; /* as after qemu-img's -o; NULL: none */
    gboolean compressed;
    gboolean trusted; /* may the source name backing and data files? Then they are read too */
    const char *const *only; /* … but only these, and what is below these folders; NULL: any */
} LodgeImgConversion;

/* Make the qcow2 overlay @path on @backing, of @size_bytes (0: as large as what it stands on; less
 * is a USAGE error). The backing file's name is kept relative to the overlay's folder: both may
 * move together. The overlay's folder may get another name in the same parent. EXISTS if there is
 * such a file already. */
gboolean lodge_img_create_overlay(const char *path, const char *backing, const char *backing_format,
                                  guint64 size_bytes, GError **error);

/* Make an empty disk, if there is space for one that takes it all at once. @format is "qcow2" or
 * "raw"; raw knows no preallocation of metadata (USAGE). EXISTS if there is such a file already. */
gboolean lodge_img_create(const char *path, const char *format, guint64 size_bytes,
                          LodgePreallocation preallocation, GError **error);

/* Make an empty qcow2 file whose compressed clusters are zstd (or zlib, where QEMU can't), on
 * @backing, a qcow2 file (NULL: on nothing). EXISTS if there is such a file already. */
gboolean lodge_img_create_compressed(const char *path, const char *backing, guint64 size_bytes,
                                     GError **error);

/* Copy a disk, backing files and all, into one new file, if there is space for it. Parts of
 * @progress (may be NULL) go from 0 to 1. With trusted FALSE the source is held against
 * lodge_img_check_foreign(), and then, as its owner could still change it, qemu-img can open no
 * other file (on kernels with Landlock). EXISTS if there is such a target already. */
gboolean lodge_img_convert(const LodgeImgConversion *conversion, LodgeProgress *progress,
                           GError **error);

/* How many bytes a copy of the disk, with all that it stands on, takes: what is in it, and qcow2's
 * bookkeeping. As about any other format, but too much for a compressed one. */
gboolean lodge_img_measure(const char *path, const char *format, guint64 *out_bytes,
                           GError **error);

/* What a disk is. @format NULL has it recognised by lodge_img_probe(). Opens no backing file, and
 * works while a guest writes to it. Free with lodge_img_info_free. */
LodgeImgInfo *lodge_img_info(const char *path, const char *format, GError **error);
void lodge_img_info_free(LodgeImgInfo *info);

/* Look for damage. INVALID if there is any, with the mend. Leaked clusters are no damage. Formats
 * that hold nothing to check pass. */
gboolean lodge_img_check(const char *path, const char *format, GError **error);

/* Make a disk larger. USAGE if it is larger already: shrinking would cut off what is there. */
gboolean lodge_img_resize(const char *path, const char *format, guint64 size_bytes, GError **error);

/* Copy what the overlay @path holds into @into, the file it stands on, which grows if it must. The
 * overlay stays as it is: until it is done, and after, both show the same through it. Can be
 * repeated. INVALID if it stands on another file, or a symbolic link. On kernels with Landlock no
 * file outside of @folder is opened (NULL: any may be). */
gboolean lodge_img_commit(const char *path, const char *into, const char *folder, GError **error);

/* Have the overlay @path stand on @backing, which holds the same as what it stood on: only its
 * header is written. The name is relative, as lodge_img_create_overlay() writes it. */
gboolean lodge_img_rebase(const char *path, const char *backing, const char *backing_format,
                          GError **error);

/* The format of a foreign file by its first bytes: "qcow2", "vmdk", "vdi", "vhdx" or "vpc"; "raw"
 * where a disk without a format begins with a boot sector. A static string, or NULL: INVALID if it
 * is none of them. Nothing else is ever tried: probing by QEMU would let a raw disk's guest choose
 * the format. */
const char *lodge_img_probe(const char *path, GError **error);

/* May a file of unknown origin be opened as @format? INVALID if it isn't of that format, names a
 * backing file, a data file or further extents, any of which could be this host's own files, or
 * claims a disk of more than 64 TiB. */
gboolean lodge_img_check_foreign(const char *path, const char *format, GError **error);

/* @path as it is written into a file in @folder: relative, with as many ".." as it takes. Both must
 * be absolute. Free with g_free. */
char *lodge_path_relative(const char *path, const char *folder);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeImgInfo, lodge_img_info_free)
