#include "config.h"

#include "qemu/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/base.h"
#include "qemu/disks.h"

enum {
    DEPTH_LIMIT = 64,
};

/* Which files were met already, by device and inode: names may differ. */
typedef struct {
    dev_t device;
    ino_t inode;
} Identity;

typedef struct {
    const char *top;
    GPtrArray *layers;
    GArray *met;
} Walk;

void
lodge_layer_free(LodgeLayer *layer)
{
    if (layer != NULL) {
        g_free(layer->path);
        g_free(layer->format);
        g_free(layer);
    }
}

char *
lodge_qcow2_resolve(const char *path, const char *name)
{
    /* QEMU's rule: a colon before any slash makes it a protocol. */
    if (name[strcspn(name, ":/")] == ':') {
        return NULL;
    }
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *joined = g_path_is_absolute(name) ? g_strdup(name)
                                                       : g_build_filename(folder, name, NULL);
    return lodge_path_real(joined);
}

char *
lodge_path_real(const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    char *real = realpath(folder, NULL);
    if (real == NULL || g_str_equal(name, "..") || g_str_equal(name, ".")) {
        free(real);
        return g_canonicalize_filename(path, NULL);
    }
    char *joined = g_build_filename(real, name, NULL);
    free(real);
    return joined;
}

/* Say which layer it is, below the top, and keep a hostile name's control characters off the
 * terminal. */
static void
explain(const Walk *walk, GError **error)
{
    if (error == NULL || *error == NULL) {
        return;
    }
    char *shown = lodge_text_printable((*error)->message);
    g_free((*error)->message);
    (*error)->message = shown;
    if (walk->layers->len > 0) {
        lodge_error_prefix(error, "layer %u of %s", walk->layers->len + 1, walk->top);
    }
}

static gboolean
meet(Walk *walk, const char *path, struct stat *info, GError **error)
{
    if (stat(path, info) < 0) {
        int saved_errno = errno;
        if (saved_errno != ENOENT || walk->layers->len == 0) {
            return lodge_error_errno(error, saved_errno, "%s", path);
        }
        const LodgeLayer *above = walk->layers->pdata[walk->layers->len - 1];
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                               "%s stands on %s, which is missing (bring it back, or, if it has "
                               "moved: `qemu-img rebase -u -F FORMAT -b NEW-PLACE %s`)",
                               above->path, path, above->path);
    }
    /* A header may name anything: a pipe would be waited for, a character device is no disk. */
    if (!S_ISREG(info->st_mode) && !S_ISBLK(info->st_mode)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s is neither a regular file nor a block device", path);
    }
    for (guint i = 0; i < walk->met->len; i++) {
        const Identity *one = &g_array_index(walk->met, Identity, i);
        if (one->device == info->st_dev && one->inode == info->st_ino) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "%s stands on itself: a loop of backing files", path);
        }
    }
    Identity identity = {info->st_dev, info->st_ino};
    g_array_append_val(walk->met, identity);
    return TRUE;
}

static gboolean
check_layer(const char *path, const LodgeQcow2Header *header, GError **error)
{
    if (header->corrupt) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s is marked corrupt (copy it, then `qemu-img check -r all %s`)",
                               path, path);
    }
    if (header->encrypted) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s is encrypted, which Lodge can't open", path);
    }
    if (header->has_data_file) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s keeps its data in another file (bring it into one: `qemu-img "
                               "convert -O qcow2 %s NEW`)",
                               path, path);
    }
    return TRUE;
}

/* Where the file below the layer at @path is, and in which format. */
static gboolean
next_layer(const char *path, const LodgeQcow2Header *header, char **out_path, char **out_format,
           GError **error)
{
    const char *format = header->backing_format;
    if (g_strcmp0(format, "qcow2") != 0 && g_strcmp0(format, "raw") != 0) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s stands on “%s” of %s%s%s (mend: `qemu-img rebase -u -F FORMAT "
                               "-b BACKING-FILE %s`)",
                               path, header->backing_file,
                               format != NULL ? "format “" : "a format that isn't said",
                               format != NULL ? format : "", format != NULL ? "”" : "", path);
    }
    *out_path = lodge_qcow2_resolve(path, header->backing_file);
    if (*out_path == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s stands on “%s”, which is no plain file", path,
                               header->backing_file);
    }
    *out_format = g_strdup(format);
    return TRUE;
}

static guint64
raw_size(const char *path, const struct stat *info)
{
    guint64 size_bytes = 0;
    if (!S_ISBLK(info->st_mode)) {
        return (guint64)info->st_size;
    }
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 && ioctl(fd, BLKGETSIZE64, &size_bytes) == 0 ? size_bytes : 0;
}

/* Take the layer at @path. What it stands on goes to *@path and *@format, NULL after the last. */
static gboolean
step(Walk *walk, char **path, char **format, GError **error)
{
    struct stat info;
    if (!meet(walk, *path, &info, error)) {
        return FALSE;
    }
    g_autoptr(LodgeLayer) layer = g_new0(LodgeLayer, 1);
    layer->path = g_steal_pointer(path);
    layer->format = g_steal_pointer(format);
    layer->is_block_device = S_ISBLK(info.st_mode);
    if (g_str_equal(layer->format, "raw")) {
        layer->virtual_size_bytes = raw_size(layer->path, &info);
        g_ptr_array_add(walk->layers, g_steal_pointer(&layer));
        return TRUE;
    }
    g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(layer->path, error);
    if (header == NULL || !check_layer(layer->path, header, error) ||
        (header->backing_file != NULL && !next_layer(layer->path, header, path, format, error))) {
        return FALSE;
    }
    layer->virtual_size_bytes = header->virtual_size_bytes;
    g_ptr_array_add(walk->layers, g_steal_pointer(&layer));
    return TRUE;
}

GPtrArray *
lodge_qcow2_chain(const char *path, GError **error)
{
    return lodge_disk_chain(path, "qcow2", error);
}

/* A disk on another machine: nothing of it can be read here, so its format must need no reading. */
static GPtrArray *
remote_chain(const char *name, const char *format, GError **error)
{
    g_autoptr(json_t) node = lodge_disk_remote(name, error);
    if (node == NULL) {
        return NULL;
    }
    if (!g_str_equal(format, "raw")) {
        lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                        "%s: a disk on another machine must have format=raw", name);
        return NULL;
    }
    GPtrArray *layers = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_layer_free);
    LodgeLayer *layer = g_new0(LodgeLayer, 1);
    layer->path = g_strdup(name);
    layer->format = g_strdup("raw");
    layer->is_remote = TRUE;
    g_ptr_array_add(layers, layer);
    return layers;
}

GPtrArray *
lodge_disk_chain(const char *path, const char *format, GError **error)
{
    if (lodge_disk_is_remote(path)) {
        return remote_chain(path, format, error);
    }
    g_autoptr(GPtrArray) layers = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_layer_free);
    g_autoptr(GArray) met = g_array_new(FALSE, FALSE, sizeof(Identity));
    Walk walk = {path, layers, met};
    g_autofree char *next_path = lodge_path_real(path);
    g_autofree char *next_format = g_strdup(format);
    while (next_path != NULL) {
        if (layers->len == DEPTH_LIMIT) {
            lodge_error_set(error, LODGE_ERROR_INVALID,
                            "%s stands on more than %d files (flatten it: `qemu-img convert -O "
                            "qcow2 %s NEW`)",
                            path, DEPTH_LIMIT, path);
            return NULL;
        }
        if (!step(&walk, &next_path, &next_format, error)) {
            explain(&walk, error);
            return NULL;
        }
    }
    return g_steal_pointer(&layers);
}

static gboolean
is_below(const char *path, const char *folder)
{
    g_autofree char *inside = folder != NULL ? g_build_filename(folder, "x", NULL) : NULL;
    g_autofree char *real = inside != NULL ? lodge_path_real(inside) : NULL;
    return real != NULL && strncmp(path, real, strlen(real) - 1) == 0;
}

/* Beside a disk elsewhere may stand what is nobody's disk: the host's own files and devices. */
static gboolean
is_right_beside(const LodgeLayer *layer)
{
    return !layer->is_block_device &&
           (g_str_equal(layer->format, "qcow2") || g_str_has_suffix(layer->path, ".raw") ||
            g_str_has_suffix(layer->path, ".img"));
}

gboolean
lodge_layer_is_text(const LodgeLayer *layer)
{
    return g_str_has_suffix(layer->path, ".conf");
}

gboolean
lodge_disk_chain_check(const GPtrArray *chain, const char *guest_folder, const char *images_folder,
                       GError **error)
{
    const LodgeLayer *top = chain->pdata[0];
    g_autofree char *folder = g_path_get_dirname(top->path);
    for (guint i = 1; i < chain->len; i++) {
        const LodgeLayer *layer = chain->pdata[i];
        g_autofree char *its_folder = g_path_get_dirname(layer->path);
        gboolean is_inside = is_below(layer->path, guest_folder);
        gboolean is_beside = !is_inside && g_str_equal(its_folder, folder);
        if (is_below(layer->path, images_folder) || (is_inside && !lodge_layer_is_text(layer)) ||
            (is_beside && is_right_beside(layer))) {
            continue;
        }
        g_autofree char *shown = lodge_text_printable(layer->path);
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s stands on %s, which is %s (if you want that, flatten it: "
                               "`qemu-img convert -O qcow2 %s NEW`)",
                               top->path, shown,
                               is_inside || is_beside ? "no disk by its name"
                                                      : "neither beside it nor an image of Lodge's",
                               top->path);
    }
    return TRUE;
}

char **
lodge_disk_chain_paths(const GPtrArray *chain)
{
    char **paths = g_new0(char *, chain->len + 1);
    for (guint i = 0; i < chain->len; i++) {
        paths[i] = g_strdup(((const LodgeLayer *)chain->pdata[i])->path);
    }
    return paths;
}
