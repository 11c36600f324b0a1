/* Files of unknown origin: what they are, and whether they reach for more than themselves. */
#include "config.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "qemu/img.h"

#define TIB (G_GUINT64_CONSTANT(1) << 40)

enum {
    SECTOR_BYTES = 512,
    VMDK_DESCRIPTOR_SECTOR = 1,
    VMDK_DESCRIPTOR_BYTES = 20 * 512,
    VMDK_CAPACITY_OFFSET = 12,
    BOOT_SIGNATURE_OFFSET = 510,
    VDI_OFFSETS = 340, /* where the block map's and the data's offsets stand, and 12 fields more */
    VDI_BLOCK_LIMIT_BYTES = 64 << 20,
};

typedef struct {
    const char *format;
    gsize offset;
    const char *bytes;
    gsize length;
} Magic;

static const Magic magics[] = {
    {"qcow2", 0, "QFI\xfb", 4}, {"vmdk", 0, "KDMV", 4},    {"vdi", 64, "\x7f\x10\xda\xbe", 4},
    {"vhdx", 0, "vhdxfile", 8}, {"vpc", 0, "conectix", 8},
};

static gboolean
read_part(int fd, off_t offset, char *buffer, gsize length)
{
    memset(buffer, 0, length);
    return pread(fd, buffer, length, offset) >= 0;
}

static int
open_file(const char *path, off_t *out_size, GError **error)
{
    struct stat info;
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &info) < 0) {
        lodge_error_errno(error, errno, "%s", path);
        return -1;
    }
    if (!S_ISREG(info.st_mode)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: not a regular file", path);
        return -1;
    }
    *out_size = info.st_size;
    return lodge_fd_steal(&fd);
}

static const char *
recognise(int fd, off_t size)
{
    char head[SECTOR_BYTES];
    char tail[SECTOR_BYTES];
    if (!read_part(fd, 0, head, sizeof head)) {
        return NULL;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(magics); i++) {
        const Magic *magic = &magics[i];
        if (memcmp(head + magic->offset, magic->bytes, magic->length) == 0) {
            return magic->format;
        }
    }
    /* A fixed VHD has its only mark at the end. */
    if (size >= SECTOR_BYTES && read_part(fd, size - SECTOR_BYTES, tail, sizeof tail) &&
        memcmp(tail, "conectix", 8) == 0) {
        return "vpc";
    }
    gboolean boots = memcmp(head + BOOT_SIGNATURE_OFFSET, "\x55\xaa", 2) == 0;
    return boots && size % SECTOR_BYTES == 0 ? "raw" : NULL;
}

const char *
lodge_img_probe(const char *path, GError **error)
{
    off_t size = 0;
    lodge_autofd fd = open_file(path, &size, error);
    if (fd < 0) {
        return NULL;
    }
    const char *format = recognise(fd, size);
    if (format == NULL) {
        lodge_error_set(
            error, LODGE_ERROR_INVALID,
            "%s: not a disk of a known format (qcow2, vmdk, vdi, vhdx, vpc, or raw with "
            "a boot sector; say --format raw if it is a raw one without)",
            path);
    }
    return format;
}

static gboolean
check_qcow2(const char *path, GError **error)
{
    g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(path, error);
    if (header == NULL) {
        return FALSE;
    }
    const char *name = header->backing_file != NULL ? header->backing_file : header->data_file;
    if (name != NULL || header->has_data_file) {
        g_autofree char *shown = lodge_text_printable(name != NULL ? name : "");
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s: it stands on another file, “%s”, and is not trusted to read "
                               "that (give the flattened disk, made by `qemu-img convert`, or say "
                               "--trust if you made it)",
                               path, shown);
    }
    return header->virtual_size_bytes <= 64 * TIB ||
           lodge_error_set(error, LODGE_ERROR_INVALID, "%s: claims a disk of more than 64 TiB",
                           path);
}

/* A VMDK that is only a description names its data by path; one with a parent names that. */
static gboolean
check_vmdk(int fd, const char *path, GError **error)
{
    char head[SECTOR_BYTES];
    char descriptor[VMDK_DESCRIPTOR_BYTES + 1];
    guint64 capacity_sectors = 0;
    descriptor[VMDK_DESCRIPTOR_BYTES] = '\0';
    if (!read_part(fd, 0, head, sizeof head) ||
        !read_part(fd, VMDK_DESCRIPTOR_SECTOR * SECTOR_BYTES, descriptor, VMDK_DESCRIPTOR_BYTES)) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    memcpy(&capacity_sectors, head + VMDK_CAPACITY_OFFSET, sizeof capacity_sectors);
    capacity_sectors = le64toh(capacity_sectors);
    if (capacity_sectors == 0 || capacity_sectors > 64 * TIB / SECTOR_BYTES) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s: a VMDK without data of its own, or of an impossible size",
                               path);
    }
    if (memmem(descriptor, VMDK_DESCRIPTOR_BYTES, "parentFileNameHint", 18) != NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s: it stands on another file (a snapshot's delta?), and is not "
                               "trusted to read that: export the whole disk",
                               path);
    }
    return TRUE;
}

/* Of a VDI that was cut off QEMU reads the missing part as zeros, and its check finds nothing. */
static gboolean
check_vdi(int fd, const char *path, off_t size, GError **error)
{
    guint32 fields[(SECTOR_BYTES - VDI_OFFSETS) / sizeof(guint32)];
    if (!read_part(fd, VDI_OFFSETS, (char *)fields, sizeof fields)) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    guint64 data = le32toh(fields[1]);
    guint64 block_bytes = (guint64)le32toh(fields[9]) + le32toh(fields[10]);
    guint64 blocks = le32toh(fields[12]);
    if (block_bytes > VDI_BLOCK_LIMIT_BYTES || data + blocks * block_bytes > (guint64)size) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: truncated: a part of it is missing",
                               path);
    }
    return TRUE;
}

/* The others can't name files; what they claim is asked of qemu-img, which then opens only them. */
static gboolean
check_other(const char *path, const char *format, GError **error)
{
    g_autoptr(LodgeImgInfo) info = lodge_img_info(path, format, error);
    if (info == NULL) {
        return FALSE;
    }
    if (info->backing_file != NULL || info->data_file != NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: it stands on another file", path);
    }
    return info->virtual_size_bytes <= 64 * TIB ||
           lodge_error_set(error, LODGE_ERROR_INVALID, "%s: claims a disk of more than 64 TiB",
                           path);
}

gboolean
lodge_img_check_foreign(const char *path, const char *format, GError **error)
{
    off_t size = 0;
    lodge_autofd fd = open_file(path, &size, error);
    if (fd < 0) {
        return FALSE;
    }
    /* Said to be raw, every byte of it is data. */
    if (g_str_equal(format, "raw")) {
        return TRUE;
    }
    if (g_strcmp0(recognise(fd, size), format) != 0) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: not in the format %s", path,
                               format);
    }
    if (g_str_equal(format, "qcow2")) {
        return check_qcow2(path, error);
    }
    return (!g_str_equal(format, "vmdk") || check_vmdk(fd, path, error)) &&
           (!g_str_equal(format, "vdi") || check_vdi(fd, path, size, error)) &&
           check_other(path, format, error);
}
