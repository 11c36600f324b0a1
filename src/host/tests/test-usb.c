#include "config.h"

#include <unistd.h>

#include "base/base.h"
#include "host/usb.h"

static void
put(const char *folder, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static char *
add_device(const char *root, const char *port, const char *class, const char *const *values)
{
    static const char *const names[] = {"busnum", "devnum", "idVendor", "idProduct", "speed"};
    char *folder = g_build_filename(root, "sys/bus/usb/devices", port, NULL);
    g_assert_true(lodge_dir_make(folder, 0755, NULL));
    put(folder, "bDeviceClass", class);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        put(folder, names[i], values[i]);
    }
    return folder;
}

static void
test_list(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *root = g_dir_make_tmp("lodge-usb-XXXXXX", NULL);
    const char *const hub[] = {"1\n", "1\n", "1d6b\n", "0002\n", "480\n"};
    const char *const stick[] = {"1\n", "4\n", "0781\n", "5567\n", "480\n"};
    const char *const mouse[] = {"1\n", "5\n", "046d\n", "c52b\n", "1.5\n"};
    g_free(add_device(root, "usb1", "09\n", hub));
    g_free(add_device(root, "1-1", "09\n", hub));
    g_free(add_device(root, "1-3", "00\n", mouse));
    g_autofree char *folder = add_device(root, "1-1.2", "00\n", stick);
    put(folder, "serial", "4C53\n");
    put(folder, "manufacturer", "SanDisk\n");
    put(folder, "product", "Evil\033[2J stick\n");
    g_autofree char *interface = g_build_filename(folder, "1-1.2:1.0", NULL);
    g_autofree char *link = g_build_filename(interface, "driver", NULL);
    g_assert_true(lodge_dir_make(interface, 0755, NULL));
    g_assert_cmpint(symlink("../../../drivers/usb-storage", link), ==, 0);
    g_autoptr(GPtrArray) devices = lodge_usb_devices(root, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(devices->len, ==, 2);
    const LodgeUsbDevice *first = devices->pdata[0];
    g_assert_cmpstr(first->port, ==, "1-1.2");
    g_assert_cmpstr(first->drivers, ==, "usb-storage");
    g_assert_null(strchr(first->title, '\033'));
    g_autofree char *node = lodge_usb_node("", first);
    g_assert_cmpstr(node, ==, "/dev/bus/usb/001/004");
    const struct {
        const char *text;
        gboolean first, second;
    } specs[] = {{"1.4", TRUE, FALSE},          {"1-1.2", TRUE, FALSE},
                 {"0781:5567", TRUE, FALSE},    {"0781:5567:4C53", TRUE, FALSE},
                 {"0781:5567:X", FALSE, FALSE}, {"46d:C52B", FALSE, TRUE},
                 {"1-1", FALSE, FALSE},         {"1.44", FALSE, FALSE}};
    for (gsize i = 0; i < G_N_ELEMENTS(specs); i++) {
        LodgeUsbSpec spec;
        g_assert_true(lodge_usb_spec_parse(specs[i].text, &spec, &error));
        g_assert_cmpint(lodge_usb_matches(first, &spec), ==, specs[i].first);
        g_assert_cmpint(lodge_usb_matches(devices->pdata[1], &spec), ==, specs[i].second);
    }
    g_assert_true(lodge_tree_remove(root, NULL));
}

static void
test_none(void)
{
    g_autoptr(GPtrArray) devices = lodge_usb_devices("/nonexistent", NULL);
    g_assert_cmpuint(devices->len, ==, 0);
}

static void
test_bad_specs(void)
{
    static const char *const bad[] = {
        "",    "1",    "1.",        ".1",      "1.200", "1-",          "1-2.", "-2", "1-2.3x",
        "x:y", "46d:", "46d:c52b:", "12345:1", "1-2:3", "046d:c52b1x", "1.4 ", "a-1"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        LodgeUsbSpec spec;
        g_autoptr(GError) error = NULL;
        g_assert_false(lodge_usb_spec_parse(bad[i], &spec, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host/usb/list", test_list);
    g_test_add_func("/host/usb/none", test_none);
    g_test_add_func("/host/usb/bad-specs", test_bad_specs);
    return g_test_run();
}
