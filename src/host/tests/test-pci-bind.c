/* Binding, against a made-up /sys whose kernel is this file: it does at each write what Linux does.
 */
#include "config.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ssize_t kernel_write(int fd, const void *bytes, size_t count);
#define write kernel_write
#include "host/pci-bind.c"
#undef write

#include "host/pci.h"

#define DEVICE "0000:02:00.0"

static char *root;
static gboolean vfio_refuses;

static char *
path_of(const char *file)
{
    return g_strconcat(root, "/sys/bus/pci/", file, NULL);
}

static void
bind_to(const char *driver)
{
    g_autofree char *link = path_of("devices/" DEVICE "/driver");
    g_autofree char *target = g_strconcat("../../drivers/", driver, NULL);
    unlink(link);
    g_assert_true(*driver == '\0' || symlink(target, link) == 0);
}

/* Whom the kernel gives it to by itself. */
static void
on_probe(void)
{
    g_autofree char *path = path_of("devices/" DEVICE "/driver_override");
    g_autofree char *wanted = lodge_file_read(path, 100, NULL, NULL);
    g_autofree char *link = path_of("devices/" DEVICE "/driver");
    if (g_file_test(link, G_FILE_TEST_IS_SYMLINK) || (vfio_refuses && *wanted == 'v')) {
        return;
    }
    bind_to(*g_strstrip(wanted) != '\0' ? wanted : "r8169");
}

static ssize_t
kernel_write(int fd, const void *bytes, size_t count)
{
    char path[PATH_MAX] = "", link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    g_assert_cmpint(readlink(link, path, sizeof path - 1), >, 0);
    ssize_t done = write(fd, bytes, count);
    if (g_str_has_suffix(path, "/unbind")) {
        g_assert_cmpmem(bytes, count, DEVICE, strlen(DEVICE));
        bind_to("");
    } else if (g_str_has_suffix(path, "/bind")) {
        g_autofree char *folder = g_path_get_dirname(path);
        g_autofree char *driver = g_path_get_basename(folder);
        bind_to(driver);
    } else if (g_str_has_suffix(path, "/drivers_probe")) {
        on_probe();
    }
    return done;
}

static void
touch(const char *file)
{
    g_autofree char *path = path_of(file);
    g_autofree char *folder = g_path_get_dirname(path);
    g_assert_true(lodge_dir_make(folder, 0755, NULL));
    g_assert_true(g_file_set_contents(path, "", 0, NULL));
}

static void
begin(const char *driver)
{
    static const char *const files[] = {
        "drivers_probe",           "devices/" DEVICE "/driver_override",
        "drivers/vfio-pci/unbind", "drivers/igb/unbind",
        "drivers/igb/bind",
    };
    root = g_dir_make_tmp("lodge-pci-XXXXXX", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        touch(files[i]);
    }
    bind_to(driver);
    vfio_refuses = FALSE;
}

static void
end(void)
{
    g_assert_true(lodge_tree_remove(root, NULL));
    g_clear_pointer(&root, g_free);
}

static void
expect_driver(const char *wanted)
{
    g_autofree char *driver = driver_of(root, DEVICE);
    g_assert_cmpstr(driver, ==, wanted);
}

static gboolean
take(GError **error)
{
    const LodgePciDevice device = {.address = (char *)DEVICE, .group = 3};
    return lodge_pci_take(root, &device, error);
}

static void
test_there_and_back(void)
{
    g_autoptr(GError) error = NULL;
    begin("igb");
    take(&error);
    g_assert_no_error(error);
    expect_driver("vfio-pci");
    g_assert_true(take(NULL)); /* again */
    lodge_pci_give_back(root, DEVICE, "igb", &error);
    g_assert_no_error(error);
    expect_driver("igb");
    end();
}

static void
test_back_where_the_driver_went(void)
{
    begin("igb");
    g_assert_true(take(NULL));
    /* Its module was removed: whoever wants it gets it. */
    g_assert_true(lodge_pci_give_back(root, DEVICE, "gone", NULL));
    expect_driver("r8169");
    end();
}

static void
test_had_none(void)
{
    begin("");
    g_assert_true(take(NULL));
    expect_driver("vfio-pci");
    g_assert_true(lodge_pci_give_back(root, DEVICE, "", NULL));
    expect_driver(NULL);
    end();
}

static void
test_refused(void)
{
    g_autoptr(GError) error = NULL;
    begin("igb");
    vfio_refuses = TRUE;
    g_assert_false(take(&error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    expect_driver("igb");
    end();
}

static void
test_no_vfio(void)
{
    g_autoptr(GError) error = NULL;
    begin("igb");
    g_autofree char *path = path_of("drivers/vfio-pci");
    g_assert_true(lodge_tree_remove(path, NULL));
    g_assert_false(take(&error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
    expect_driver("igb");
    end();
}

static void
test_pulled_out(void)
{
    begin("igb");
    g_autofree char *path = path_of("devices/" DEVICE);
    g_assert_true(lodge_tree_remove(path, NULL));
    g_assert_true(lodge_pci_give_back(root, DEVICE, "igb", NULL));
    g_assert_true(lodge_pci_lend_group(root, 3, 0, NULL));
    end();
}

static void
test_addresses(void)
{
    static const char *const bad[] = {"",           "01:00",    "01:00.8",   "0:0.0",
                                      "00001:00.0", "01:00.0 ", "../01:00.0"};
    char address[LODGE_PCI_ADDRESS_BYTES];
    g_assert_true(lodge_pci_address_parse("0A:00.1", address, NULL));
    g_assert_cmpstr(address, ==, "0000:0a:00.1");
    g_assert_true(lodge_pci_address_parse("0001:0a:00.1", address, NULL));
    g_assert_cmpstr(address, ==, "0001:0a:00.1");
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(lodge_pci_address_parse(bad[i], address, NULL));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host/pci-bind/there-and-back", test_there_and_back);
    g_test_add_func("/host/pci-bind/back-where-the-driver-went", test_back_where_the_driver_went);
    g_test_add_func("/host/pci-bind/had-none", test_had_none);
    g_test_add_func("/host/pci-bind/refused", test_refused);
    g_test_add_func("/host/pci-bind/no-vfio", test_no_vfio);
    g_test_add_func("/host/pci-bind/pulled-out", test_pulled_out);
    g_test_add_func("/host/pci-bind/addresses", test_addresses);
    return g_test_run();
}
