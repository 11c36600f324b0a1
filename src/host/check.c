#include "config.h"

#include "host/check.h"

#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/base.h"
#include "host/firewalls.h"
#include "host/kvm.h"

static const struct {
    const char *id;
    const char *title;
    gboolean required;
    LodgeCheckFunc run;
} table[] = {
    {"kvm", "Hardware virtualization (KVM)", FALSE, lodge_check_kvm},
    {"cpu", "Processor", FALSE, lodge_check_cpu},
    {"nested", "Nested virtualization", FALSE, lodge_check_nested},
    {"iommu", "Device passthrough (IOMMU)", FALSE, lodge_check_iommu},
    {"kernel", "Kernel", TRUE, lodge_check_kernel},
    {"memory", "Free memory", TRUE, lodge_check_memory},
    {"disk", "Free disk", TRUE, lodge_check_disk},
    {"qemu", "QEMU", TRUE, lodge_check_qemu},
    {"qemu-img", "Disk images (qemu-img)", TRUE, lodge_check_qemu_img},
    {"ssh", "SSH client", FALSE, lodge_check_ssh},
    {"dnsmasq", "DHCP and DNS (dnsmasq)", FALSE, lodge_check_dnsmasq},
    {"nat64", "IPv6-only networks (tayga, unbound)", FALSE, lodge_check_nat64},
    {"passt", "User-mode networks (passt)", FALSE, lodge_check_passt},
    {"nftables", "NAT and firewall (nftables)", FALSE, lodge_check_nftables},
    {"firewall", "Other firewalls", FALSE, lodge_check_firewall},
    {"tun", "Guest network cards (tun)", FALSE, lodge_check_tun},
    {"bridge", "Bridges", FALSE, lodge_check_bridge},
    {"vlan", "VLANs", FALSE, lodge_check_vlan},
    {"vhost-net", "Fast guest network (vhost-net)", FALSE, lodge_check_vhost_net},
    {"vhost-vsock", "Host-guest sockets (vhost-vsock)", FALSE, lodge_check_vhost_vsock},
    {"cgroup", "Resource limits (cgroups)", FALSE, lodge_check_cgroup},
    {"ovmf", "UEFI firmware (OVMF)", FALSE, lodge_check_ovmf},
    {"swtpm", "TPM for guests (swtpm)", FALSE, lodge_check_swtpm},
    {"hugepages", "Huge pages", FALSE, lodge_check_hugepages},
    {"ksm", "Memory sharing (KSM)", FALSE, lodge_check_ksm},
    {"userns", "Image builds without root", FALSE, lodge_check_userns},
};

static const char *const state_words[] = {
    [LODGE_CHECK_OK] = "ok",
    [LODGE_CHECK_DEGRADED] = "degraded",
    [LODGE_CHECK_MISSING] = "missing",
};

const char *
lodge_check_state_word(LodgeCheckState state)
{
    return state_words[state];
}

void
lodge_check_found(LodgeCheck *check, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_free(check->detail);
    check->detail = lodge_text_printable(text);
}

void
lodge_check_gap(LodgeCheck *check, LodgeCheckState state, const char *cost, char *mend)
{
    check->state = state;
    g_free(check->cost);
    check->cost = g_strdup(cost);
    g_free(check->mend);
    check->mend = mend;
}

char *
lodge_check_modprobe(const LodgeExamined *examined, const char *module)
{
    const char *root = lodge_distro_become_root(&examined->distro);
    if (examined->container != NULL) {
        return g_strdup_printf("on this container's host: modprobe %s", module);
    }
    /* Where nobody knows whether there is such a module, the fix plans nothing. */
    if (lodge_kernel_module(examined->kernel, module, NULL) != LODGE_MODULE_LOADABLE) {
        return g_strdup_printf("%s modprobe %s", root, module);
    }
    return g_strdup_printf("%s lodge check --fix (loads %s, now and at each boot)", root, module);
}

static void
check_free(gpointer data)
{
    LodgeCheck *check = data;
    g_free(check->detail);
    g_free(check->cost);
    g_free(check->mend);
    g_free(check);
}

void
lodge_check_report_free(LodgeCheckReport *report)
{
    if (report != NULL) {
        g_ptr_array_unref(report->checks);
        g_free(report->summary);
        g_free(report);
    }
}

static void
examined_clear(LodgeExamined *examined)
{
    lodge_kernel_free(examined->kernel);
    g_free(examined->cpuinfo);
    g_free(examined->container);
    g_free(examined->qemu_path);
    g_free(examined->qemu_version);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LodgeExamined, examined_clear)

static void
summarize(LodgeCheckReport *report)
{
    g_autoptr(GString) lacking = g_string_new(NULL);
    for (guint i = 0; i < report->checks->len; i++) {
        const LodgeCheck *check = report->checks->pdata[i];
        if (check->required && check->state == LODGE_CHECK_MISSING) {
            g_string_append_printf(lacking, "%s%s", lacking->len > 0 ? ", " : "", check->title);
        }
    }
    report->can_run = lacking->len == 0;
    if (!report->can_run) {
        report->summary = g_strdup_printf("Guests can't run here; lacking: %s", lacking->str);
    } else if (report->kvm.state == LODGE_KVM_HARDWARE) {
        report->summary = g_strdup("Guests run here at the processor's speed");
    } else {
        report->summary = g_strdup("Guests run here under QEMU's emulation (TCG), slowly: there is "
                                   "no usable hardware virtualization");
    }
}

/* All but the verdict on KVM, which stands in @facts by the time of run_table(). */
static void
look_around(const LodgeCheckOptions *options, const LodgeHostFacts *facts, LodgeExamined *out)
{
    const char *sysroot = options->sysroot != NULL ? options->sysroot : "";
    *out = (LodgeExamined){.sysroot = sysroot, .store_root = options->store_root, .facts = facts};
    lodge_distro_read(sysroot, &out->distro);
    out->kernel = lodge_kernel_new(sysroot, facts->release);
    out->cpuinfo = lodge_system_text(sysroot, "/proc/cpuinfo");
    out->container = lodge_system_container(sysroot);
    out->qemu_path = lodge_system_program(sysroot, "qemu-system-x86_64");
    if (out->qemu_path == NULL) {
        out->qemu_path = lodge_system_program(sysroot, "qemu-kvm");
    }
    if (out->qemu_path != NULL) {
        out->qemu_version = lodge_qemu_version(out->qemu_path, options->cache_folder);
    }
}

static LodgeCheckReport *
run_table(const LodgeExamined *examined)
{
    LodgeCheckReport *report = g_new0(LodgeCheckReport, 1);
    report->checks = g_ptr_array_new_with_free_func(check_free);
    report->kvm = examined->facts->kvm;
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        LodgeCheck *check = g_new0(LodgeCheck, 1);
        check->id = table[i].id;
        check->title = table[i].title;
        check->required = table[i].required;
        table[i].run(examined, check);
        g_ptr_array_add(report->checks, check);
    }
    summarize(report);
    return report;
}

LodgeCheckReport *
lodge_check_examine(const LodgeCheckOptions *options, const LodgeHostFacts *facts)
{
    g_auto(LodgeExamined) examined = {0};
    look_around(options, facts, &examined);
    return run_table(&examined);
}

LodgeCheckReport *
lodge_check_run(const LodgeCheckOptions *options, GError **error)
{
    g_autoptr(LodgeKvmProbe) probe = lodge_kvm_probe_start(options->cache_folder, TRUE, error);
    if (probe == NULL) {
        return NULL;
    }
    struct utsname names;
    uname(&names);
    g_auto(GStrv) chains = lodge_nftables_chains();
    LodgeHostFacts facts = {
        .release = names.release,
        .uid = geteuid(),
        .user = g_get_user_name(),
        .disk_free_bytes = lodge_file_system_free(options->store_root),
        .nftables_errno = geteuid() == 0 ? lodge_nftables_ask() : -1,
        .chains = (const char *const *)chains,
    };
    g_auto(LodgeExamined) examined = {0};
    look_around(options, &facts, &examined);
    if (!lodge_kvm_probe_finish(probe, &facts.kvm, error)) {
        return NULL;
    }
    return run_table(&examined);
}

static double
one_decimal(double value)
{
    return (double)(gint64)(value * 10 + 0.5) / 10;
}

json_t *
lodge_check_json(const LodgeCheckReport *report)
{
    json_t *checks = json_array();
    for (guint i = 0; i < report->checks->len; i++) {
        const LodgeCheck *check = report->checks->pdata[i];
        json_array_append_new(
            checks, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?, s:s?}", "id", check->id, "title",
                              check->title, "state", state_words[check->state], "severity",
                              check->required ? "required" : "optional", "detail", check->detail,
                              "cost", check->cost, "mend", check->mend));
    }
    const LodgeKvmVerdict *kvm = &report->kvm;
    json_t *verdict = json_pack(
        "{s:s, s:f, s:f, s:s, s:s}", "state", lodge_kvm_state_word(kvm->state), "real-mips",
        one_decimal(kvm->real_mips), "long-mips", one_decimal(kvm->long_mips), "reason",
        kvm->reason, "mend", kvm->mend);
    return json_pack("{s:b, s:s, s:o, s:o}", "can-run", report->can_run, "summary", report->summary,
                     "kvm", verdict, "checks", checks);
}
