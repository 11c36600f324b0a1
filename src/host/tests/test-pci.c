#include "config.h"

#include <unistd.h>

#include "base/base.h"
#include "host/pci.h"

static void
add_device(const char *root, const char *address, const char *class, const char *driver,
           const char *group)
{
    g_autofree char *folder = g_build_filename(root, "sys/bus/pci/devices", address, NULL);
    const char *const files[][2] = {
        {"class", class}, {"vendor", "0x10de\n"}, {"device", "0x1c03\n"}};
    const char *const links[][2] = {{"driver", driver}, {"iommu_group", group}};
    g_assert_true(lodge_dir_make(folder, 0755, NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(folder, files[i][0], NULL);
        g_assert_true(g_file_set_contents(path, files[i][1], -1, NULL));
    }
    for (gsize i = 0; i < G_N_ELEMENTS(links); i++) {
        g_autofree char *path = g_build_filename(folder, links[i][0], NULL);
        g_assert_true(links[i][1] == NULL || symlink(links[i][1], path) == 0);
    }
}

static void
test_list(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *root = g_dir_make_tmp("lodge-pci-XXXXXX", NULL);
    add_device(root, "0000:00:01.0", "0x060400\n", "../../drivers/pcieport", "../../g/1");
    add_device(root, "0000:00:1f.3", "0x040300\n", "../../drivers/snd_hda_intel", "../../g/2");
    add_device(root, "0000:01:00.0", "0x030000\n", "../../drivers/nvidia", "../../g/1");
    add_device(root, "0000:02:00.0", "0x020000\n", "../../drivers/vfio-pci", "../../g/3");
    add_device(root, "0000:02:00.1", "0x020000\n", "../../drivers/igb", "../../g/3");
    add_device(root, "0000:03:00.0", "0x0c0330\n", NULL, NULL);
    g_autoptr(GPtrArray) devices = lodge_pci_devices(root, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(devices->len, ==, 6);
    const LodgePciDevice *card = devices->pdata[2];
    g_assert_cmpstr(card->address, ==, "0000:01:00.0");
    g_assert_cmpstr(card->driver, ==, "nvidia");
    g_assert_cmpuint(card->vendor, ==, 0x10de);
    g_assert_cmpint(card->group, ==, 1);
    static const struct {
        const char *word;
        gboolean can;
    } expected[] = {{"bridge", FALSE},  {"multimedia", TRUE}, {"display", TRUE},
                    {"network", FALSE}, {"network", TRUE},    {"usb", FALSE}};
    for (guint i = 0; i < devices->len; i++) {
        g_assert_cmpstr(lodge_pci_class_word(devices->pdata[i]), ==, expected[i].word);
        g_assert_cmpint(lodge_pci_obstacle(devices, devices->pdata[i]) == NULL, ==,
                        expected[i].can);
    }
    g_assert_true(lodge_tree_remove(root, NULL));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host/pci/list", test_list);
    return g_test_run();
}
