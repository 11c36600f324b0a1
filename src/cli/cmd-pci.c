/* pci …: the host's PCI devices, and who has them. */
#include "config.h"

#include "cli/cli.h"
#include "cli/plug-view.h"
#include "host/pci.h"
#include "host/usb.h"
#include "keeper/pcis.h"
#include "ops/pci.h"

static char *option_name;
static gboolean option_group;

const GOptionEntry lodge_options_pci_attach[] = {
    {"name", 'n', 0, G_OPTION_ARG_STRING, &option_name, "What it is called", "NAME"},
    {"group", 'g', 0, G_OPTION_ARG_NONE, &option_group,
     "All devices of its IOMMU group, which can't be parted", NULL},
    {NULL},
};

static json_t *
device_json(const LodgePciDevice *device, const char *make, const char *obstacle, const char *guest)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "address", device->address, "class",
                     lodge_pci_class_word(device), "device", make, "group",
                     device->group >= 0 ? json_integer(device->group) : json_null(), "driver",
                     lodge_json_string_or_null(device->driver), "obstacle",
                     lodge_json_string_or_null(obstacle), "guest",
                     lodge_json_string_or_null(guest));
}

gboolean
lodge_cmd_pci_list(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    (void)argv;
    static const char *const titles[] = {
        "ADDRESS", "CLASS", "DEVICE", "GROUP>", "DRIVER", "GUEST", "COULD A GUEST HAVE IT?", NULL};
    g_autoptr(GPtrArray) devices = lodge_pci_devices(lodge_sysroot(), error);
    if (devices == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    g_autoptr(json_t) list = json_array();
    gboolean has_groups = FALSE;
    for (guint i = 0; i < devices->len; i++) {
        const LodgePciDevice *device = devices->pdata[i];
        const char *obstacle = lodge_pci_obstacle(devices, device);
        has_groups = has_groups || device->group >= 0;
        g_autofree char *make = g_strdup_printf("%04x:%04x", device->vendor, device->device);
        g_autofree char *group = device->group >= 0 ? g_strdup_printf("%d", device->group)
                                                    : g_strdup("–");
        g_autofree char *guest = NULL;
        g_autofree char *rule = NULL;
        lodge_pci_owner(cli->store, device->address, &guest, &rule);
        const char *cells[] = {device->address,
                               lodge_pci_class_word(device),
                               make,
                               group,
                               device->driver != NULL ? device->driver : "–",
                               guest != NULL ? guest : "–",
                               obstacle != NULL ? obstacle : "yes"};
        lodge_table_add(table, cells);
        json_array_append_new(list, device_json(device, make, obstacle, guest));
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&list));
    } else if (devices->len == 0) {
        lodge_say(cli, "This host has no PCI devices.");
    } else {
        lodge_table_print(table, cli);
        if (!has_groups) {
            lodge_say(cli, "No IOMMU is in use: VT-d or AMD-Vi may be off in the firmware, or "
                           "intel_iommu=on missing from the kernel's command line.");
        }
    }
    return TRUE;
}

gboolean
lodge_cmd_pci_attach(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeDiskResult result = {0};
    const LodgePciWish wish = {argv[1], argv[2], option_name, option_group};
    return lodge_pci_attach(cli->store, &wish, &result, error) &&
           lodge_view_plug(cli, argv[1], "PCI device", &result, TRUE);
}

gboolean
lodge_cmd_pci_detach(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeDiskResult result = {0};
    return lodge_pci_detach(cli->store, argv[1], argv[2], &result, error) &&
           lodge_view_plug(cli, argv[1], "PCI device", &result, FALSE);
}
