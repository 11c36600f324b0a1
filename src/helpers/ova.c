/* lodge-archive ova: a tar whose first file is the OVF description, then a manifest with the
 * SHA-256 of each file, then the disks, in the order that readers of streams need. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "helpers/archive.h"

enum {
    BLOCK_BYTES = 1 << 20,
    REPORT_EVERY_US = 100 * 1000,
};

/* What the plain tar of the OVA standard has room for; larger ones need GNU's numbers. */
#define USTAR_LIMIT_BYTES (G_GUINT64_CONSTANT(8) << 30)

typedef struct archive Writer;
typedef struct archive_entry Entry;

typedef struct {
    const char *target;
    const char *folder;
    char **names; /* the description, then the disks */
    Writer *writer;
    guint64 total_bytes; /* each file is read twice: for its checksum, and into the archive */
    guint64 done_bytes;
    gint64 reported_us;
    gboolean is_large;
} Ova;

typedef gboolean (*TakeFunc)(gpointer data, const char *bytes, gsize length);

static void
ova_clear(Ova *ova)
{
    if (ova->writer != NULL) {
        archive_write_free(ova->writer);
    }
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Ova, ova_clear)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Entry, archive_entry_free)

static gboolean
fail(Ova *ova, GError **error)
{
    const char *words = archive_error_string(ova->writer);
    int saved_errno = archive_errno(ova->writer);
    return saved_errno > 0 ? lodge_error_errno(error, saved_errno, "Writing %s", ova->target)
                           : lodge_error_set(error, LODGE_ERROR_FAILED, "Writing %s: %s",
                                             ova->target, words != NULL ? words : "no reason");
}

static void
report(Ova *ova, guint64 more_bytes)
{
    gint64 now = g_get_monotonic_time();
    ova->done_bytes += more_bytes;
    if (now - ova->reported_us >= REPORT_EVERY_US || ova->done_bytes == ova->total_bytes) {
        ova->reported_us = now;
        printf("{\"done\":%" G_GUINT64_FORMAT ",\"total\":%" G_GUINT64_FORMAT "}\n",
               ova->done_bytes, ova->total_bytes);
        fflush(stdout);
    }
}

static gboolean
read_through(Ova *ova, const char *name, TakeFunc take, gpointer data, GError **error)
{
    g_autofree char *path = g_build_filename(ova->folder, name, NULL);
    g_autofree char *buffer = g_malloc(BLOCK_BYTES);
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC);
    for (gssize got = fd < 0 ? -1 : 1; got != 0;) {
        got = got < 0 ? got : read(fd, buffer, BLOCK_BYTES);
        if (got < 0) {
            return lodge_error_errno(error, errno, "%s", path);
        }
        if (got > 0 && !take(data, buffer, (gsize)got)) {
            return fail(ova, error);
        }
        report(ova, (guint64)got);
    }
    return TRUE;
}

static gboolean
digest(gpointer data, const char *bytes, gsize length)
{
    g_checksum_update(data, (const guchar *)bytes, (gssize)length);
    return TRUE;
}

static gboolean
pack(gpointer data, const char *bytes, gsize length)
{
    return archive_write_data(data, bytes, length) == (la_ssize_t)length;
}

static gboolean
begin_entry(Ova *ova, const char *name, guint64 size_bytes, GError **error)
{
    g_autoptr(Entry) entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)size_bytes);
    archive_entry_set_mtime(entry, g_get_real_time() / G_USEC_PER_SEC, 0);
    return archive_write_header(ova->writer, entry) == ARCHIVE_OK || fail(ova, error);
}

static gboolean
add_file(Ova *ova, const char *name, GError **error)
{
    struct stat info;
    g_autofree char *path = g_build_filename(ova->folder, name, NULL);
    if (stat(path, &info) < 0) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    return begin_entry(ova, name, (guint64)info.st_size, error) &&
           read_through(ova, name, pack, ova->writer, error);
}

/* "SHA256(box.ovf)= 12ab…" */
static char *
make_manifest(Ova *ova, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (gsize i = 0; ova->names[i] != NULL; i++) {
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
        if (!read_through(ova, ova->names[i], digest, sum, error)) {
            return NULL;
        }
        g_string_append_printf(text, "SHA256(%s)= %s\n", ova->names[i], g_checksum_get_string(sum));
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static gboolean
add_manifest(Ova *ova, const char *manifest, GError **error)
{
    const char *ovf = ova->names[0];
    const char *dot = strrchr(ovf, '.');
    g_autofree char *name = g_strdup_printf(
        "%.*s.mf", (int)(dot != NULL ? (gsize)(dot - ovf) : strlen(ovf)), ovf);
    return begin_entry(ova, name, strlen(manifest), error) &&
           (pack(ova->writer, manifest, strlen(manifest)) || fail(ova, error));
}

static gboolean
measure(Ova *ova, GError **error)
{
    for (gsize i = 0; ova->names[i] != NULL; i++) {
        struct stat info;
        g_autofree char *path = g_build_filename(ova->folder, ova->names[i], NULL);
        if (stat(path, &info) < 0) {
            return lodge_error_errno(error, errno, "%s", path);
        }
        ova->total_bytes += 2 * (guint64)info.st_size;
        ova->is_large = ova->is_large || (guint64)info.st_size >= USTAR_LIMIT_BYTES;
    }
    return TRUE;
}

static gboolean
write_ova(Ova *ova, int fd, GError **error)
{
    g_autofree char *manifest = make_manifest(ova, error);
    if (manifest == NULL) {
        return FALSE;
    }
    int status = ova->is_large ? archive_write_set_format_gnutar(ova->writer)
                               : archive_write_set_format_ustar(ova->writer);
    if (status != ARCHIVE_OK || archive_write_open_fd(ova->writer, fd) != ARCHIVE_OK) {
        return fail(ova, error);
    }
    if (!add_file(ova, ova->names[0], error) || !add_manifest(ova, manifest, error)) {
        return FALSE;
    }
    for (gsize i = 1; ova->names[i] != NULL; i++) {
        if (!add_file(ova, ova->names[i], error)) {
            return FALSE;
        }
    }
    return archive_write_close(ova->writer) == ARCHIVE_OK || fail(ova, error);
}

gboolean
lodge_archive_ova(char **arguments, GError **error)
{
    g_auto(Ova) ova = {.target = arguments[0],
                       .folder = arguments[1],
                       .names = arguments + 2,
                       .writer = archive_write_new()};
    if (!measure(&ova, error)) {
        return FALSE;
    }
    lodge_autofd fd = open(ova.target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return lodge_error_errno(error, errno, "Creating %s", ova.target);
    }
    if (!write_ova(&ova, fd, error)) {
        unlink(ova.target);
        return FALSE;
    }
    return TRUE;
}
