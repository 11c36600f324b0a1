#include "config.h"

#include "image/export.h"

#include <string.h>

#include "image/tests/common.h"

static void
test_ovf(void)
{
    static const char *const files[] = {"a&b.vmdk", "c.vmdk"};
    static const guint64 sizes[] = {12345, 99};
    const LodgeExportDisk disks[] = {{.size_bytes = 1 << 30}, {.size_bytes = 2 << 20}};
    const LodgeExportMachine machine = {.name = "box",
                                        .title = "A <box>",
                                        .cpus = 3,
                                        .memory_bytes = 512 << 20,
                                        .uefi = TRUE,
                                        .disks = disks,
                                        .disk_count = 2};
    g_autoptr(GError) error = NULL;
    g_autofree char *text = lodge_ovf_write(&machine, files, sizes);
    g_auto(GStrv) disks_read = lodge_ovf_disks(text, strlen(text), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(disks_read[0], ==, "a&b.vmdk");
    g_assert_cmpstr(disks_read[1], ==, "c.vmdk");
    g_assert_null(disks_read[2]);
    static const char *const expected[] = {
        "ovf:href=\"a&amp;b.vmdk\" ovf:id=\"file1\" ovf:size=\"12345\"",
        "ovf:capacity=\"1073741824\" ovf:capacityAllocationUnits=\"byte\" ovf:diskId=\"disk1\"",
        "ovf:fileRef=\"file2\"",
        "<rasd:VirtualQuantity>3</rasd:VirtualQuantity>",
        "<rasd:VirtualQuantity>512</rasd:VirtualQuantity>",
        "<rasd:HostResource>ovf:/disk/disk2</rasd:HostResource>",
        "<Info>A &lt;box&gt;</Info>",
        "vmw:value=\"efi\""};
    for (gsize i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_test_message("%s", expected[i]);
        g_assert_nonnull(strstr(text, expected[i]));
    }
}

static void
test_formats(void)
{
    g_assert_cmpstr(lodge_export_format_of("/a/b.vmdk"), ==, "vmdk");
    g_assert_cmpstr(lodge_export_format_of("b.img"), ==, "raw");
    g_assert_cmpstr(lodge_export_format_of("b.ova"), ==, "ova");
    g_assert_cmpstr(lodge_export_format_of("b"), ==, "qcow2");
}

static gboolean export(const char *file, const char *format, gboolean compressed, GError **error)
{
    g_autofree char *source = test_path("data.raw");
    g_autofree char *target = test_path(file);
    const LodgeExportDisk disk = {.path = source, .format = "raw", .size_bytes = 2 << 20};
    const LodgeExportMachine machine = {
        .name = "box", .cpus = 1, .memory_bytes = 64 << 20, .disks = &disk, .disk_count = 1};
    return lodge_export_write(&machine, target, format, compressed, NULL, error);
}

static void
test_written(void)
{
    test_run("dd if=/dev/urandom of=data.raw bs=1M count=1 status=none; truncate -s 2M data.raw;"
             "mkdir out; mkdir out/.c.qcow2.export; touch out/.c.qcow2.export/left");
    static const struct {
        const char *file, *format;
        gboolean compressed;
    } rows[] = {{"out/a.qcow2", "qcow2", FALSE}, {"out/c.qcow2", "qcow2", TRUE},
                {"out/a.vmdk", "vmdk", FALSE},   {"out/c.vmdk", "vmdk", TRUE},
                {"out/a.raw", "raw", FALSE},     {"out/a.vhdx", "vhdx", FALSE}};
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        export(rows[i].file, rows[i].format, rows[i].compressed, &error);
        g_assert_no_error(error);
        g_autofree char *script = g_strdup_printf("qemu-img compare -q -f raw -F %s data.raw %s",
                                                  rows[i].format, rows[i].file);
        test_run(script);
        g_assert_false(export(rows[i].file, rows[i].format, FALSE, &error));
        test_assert_error(&error, LODGE_ERROR_EXISTS, "exists already");
    }
    g_autoptr(GError) error = NULL;
    g_assert_false(export("out/x.raw", "raw", TRUE, &error));
    test_assert_error(&error, LODGE_ERROR_USAGE, "no compression");
    g_assert_false(export("none/x.raw", "raw", FALSE, &error));
    test_assert_error(&error, LODGE_ERROR_NOT_FOUND, "no folder");
    test_run("test -z \"$(find out -name '.*')\"");
}

int
main(int argc, char **argv)
{
    test_begin(&argc, &argv);
    g_test_add_func("/image/export/ovf", test_ovf);
    g_test_add_func("/image/export/formats", test_formats);
    g_test_add_func("/image/export/write", test_written);
    return test_finish();
}
