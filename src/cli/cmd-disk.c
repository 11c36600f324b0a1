/* disk …: what guests store on. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/plug-view.h"
#include "image/image.h"
#include "ops/disk.h"
#include "qemu/img.h"

static char *option_size, *option_format, *option_bus, *option_preallocation, *option_name;
static char *option_timeout, *option_from;
static gboolean option_read_only, option_delete, option_compress, option_trust;

const GOptionEntry lodge_options_disk_create[] = {
    {"size", 's', 0, G_OPTION_ARG_STRING, &option_size, "How large, like 20G", "SIZE"},
    {"format", 0, 0, G_OPTION_ARG_STRING, &option_format, "qcow2 (default) or raw", "FORMAT"},
    {"preallocation", 0, 0, G_OPTION_ARG_STRING, &option_preallocation,
     "off (default), metadata, falloc or full", "WHAT"},
    {"bus", 0, 0, G_OPTION_ARG_STRING, &option_bus, "virtio, scsi, sata, ide or usb", "BUS"},
    {NULL},
};

const GOptionEntry lodge_options_disk_attach[] = {
    {"name", 'n', 0, G_OPTION_ARG_STRING, &option_name, "What it is called (default: by its file)",
     "NAME"},
    {"format", 0, 0, G_OPTION_ARG_STRING, &option_format,
     "qcow2 or raw (default: seen once, in a plain file; else raw)", "FORMAT"},
    {"bus", 0, 0, G_OPTION_ARG_STRING, &option_bus, "virtio, scsi, sata, ide or usb", "BUS"},
    {"read-only", 0, 0, G_OPTION_ARG_NONE, &option_read_only, "Refuse the guest's writes", NULL},
    {NULL},
};

const GOptionEntry lodge_options_disk_detach[] = {
    {"delete", 0, 0, G_OPTION_ARG_NONE, &option_delete,
     "Its file too, if it is in the guest's folder", NULL},
    {"timeout", 0, 0, G_OPTION_ARG_STRING, &option_timeout,
     "How long the guest may take to let go of it (default 15s)", "TIME"},
    {NULL},
};

const GOptionEntry lodge_options_disk_convert[] = {
    {"format", 0, 0, G_OPTION_ARG_STRING, &option_format,
     "What to make: qcow2, raw, vmdk, vdi, vhdx, vpc (default: by the new file's name)", "FORMAT"},
    {"from", 0, 0, G_OPTION_ARG_STRING, &option_from,
     "The old file's format, if it is not to be recognised", "FORMAT"},
    {"compress", 0, 0, G_OPTION_ARG_NONE, &option_compress, "Compress what is written", NULL},
    {"trust", 0, 0, G_OPTION_ARG_NONE, &option_trust,
     "It may stand on other files of this host, which are merged in", NULL},
    {NULL},
};

static json_t *
view_json(const LodgeDiskView *view)
{
    json_t *chain = json_array();
    for (guint i = 0; i < view->chain->len; i++) {
        json_array_append_new(chain, json_string(view->chain->pdata[i]));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:i, s:o, s:o}", "guest",
                     view->guest, "name", view->name, "file", view->file, "format", view->format,
                     "bus", view->bus, "size_bytes", (json_int_t)view->size_bytes,
                     "allocated_bytes", (json_int_t)view->allocated_bytes, "read_only",
                     view->is_read_only, "depth", (int)view->chain->len, "chain", chain, "problem",
                     lodge_json_string_or_null(view->problem));
}

static void
add_row(LodgeTable *table, const LodgeDiskView *view)
{
    g_autofree char *size = view->size_bytes != 0 ? lodge_size_human(view->size_bytes)
                                                  : g_strdup("–");
    g_autofree char *allocated = lodge_size_human(view->allocated_bytes);
    g_autofree char *depth = view->chain->len > 0 ? g_strdup_printf("%u", view->chain->len)
                                                  : g_strdup("?");
    g_autofree char *shown = lodge_text_printable(view->problem != NULL ? view->problem
                                                                        : view->file);
    const char *cells[] = {view->guest,  view->name, size,  allocated,
                           view->format, view->bus,  depth, shown};
    lodge_table_add(table, cells);
}

gboolean
lodge_cmd_disk_list(LodgeCli *cli, int argc, char **argv, GError **error)
{
    static const char *const titles[] = {"GUEST", "NAME",    "SIZE>", "ALLOCATED>", "FORMAT",
                                         "BUS",   "LAYERS>", "FILE",  NULL};
    g_autoptr(GPtrArray) views = lodge_disks(cli->store, argc > 1 ? argv[1] : NULL, error);
    if (views == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    g_autoptr(json_t) list = json_array();
    for (guint i = 0; i < views->len; i++) {
        add_row(table, views->pdata[i]);
        json_array_append_new(list, view_json(views->pdata[i]));
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&list));
    } else {
        lodge_table_print(table, cli);
    }
    return TRUE;
}

static void
print_view(const LodgeCli *cli, const LodgeDiskView *view)
{
    g_autofree char *title = g_strdup_printf("%s/%s", view->guest, view->name);
    g_autofree char *bold = lodge_colour(cli->colour_out, "bold", title);
    g_autofree char *size = lodge_size_human(view->size_bytes);
    g_autofree char *allocated = lodge_size_human(view->allocated_bytes);
    printf("%s\n  %-12s %s\n", bold, "size", view->size_bytes != 0 ? size : "unknown");
    printf("  %-12s %s\n  %-12s %s\n", "allocated", allocated, "format", view->format);
    printf("  %-12s %s%s\n", "bus", view->bus, view->is_read_only ? ", read-only" : "");
    for (guint i = 0; i < view->chain->len; i++) {
        g_autofree char *shown = lodge_text_printable(view->chain->pdata[i]);
        printf("  %-12s %s\n", i == 0 ? "file" : "stands on", shown);
    }
    if (view->problem != NULL) {
        printf("  %-12s %s\n", "problem", view->problem);
    }
}

static gboolean
info_of_file(const LodgeCli *cli, const char *path, GError **error)
{
    g_autoptr(LodgeImgInfo) info = lodge_img_info(path, NULL, error);
    if (info == NULL) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(
            json_pack("{s:s, s:s, s:I, s:I, s:o, s:o, s:b, s:b, s:b}", "file", path, "format",
                      info->format, "size_bytes", (json_int_t)info->virtual_size_bytes,
                      "allocated_bytes", (json_int_t)info->actual_size_bytes, "backing_file",
                      lodge_json_string_or_null(info->backing_file), "backing_format",
                      lodge_json_string_or_null(info->backing_format), "encrypted", info->encrypted,
                      "dirty", info->dirty, "corrupt", info->corrupt));
        return TRUE;
    }
    g_autofree char *size = lodge_size_human(info->virtual_size_bytes);
    g_autofree char *allocated = lodge_size_human(info->actual_size_bytes);
    printf("%s\n  %-12s %s\n  %-12s %s\n  %-12s %s\n", path, "size", size, "allocated", allocated,
           "format", info->format);
    if (info->backing_file != NULL) {
        g_autofree char *shown = lodge_text_printable(info->backing_file);
        printf("  %-12s %s\n", "stands on", shown);
    }
    if (info->dirty || info->corrupt || info->encrypted) {
        printf("  %-12s%s%s%s\n", "state", info->dirty ? " not closed" : "",
               info->corrupt ? " corrupt" : "", info->encrypted ? " encrypted" : "");
    }
    return TRUE;
}

/* GUEST, GUEST/DISK or a file: a guest's name has no slash, and a file's need not have one. */
static gboolean
is_guest_word(const LodgeCli *cli, const char *word, char **out_guest, char **out_disk)
{
    g_auto(GStrv) parts = g_strsplit(word, "/", -1);
    guint count = g_strv_length(parts);
    g_autofree char *path = count >= 1 && lodge_name_check("guest", parts[0], NULL)
                                ? lodge_store_guest_path(cli->store, parts[0], "guest.conf")
                                : NULL;
    if (count > 2 || path == NULL || !g_file_test(path, G_FILE_TEST_EXISTS)) {
        return FALSE;
    }
    *out_guest = g_strdup(parts[0]);
    *out_disk = count == 2 ? g_strdup(parts[1]) : NULL;
    return TRUE;
}

/* A word that is neither a file nor a guest most likely means a guest. */
static gboolean
refuse_word(const LodgeCli *cli, const char *word, GError **error)
{
    if (strchr(word, '/') != NULL || g_file_test(word, G_FILE_TEST_EXISTS)) {
        return TRUE;
    }
    /* Its error suggests the guest that was meant. */
    lodge_guest_free(lodge_store_guest(cli->store, word, error));
    return lodge_error_prefix(error, "no file “%s”", word);
}

gboolean
lodge_cmd_disk_info(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autofree char *guest = NULL;
    g_autofree char *disk = NULL;
    if (!is_guest_word(cli, argv[1], &guest, &disk)) {
        return refuse_word(cli, argv[1], error) && info_of_file(cli, argv[1], error);
    }
    g_autoptr(GPtrArray) views = NULL;
    if (disk == NULL) {
        views = lodge_disks(cli->store, guest, error);
    } else {
        LodgeDiskView *view = lodge_disk_find(cli->store, guest, disk, error);
        views = view != NULL ? g_ptr_array_new_with_free_func((GDestroyNotify)lodge_disk_view_free)
                             : NULL;
        if (view != NULL) {
            g_ptr_array_add(views, view);
        }
    }
    if (views == NULL) {
        return FALSE;
    }
    g_autoptr(json_t) list = json_array();
    for (guint i = 0; i < views->len; i++) {
        json_array_append_new(list, view_json(views->pdata[i]));
        if (!cli->json) {
            print_view(cli, views->pdata[i]);
        }
    }
    if (cli->json) {
        lodge_print_json(disk != NULL ? json_incref(json_array_get(list, 0))
                                      : g_steal_pointer(&list));
    }
    return TRUE;
}

gboolean
lodge_cmd_disk_create(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeDiskResult result = {0};
    const LodgeDiskWish wish = {.guest = argv[1],
                                .name = argv[2],
                                .size = option_size,
                                .format = option_format,
                                .preallocation = option_preallocation,
                                .bus = option_bus};
    if (option_size == NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "disk create: how large? For example: lodge disk create %s %s "
                               "--size 20G",
                               argv[1], argv[2]);
    }
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_disk_create(cli->store, &wish, progress, &result, error);
    lodge_cli_progress_end(progress, fine);
    return fine && lodge_view_plug(cli, argv[1], "disk", &result, TRUE);
}

gboolean
lodge_cmd_disk_attach(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeDiskResult result = {0};
    const LodgeDiskWish wish = {.guest = argv[1],
                                .file = argv[2],
                                .name = option_name,
                                .format = option_format,
                                .bus = option_bus,
                                .read_only = option_read_only};
    return lodge_disk_attach(cli->store, &wish, NULL, &result, error) &&
           lodge_view_plug(cli, argv[1], "disk", &result, TRUE);
}

gboolean
lodge_cmd_disk_detach(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    gint64 timeout_ms = 0;
    LodgeDiskResult result = {0};
    if (!lodge_duration_parse(option_timeout != NULL ? option_timeout : "15s", &timeout_ms,
                              error)) {
        return lodge_error_prefix(error, "--timeout");
    }
    g_autoptr(LodgeDiskView) view = lodge_disk_find(cli->store, argv[1], argv[2], error);
    if (view == NULL || !lodge_disk_detach(cli->store, argv[1], argv[2], option_delete, timeout_ms,
                                           &result, error)) {
        return FALSE;
    }
    lodge_view_plug(cli, argv[1], "disk", &result, FALSE);
    if (!option_delete && !cli->json) {
        lodge_say(cli, "%s stays as it is", view->file);
    }
    return TRUE;
}

gboolean
lodge_cmd_disk_resize(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeDiskGrowth growth = {0};
    if (!lodge_disk_resize(cli->store, argv[1], argv[2], argv[3], &growth, error)) {
        return FALSE;
    }
    g_autofree char *size = lodge_size_human(growth.size_bytes);
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:s, s:I, s:b}", "guest", argv[1], "name", argv[2],
                                   "size_bytes", (json_int_t)growth.size_bytes, "file_system",
                                   growth.file_system));
    } else {
        lodge_say(cli, "%s: disk %s has %s now%s", argv[1], argv[2], size,
                  growth.file_system ? ", and its file system has grown with it" : "");
    }
    return TRUE;
}

gboolean
lodge_cmd_disk_check(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autofree char *guest = NULL;
    g_autofree char *disk = NULL;
    gboolean is_guest = is_guest_word(cli, argv[1], &guest, &disk);
    if (!is_guest && !refuse_word(cli, argv[1], error)) {
        return FALSE;
    }
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = FALSE;
    if (is_guest) {
        fine = lodge_disk_check(cli->store, guest, disk, progress, error);
    } else {
        const char *format = lodge_img_probe(argv[1], error);
        fine = format != NULL && lodge_img_check(argv[1], format, error);
    }
    lodge_cli_progress_end(progress, fine);
    if (fine && cli->json) {
        lodge_print_json(json_pack("{s:s, s:b}", "what", argv[1], "sound", 1));
    } else if (fine) {
        lodge_say(cli, "%s: no damage", argv[1]);
    }
    return fine;
}

/* The format that a file's name promises; qcow2 if none. */
static const char *
format_by_name(const char *path)
{
    static const char *const known[][2] = {{".raw", "raw"}, {".img", "raw"},   {".vmdk", "vmdk"},
                                           {".vdi", "vdi"}, {".vhdx", "vhdx"}, {".vhd", "vpc"}};
    for (gsize i = 0; i < G_N_ELEMENTS(known); i++) {
        if (g_str_has_suffix(path, known[i][0])) {
            return known[i][1];
        }
    }
    return "qcow2";
}

static gboolean
check_format(const char *option, const char *format, GError **error)
{
    static const char *const known[] = {"qcow2", "raw", "vmdk", "vdi", "vhdx", "vpc", NULL};
    return format == NULL || g_strv_contains(known, format) ||
           lodge_error_set(error, LODGE_ERROR_USAGE,
                           "%s: “%s” is none of qcow2, raw, vmdk, vdi, vhdx, vpc", option, format);
}

gboolean
lodge_cmd_disk_convert(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    if (!check_format("--format", option_format, error) ||
        !check_format("--from", option_from, error)) {
        return FALSE;
    }
    const char *from = option_from != NULL ? option_from : lodge_img_probe(argv[1], error);
    if (from == NULL) {
        return FALSE;
    }
    const LodgeImgConversion conversion = {
        .source = argv[1],
        .source_format = from,
        .target = argv[2],
        .target_format = option_format != NULL ? option_format : format_by_name(argv[2]),
        .compressed = option_compress,
        .trusted = option_trust};
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    lodge_progress_stage(progress, "%s becomes %s", from, conversion.target_format);
    gboolean fine = lodge_img_convert(&conversion, progress, error);
    gint64 time_ms = lodge_cli_progress_end(progress, fine);
    g_autofree char *time = lodge_duration_human(time_ms);
    if (fine && cli->json) {
        lodge_print_json(json_pack("{s:s, s:s, s:I}", "file", argv[2], "format",
                                   conversion.target_format, "took_ms", (json_int_t)time_ms));
    } else if (fine) {
        lodge_say(cli, "%s is made, after %s", argv[2], time);
    }
    return fine;
}
