#include "config.h"

#include "ops/backup-files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "qemu/img.h"

enum {
    SMALL_LIMIT_BYTES = 128 << 20,
    PIECE_BYTES = 1 << 20,
};

static gboolean
sum_all(int fd, const char *path, GChecksum *sum, guint64 *out_bytes, GError **error)
{
    g_autofree guint8 *piece = g_malloc(PIECE_BYTES);
    *out_bytes = 0;
    for (;;) {
        gssize got = read(fd, piece, PIECE_BYTES);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return lodge_error_errno(error, errno, "%s", path);
        }
        if (got == 0) {
            return TRUE;
        }
        g_checksum_update(sum, piece, got);
        *out_bytes += (guint64)got;
        if (!lodge_interrupt_check(error)) {
            return FALSE;
        }
    }
}

char *
backup_file_sum(const char *path, guint64 *out_bytes, GError **error)
{
    struct stat info;
    guint64 bytes = 0;
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) < 0) {
        lodge_error_errno(error, errno, "%s", path);
        return NULL;
    }
    if (!S_ISREG(info.st_mode)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s is no plain file", path);
        return NULL;
    }
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    if (!sum_all(fd, path, sum, &bytes, error)) {
        return NULL;
    }
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (out_bytes != NULL) {
        *out_bytes = bytes;
    }
    return g_strdup(g_checksum_get_string(sum));
}

gboolean
backup_file_note(const char *path, LodgePointDisk *disk, GError **error)
{
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    g_free(disk->sha256);
    disk->sha256 = backup_file_sum(path, &disk->bytes, error);
    return disk->sha256 != NULL && lodge_img_check(path, "qcow2", error);
}

char *
backup_file_keep(const char *from, const char *to, GError **error)
{
    gsize length = 0;
    g_autofree char *content = lodge_file_read(from, SMALL_LIMIT_BYTES, &length, error);
    if (content == NULL ||
        !lodge_file_write(to, content, length, 0600, LODGE_WRITE_DEFAULT, error)) {
        return NULL;
    }
    return g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guint8 *)content, length);
}

static gboolean
verify_file(const BackupPlace *place, const LodgePoint *point, const char *file, const char *noted,
            GError **error)
{
    g_autofree char *path = backup_place_path(place, point->name, file);
    g_autofree char *found = backup_file_sum(path, NULL, error);
    return found != NULL &&
           (g_strcmp0(found, noted) == 0 ||
            lodge_error_set(error, LODGE_ERROR_INVALID,
                            "%s is not what was written: it is damaged, and so is each point that "
                            "stands on it",
                            path));
}

static gboolean
verify_own(const BackupPlace *place, const LodgePoint *point, LodgeProgress *progress,
           GError **error)
{
    const char *const small[][2] = {{PLACE_DEFINITION, point->definition},
                                    {PLACE_VARIABLES, point->variables},
                                    {PLACE_TPM, point->tpm},
                                    {point->seed, point->seed_sha256}};
    for (gsize i = 0; i < G_N_ELEMENTS(small); i++) {
        if (small[i][1] != NULL && small[i][0] != NULL &&
            !verify_file(place, point, small[i][0], small[i][1], error)) {
            return FALSE;
        }
    }
    for (guint i = 0; i < point->disks->len; i++) {
        const LodgePointDisk *disk = point->disks->pdata[i];
        lodge_progress_part(progress, (double)i / point->disks->len, disk->name);
        g_autofree char *path = backup_place_disk(place, point, disk->name, error);
        if (path == NULL || !verify_file(place, point, disk->file, disk->sha256, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
backup_files_verify(const BackupPlace *place, const LodgePoint *point, gboolean with_parents,
                    LodgeProgress *progress, GError **error)
{
    for (;;) {
        lodge_progress_stage(progress, "point %s is read", point->name);
        if (!verify_own(place, point, progress, error)) {
            return FALSE;
        }
        if (!with_parents || lodge_point_is_full(point)) {
            return TRUE;
        }
        /* backup_place_disk() has seen that the chain comes to an end. */
        point = backup_place_find(place, point->parent, error);
        if (point == NULL) {
            return FALSE;
        }
    }
}
