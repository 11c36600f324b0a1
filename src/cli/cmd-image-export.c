/* image export: a disk for other hosts. */
#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "ops/export.h"

static char *option_format, *option_disk, *option_snapshot;
static gboolean option_compress, option_openstack;

const GOptionEntry lodge_options_image_export[] = {
    {"format", 0, 0, G_OPTION_ARG_STRING, &option_format,
     "qcow2, raw, vmdk, vdi, vhdx, vpc or ova (default: by the file's name)", "FORMAT"},
    {"compress", 'c', 0, G_OPTION_ARG_NONE, &option_compress,
     "Compress it: qcow2, vmdk; an OVA always is", NULL},
    {"openstack", 0, 0, G_OPTION_ARG_NONE, &option_openstack,
     "As a compressed qcow2, and print the command that uploads it", NULL},
    {"snapshot", 0, 0, G_OPTION_ARG_STRING, &option_snapshot,
     "A guest as it was then, also while it runs", "NAME"},
    {"disk", 0, 0, G_OPTION_ARG_STRING, &option_disk,
     "This one of a guest's disks (default: the first; all, for an OVA)", "NAME"},
    {NULL},
};

static void
say_done(const LodgeCli *cli, const LodgeExported *exported, const char *file, gint64 time_ms)
{
    g_autofree char *time = lodge_duration_human(time_ms);
    g_autofree char *size = lodge_size_human(exported->file_bytes);
    lodge_say(cli, "%s is here, %s, after %s.", file, size, time);
    if (!option_openstack) {
        return;
    }
    g_autofree char *command = lodge_export_openstack(exported, file);
    lodge_say(cli, "Upload it:");
    puts(command);
    if (!exported->nocloud) {
        lodge_say(cli, "There is no cloud-init in it: in OpenStack its guests get no keys and no "
                       "names. Give it some before (`lodge image build` with a recipe of yours).");
    }
}

gboolean
lodge_cmd_image_export(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_auto(LodgeExported) exported = {0};
    if (option_openstack && option_format != NULL && !g_str_equal(option_format, "qcow2")) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "--openstack takes qcow2, not --format %s",
                               option_format);
    }
    const LodgeExportWish wish = {.what = argv[1],
                                  .file = argv[2],
                                  .snapshot = option_snapshot,
                                  .disk = option_disk,
                                  .format = option_openstack ? "qcow2" : option_format,
                                  .compressed = option_compress || option_openstack};
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_export(cli->store, &wish, progress, &exported, error);
    gint64 time_ms = lodge_cli_progress_end(progress, fine);
    if (!fine) {
        return FALSE;
    }
    if (!cli->json) {
        say_done(cli, &exported, argv[2], time_ms);
        return TRUE;
    }
    g_autofree char *command = option_openstack ? lodge_export_openstack(&exported, argv[2]) : NULL;
    lodge_print_json(json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:I}", "name", exported.name, "file",
                               argv[2], "format", exported.format, "size_bytes",
                               (json_int_t)exported.size_bytes, "file_bytes",
                               (json_int_t)exported.file_bytes, "openstack",
                               lodge_json_string_or_null(command), "took_ms", (json_int_t)time_ms));
    return TRUE;
}
