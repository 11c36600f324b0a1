#include "config.h"

#include "host/firmware.h"

#include <string.h>

#include "base/base.h"

static char *root;

static void
put(const char *path, const char *text)
{
    g_autofree char *full = g_strconcat(root, path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);
    g_assert_true(lodge_dir_make(parent, 0755, NULL));
    g_assert_true(lodge_file_write(full, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL));
}

/* A descriptor in QEMU's format whose files are /fw/@name.code and /fw/@name.vars. */
static void
describe(const char *path, const char *name, const char *machine, const char *feature)
{
    g_autofree char *text = g_strdup_printf(
        "{\"interface-types\": [\"uefi\"], \"mapping\": {\"device\": \"flash\", \"executable\": "
        "{\"filename\": \"/fw/%s.code\", \"format\": \"qcow2\"}, \"nvram-template\": "
        "{\"filename\": \"/fw/%s.vars\", \"format\": \"raw\"}}, \"targets\": [{\"architecture\": "
        "\"x86_64\", \"machines\": [\"%s\"]}], \"features\": [\"%s\"]}",
        name, name, machine, feature);
    g_autofree char *code = g_strdup_printf("/fw/%s.code", name);
    g_autofree char *vars = g_strdup_printf("/fw/%s.vars", name);
    put(path, text);
    put(code, "");
    put(vars, "");
}

static void
assert_code(gboolean secure_boot, const char *expected)
{
    g_autoptr(LodgeFirmware) firmware = lodge_firmware_find(root, secure_boot);
    g_assert_cmpstr(firmware != NULL ? firmware->code : NULL, ==, expected);
    g_assert_true(firmware == NULL || firmware->secure_boot == secure_boot);
}

static void
test_order_of_places(void)
{
    root = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    assert_code(FALSE, NULL);
    put("/usr/share/ovmf/x64/OVMF_CODE.fd", "");
    assert_code(FALSE, NULL);
    put("/usr/share/ovmf/x64/OVMF_VARS.fd", "");
    assert_code(FALSE, "/usr/share/ovmf/x64/OVMF_CODE.fd");
    put("/usr/share/qemu/firmware/10-broken.json", "[");
    put("/usr/share/qemu/firmware/11-odd.json", "{\"targets\": 7, \"mapping\": []}");
    describe("/usr/share/qemu/firmware/20-microvm.json", "micro", "microvm", "x");
    assert_code(FALSE, "/usr/share/ovmf/x64/OVMF_CODE.fd");
    describe("/usr/share/qemu/firmware/60-b.json", "b", "pc-q35-*", "x");
    assert_code(FALSE, "/fw/b.code");
    describe("/usr/share/qemu/firmware/50-a.json", "a", "pc-q35-*", "x");
    assert_code(FALSE, "/fw/a.code");
    assert_code(TRUE, NULL);
    describe("/usr/share/qemu/firmware/40-secure.json", "s", "pc-q35-*", "secure-boot");
    assert_code(TRUE, "/fw/s.code");
    assert_code(FALSE, "/fw/a.code");
    /* An administrator hides one, and puts another before all. */
    put("/etc/qemu/firmware/50-a.json", "");
    assert_code(FALSE, "/fw/b.code");
    describe("/etc/qemu/firmware/05-mine.json", "mine", "pc-q35-7.*", "x");
    g_autoptr(LodgeFirmware) mine = lodge_firmware_find(root, FALSE);
    g_assert_cmpstr(mine->code, ==, "/fw/mine.code");
    g_assert_cmpstr(mine->code_format, ==, "qcow2");
    g_assert_cmpstr(mine->vars, ==, "/fw/mine.vars");
    g_assert_cmpstr(mine->vars_format, ==, "raw");
    lodge_tree_remove(root, NULL);
    g_free(root);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host/firmware/order", test_order_of_places);
    return g_test_run();
}
