/* lodge-archive seed: the NoCloud volume that cloud-init looks for. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "helpers/archive.h"

enum {
    FILE_LIMIT_BYTES = 16 << 20,
    VOLUME_NAME_OFFSET = 16 * 2048 + 40,
};

static const char volume_name[] = "cidata";

typedef struct archive Writer;
typedef struct archive_entry Entry;

static void
writer_free(Writer *writer)
{
    archive_write_free(writer);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Writer, writer_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Entry, archive_entry_free)

static gboolean
fail(Writer *writer, const char *what, GError **error)
{
    return lodge_error_set(error, LODGE_ERROR_FAILED, "Writing %s: %s", what,
                           archive_error_string(writer));
}

static gboolean
add(Writer *writer, const char *folder, const char *name, GError **error)
{
    gsize length = 0;
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *text = lodge_file_read(path, FILE_LIMIT_BYTES, &length, error);
    if (text == NULL) {
        return FALSE;
    }
    g_autoptr(Entry) entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0444);
    archive_entry_set_size(entry, (la_int64_t)length);
    archive_entry_set_mtime(entry, g_get_real_time() / G_USEC_PER_SEC, 0);
    return (archive_write_header(writer, entry) == ARCHIVE_OK &&
            archive_write_data(writer, text, length) == (la_ssize_t)length) ||
           fail(writer, name, error);
}

static gboolean
write_iso(int fd, const char *target, const char *folder, char **names, GError **error)
{
    g_autoptr(Writer) writer = archive_write_new();
    if (archive_write_set_format_iso9660(writer) != ARCHIVE_OK ||
        archive_write_set_options(writer, "volume-id=cidata,joliet=1,rockridge=1,pad=1") !=
            ARCHIVE_OK ||
        archive_write_open_fd(writer, fd) != ARCHIVE_OK) {
        return fail(writer, target, error);
    }
    for (gsize i = 0; names[i] != NULL; i++) {
        if (!add(writer, folder, names[i], error)) {
            return FALSE;
        }
    }
    if (archive_write_close(writer) != ARCHIVE_OK) {
        return fail(writer, target, error);
    }
    /* ISO 9660 knows capitals only, and libarchive is strict; the readers look for small letters.
     */
    return (pwrite(fd, volume_name, strlen(volume_name), VOLUME_NAME_OFFSET) > 0 &&
            fsync(fd) == 0) ||
           lodge_error_errno(error, errno, "Writing %s", target);
}

gboolean
lodge_archive_seed(char **arguments, GError **error)
{
    const char *target = arguments[0];
    const char *folder = arguments[1];
    g_auto(GStrv) names = lodge_dir_names(folder, error);
    if (names == NULL) {
        return FALSE;
    }
    if (names[0] == NULL) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "%s: no files there", folder);
    }
    g_autofree char *neighbour = g_strdup_printf("%s.XXXXXX", target);
    lodge_autofd fd = g_mkstemp_full(neighbour, O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        return lodge_error_errno(error, errno, "Writing %s", target);
    }
    if (!write_iso(fd, target, folder, names, error)) {
        unlink(neighbour);
        return FALSE;
    }
    if (rename(neighbour, target) < 0) {
        lodge_error_errno(error, errno, "Writing %s", target);
        unlink(neighbour);
        return FALSE;
    }
    return TRUE;
}
