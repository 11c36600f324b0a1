#include "config.h"

#include "host/firmware.h"

#include <fnmatch.h>
#include <string.h>

#include "base/base.h"
#include "host/system.h"

enum { DESCRIPTOR_LIMIT_BYTES = 64 << 10 };

/* For hosts whose packages bring no descriptors. */
static const struct {
    const char *code;
    const char *vars;
    gboolean secure_boot;
} known_places[] = {
    {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", FALSE},
    {"/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd", TRUE},
    {"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd", FALSE},
    {"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd", FALSE},
    {"/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd", TRUE},
    {"/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd", FALSE},
    {"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd", FALSE},
    {"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd",
     TRUE},
    {"/usr/share/edk2-ovmf/OVMF_CODE.fd", "/usr/share/edk2-ovmf/OVMF_VARS.fd", FALSE},
    {"/usr/share/edk2-ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2-ovmf/OVMF_VARS.secboot.fd",
     TRUE},
    {"/usr/share/edk2/OvmfX64/OVMF_CODE.fd", "/usr/share/edk2/OvmfX64/OVMF_VARS.fd", FALSE},
    {"/usr/share/edk2/OvmfX64/OVMF_CODE.secboot.fd", "/usr/share/edk2/OvmfX64/OVMF_VARS.secboot.fd",
     TRUE},
    {"/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin", FALSE},
    {"/usr/share/qemu/ovmf-x86_64-smm-ms-code.bin", "/usr/share/qemu/ovmf-x86_64-smm-ms-vars.bin",
     TRUE},
    {"/usr/share/ovmf/x64/OVMF_CODE.fd", "/usr/share/ovmf/x64/OVMF_VARS.fd", FALSE},
    {"/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd", FALSE},
    {"/usr/share/qemu/edk2-x86_64-secure-code.fd", "/usr/share/qemu/edk2-i386-vars.fd", TRUE},
};

void
lodge_firmware_free(LodgeFirmware *firmware)
{
    if (firmware != NULL) {
        g_free(firmware->code);
        g_free(firmware->code_format);
        g_free(firmware->vars);
        g_free(firmware->vars_format);
        g_free(firmware);
    }
}

static gboolean
list_has(const json_t *list, const char *word)
{
    for (gsize i = 0; i < json_array_size(list); i++) {
        if (g_strcmp0(json_string_value(json_array_get(list, i)), word) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Is it for a q35 machine with a 64-bit processor? */
static gboolean
is_for_us(const json_t *descriptor)
{
    const json_t *targets = json_object_get(descriptor, "targets");
    for (gsize i = 0; i < json_array_size(targets); i++) {
        const json_t *target = json_array_get(targets, i);
        const json_t *machines = json_object_get(target, "machines");
        if (strcmp(lodge_json_string(target, "architecture", ""), "x86_64") != 0) {
            continue;
        }
        for (gsize m = 0; m < json_array_size(machines); m++) {
            const char *pattern = json_string_value(json_array_get(machines, m));
            if (pattern != NULL && fnmatch(pattern, "pc-q35-7.0", 0) == 0) {
                return TRUE;
            }
        }
    }
    return FALSE;
}

/* What a descriptor offers if it is what is wanted and its files are there; else NULL. */
static LodgeFirmware *
read_descriptor(const char *sysroot, const char *path, gboolean secure_boot)
{
    g_autofree char *full = lodge_system_path(sysroot, path);
    g_autoptr(json_t) descriptor = lodge_json_read(full, DESCRIPTOR_LIMIT_BYTES, NULL);
    const json_t *features = json_object_get(descriptor, "features");
    const json_t *mapping = json_object_get(descriptor, "mapping");
    const json_t *code = json_object_get(mapping, "executable");
    const json_t *vars = json_object_get(mapping, "nvram-template");
    const char *code_path = lodge_json_string(code, "filename", NULL);
    const char *vars_path = lodge_json_string(vars, "filename", NULL);
    gboolean wanted = strcmp(lodge_json_string(mapping, "device", ""), "flash") == 0 &&
                      list_has(json_object_get(descriptor, "interface-types"), "uefi") &&
                      list_has(features, "secure-boot") == secure_boot && is_for_us(descriptor);
    if (!wanted || code_path == NULL || vars_path == NULL ||
        !lodge_system_exists(sysroot, code_path) || !lodge_system_exists(sysroot, vars_path)) {
        return NULL;
    }
    LodgeFirmware *firmware = g_new0(LodgeFirmware, 1);
    firmware->code = g_strdup(code_path);
    firmware->code_format = g_strdup(lodge_json_string(code, "format", "raw"));
    firmware->vars = g_strdup(vars_path);
    firmware->vars_format = g_strdup(lodge_json_string(vars, "format", "raw"));
    firmware->secure_boot = secure_boot;
    return firmware;
}

static int
compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names of descriptors in their order of preference. One in /etc hides its namesake in /usr. */
static GPtrArray *
descriptor_names(const char *sysroot, const char *const *folders, gsize count)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    for (gsize i = 0; i < count; i++) {
        g_autofree char *folder = lodge_system_path(sysroot, folders[i]);
        g_auto(GStrv) found = lodge_dir_names(folder, NULL);
        for (gsize n = 0; found != NULL && found[n] != NULL; n++) {
            gboolean fresh = !g_ptr_array_find_with_equal_func(names, found[n], g_str_equal, NULL);
            if (fresh && g_str_has_suffix(found[n], ".json")) {
                g_ptr_array_add(names, g_strdup(found[n]));
            }
        }
    }
    g_ptr_array_sort(names, compare_names);
    return names;
}

static LodgeFirmware *
find_described(const char *sysroot, gboolean secure_boot)
{
    static const char *const folders[] = {"/etc/qemu/firmware", "/usr/share/qemu/firmware"};
    g_autoptr(GPtrArray) names = descriptor_names(sysroot, folders, G_N_ELEMENTS(folders));
    for (guint i = 0; i < names->len; i++) {
        for (gsize f = 0; f < G_N_ELEMENTS(folders); f++) {
            g_autofree char *path = g_build_filename(folders[f], names->pdata[i], NULL);
            if (!lodge_system_exists(sysroot, path)) {
                continue;
            }
            LodgeFirmware *firmware = read_descriptor(sysroot, path, secure_boot);
            if (firmware != NULL) {
                return firmware;
            }
            break;
        }
    }
    return NULL;
}

LodgeFirmware *
lodge_firmware_find(const char *sysroot, gboolean secure_boot)
{
    LodgeFirmware *firmware = find_described(sysroot, secure_boot);
    for (gsize i = 0; firmware == NULL && i < G_N_ELEMENTS(known_places); i++) {
        if (known_places[i].secure_boot == secure_boot &&
            lodge_system_exists(sysroot, known_places[i].code) &&
            lodge_system_exists(sysroot, known_places[i].vars)) {
            firmware = g_new0(LodgeFirmware, 1);
            firmware->code = g_strdup(known_places[i].code);
            firmware->code_format = g_strdup("raw");
            firmware->vars = g_strdup(known_places[i].vars);
            firmware->vars_format = g_strdup("raw");
            firmware->secure_boot = secure_boot;
        }
    }
    return firmware;
}
