#include "config.h"

#include "qemu/img.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    QUICK_TIMEOUT_MS = 60 * 1000,
};

static const char *const preallocation_words[] = {
    [LODGE_PREALLOCATION_OFF] = "off",
    [LODGE_PREALLOCATION_METADATA] = "metadata",
    [LODGE_PREALLOCATION_FALLOC] = "falloc",
    [LODGE_PREALLOCATION_FULL] = "full",
};

/* qemu-img's error output doesn't carry errno; without the mend it helps nobody. */
static gboolean
explain(GError **error, const char *what, const char *path)
{
    if (error != NULL && *error != NULL && strstr((*error)->message, "No space left") != NULL) {
        char *longer = g_strconcat(
            (*error)->message, " (free some space there, or move the data with LODGE_DIR)", NULL);
        g_free((*error)->message);
        (*error)->message = longer;
    }
    return lodge_error_prefix(error, "%s %s", what, path);
}

/* Absolute, so that no name can be taken for an option or a protocol. */
static char *
absolute(const char *path)
{
    return lodge_path_real(path);
}

static gboolean
refuse_existing(const char *path, GError **error)
{
    struct stat info;
    if (lstat(path, &info) == 0) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "%s exists already", path);
    }
    return TRUE;
}

char *
lodge_path_relative(const char *path, const char *folder)
{
    g_autofree char *to = g_canonicalize_filename(path, "/");
    g_autofree char *from = g_canonicalize_filename(folder, "/");
    g_auto(GStrv) target = g_strsplit(to + 1, "/", -1);
    g_auto(GStrv) start = g_strsplit(from + 1, "/", -1);
    gsize same = 0;
    while (target[same] != NULL && target[same + 1] != NULL &&
           g_strcmp0(start[same], target[same]) == 0) {
        same++;
    }
    g_autoptr(GString) relative = g_string_new(NULL);
    for (gsize i = same; start[i] != NULL && *start[i] != '\0'; i++) {
        g_string_append(relative, "../");
    }
    g_autofree char *rest = g_strjoinv("/", target + same);
    /* Before a colon in the first part stands a protocol's name, unless a slash comes earlier. */
    if (relative->len == 0 && strchr(rest, ':') != NULL) {
        g_string_append(relative, "./");
    }
    g_string_append(relative, rest);
    return g_string_free(g_steal_pointer(&relative), FALSE);
}

static gboolean
size_of(const char *path, const char *format, guint64 *out_bytes, GError **error)
{
    if (g_str_equal(format, "qcow2")) {
        g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(path, error);
        *out_bytes = header != NULL ? header->virtual_size_bytes : 0;
        return header != NULL;
    }
    g_autoptr(GPtrArray) chain = lodge_disk_chain(path, format, error);
    *out_bytes = chain != NULL ? ((const LodgeLayer *)chain->pdata[0])->virtual_size_bytes : 0;
    return chain != NULL;
}

static gboolean
create(const char *const *argv, const char *path, GError **error)
{
    if (!lodge_process_run_argv(argv, 0, NULL, error)) {
        remove(path);
        return FALSE;
    }
    return TRUE;
}

gboolean
lodge_img_create_overlay(const char *path, const char *backing, const char *backing_format,
                         guint64 size_bytes, GError **error)
{
    g_autofree char *target = absolute(path);
    g_autofree char *folder = g_path_get_dirname(target);
    g_autofree char *below = absolute(backing);
    g_autofree char *relative = lodge_path_relative(below, folder);
    guint64 least_bytes = 0;
    if (!refuse_existing(target, error) || !size_of(below, backing_format, &least_bytes, error)) {
        return explain(error, "making the overlay", path);
    }
    if (size_bytes != 0 && size_bytes < least_bytes) {
        g_autofree char *asked = lodge_size_human(size_bytes);
        g_autofree char *least = lodge_size_human(least_bytes);
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "a disk of %s is too small for %s, which has %s", asked, backing,
                               least);
    }
    g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT,
                                            size_bytes != 0 ? size_bytes : least_bytes);
    const char *const argv[] = {"qemu-img",     "create", "-q",     "-f",   "qcow2", "-F",
                                backing_format, "-b",     relative, target, size,    NULL};
    return create(argv, target, error) || explain(error, "making the overlay", path);
}

gboolean
lodge_img_create(const char *path, const char *format, guint64 size_bytes,
                 LodgePreallocation preallocation, GError **error)
{
    g_autofree char *target = absolute(path);
    if (preallocation == LODGE_PREALLOCATION_METADATA && g_str_equal(format, "raw")) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "a raw disk has no metadata to preallocate (take falloc or full)");
    }
    if (!refuse_existing(target, error)) {
        return explain(error, "making the disk", path);
    }
    g_autofree char *option = g_strconcat("preallocation=", preallocation_words[preallocation],
                                          NULL);
    g_autofree char *folder = g_path_get_dirname(target);
    gboolean takes_all = preallocation == LODGE_PREALLOCATION_FULL ||
                         preallocation == LODGE_PREALLOCATION_FALLOC;
    if (takes_all && !lodge_file_system_check(folder, size_bytes, "it", error)) {
        return explain(error, "making the disk", path);
    }
    g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT, size_bytes);
    const char *const argv[] = {"qemu-img", "create", "-q",   "-f", format,
                                "-o",       option,   target, size, NULL};
    return create(argv, target, error) || explain(error, "making the disk", path);
}

static gboolean
measure(const char *path, const char *format, gboolean trusted, guint64 *out_bytes, GError **error)
{
    g_autofree char *source = absolute(path);
    g_autofree char *text = NULL;
    const char *const only[] = {source, NULL};
    const char *const argv[] = {"qemu-img", "measure", "--output=json", "-U",   "-f",
                                format,     "-O",      "qcow2",         source, NULL};
    const LodgeProcess process = {
        .argv = argv, .only = trusted ? NULL : only, .timeout_ms = QUICK_TIMEOUT_MS};
    if (!lodge_process_run(&process, &text, error)) {
        return explain(error, "measuring", path);
    }
    g_autoptr(json_t) root = lodge_json_parse(text, strlen(text), "qemu-img measure", error);
    *out_bytes = (guint64)lodge_json_int(root, "required", 0);
    return root != NULL;
}

gboolean
lodge_img_measure(const char *path, const char *format, guint64 *out_bytes, GError **error)
{
    return measure(path, format, TRUE, out_bytes, error);
}

/* What can't be measured is left to the conversion to complain of. Compression makes disks smaller,
 * by how much nobody knows beforehand: half is usual. */
static gboolean
check_space(const LodgeImgConversion *conversion, const char *target, GError **error)
{
    guint64 bytes = 0;
    g_autofree char *folder = g_path_get_dirname(target);
    if (!measure(conversion->source, conversion->source_format, conversion->trusted, &bytes,
                 NULL)) {
        return TRUE;
    }
    gboolean is_smaller = conversion->compressed || conversion->target_options != NULL;
    return lodge_file_system_check(folder, is_smaller ? bytes / 2 : bytes, "it", error);
}

gboolean
lodge_img_create_compressed(const char *path, const char *backing, guint64 size_bytes,
                            GError **error)
{
    g_autofree char *target = absolute(path);
    g_autofree char *folder = g_path_get_dirname(target);
    g_autofree char *below = backing != NULL ? absolute(backing) : NULL;
    g_autofree char *relative = below != NULL ? lodge_path_relative(below, folder) : NULL;
    g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT, size_bytes);
    if (!refuse_existing(target, error)) {
        return explain(error, "making", path);
    }
    for (int zstd = 1; zstd >= 0; zstd--) {
        const char *type = zstd ? "compression_type=zstd" : "compression_type=zlib";
        const char *argv[] = {"qemu-img", "create", "-q", "-f", "qcow2", "-o", type,
                              target,     size,     NULL, NULL, NULL,    NULL, NULL};
        if (backing != NULL) {
            const char *const stands[] = {"-F", "qcow2", "-b", relative, target, size};
            memcpy(&argv[7], stands, sizeof stands);
        }
        if (create(argv, target, zstd ? NULL : error)) {
            return TRUE;
        }
    }
    return explain(error, "making", path);
}

/* "    (12.34/100%)" */
static void
on_convert_line(const char *line, gpointer data)
{
    const char *bracket = strchr(line, '(');
    if (bracket != NULL) {
        lodge_progress_part(data, g_ascii_strtod(bracket + 1, NULL) / 100, NULL);
    }
}

/* Empty, so that it can be named to the kernel, and is no other file that somebody put there. */
static gboolean
reserve(const char *path, GError **error)
{
    lodge_autofd fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return fd >= 0 || (errno == EEXIST ? refuse_existing(path, error)
                                       : lodge_error_errno(error, errno, "%s", path));
}

/* Whoever can write an untrusted source could have it name another file after it was looked at, or
 * put another file in its place: so no other is opened. */
static gboolean
convert(const LodgeImgConversion *conversion, const char *source, const char *target,
        LodgeProgress *progress, GError **error)
{
    const char *format = conversion->target_format != NULL ? conversion->target_format : "qcow2";
    const char *const alone[] = {source, NULL};
    g_autoptr(GPtrArray) only = g_ptr_array_new();
    const char *const *files = conversion->trusted ? conversion->only : alone;
    for (gsize i = 0; files != NULL && files[i] != NULL; i++) {
        g_ptr_array_add(only, (gpointer)files[i]);
    }
    g_ptr_array_add(only, (gpointer)target);
    g_ptr_array_add(only, NULL);
    const char *argv[] = {"qemu-img", "convert", "-p", "-f", conversion->source_format,
                          "-O",       format,    NULL, NULL, NULL,
                          NULL,       NULL,      NULL};
    gsize count = 7;
    if (conversion->target_options != NULL) {
        argv[count++] = "-o";
        argv[count++] = conversion->target_options;
    }
    if (conversion->compressed) {
        argv[count++] = "-c";
    }
    argv[count++] = source;
    argv[count] = target;
    const LodgeProcess process = {.argv = argv,
                                  .only = files != NULL ? (const char *const *)only->pdata : NULL,
                                  .on_line = on_convert_line,
                                  .data = progress};
    return lodge_process_run(&process, NULL, error);
}

gboolean
lodge_img_convert(const LodgeImgConversion *conversion, LodgeProgress *progress, GError **error)
{
    g_autofree char *source = absolute(conversion->source);
    g_autofree char *target = absolute(conversion->target);
    if (!refuse_existing(target, error) ||
        (!conversion->trusted &&
         !lodge_img_check_foreign(source, conversion->source_format, error)) ||
        !check_space(conversion, target, error) || !reserve(target, error)) {
        return explain(error, "converting", conversion->source);
    }
    if (!convert(conversion, source, target, progress, error)) {
        remove(target);
        return explain(error, "converting", conversion->source);
    }
    return TRUE;
}

static LodgeImgInfo *
parse_info(const char *text, GError **error)
{
    g_autoptr(json_t) root = lodge_json_parse(text, strlen(text), "qemu-img info", error);
    if (root == NULL) {
        return NULL;
    }
    g_autoptr(LodgeImgInfo) info = g_new0(LodgeImgInfo, 1);
    const json_t *data = json_object_get(json_object_get(root, "format-specific"), "data");
    info->format = g_strdup(lodge_json_string(root, "format", NULL));
    info->virtual_size_bytes = (guint64)lodge_json_int(root, "virtual-size", 0);
    info->actual_size_bytes = (guint64)lodge_json_int(root, "actual-size", 0);
    info->backing_file = g_strdup(lodge_json_string(root, "backing-filename", NULL));
    info->backing_format = g_strdup(lodge_json_string(root, "backing-filename-format", NULL));
    info->encrypted = lodge_json_bool(root, "encrypted", FALSE);
    info->dirty = lodge_json_bool(root, "dirty-flag", FALSE);
    info->data_file = g_strdup(lodge_json_string(data, "data-file", NULL));
    info->corrupt = lodge_json_bool(data, "corrupt", FALSE);
    if (info->format == NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "qemu-img info names no format");
        return NULL;
    }
    return g_steal_pointer(&info);
}

LodgeImgInfo *
lodge_img_info(const char *path, const char *format, GError **error)
{
    g_autofree char *target = absolute(path);
    g_autofree char *text = NULL;
    if (format == NULL && (format = lodge_img_probe(target, error)) == NULL) {
        return NULL;
    }
    const char *const only[] = {target, NULL};
    const char *const argv[] = {"qemu-img", "info", "-U",   "--output=json",
                                "-f",       format, target, NULL};
    const LodgeProcess process = {.argv = argv, .only = only, .timeout_ms = QUICK_TIMEOUT_MS};
    LodgeImgInfo *info = lodge_process_run(&process, &text, error) ? parse_info(text, error) : NULL;
    if (info == NULL) {
        explain(error, "looking at", path);
    }
    return info;
}

void
lodge_img_info_free(LodgeImgInfo *info)
{
    if (info != NULL) {
        g_free(info->format);
        g_free(info->backing_file);
        g_free(info->backing_format);
        g_free(info->data_file);
        g_free(info);
    }
}

static void
on_check_line(const char *line, gpointer data)
{
    g_string_append(data, line);
}

/* The qcow2 file without what it stands on, as QEMU's tools are told it. */
static char *
without_backing(const char *path)
{
    g_autoptr(json_t) node = json_pack("{s:s, s:n, s:{s:s, s:s}}", "driver", "qcow2", "backing",
                                       "file", "driver", "file", "filename", path);
    char *text = node != NULL ? json_dumps(node, JSON_COMPACT) : NULL;
    char *name = text != NULL ? g_strconcat("json:", text, NULL) : NULL;
    free(text);
    return name;
}

gboolean
lodge_img_check(const char *path, const char *format, GError **error)
{
    if (g_str_equal(format, "raw")) {
        return TRUE;
    }
    g_autofree char *target = absolute(path);
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GError) problem = NULL;
    /* What it stands on is not looked at, so nothing that a header names is opened. */
    g_autofree char *alone = g_str_equal(format, "qcow2") ? without_backing(target) : NULL;
    const char *const only[] = {target, NULL};
    const char *const argv[] = {
        "qemu-img", "check", "--output=json", "-f", format, alone != NULL ? alone : target, NULL};
    LodgeProcess process = {.argv = argv, .only = only, .on_line = on_check_line, .data = text};
    gboolean sound = lodge_process_run(&process, NULL, &problem);
    /* It fails for damage and for mere leaks: its report tells which. */
    g_autoptr(json_t) report = lodge_json_parse(text->str, text->len, "qemu-img check", NULL);
    if (!sound && strstr(problem->message, "not support checks") != NULL) {
        return TRUE;
    }
    if (!sound && (report == NULL || !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_FAILED))) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return explain(error, "checking", path);
    }
    json_int_t damages = lodge_json_int(report, "corruptions", 0) +
                         lodge_json_int(report, "check-errors", 0);
    if (damages > 0) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s is damaged in %" JSON_INTEGER_FORMAT
                               " places (copy it, then `qemu-img check -r all %s`)",
                               path, damages, path);
    }
    return TRUE;
}

gboolean
lodge_img_resize(const char *path, const char *format, guint64 size_bytes, GError **error)
{
    g_autofree char *target = absolute(path);
    guint64 present_bytes = 0;
    if (!size_of(target, format, &present_bytes, error)) {
        return explain(error, "resizing", path);
    }
    if (size_bytes < present_bytes) {
        g_autofree char *present = lodge_size_human(present_bytes);
        return lodge_error_set(error, LODGE_ERROR_USAGE, "%s has %s already: disks only grow", path,
                               present);
    }
    g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT, size_bytes);
    const char *const argv[] = {"qemu-img", "resize", "-q", "-f", format, target, size, NULL};
    return lodge_process_run_argv(argv, 0, NULL, error) || explain(error, "resizing", path);
}

gboolean
lodge_img_commit(const char *path, const char *into, const char *folder, GError **error)
{
    g_autofree char *target = absolute(path);
    g_autofree char *below = absolute(into);
    g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(target, error);
    if (header == NULL) {
        return explain(error, "merging", path);
    }
    g_autofree char *named = header->backing_file != NULL
                                 ? lodge_qcow2_resolve(target, header->backing_file)
                                 : NULL;
    if (g_strcmp0(named, below) != 0 || g_file_test(below, G_FILE_TEST_IS_SYMLINK)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s does not stand on %s itself", path,
                               into);
    }
    const char *const only[] = {folder, NULL};
    const char *const argv[] = {"qemu-img", "commit", "-q", "-d", "-f", "qcow2", target, NULL};
    const LodgeProcess process = {.argv = argv, .only = folder != NULL ? only : NULL};
    return lodge_process_run(&process, NULL, error) || explain(error, "merging", path);
}

gboolean
lodge_img_rebase(const char *path, const char *backing, const char *backing_format, GError **error)
{
    g_autofree char *target = absolute(path);
    g_autofree char *folder = g_path_get_dirname(target);
    g_autofree char *below = absolute(backing);
    g_autofree char *relative = lodge_path_relative(below, folder);
    const char *const argv[] = {"qemu-img", "rebase", "-q", "-u",           "-f",   "qcow2",
                                "-b",       relative, "-F", backing_format, target, NULL};
    return lodge_process_run_argv(argv, QUICK_TIMEOUT_MS, NULL, error) ||
           explain(error, "rebasing", path);
}
