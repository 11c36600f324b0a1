/* usb …: the host's USB devices, and sticks made of files. */
#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "cli/plug-view.h"
#include "ops/usb.h"

static char *option_name, *option_format;
static gboolean option_read_only;

#define NAME                                                                                       \
    {                                                                                              \
        "name", 'n', 0, G_OPTION_ARG_STRING, &option_name, "What it is called", "NAME"             \
    }

const GOptionEntry lodge_options_usb_attach[] = {
    NAME,
    {NULL},
};

const GOptionEntry lodge_options_usb_storage[] = {
    NAME,
    {"format", 0, 0, G_OPTION_ARG_STRING, &option_format, "The file's format: qcow2 or raw",
     "FORMAT"},
    {"read-only", 0, 0, G_OPTION_ARG_NONE, &option_read_only, "Refuse the guest's writes", NULL},
    {NULL},
};

/* Who has it: the guest whose rule takes it if that runs, else the host's drivers. */
static char *
describe_owner(const LodgeCli *cli, const LodgeUsbDevice *device, char **out_guest)
{
    g_autofree char *name = NULL;
    if (lodge_usb_owner(cli->store, device, out_guest, &name)) {
        g_autoptr(LodgeGuestState) state = lodge_store_state(cli->store, *out_guest);
        return g_strdup_printf(state->has_qemu ? "guest %s" : "guest %s, when it runs", *out_guest);
    }
    return *device->drivers != '\0' ? g_strdup_printf("host (%s)", device->drivers)
                                    : g_strdup("host");
}

gboolean
lodge_cmd_usb_list(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    (void)argv;
    static const char *const titles[] = {"PORT",   "BUS.ADDRESS", "DEVICE", "MBIT/S>",
                                         "SERIAL", "WHO HAS IT",  "NAME",   NULL};
    g_autoptr(GPtrArray) devices = lodge_usb_devices(lodge_sysroot(), error);
    if (devices == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    json_t *list = json_array();
    for (guint i = 0; i < devices->len; i++) {
        const LodgeUsbDevice *device = devices->pdata[i];
        g_autofree char *guest = NULL;
        g_autofree char *owner = describe_owner(cli, device, &guest);
        g_autofree char *address = g_strdup_printf("%u.%u", device->bus, device->address);
        g_autofree char *make = g_strdup_printf("%04x:%04x", device->vendor, device->product);
        const char *cells[] = {device->port,
                               address,
                               make,
                               device->speed != NULL ? device->speed : "–",
                               device->serial != NULL ? device->serial : "–",
                               owner,
                               device->title};
        lodge_table_add(table, cells);
        json_array_append_new(
            list, json_pack("{s:s, s:i, s:i, s:s, s:o, s:o, s:s, s:s, s:o}", "port", device->port,
                            "bus", (int)device->bus, "address", (int)device->address, "device",
                            make, "serial", lodge_json_string_or_null(device->serial), "mbits",
                            lodge_json_string_or_null(device->speed), "title", device->title,
                            "drivers", device->drivers, "guest", lodge_json_string_or_null(guest)));
    }
    if (cli->json) {
        lodge_print_json(list);
        return TRUE;
    }
    json_decref(list);
    if (devices->len == 0) {
        lodge_say(cli, "This host has no USB devices.");
        return TRUE;
    }
    lodge_table_print(table, cli);
    return TRUE;
}

gboolean
lodge_cmd_usb_attach(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeDiskResult result = {0};
    if (!lodge_usb_attach(cli->store, argv[1], argv[2], option_name, &result, error)) {
        return FALSE;
    }
    if (!cli->json && result.outcome == LODGE_PLUG_PENDING) {
        lodge_say(cli, "%s: USB device %s is attached as soon as it is plugged in", argv[1],
                  result.name);
        g_free(result.name);
        return TRUE;
    }
    return lodge_view_plug(cli, argv[1], "USB device", &result, TRUE);
}

gboolean
lodge_cmd_usb_detach(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeDiskResult result = {0};
    return lodge_usb_detach(cli->store, argv[1], argv[2], &result, error) &&
           lodge_view_plug(cli, argv[1], "USB device", &result, FALSE);
}

gboolean
lodge_cmd_usb_plugged(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autofree char *guest = NULL;
    if (!lodge_usb_plugged(cli->store, argv[1], &guest, error)) {
        return FALSE;
    }
    if (guest != NULL) {
        lodge_say(cli, "USB device %s goes to guest %s", argv[1], guest);
    }
    return TRUE;
}

gboolean
lodge_cmd_usb_storage(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeDiskResult result = {0};
    const LodgeDiskWish wish = {.guest = argv[1],
                                .file = argv[2],
                                .name = option_name,
                                .format = option_format,
                                .bus = "usb",
                                .read_only = option_read_only};
    return lodge_disk_attach(cli->store, &wish, NULL, &result, error) &&
           lodge_view_plug(cli, argv[1], "USB stick", &result, TRUE);
}
