/* The qcow2 header, read by ourselves: a guest's start needs to know each file that its disk stands
 * on, and that takes microseconds here, where a qemu-img process takes a hundred milliseconds. */
#pragma once

#include <glib.h>

/* What the header of a qcow2 file says. */
typedef struct {
    guint version; /* 2 or 3 */
    guint64 virtual_size_bytes;
    guint cluster_bits;
    char *backing_file;   /* as it stands there; NULL: none */
    char *backing_format; /* "qcow2", "raw" …; NULL: not said */
    char *data_file;      /* as it stands there; NULL: none or not said */
    gboolean has_data_file;
    gboolean encrypted;
    gboolean dirty;   /* not closed: QEMU repairs its reference counts when it opens it to write */
    gboolean corrupt; /* QEMU found damage in it, and refuses to write to it */
} LodgeQcow2Header;

/* One file of a disk's chain. */
typedef struct {
    char *path;                 /* absolute, or what lodge_disk_remote() takes */
    char *format;               /* "qcow2" or "raw" */
    guint64 virtual_size_bytes; /* 0: unknown */
    gboolean is_block_device;
    gboolean is_remote; /* no file of this host; always the only layer */
} LodgeLayer;

/* Read the header of @path. It may be hostile: everything is bounded and checked, and nothing that
 * it names is opened. Free with lodge_qcow2_header_free. Errors: NOT_FOUND; INVALID: not a qcow2
 * file, truncated, or nonsense in it (the message says which); UNSUPPORTED: it uses a feature that
 * this Lodge doesn't know. */
LodgeQcow2Header *lodge_qcow2_read_header(const char *path, GError **error);

void lodge_qcow2_header_free(LodgeQcow2Header *header);

/* Does @path begin as a qcow2 file does? FALSE too if it can't be read. */
gboolean lodge_qcow2_is(const char *path);

/* The files that the qcow2 disk @path consists of: itself first, then what it stands on, down to
 * the last. Relative names are taken from the folder of the file that holds them, as QEMU does.
 * Returns an array of LodgeLayer * that frees them; NULL on error, which names the file, the layer
 * and the mend. Errors: NOT_FOUND: a backing file is missing; INVALID: one is corrupt, a loop,
 * deeper than 64 layers, no regular file or block device, or its format isn't said; UNSUPPORTED:
 * encrypted, an external data file, or a backing file that is not a plain file. */
GPtrArray *lodge_qcow2_chain(const char *path, GError **error);
/* The same for a disk of the format "qcow2" or "raw"; a raw one is its own only layer. @path may
 * also be a remote disk's name (qemu/disks.h), which must be raw: UNSUPPORTED if it isn't. */
GPtrArray *lodge_disk_chain(const char *path, const char *format, GError **error);

/* May what a guest's disk consists of be opened for it, or copied? What a disk stands on is named
 * in its header, which QEMU may write: one that a guest has taken over could name any file of this
 * host. So only what is below one of the two folders (each may be NULL), but for Lodge's own texts
 * there, and files beside the top layer that are qcow2 or called .raw or .img, are right: INVALID
 * otherwise. Whoever hands a chain to QEMU or qemu-img asks this before. */
gboolean lodge_disk_chain_check(const GPtrArray *chain, const char *guest_folder,
                                const char *images_folder, GError **error);

/* Is it one of the texts that Lodge keeps in a guest's folder, and so no disk? */
gboolean lodge_layer_is_text(const LodgeLayer *layer);

/* The files of a chain, for those that shall open no others. Free with g_strfreev. */
char **lodge_disk_chain_paths(const GPtrArray *chain);

void lodge_layer_free(LodgeLayer *layer);

/* The path that QEMU would open for @name found in the header of @path. Free with g_free. NULL if
 * it is no file's name but a protocol's ("nbd:…", "json:…"). */
char *lodge_qcow2_resolve(const char *path, const char *name);

/* @path absolute, without symbolic links in its folder, so that ".." means the same to us and to
 * the kernel. The last part stays as it is: QEMU takes relative names from a link's folder, not
 * from its target's. Free with g_free. */
char *lodge_path_real(const char *path);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeQcow2Header, lodge_qcow2_header_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeLayer, lodge_layer_free)
