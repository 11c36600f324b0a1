#include "config.h"

#include "qemu/img-bitmap.h"

#include <string.h>

#include "base/base.h"
#include "qemu/qcow2.h"

#define GRANULARITY "65536"

enum {
    TIMEOUT_MS = 60 * 1000,
};

static void
bitmap_free(gpointer data)
{
    LodgeImgBitmap *bitmap = data;
    g_free(bitmap->name);
    g_free(bitmap);
}

static GPtrArray *
parse(const json_t *list)
{
    gsize i = 0;
    const json_t *entry = NULL;
    GPtrArray *all = g_ptr_array_new_with_free_func(bitmap_free);
    json_array_foreach (list, i, entry) {
        gsize j = 0;
        const json_t *flag = NULL;
        LodgeImgBitmap *bitmap = g_new0(LodgeImgBitmap, 1);
        bitmap->name = g_strdup(lodge_json_string(entry, "name", ""));
        json_array_foreach (json_object_get(entry, "flags"), j, flag) {
            bitmap->in_use = bitmap->in_use || g_strcmp0(json_string_value(flag), "in-use") == 0;
        }
        g_ptr_array_add(all, bitmap);
    }
    return all;
}

GPtrArray *
lodge_img_bitmaps(const char *path, GError **error)
{
    g_autofree char *target = lodge_path_real(path);
    g_autofree char *text = NULL;
    const char *const argv[] = {"qemu-img", "info",  "-U",   "--output=json",
                                "-f",       "qcow2", target, NULL};
    if (!lodge_process_run_argv(argv, TIMEOUT_MS, &text, error)) {
        return NULL;
    }
    g_autoptr(json_t) root = lodge_json_parse(text, strlen(text), "qemu-img info", error);
    const json_t *data = json_object_get(json_object_get(root, "format-specific"), "data");
    return root != NULL ? parse(json_object_get(data, "bitmaps")) : NULL;
}

gboolean
lodge_img_bitmap_add(const char *path, const char *name, GError **error)
{
    g_autofree char *target = lodge_path_real(path);
    const char *const argv[] = {"qemu-img", "bitmap",    "-f",   "qcow2", "--add",
                                "-g",       GRANULARITY, target, name,    NULL};
    return lodge_process_run_argv(argv, TIMEOUT_MS, NULL, error);
}

gboolean
lodge_img_bitmap_remove(const char *path, const char *name, GError **error)
{
    g_autofree char *target = lodge_path_real(path);
    const char *const argv[] = {"qemu-img", "bitmap", "-f", "qcow2",
                                "--remove", target,   name, NULL};
    return lodge_process_run_argv(argv, TIMEOUT_MS, NULL, error);
}

gboolean
lodge_img_bitmap_copy(const char *path, const char *name, const char *from, GError **error)
{
    g_autofree char *target = lodge_path_real(path);
    g_autofree char *source = lodge_path_real(from);
    const char *const argv[] = {"qemu-img",  "bitmap",  "-f", "qcow2", "--add", "-g",
                                GRANULARITY, "--merge", name, "-F",    "qcow2", "-b",
                                source,      target,    name, NULL};
    return lodge_process_run_argv(argv, TIMEOUT_MS, NULL, error);
}
