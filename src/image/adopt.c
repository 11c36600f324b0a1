/* Foreign disks: unpacked, recognised, held against the rules for foreign files, converted. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "image/internal.h"

enum {
    HEAD_BYTES = 512,
    TAR_MAGIC_OFFSET = 257,
    OVF_LIMIT_BYTES = 4 << 20,
    NESTING_LIMIT = 4,
};

static const struct {
    const char *bytes;
    gsize length;
} packings[] = {{"\xfd\x37zXZ\0", 6}, {"\x1f\x8b", 2}, {"\x28\xb5\x2f\xfd", 4}, {"BZh", 3}};

typedef enum { KIND_DISK, KIND_PACKED, KIND_TAR } Kind;

static gboolean
find_kind(const char *path, Kind *out_kind, GError **error)
{
    char head[HEAD_BYTES] = {0};
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || read(fd, head, sizeof head) < 0) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    *out_kind = memcmp(head + TAR_MAGIC_OFFSET, "ustar", 5) == 0 ? KIND_TAR : KIND_DISK;
    for (gsize i = 0; i < G_N_ELEMENTS(packings); i++) {
        if (memcmp(head, packings[i].bytes, packings[i].length) == 0) {
            *out_kind = KIND_PACKED;
        }
    }
    return TRUE;
}

static char *
unpack(LodgeMaking *making, const char *file, GError **error)
{
    g_autofree char *name = g_strdup_printf("unpacked-%08x", g_random_int());
    g_autofree char *unpacked = lodge_making_path(making, name);
    const char *const argv[] = {"lodge-archive", "unpack", file, unpacked, NULL};
    lodge_progress_stage(making->progress, "unpacking");
    return lodge_image_run_helper(argv, making->progress, NULL, error) ? g_steal_pointer(&unpacked)
                                                                       : NULL;
}

/* The name of the OVF description among an archive's files; NULL if there is none. */
static char *
find_ovf(const char *listing)
{
    g_auto(GStrv) lines = g_strsplit(listing, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        g_autoptr(json_t) entry = lodge_json_parse(lines[i], strlen(lines[i]), "archive", NULL);
        const char *name = lodge_json_string(entry, "name", "");
        if (g_str_has_suffix(name, ".ovf") && strchr(name, '/') == NULL) {
            return g_strdup(name);
        }
    }
    return NULL;
}

static char *
extract_one(LodgeMaking *making, const char *archive, const char *name, GError **error)
{
    g_autofree char *folder = lodge_making_path(making, "ova");
    g_autofree char *path = g_build_filename(folder, name, NULL);
    const char *const argv[] = {"lodge-archive", "extract", archive, folder, name, NULL};
    if (!lodge_dir_make(folder, 0755, error) ||
        !lodge_image_run_helper(argv, making->progress, NULL, error)) {
        return NULL;
    }
    return g_steal_pointer(&path);
}

/* An OVA is a tar of a description and the disks that it names. Returns the first disk; others go
 * to
 * @making. */
static char *
extract_ova(LodgeMaking *making, const char *archive, GError **error)
{
    g_autofree char *listing = NULL;
    const char *const argv[] = {"lodge-archive", "list", archive, NULL};
    lodge_progress_stage(making->progress, "unpacking");
    if (!lodge_image_run_helper(argv, NULL, &listing, error)) {
        return NULL;
    }
    g_autofree char *ovf = find_ovf(listing);
    if (ovf == NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: a tar archive, but no OVA: no .ovf in it",
                        archive);
        return NULL;
    }
    gsize length = 0;
    g_autofree char *description = extract_one(making, archive, ovf, error);
    g_autofree char *text = description != NULL
                                ? lodge_file_read(description, OVF_LIMIT_BYTES, &length, error)
                                : NULL;
    g_auto(GStrv) disks = text != NULL ? lodge_ovf_disks(text, length, error) : NULL;
    g_autofree char *first = disks != NULL ? extract_one(making, archive, disks[0], error) : NULL;
    for (gsize i = 1; first != NULL && disks[i] != NULL; i++) {
        char *other = extract_one(making, archive, disks[i], error);
        if (other == NULL) {
            return NULL;
        }
        if (making->others == NULL) {
            making->others = g_ptr_array_new_with_free_func(g_free);
        }
        g_ptr_array_add(making->others, other);
    }
    return g_steal_pointer(&first);
}

/* Copies of ours that are used up make room for what came out of them. */
static void
drop(const LodgeMaking *making, const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);
    if (g_str_has_prefix(folder, making->work)) {
        remove(path);
    }
}

/* The plain disk in @file, which may be packed, or an OVA, or a packed OVA, or an OVA of packed
 * disks; deeper nesting is nobody's format. */
static char *
find_disk(LodgeMaking *making, const char *file, GError **error)
{
    g_autofree char *path = g_strdup(file);
    Kind kind = KIND_DISK;
    for (int i = 0; i < NESTING_LIMIT; i++) {
        if (!find_kind(path, &kind, error)) {
            return NULL;
        }
        if (kind == KIND_DISK) {
            return g_steal_pointer(&path);
        }
        g_autofree char *outer = g_steal_pointer(&path);
        path = kind == KIND_PACKED ? unpack(making, outer, error)
                                   : extract_ova(making, outer, error);
        if (path == NULL) {
            return NULL;
        }
        drop(making, outer);
    }
    lodge_error_set(error, LODGE_ERROR_INVALID, "%s: packed too many times", file);
    return NULL;
}

/* Make @name, in the work folder, of it. */
static gboolean
adopt_one(LodgeMaking *making, const char *file, const char *format, gboolean trusted,
          const char *name, GError **error)
{
    g_autofree char *disk = find_disk(making, file, error);
    if (disk == NULL || (format == NULL && (format = lodge_img_probe(disk, error)) == NULL)) {
        return FALSE;
    }
    g_autofree char *target = lodge_making_path(making, name);
    gboolean is_ours = g_str_has_prefix(disk, making->work);
    if (is_ours && g_str_equal(format, "qcow2")) {
        return lodge_img_check_foreign(disk, format, error) &&
               (rename(disk, target) == 0 || lodge_error_errno(error, errno, "Naming %s", target));
    }
    /* Out of an archive, a name of another file can't be meant for this host. */
    LodgeImgConversion conversion = {
        .source = disk, .source_format = format, .target = target, .trusted = trusted && !is_ours};
    /* What is missing from a file that was cut off would be read as zeros. */
    if (!conversion.trusted && !lodge_img_check_foreign(disk, format, error)) {
        return FALSE;
    }
    lodge_progress_stage(making->progress, "converting");
    if (!lodge_img_check(disk, format, error) ||
        !lodge_img_convert(&conversion, making->progress, error)) {
        return FALSE;
    }
    drop(making, disk);
    return TRUE;
}

gboolean
lodge_making_adopt(LodgeMaking *making, const char *file, const char *format, gboolean trusted,
                   GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);
    g_free(making->image->disk);
    making->image->disk = g_strdup("disk.qcow2");
    if (!adopt_one(making, file, format, trusted, making->image->disk, error)) {
        return FALSE;
    }
    /* An OVA in an OVA would add to them. */
    guint count = making->others != NULL ? making->others->len : 0;
    for (guint i = 0; i < count; i++) {
        g_autofree char *name = g_strdup_printf("more-%u.qcow2", i + 1);
        lodge_progress_stage(making->progress, "disk %u of %u", i + 2, count + 1);
        if (!adopt_one(making, making->others->pdata[i], NULL, FALSE, name, error)) {
            return lodge_error_prefix(error, "disk %u", i + 2);
        }
        g_string_append_printf(names, "%s%s", i > 0 ? " " : "", name);
    }
    g_free(making->image->more_disks);
    making->image->more_disks = count > 0 ? g_string_free(g_steal_pointer(&names), FALSE) : NULL;
    return TRUE;
}
