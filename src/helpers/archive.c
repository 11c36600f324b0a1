/* lodge-archive: reads archives and packed images, writes seed ISOs. A program of its own, so that
 * lodge needn't load libarchive, and so that a flaw in a decoder stays in a short-lived process. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "helpers/archive.h"

enum {
    BLOCK_BYTES = 256 << 10,
    HOLE_BYTES = 4096,
    REPORT_EVERY_US = 100 * 1000,
    LIST_LIMIT = 10000,
};

/* More than any disk: 64 TiB. */
#define UNPACK_LIMIT_BYTES (G_GUINT64_CONSTANT(64) << 40)

typedef struct {
    const char *name;
    int least_arguments;
    const char *usage;
    gboolean (*run)(char **arguments, GError **error);
} Command;

gboolean
lodge_archive_fail(LodgeArchive *archive, GError **error)
{
    const char *words = archive_error_string(archive->archive);
    g_autofree char *shown = lodge_text_printable(words != NULL ? words : "no reason");
    return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: truncated or damaged: %s",
                           archive->path, shown);
}

/* Only the built-in decoders: for others libarchive would start programs. */
static void
choose_decoders(struct archive *archive, LodgeArchiveKind kind)
{
    archive_read_support_filter_gzip(archive);
    archive_read_support_filter_bzip2(archive);
    archive_read_support_filter_xz(archive);
    archive_read_support_filter_zstd(archive);
    switch (kind) {
    case LODGE_ARCHIVE_FILES:
        archive_read_support_format_tar(archive);
        archive_read_support_format_zip(archive);
        break;
    case LODGE_ARCHIVE_RAW:
        archive_read_support_format_raw(archive);
        break;
    }
}

LodgeArchive *
lodge_archive_open(const char *path, LodgeArchiveKind kind, GError **error)
{
    struct stat info;
    g_autoptr(LodgeArchive) archive = g_new0(LodgeArchive, 1);
    archive->path = path;
    archive->archive = archive_read_new();
    archive->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (archive->fd < 0 || fstat(archive->fd, &info) < 0) {
        lodge_error_errno(error, errno, "%s", path);
        return NULL;
    }
    if (!S_ISREG(info.st_mode)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: not a regular file", path);
        return NULL;
    }
    archive->size_bytes = (guint64)info.st_size;
    choose_decoders(archive->archive, kind);
    if (archive_read_open_fd(archive->archive, archive->fd, BLOCK_BYTES) != ARCHIVE_OK) {
        lodge_archive_fail(archive, error);
        return NULL;
    }
    return g_steal_pointer(&archive);
}

void
lodge_archive_close(LodgeArchive *archive)
{
    if (archive != NULL) {
        archive_read_free(archive->archive);
        lodge_fd_clear(&archive->fd);
        g_free(archive);
    }
}

struct archive_entry *
lodge_archive_next(LodgeArchive *archive, GError **error)
{
    struct archive_entry *entry = NULL;
    int status = archive_read_next_header(archive->archive, &entry);
    if (status == ARCHIVE_EOF) {
        return NULL;
    }
    /* A warning is about names or times that this host can't express: not about the data. */
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN) {
        lodge_archive_fail(archive, error);
        return NULL;
    }
    return entry;
}

static void
report(LodgeArchive *archive, gboolean at_end)
{
    gint64 now = g_get_monotonic_time();
    if (at_end || now - archive->reported_us >= REPORT_EVERY_US) {
        gint64 done = archive_filter_bytes(archive->archive, -1);
        archive->reported_us = now;
        printf("{\"done\":%" G_GINT64_FORMAT ",\"total\":%" G_GUINT64_FORMAT "}\n", MAX(done, 0),
               archive->size_bytes);
        fflush(stdout);
    }
}

static gboolean
is_zero(const char *data, gsize length)
{
    return length > 0 && data[0] == '\0' && memcmp(data, data + 1, length - 1) == 0;
}

static gboolean
write_sparse(int fd, const char *data, gsize length, gint64 offset)
{
    while (length > 0) {
        gsize part = MIN(length, HOLE_BYTES);
        gssize done = (gssize)part;
        if (!is_zero(data, part)) {
            done = pwrite(fd, data, part, (off_t)offset);
        }
        if (done < 0 && errno != EINTR) {
            return FALSE;
        }
        done = MAX(done, 0);
        data += done;
        length -= (gsize)done;
        offset += done;
    }
    return TRUE;
}

gboolean
lodge_archive_save(LodgeArchive *archive, int fd, const char *what, guint64 *inout_budget_bytes,
                   GError **error)
{
    const void *data = NULL;
    gsize length = 0;
    gint64 offset = 0;
    gint64 end = 0;
    int status;
    while ((status = archive_read_data_block(archive->archive, &data, &length, &offset)) ==
           ARCHIVE_OK) {
        if (offset < 0 || length > *inout_budget_bytes ||
            (guint64)offset > *inout_budget_bytes - length) {
            return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: larger than any disk",
                                   archive->path);
        }
        if (!write_sparse(fd, data, length, offset)) {
            return lodge_error_errno(error, errno, "Writing %s", what);
        }
        end = MAX(end, offset + (gint64)length);
        report(archive, FALSE);
    }
    if (status != ARCHIVE_EOF) {
        return lodge_archive_fail(archive, error);
    }
    if (ftruncate(fd, end) < 0) {
        return lodge_error_errno(error, errno, "Writing %s", what);
    }
    *inout_budget_bytes -= (guint64)end;
    report(archive, TRUE);
    return TRUE;
}

static const char *
type_word(struct archive_entry *entry)
{
    if (archive_entry_hardlink(entry) != NULL) {
        return "link";
    }
    switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
        return "file";
    case AE_IFDIR:
        return "folder";
    case AE_IFLNK:
        return "link";
    default:
        return "device";
    }
}

static gboolean
list(char **arguments, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autoptr(LodgeArchive) archive = lodge_archive_open(arguments[0], LODGE_ARCHIVE_FILES, error);
    if (archive == NULL) {
        return FALSE;
    }
    struct archive_entry *entry;
    for (guint i = 0; (entry = lodge_archive_next(archive, &problem)) != NULL; i++) {
        const char *name = archive_entry_pathname(entry);
        g_autofree char *shown = g_utf8_make_valid(name != NULL ? name : "", -1);
        g_autoptr(json_t)
            line = json_pack("{s:s, s:I, s:s}", "name", shown, "size",
                             (json_int_t)archive_entry_size(entry), "type", type_word(entry));
        if (i >= LIST_LIMIT || line == NULL) {
            return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: more than %d files in it",
                                   archive->path, LIST_LIMIT);
        }
        json_dumpf(line, stdout, JSON_COMPACT);
        putchar('\n');
    }
    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    return TRUE;
}

static gboolean
unpack_to(LodgeArchive *archive, int fd, const char *target, GError **error)
{
    guint64 budget_bytes = UNPACK_LIMIT_BYTES;
    g_autoptr(GError) problem = NULL;
    if (lodge_archive_next(archive, &problem) == NULL) {
        if (problem == NULL) {
            return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: nothing in it", archive->path);
        }
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (archive_filter_code(archive->archive, 0) == ARCHIVE_FILTER_NONE) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s: not packed by xz, gzip, zstd or bzip2", archive->path);
    }
    return lodge_archive_save(archive, fd, target, &budget_bytes, error);
}

static gboolean
unpack(char **arguments, GError **error)
{
    const char *target = arguments[1];
    g_autoptr(LodgeArchive) archive = lodge_archive_open(arguments[0], LODGE_ARCHIVE_RAW, error);
    if (archive == NULL) {
        return FALSE;
    }
    lodge_autofd fd = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return lodge_error_errno(error, errno, "Creating %s", target);
    }
    if (!unpack_to(archive, fd, target, error)) {
        unlink(target);
        return FALSE;
    }
    return TRUE;
}

static const Command commands[] = {
    {"seed", 2, "seed OUT.iso DIR", lodge_archive_seed},
    {"extract", 2, "extract ARCHIVE DIR [NAME…]", lodge_archive_extract},
    {"list", 1, "list ARCHIVE", list},
    {"ova", 4, "ova OUT.ova DIR NAME.ovf DISK…", lodge_archive_ova},
    {"unpack", 2, "unpack IN OUT", unpack},
};

int
main(int argc, char **argv)
{
    /* File names are bytes to us; libarchive needs a character set to hand them over. */
    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL) {
        setlocale(LC_CTYPE, "");
    }
    signal(SIGPIPE, SIG_IGN);
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++) {
        const Command *command = &commands[i];
        if (argc - 2 < command->least_arguments || strcmp(argv[1], command->name) != 0) {
            continue;
        }
        g_autoptr(GError) error = NULL;
        if (command->run(argv + 2, &error)) {
            return 0;
        }
        fprintf(stderr, "%s\n", error->message);
        return lodge_error_exit_status(error);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++) {
        fprintf(stderr, "lodge-archive %s\n", commands[i].usage);
    }
    return 2;
}
