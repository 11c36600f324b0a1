/* lodge-archive: what its subcommands share. Archives may be hostile. */
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <glib.h>

/* An archive being read. */
typedef struct {
    struct archive *archive;
    int fd;
    guint64 size_bytes; /* of the file */
    gint64 reported_us;
    const char *path;
} LodgeArchive;

typedef enum {
    LODGE_ARCHIVE_FILES, /* tar and zip, packed or not */
    LODGE_ARCHIVE_RAW,   /* one packed file */
} LodgeArchiveKind;

/* Open @path, which must stay. NULL on error. */
LodgeArchive *lodge_archive_open(const char *path, LodgeArchiveKind kind, GError **error);
void lodge_archive_close(LodgeArchive *archive);

/* The next entry, borrowed; NULL without error at the end. */
struct archive_entry *lodge_archive_next(LodgeArchive *archive, GError **error);

/* Write the present entry's data to @fd, with holes for zeros. @what names it for errors. */
gboolean lodge_archive_save(LodgeArchive *archive, int fd, const char *what,
                            guint64 *inout_budget_bytes, GError **error);

/* INVALID error from libarchive's own words. Returns FALSE. */
gboolean lodge_archive_fail(LodgeArchive *archive, GError **error);

/* The subcommands; @arguments are what stands behind their names. */
gboolean lodge_archive_seed(char **arguments, GError **error);
gboolean lodge_archive_extract(char **arguments, GError **error);
gboolean lodge_archive_ova(char **arguments, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeArchive, lodge_archive_close)
