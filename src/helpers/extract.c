/* lodge-archive extract: plain files and folders below DIR, nothing else. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "helpers/archive.h"

enum {
    COUNT_LIMIT = 10000,
    DEPTH_LIMIT = 16,
    PART_LIMIT_BYTES = 255,
};

#define SIZE_LIMIT_BYTES (G_GUINT64_CONSTANT(64) << 40)

typedef struct {
    LodgeArchive *archive;
    const char *folder;
    guint64 budget_bytes;
    guint count;
} Extraction;

/* Below the folder, and harmless to look at. */
static gboolean
is_harmless(const char *name)
{
    if (name == NULL || *name == '\0' || *name == '/') {
        return FALSE;
    }
    for (const char *c = name; *c != '\0'; c++) {
        if (g_ascii_iscntrl(*c) || *c == '\\') {
            return FALSE;
        }
    }
    g_auto(GStrv) parts = g_strsplit(name, "/", -1);
    guint count = g_strv_length(parts);
    for (guint i = 0; i < count; i++) {
        /* A folder's name may end with a slash. */
        gboolean last_of_folder = i + 1 == count && i > 0 && *parts[i] == '\0';
        if ((*parts[i] == '\0' && !last_of_folder) || strcmp(parts[i], ".") == 0 ||
            strcmp(parts[i], "..") == 0 || strlen(parts[i]) > PART_LIMIT_BYTES) {
            return FALSE;
        }
    }
    return count <= DEPTH_LIMIT;
}

/* "./disk.vmdk" is how tar names what it was given as "."; it means no harm. */
static const char *
without_dot(const char *name)
{
    while (name != NULL && name[0] == '.' && name[1] == '/') {
        name += 2;
    }
    return name;
}

static gboolean
save_file(Extraction *extraction, const char *path, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(path);
    if (!lodge_dir_make(parent, 0755, error)) {
        return FALSE;
    }
    lodge_autofd fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        return lodge_error_errno(error, errno, "Creating %s", path);
    }
    if (!lodge_archive_save(extraction->archive, fd, path, &extraction->budget_bytes, error)) {
        unlink(path);
        return FALSE;
    }
    return TRUE;
}

/* No link is ever made, so a path below the folder can't lead out of it. */
static gboolean
take(Extraction *extraction, struct archive_entry *entry, const char *name, GError **error)
{
    g_autofree char *shown = lodge_text_printable(name != NULL ? name : "");
    if (!is_harmless(name)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s: refused: it wants to write “%s”, outside of its place",
                               extraction->archive->path, shown);
    }
    g_autofree char *path = g_build_filename(extraction->folder, name, NULL);
    if (archive_entry_hardlink(entry) == NULL && archive_entry_filetype(entry) == AE_IFDIR) {
        return lodge_dir_make(path, 0755, error);
    }
    if (archive_entry_hardlink(entry) != NULL || archive_entry_filetype(entry) != AE_IFREG) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s: refused: “%s” is a link or device, not a plain file",
                               extraction->archive->path, shown);
    }
    return save_file(extraction, path, error);
}

static gboolean
extract_all(Extraction *extraction, char **names, guint *out_taken, GError **error)
{
    g_autoptr(GError) problem = NULL;
    struct archive_entry *entry;
    while ((entry = lodge_archive_next(extraction->archive, &problem)) != NULL) {
        const char *name = without_dot(archive_entry_pathname(entry));
        if (name != NULL && *name == '\0') {
            continue;
        }
        if (++extraction->count > COUNT_LIMIT) {
            return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: more than %d files in it",
                                   extraction->archive->path, COUNT_LIMIT);
        }
        if (names[0] != NULL &&
            (name == NULL || !g_strv_contains((const char *const *)names, name))) {
            continue;
        }
        if (!take(extraction, entry, name, error)) {
            return FALSE;
        }
        ++*out_taken;
    }
    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    return TRUE;
}

gboolean
lodge_archive_extract(char **arguments, GError **error)
{
    char **names = arguments + 2;
    guint taken = 0;
    g_autoptr(LodgeArchive) archive = lodge_archive_open(arguments[0], LODGE_ARCHIVE_FILES, error);
    if (archive == NULL || !lodge_dir_make(arguments[1], 0755, error)) {
        return FALSE;
    }
    Extraction extraction = {
        .archive = archive, .folder = arguments[1], .budget_bytes = SIZE_LIMIT_BYTES};
    if (!extract_all(&extraction, names, &taken, error)) {
        return FALSE;
    }
    if (taken < g_strv_length(names)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "%s: no “%s” in it", arguments[0],
                               names[0]);
    }
    return TRUE;
}
