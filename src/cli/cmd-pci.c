#include "config.h"

#include "cli/cli.h"
#include "host/pci.h"
#include "host/usb.h"

static json_t *
device_json(const LodgePciDevice *device, const char *make, const char *obstacle)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "address", device->address, "class",
                     lodge_pci_class_word(device), "device", make, "group",
                     device->group >= 0 ? json_integer(device->group) : json_null(), "driver",
                     lodge_json_string_or_null(device->driver), "obstacle",
                     lodge_json_string_or_null(obstacle));
}

gboolean
lodge_cmd_pci_list(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    (void)argv;
    static const char *const titles[] = {
        "ADDRESS", "CLASS", "DEVICE", "GROUP>", "DRIVER", "COULD A GUEST HAVE IT?", NULL};
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
        const char *cells[] = {device->address,
                               lodge_pci_class_word(device),
                               make,
                               group,
                               device->driver != NULL ? device->driver : "–",
                               obstacle != NULL ? obstacle : "yes"};
        lodge_table_add(table, cells);
        json_array_append_new(list, device_json(device, make, obstacle));
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
