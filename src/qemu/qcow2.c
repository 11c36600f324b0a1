#include "config.h"

#include "qemu/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"

#define MAGIC 0x514649fbu

enum {
    HEADER_V2_BYTES = 72,
    HEADER_V3_BYTES = 104,
    NAME_LIMIT_BYTES = 1023,
    FORMAT_LIMIT_BYTES = 15,
    EXTENSION_LIMIT = 64,
    CLUSTER_BITS_LEAST = 9,
    CLUSTER_BITS_MOST = 21,
};

/* Incompatible features, and what we can make of them. */
enum {
    FEATURE_DIRTY = 1 << 0,
    FEATURE_CORRUPT = 1 << 1,
    FEATURE_DATA_FILE = 1 << 2,
    FEATURE_COMPRESSION = 1 << 3,
    FEATURE_EXTENDED_L2 = 1 << 4,
    FEATURES_KNOWN = (1 << 5) - 1,
};

#define EXTENSION_END 0u
#define EXTENSION_BACKING_FORMAT 0xe2792acau
#define EXTENSION_DATA_FILE 0x44415441u

/* As on disk, big-endian; packed, since backing_offset isn't the only 64-bit field. */
typedef struct __attribute__((packed)) {
    guint32 magic;
    guint32 version;
    guint64 backing_offset;
    guint32 backing_length;
    guint32 cluster_bits;
    guint64 size;
    guint32 crypt_method;
    guint32 l1_size;
    guint64 l1_offset;
    guint64 refcount_offset;
    guint32 refcount_clusters;
    guint32 snapshots;
    guint64 snapshots_offset;
    /* From here on only in version 3. */
    guint64 incompatible;
    guint64 compatible;
    guint64 autoclear;
    guint32 refcount_order;
    guint32 header_length;
} RawHeader;

G_STATIC_ASSERT(sizeof(RawHeader) == HEADER_V3_BYTES);

static gboolean
read_at(int fd, guint64 offset, void *buffer, gsize length, GError **error)
{
    for (gsize done = 0; done < length;) {
        gssize got = pread(fd, (char *)buffer + done, length - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return lodge_error_errno(error, errno, "reading it");
        }
        if (got == 0) {
            return lodge_error_set(error, LODGE_ERROR_INVALID, "truncated: its header is cut off");
        }
        done += (gsize)got;
    }
    return TRUE;
}

/* A name of @length bytes at @offset. NULs inside would make two readers see two names. */
static char *
read_name(int fd, guint64 offset, guint32 length, GError **error)
{
    g_autofree char *name = g_malloc0((gsize)length + 1);
    if (!read_at(fd, offset, name, length, error)) {
        return NULL;
    }
    if (length == 0 || strlen(name) != length) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "damaged: a file name in its header is none");
        return NULL;
    }
    return g_steal_pointer(&name);
}

static gboolean
read_extension(int fd, guint32 type, guint64 offset, guint32 length, LodgeQcow2Header *header,
               GError **error)
{
    /* Of several the last counts, as for QEMU. */
    if (type == EXTENSION_BACKING_FORMAT) {
        g_clear_pointer(&header->backing_format, g_free);
        if (length > FORMAT_LIMIT_BYTES) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "damaged: the backing file's format has a name too long");
        }
        header->backing_format = length > 0 ? read_name(fd, offset, length, error) : NULL;
        return length == 0 || header->backing_format != NULL;
    }
    if (type == EXTENSION_DATA_FILE) {
        g_clear_pointer(&header->data_file, g_free);
        if (length > NAME_LIMIT_BYTES) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "damaged: the data file's name is too long");
        }
        header->data_file = read_name(fd, offset, length, error);
        return header->data_file != NULL;
    }
    return TRUE;
}

/* The extensions fill the space from the header's end to @end. */
static gboolean
read_extensions(int fd, guint64 offset, guint64 end, LodgeQcow2Header *header, GError **error)
{
    for (int i = 0; offset + 8 <= end; i++) {
        guint32 head[2];
        if (i == EXTENSION_LIMIT) {
            /* What we would pass over, QEMU might believe. */
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "damaged: more than %d header extensions", EXTENSION_LIMIT);
        }
        if (!read_at(fd, offset, head, sizeof head, error)) {
            return FALSE;
        }
        guint32 type = be32toh(head[0]);
        guint32 length = be32toh(head[1]);
        offset += sizeof head;
        if (type == EXTENSION_END) {
            return TRUE;
        }
        if (length > end - offset) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "damaged: a header extension is longer than its place");
        }
        if (!read_extension(fd, type, offset, length, header, error)) {
            return FALSE;
        }
        offset += ((guint64)length + 7) & ~G_GUINT64_CONSTANT(7);
    }
    return TRUE;
}

/* Read the fixed part into host byte order; the fields that version 2 lacks get their meaning
 * there. */
static gboolean
read_fixed(int fd, RawHeader *raw, GError **error)
{
    guint32 head[2];
    if (!read_at(fd, 0, head, sizeof head, error)) {
        return FALSE;
    }
    if (be32toh(head[0]) != MAGIC) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "not a qcow2 file");
    }
    guint32 version = be32toh(head[1]);
    if (version != 2 && version != 3) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "qcow2 version %u is not known",
                               version);
    }
    memset(raw, 0, sizeof *raw);
    if (!read_at(fd, 0, raw, version == 2 ? HEADER_V2_BYTES : HEADER_V3_BYTES, error)) {
        return FALSE;
    }
    raw->version = version;
    raw->backing_offset = be64toh(raw->backing_offset);
    raw->backing_length = be32toh(raw->backing_length);
    raw->cluster_bits = be32toh(raw->cluster_bits);
    raw->size = be64toh(raw->size);
    raw->crypt_method = be32toh(raw->crypt_method);
    raw->incompatible = be64toh(raw->incompatible);
    raw->header_length = version == 2 ? HEADER_V2_BYTES : be32toh(raw->header_length);
    return TRUE;
}

static gboolean
check_fixed(const RawHeader *raw, GError **error)
{
    if (raw->cluster_bits < CLUSTER_BITS_LEAST || raw->cluster_bits > CLUSTER_BITS_MOST) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "damaged: clusters of 2^%u bytes",
                               raw->cluster_bits);
    }
    guint64 cluster = G_GUINT64_CONSTANT(1) << raw->cluster_bits;
    if (raw->size > G_MAXINT64) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "damaged: an impossible disk size");
    }
    if (raw->version == 3 && (raw->header_length < HEADER_V3_BYTES ||
                              raw->header_length > cluster || raw->header_length % 8 != 0)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "damaged: a header of %u bytes",
                               raw->header_length);
    }
    if ((raw->incompatible & ~(guint64)FEATURES_KNOWN) != 0) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "made by a newer QEMU: feature bits %#" G_GINT64_MODIFIER
                               "x are not known (convert it there, or upgrade)",
                               raw->incompatible & ~(guint64)FEATURES_KNOWN);
    }
    if (raw->backing_offset != 0 &&
        (raw->backing_length > NAME_LIMIT_BYTES || raw->backing_offset > cluster ||
         raw->backing_length > cluster - raw->backing_offset)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "damaged: the backing file's name is outside of the header");
    }
    return TRUE;
}

static LodgeQcow2Header *
read_header(int fd, GError **error)
{
    RawHeader raw;
    if (!read_fixed(fd, &raw, error) || !check_fixed(&raw, error)) {
        return NULL;
    }
    g_autoptr(LodgeQcow2Header) header = g_new0(LodgeQcow2Header, 1);
    header->version = raw.version;
    header->virtual_size_bytes = raw.size;
    header->cluster_bits = raw.cluster_bits;
    header->encrypted = raw.crypt_method != 0;
    header->dirty = (raw.incompatible & FEATURE_DIRTY) != 0;
    header->corrupt = (raw.incompatible & FEATURE_CORRUPT) != 0;
    header->has_data_file = (raw.incompatible & FEATURE_DATA_FILE) != 0;
    guint64 end = raw.backing_offset != 0 ? raw.backing_offset
                                          : G_GUINT64_CONSTANT(1) << raw.cluster_bits;
    if (!read_extensions(fd, raw.header_length, end, header, error)) {
        return NULL;
    }
    if (raw.backing_offset != 0 && raw.backing_length != 0) {
        header->backing_file = read_name(fd, raw.backing_offset, raw.backing_length, error);
        if (header->backing_file == NULL) {
            return NULL;
        }
    }
    return g_steal_pointer(&header);
}

static int
open_plain(const char *path, struct stat *info, GError **error)
{
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, info) < 0) {
        lodge_error_errno(error, errno, "%s", path);
        return -1;
    }
    /* Block devices hold qcow2 too: an LVM volume. */
    if (!S_ISREG(info->st_mode) && !S_ISBLK(info->st_mode)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: not a regular file", path);
        return -1;
    }
    return lodge_fd_steal(&fd);
}

LodgeQcow2Header *
lodge_qcow2_read_header(const char *path, GError **error)
{
    struct stat info;
    lodge_autofd fd = open_plain(path, &info, error);
    LodgeQcow2Header *header = fd >= 0 ? read_header(fd, error) : NULL;
    if (fd >= 0 && header == NULL) {
        lodge_error_prefix(error, "%s", path);
    }
    return header;
}

void
lodge_qcow2_header_free(LodgeQcow2Header *header)
{
    if (header != NULL) {
        g_free(header->backing_file);
        g_free(header->backing_format);
        g_free(header->data_file);
        g_free(header);
    }
}

gboolean
lodge_qcow2_is(const char *path)
{
    struct stat info;
    guint32 magic = 0;
    lodge_autofd fd = open_plain(path, &info, NULL);
    return fd >= 0 && read_at(fd, 0, &magic, sizeof magic, NULL) && be32toh(magic) == MAGIC;
}
