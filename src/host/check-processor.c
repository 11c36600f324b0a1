/* Checks of the processor and of what it virtualizes. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "host/check.h"

void
lodge_check_kvm(const LodgeExamined *examined, LodgeCheck *check)
{
    const LodgeKvmVerdict *kvm = &examined->facts->kvm;
    if (kvm->state == LODGE_KVM_HARDWARE) {
        gboolean slow_start = kvm->real_mips < LODGE_KVM_LEAST_MIPS;
        lodge_check_found(check, "a guest ran %.0f million instructions a second%s", kvm->long_mips,
                          slow_start ? "; in real mode the kernel interprets" : "");
        if (slow_start) {
            lodge_check_gap(check, LODGE_CHECK_DEGRADED,
                            "boot loaders in BIOS mode are slow; use UEFI", NULL);
        }
        return;
    }
    lodge_check_found(check, "%s", kvm->reason);
    lodge_check_gap(check,
                    kvm->state == LODGE_KVM_EMULATED ? LODGE_CHECK_DEGRADED : LODGE_CHECK_MISSING,
                    "guests run under QEMU's own emulation (TCG), many times slower",
                    *kvm->mend != '\0' ? g_strdup(kvm->mend) : NULL);
}

static guint
count_processors(const char *cpuinfo)
{
    guint count = 0;
    for (const char *at = cpuinfo; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        count += g_str_has_prefix(at, "processor\t");
    }
    return count;
}

void
lodge_check_cpu(const LodgeExamined *examined, LodgeCheck *check)
{
    g_autofree char *model = lodge_system_field(examined->cpuinfo, "model name");
    g_autofree char *vendor = lodge_system_field(examined->cpuinfo, "vendor_id");
    g_autofree char *flags = lodge_system_field(examined->cpuinfo, "flags");
    const char *flag = lodge_system_has_word(flags, "vmx")   ? "vmx"
                       : lodge_system_has_word(flags, "svm") ? "svm"
                                                             : NULL;
    gboolean virtual = lodge_system_has_word(flags, "hypervisor");
    lodge_check_found(check, "%s (%s), %u of them, %s%s", model != NULL ? model : "unknown model",
                      vendor != NULL ? vendor : "unknown vendor",
                      count_processors(examined->cpuinfo),
                      flag != NULL ? flag : "neither vmx nor svm", virtual ? ", virtual" : "");
    if (flag == NULL) {
        const char *mend = virtual ? "on the host of this virtual machine: turn on nested "
                                     "virtualization and give "
                                     "it the processor model “host”"
                                   : "turn on “Intel VT-x” or “AMD SVM” in the firmware setup";
        lodge_check_gap(check, LODGE_CHECK_DEGRADED,
                        "guests run without hardware virtualization, many times slower",
                        g_strdup(mend));
    }
}

static char *
mend_nested(const LodgeExamined *examined, const char *module)
{
    g_autofree char *argument = g_strdup_printf("%s.nested=1", module);
    g_autofree char *count = g_strdup_printf("/sys/module/%s/refcnt", module);
    if (examined->container != NULL) {
        return g_strdup_printf("on this container's host: set nested=1 for %s", module);
    }
    if (lodge_system_exists(examined->sysroot, count)) {
        return g_strdup_printf("%s lodge check --fix (sets nested=1 for %s)",
                               lodge_distro_become_root(&examined->distro), module);
    }
    return lodge_distro_kernel_argument(&examined->distro, argument);
}

static const char *const modules[] = {"kvm_intel", "kvm_amd"};

char *
lodge_nested_obstacle(const char *sysroot)
{
    for (gsize i = 0; i < G_N_ELEMENTS(modules); i++) {
        g_autofree char *path = g_strdup_printf("/sys/module/%s/parameters/nested", modules[i]);
        g_autofree char *value = lodge_system_read(sysroot, path);
        if (value != NULL) {
            return strcmp(value, "Y") == 0 || strcmp(value, "1") == 0
                       ? NULL
                       : g_strdup_printf("%s was loaded with nested=%s (`lodge check --fix` sets "
                                         "nested=1 for its next loading)",
                                         modules[i], value);
        }
    }
    return g_strdup("neither kvm_intel nor kvm_amd is in use");
}

void
lodge_check_nested(const LodgeExamined *examined, LodgeCheck *check)
{
    static const char cost[] = "guests can't run accelerated guests of their own";
    for (gsize i = 0; i < G_N_ELEMENTS(modules); i++) {
        g_autofree char *path = g_strdup_printf("/sys/module/%s/parameters/nested", modules[i]);
        g_autofree char *value = lodge_system_read(examined->sysroot, path);
        if (value == NULL) {
            continue;
        }
        lodge_check_found(check, "%s: nested=%s", modules[i], value);
        if (strcmp(value, "Y") != 0 && strcmp(value, "1") != 0) {
            lodge_check_gap(check, LODGE_CHECK_MISSING, cost, mend_nested(examined, modules[i]));
        }
        return;
    }
    lodge_check_found(check, "neither kvm_intel nor kvm_amd is in use");
    lodge_check_gap(check, LODGE_CHECK_MISSING, cost, NULL);
}

static guint
count_groups(const LodgeExamined *examined)
{
    g_autofree char *path = lodge_system_path(examined->sysroot, "/sys/kernel/iommu_groups");
    g_auto(GStrv) groups = lodge_dir_names(path, NULL);
    return groups != NULL ? g_strv_length(groups) : 0;
}

static char *
mend_iommu(const LodgeExamined *examined, gboolean intel, gboolean amd)
{
    g_autofree char *flags = lodge_system_field(examined->cpuinfo, "flags");
    const char *option = intel ? "INTEL_IOMMU" : "AMD_IOMMU";
    if (examined->container != NULL) {
        return g_strdup("look for it on this container's host");
    }
    if (!intel && !amd) {
        return g_strdup(lodge_system_has_word(flags, "hypervisor")
                            ? "on the host of this virtual machine: give it a virtual IOMMU"
                            : "turn on “VT-d” or “AMD IOMMU” in the firmware setup, if it has it");
    }
    if (lodge_kernel_option(examined->kernel, option) == 'n') {
        return lodge_distro_kernel_with(&examined->distro, option);
    }
    if (amd) {
        return g_strdup("turn on “IOMMU” in the firmware setup, and take amd_iommu=off and "
                        "iommu=off from the kernel's command line");
    }
    return lodge_distro_kernel_argument(&examined->distro, "intel_iommu=on");
}

void
lodge_check_iommu(const LodgeExamined *examined, LodgeCheck *check)
{
    gboolean intel = lodge_system_exists(examined->sysroot, "/sys/firmware/acpi/tables/DMAR");
    gboolean amd = lodge_system_exists(examined->sysroot, "/sys/firmware/acpi/tables/IVRS");
    guint groups = count_groups(examined);
    if (groups > 0) {
        lodge_check_found(check, "%u group%s of devices", groups, groups > 1 ? "s" : "");
        return;
    }
    if (intel || amd) {
        lodge_check_found(check, "the firmware describes one (%s), but the kernel does not use it",
                          intel ? "DMAR" : "IVRS");
    } else {
        lodge_check_found(check, "the firmware describes none");
    }
    lodge_check_gap(check, LODGE_CHECK_MISSING, "PCI devices can't be given to guests",
                    mend_iommu(examined, intel, amd));
}
