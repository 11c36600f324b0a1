/* Theory of operation: all is made in the hidden folder .FILE.export beside the file, under a lock
 * of that name, and renamed to its place when it is whole. Whoever exports to the same file next
 * removes what a killed export left there: the lock tells that its maker is dead. */
#include "config.h"

#include "image/export.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/internal.h"

typedef struct {
    const LodgeExportMachine *machine;
    LodgeProgress *progress;
    char *file; /* absolute */
    char *work;
    char *lock_path;
    int lock_fd;
} Export;

typedef struct {
    const char *name;
    const char *ending;
    gboolean compresses;
} Format;

static const Format formats[] = {
    {"qcow2", ".qcow2", TRUE}, {"raw", ".raw", FALSE}, {"raw", ".img", FALSE},
    {"vmdk", ".vmdk", TRUE},   {"vdi", ".vdi", FALSE}, {"vhdx", ".vhdx", FALSE},
    {"vpc", ".vhd", FALSE},    {"ova", ".ova", TRUE},
};

const char *const *
lodge_export_formats(void)
{
    static const char *const names[] = {"qcow2", "raw", "vmdk", "vdi", "vhdx", "vpc", "ova", NULL};
    return names;
}

const char *
lodge_export_format_of(const char *file)
{
    for (gsize i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (g_str_has_suffix(file, formats[i].ending)) {
            return formats[i].name;
        }
    }
    return "qcow2";
}

static gboolean
check_format(const char *format, gboolean compressed, GError **error)
{
    g_autofree char *list = g_strjoinv(", ", (char **)lodge_export_formats());
    for (gsize i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (g_str_equal(formats[i].name, format)) {
            return !compressed || formats[i].compresses ||
                   lodge_error_set(error, LODGE_ERROR_USAGE,
                                   "--compress: %s knows no compression (qcow2, vmdk and ova do)",
                                   format);
        }
    }
    return lodge_error_set(error, LODGE_ERROR_USAGE, "--format: “%s” is none of %s", format, list);
}

static void
export_clear(Export *export)
{
    if (export->lock_fd >= 0) {
        lodge_tree_remove(export->work, NULL);
        unlink(export->lock_path);
        lodge_fd_clear(&export->lock_fd);
    }
    g_free(export->file);
    g_free(export->work);
    g_free(export->lock_path);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Export, export_clear)

static gboolean
begin(Export *export, const char *file, GError **error)
{
    g_autofree char *path = g_canonicalize_filename(file, NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    export->file = g_steal_pointer(&path);
    export->work = g_strdup_printf("%s/.%s.export", folder, name);
    export->lock_path = g_strconcat(export->work, ".lock", NULL);
    if (g_file_test(export->file, G_FILE_TEST_EXISTS)) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "%s exists already", export->file);
    }
    if (!g_file_test(folder, G_FILE_TEST_IS_DIR)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "no folder %s", folder);
    }
    g_autoptr(GError) problem = NULL;
    export->lock_fd = lodge_lock_take(export->lock_path, &problem);
    if (export->lock_fd < 0 && g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
        return lodge_error_set(error, LODGE_ERROR_BUSY, "another command is writing %s just now",
                               export->file);
    }
    if (export->lock_fd < 0) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    return lodge_tree_remove(export->work, error) && lodge_dir_make(export->work, 0700, error);
}

/* An OVA's disks are compressed, by how much nobody knows: half is usual; and they are there twice
 * until it is whole. That of a single copy is looked at when it is made. */
static gboolean
check_space(const Export *export, GError **error)
{
    guint64 sum = 0;
    g_autofree char *folder = g_path_get_dirname(export->work);
    for (gsize i = 0; i < export->machine->disk_count; i++) {
        guint64 bytes = 0;
        const LodgeExportDisk *disk = &export->machine->disks[i];
        if (!lodge_img_measure(disk->path, disk->format, &bytes, error)) {
            return FALSE;
        }
        sum += bytes;
    }
    return lodge_file_system_check(folder, sum, "it", error);
}

static gboolean
convert(const Export *export, gsize index, const char *target, const char *format,
        gboolean compressed, GError **error)
{
    const LodgeExportDisk *disk = &export->machine->disks[index];
    gboolean is_stream = compressed && g_str_equal(format, "vmdk");
    const LodgeImgConversion conversion = {.source = disk->path,
                                           .source_format = disk->format,
                                           .target = target,
                                           .target_format = format,
                                           .target_options = is_stream ? "subformat=streamOptimized"
                                                                       : NULL,
                                           .compressed = compressed && !is_stream,
                                           .trusted = TRUE,
                                           .only = disk->only};
    if (export->machine->disk_count > 1) {
        lodge_progress_stage(export->progress, "writing disk %zu as %s", index + 1, format);
    } else {
        lodge_progress_stage(export->progress, "writing %s", format);
    }
    return lodge_img_convert(&conversion, export->progress, error);
}

static gboolean
write_description(const Export *export, const char *ovf, char **names, GError **error)
{
    g_autofree char *path = g_build_filename(export->work, ovf, NULL);
    g_autofree guint64 *sizes = g_new0(guint64, export->machine->disk_count);
    for (gsize i = 0; i < export->machine->disk_count; i++) {
        struct stat info;
        g_autofree char *disk = g_build_filename(export->work, names[i], NULL);
        if (stat(disk, &info) < 0) {
            return lodge_error_errno(error, errno, "%s", disk);
        }
        sizes[i] = (guint64)info.st_size;
    }
    g_autofree char *text = lodge_ovf_write(export->machine, (const char *const *)names, sizes);
    return lodge_file_write(path, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, error);
}

static gboolean
make_ova(const Export *export, const char *target, GError **error)
{
    const LodgeExportMachine *machine = export->machine;
    g_autofree char *ovf = g_strconcat(machine->name, ".ovf", NULL);
    g_auto(GStrv) names = g_new0(char *, machine->disk_count + 1);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    const char *const head[] = {"lodge-archive", "ova", target, export->work, ovf};
    for (gsize i = 0; i < G_N_ELEMENTS(head); i++) {
        g_ptr_array_add(argv, (gpointer)head[i]);
    }
    for (gsize i = 0; i < machine->disk_count; i++) {
        names[i] = g_strdup_printf("%s-disk%zu.vmdk", machine->name, i + 1);
        g_autofree char *path = g_build_filename(export->work, names[i], NULL);
        g_ptr_array_add(argv, names[i]);
        if (!convert(export, i, path, "vmdk", TRUE, error)) {
            return FALSE;
        }
    }
    g_ptr_array_add(argv, NULL);
    if (!write_description(export, ovf, names, error)) {
        return FALSE;
    }
    lodge_progress_stage(export->progress, "packing the OVA");
    return lodge_image_run_helper((const char *const *)argv->pdata, export->progress, NULL, error);
}

/* On disk first, then its name, which nobody else may have taken meanwhile. */
static gboolean
give_name(const Export *export, const char *whole, GError **error)
{
    lodge_autofd fd = open(whole, O_RDONLY | O_CLOEXEC);
    lodge_progress_stage(export->progress, "it is put on disk");
    if (fd < 0 || fsync(fd) < 0) {
        return lodge_error_errno(error, errno, "Syncing %s", whole);
    }
    if (renameat2(AT_FDCWD, whole, AT_FDCWD, export->file, RENAME_NOREPLACE) == 0 ||
        (errno == EINVAL && rename(whole, export->file) == 0)) {
        return TRUE;
    }
    return lodge_error_errno(error, errno, "Naming %s", export->file);
}

gboolean
lodge_export_write(const LodgeExportMachine *machine, const char *file, const char *format,
                   gboolean compressed, LodgeProgress *progress, GError **error)
{
    g_auto(Export) export = {.machine = machine, .progress = progress, .lock_fd = -1};
    gboolean is_ova = g_str_equal(format, "ova");
    if (!check_format(format, compressed, error) || !begin(&export, file, error) ||
        (is_ova && !check_space(&export, error))) {
        return FALSE;
    }
    g_autofree char *whole = g_build_filename(export.work, "whole", NULL);
    return (is_ova ? make_ova(&export, whole, error)
                   : convert(&export, 0, whole, format, compressed, error)) &&
           lodge_interrupt_check(error) && give_name(&export, whole, error);
}
