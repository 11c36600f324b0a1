#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "cli/plug-view.h"
#include "ops/disk.h"
#include "qemu/disks.h"

static char *option_drive, *option_bus;
static gboolean option_force;

const GOptionEntry lodge_options_cdrom[] = {
    {"drive", 0, 0, G_OPTION_ARG_STRING, &option_drive, "Which drive (default: the first)", "NAME"},
    {"bus", 0, 0, G_OPTION_ARG_STRING, &option_bus,
     "What a new drive is attached to: sata, ide or scsi", "BUS"},
    {"force", 'f', 0, G_OPTION_ARG_NONE, &option_force, "Open a tray that the guest has locked",
     NULL},
    {NULL},
};

static gboolean
list(const LodgeCli *cli, const char *name, GError **error)
{
    static const char *const titles[] = {"DRIVE", "BUS", "DISC", NULL};
    g_autoptr(LodgeGuest) guest = lodge_store_guest(cli->store, name, error);
    if (guest == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    json_t *drives = json_array();
    for (guint i = 0; i < guest->cdroms->len; i++) {
        const LodgeCdrom *cdrom = guest->cdroms->pdata[i];
        const char *bus = lodge_bus_word(lodge_drive_bus(guest, cdrom->bus, TRUE));
        const char *cells[] = {cdrom->name, bus, cdrom->file != NULL ? cdrom->file : "(empty)"};
        lodge_table_add(table, cells);
        json_array_append_new(drives, json_pack("{s:s, s:s, s:o}", "name", cdrom->name, "bus", bus,
                                                "file", lodge_json_string_or_null(cdrom->file)));
    }
    if (cli->json) {
        lodge_print_json(drives);
        return TRUE;
    }
    json_decref(drives);
    lodge_table_print(table, cli);
    return TRUE;
}

static gboolean
change(LodgeCli *cli, const char *guest, const char *file, GError **error)
{
    LodgeDiskResult result = {0};
    if (!lodge_cdrom_change(cli->store, guest, option_drive, file, option_bus, option_force,
                            &result, error)) {
        return FALSE;
    }
    if (cli->json) {
        return lodge_view_plug(cli, guest, "cdrom", &result, file != NULL);
    }
    const char *what = file != NULL ? file : "nothing";
    switch (result.outcome) {
    case LODGE_PLUG_STORED:
        lodge_say(cli, "%s: %s is in drive %s", guest, what, result.name);
        break;
    case LODGE_PLUG_LIVE:
        lodge_say(cli, "%s: %s is in drive %s, in the running guest too", guest, what, result.name);
        break;
    case LODGE_PLUG_PENDING:
        lodge_say(cli, "%s: %s is in drive %s from the guest's next start: %s", guest, what,
                  result.name, result.why);
        break;
    }
    g_free(result.name);
    return TRUE;
}

gboolean
lodge_cmd_cdrom(LodgeCli *cli, int argc, char **argv, GError **error)
{
    const char *verb = argc > 2 ? argv[2] : "list";
    if (g_str_equal(verb, "list") && argc <= 3) {
        return list(cli, argv[1], error);
    }
    if (g_str_equal(verb, "eject") && argc == 3) {
        return change(cli, argv[1], NULL, error);
    }
    if (g_str_equal(verb, "insert") && argc == 4) {
        return change(cli, argv[1], argv[3], error);
    }
    return lodge_error_set(error, LODGE_ERROR_USAGE,
                           "cdrom: write `lodge cdrom %s insert FILE`, `… eject` or `… list`",
                           argv[1]);
}
