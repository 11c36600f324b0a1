#include "config.h"

#include "host/kvm.h"

#include <errno.h>
#include <string.h>

#include "base/base.h"

static void
say(LodgeKvmVerdict *out, const char *reason, const char *mend)
{
    g_strlcpy(out->reason, reason, sizeof out->reason);
    g_strlcpy(out->mend, mend, sizeof out->mend);
}

/* The name of a group in @sysroot's /etc/group; free with g_free; NULL. */
static char *
group_name(const char *sysroot, gid_t id)
{
    g_autofree char *text = lodge_system_text(sysroot, "/etc/group");
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *wanted = g_strdup_printf("%u", id);
    for (gsize i = 0; lines[i] != NULL; i++) {
        g_auto(GStrv) fields = g_strsplit(lines[i], ":", 4);
        if (g_strv_length(fields) >= 3 && strcmp(fields[2], wanted) == 0) {
            return g_strdup(fields[0]);
        }
    }
    return NULL;
}

static void
explain_permission(const char *sysroot, const struct stat *device, LodgeKvmVerdict *out)
{
    g_autofree char *container = lodge_system_container(sysroot);
    g_autofree char *group = group_name(sysroot, device->st_gid);
    gboolean for_all = (device->st_mode & (S_IROTH | S_IWOTH)) == (S_IROTH | S_IWOTH);
    if (container != NULL && for_all) {
        g_autofree char *reason = g_strdup_printf(
            "/dev/kvm is there, but this container (%s) may not open it", container);
        say(out, reason, "start the container with --device /dev/kvm");
        return;
    }
    if (group != NULL && device->st_gid != 0 && (device->st_mode & S_IRGRP)) {
        g_autofree char *reason = g_strdup_printf(
            "/dev/kvm may be opened by root and the group %s only", group);
        LodgeDistro distro;
        lodge_distro_read(sysroot, &distro);
        g_autofree char *mend = g_strdup_printf(
            distro.packager == LODGE_PACKAGER_APK ? "doas addgroup $USER %s, then log in again"
                                                  : "sudo usermod -aG %s $USER, then log in again",
            group);
        say(out, reason, mend);
        return;
    }
    say(out, "/dev/kvm may be opened by root only (no device manager gave it to the group kvm)",
        "sudo sh -c 'groupadd -f kvm; chgrp kvm /dev/kvm; chmod 660 /dev/kvm; usermod -aG kvm "
        "'$USER, then log in again");
}

/* The processor shows neither flag. */
static void
explain_processor(const char *flags, LodgeKvmVerdict *out)
{
    if (lodge_system_has_word(flags, "hypervisor")) {
        say(out, "this is a virtual machine, and its host gives it no nested virtualization",
            "on the host: give this machine the processor model “host” with nested virtualization");
    } else {
        say(out, "the processor has no hardware virtualization, or the firmware turned it off",
            "turn on “Intel VT-x” or “AMD SVM” in the firmware setup (press F2 or Del at "
            "power-on)");
    }
}

static void
explain_module(const char *sysroot, LodgeKernel *kernel, const char *module, const char *option,
               LodgeKvmVerdict *out)
{
    g_autofree char *reason = NULL;
    g_autofree char *mend = NULL;
    LodgeDistro distro;
    lodge_distro_read(sysroot, &distro);
    switch (lodge_kernel_module(kernel, module, option)) {
    case LODGE_MODULE_LOADED:
    case LODGE_MODULE_BUILTIN:
        if (lodge_system_exists(sysroot, "/dev/kvm")) {
            reason = g_strdup_printf("%s is in the kernel, but found no virtualization it can use "
                                     "(often: turned off in the firmware)",
                                     module);
            mend = g_strdup("sudo dmesg | grep -i kvm  says why");
            break;
        }
        reason = g_strdup_printf("%s is in the kernel, but there is no /dev/kvm: the firmware "
                                 "turned virtualization off, or no device manager made the node",
                                 module);
        mend = g_strdup(
            "sudo dmesg | grep -i kvm  says which; sudo mknod -m 660 /dev/kvm c 10 232");
        break;
    case LODGE_MODULE_LOADABLE:
        reason = g_strdup_printf("the kernel module %s is not loaded", module);
        mend = g_strdup_printf("%s lodge check --fix (loads %s, now and at each boot)",
                               lodge_distro_become_root(&distro), module);
        break;
    case LODGE_MODULE_NOT_INSTALLED:
        reason = g_strdup_printf("the file of the kernel module %s is missing", module);
        mend = g_strdup("install the modules of the running kernel, or reboot into the new kernel "
                        "after an upgrade");
        break;
    case LODGE_MODULE_NOT_BUILT:
        reason = g_strdup_printf("this kernel was built without %s", module);
        mend = lodge_distro_kernel_with(&distro, option);
        break;
    case LODGE_MODULE_UNKNOWN:
        reason = g_strdup("there is no /dev/kvm, and nothing tells what this kernel can load");
        mend = g_strdup_printf("%s modprobe %s", lodge_distro_become_root(&distro), module);
        break;
    }
    say(out, reason, mend);
}

void
lodge_kvm_explain_absent(const char *sysroot, LodgeKernel *kernel, int saved_errno,
                         const struct stat *device, LodgeKvmVerdict *out)
{
    *out = (LodgeKvmVerdict){.state = LODGE_KVM_ABSENT};
    if (saved_errno == EACCES || saved_errno == EPERM) {
        explain_permission(sysroot, device, out);
        return;
    }
    if (saved_errno != ENOENT && saved_errno != ENODEV && saved_errno != ENXIO) {
        g_autofree char *reason = g_strdup_printf("/dev/kvm can't be opened: %s",
                                                  g_strerror(saved_errno));
        say(out, reason, "");
        return;
    }
    g_autofree char *cpu = lodge_system_text(sysroot, "/proc/cpuinfo");
    g_autofree char *flags = lodge_system_field(cpu, "flags");
    gboolean intel = lodge_system_has_word(flags, "vmx");
    gboolean amd = lodge_system_has_word(flags, "svm");
    g_autofree char *container = lodge_system_container(sysroot);
    if (!intel && !amd) {
        explain_processor(flags, out);
    } else if (container != NULL) {
        g_autofree char *reason = g_strdup_printf("this container (%s) was not given /dev/kvm",
                                                  container);
        say(out, reason, "start the container with --device /dev/kvm");
    } else if (intel) {
        explain_module(sysroot, kernel, "kvm_intel", "KVM_INTEL", out);
    } else {
        explain_module(sysroot, kernel, "kvm_amd", "KVM_AMD", out);
    }
}
