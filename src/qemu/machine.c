#include "config.h"

#include "base/base.h"
#include "qemu/builder.h"
#include "qemu/disks.h"

enum {
    MIB_BYTES = 1 << 20,
    MEMORY_SLOTS = 8,
    FORK_TRANSLATION_MIB = 48,
};

LodgeMachineType
lodge_machine_type(const LodgeGuest *guest)
{
    if (guest->machine != LODGE_MACHINE_AUTO) {
        return (LodgeMachineType)guest->machine;
    }
    return guest->profile == LODGE_PROFILE_LEGACY ? LODGE_MACHINE_PC : LODGE_MACHINE_Q35;
}

static void
add_firmware(LodgeCommand *command, const LodgeMachine *machine)
{
    g_autofree char *code = lodge_command_pass_set(command, LODGE_PASS_READ,
                                                   machine->firmware_code);
    lodge_command_blockdev(command, json_pack("{s:s, s:s, s:b, s:{s:s, s:s, s:b}}", "driver", "raw",
                                              "node-name", "firmware-code", "read-only", 1, "file",
                                              "driver", "file", "filename", code, "read-only", 1));
    g_autofree char *vars = lodge_command_pass_set(command, LODGE_PASS_WRITE,
                                                   machine->firmware_vars);
    lodge_command_blockdev(command,
                           json_pack("{s:s, s:s, s:{s:s, s:s}}", "driver", "qcow2", "node-name",
                                     "firmware-vars", "file", "driver", "file", "filename", vars));
}

static gboolean
needs_sata(const LodgeGuest *guest)
{
    gboolean needs = FALSE;
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        LodgeBus bus = lodge_drive_bus(guest, disk->bus, FALSE);
        needs = needs || bus == LODGE_BUS_SATA || bus == LODGE_BUS_IDE;
    }
    for (guint i = 0; i < guest->cdroms->len; i++) {
        const LodgeCdrom *cdrom = guest->cdroms->pdata[i];
        LodgeBus bus = lodge_drive_bus(guest, cdrom->bus, TRUE);
        needs = needs || bus == LODGE_BUS_SATA || bus == LODGE_BUS_IDE;
    }
    return needs;
}

/* The mainboard's own options. A guest has no use for VMware's mouse port and HPET, and none
 * without secure boot for system management mode, whose emulation costs boot time. */
static const char *
board(const LodgeGuest *guest)
{
    if (lodge_guest_secure_boot(guest)) {
        return "q35,vmport=off,smm=on";
    }
    switch (lodge_machine_type(guest)) {
    case LODGE_MACHINE_AUTO:
    case LODGE_MACHINE_Q35:
        return guest->profile == LODGE_PROFILE_WINDOWS ? "q35,vmport=off,smm=off"
                                                       : "q35,vmport=off,smm=off,hpet=off";
    case LODGE_MACHINE_PC:
        return "pc,vmport=off,smm=off";
    case LODGE_MACHINE_MICROVM:
        return "microvm,pcie=on,acpi=on,rtc=on,isa-serial=on";
    }
    return "q35";
}

/* Interfaces by which Windows knows that it is a guest. Only KVM has them. */
#define HYPER_V                                                                                    \
    ",hv_relaxed=on,hv_vapic=on,hv_spinlocks=0x1fff,hv_vpindex=on,hv_runtime=on,hv_synic=on,"      \
    "hv_time=on,hv_stimer=on,hv_frequencies=on,hv_tlbflush=on,hv_ipi=on"

static void
add_cpu(LodgeCommand *command, const LodgeGuest *guest, const LodgeMachine *machine)
{
    gboolean is_auto = g_strcmp0(guest->cpu, "auto") == 0;
    /* `max` and newer models cost a quarter more boot time when they are emulated. */
    const char *fallback = machine->kvm ? "host" : guest->nested ? "qemu64" : "qemu64,svm=off";
    g_autoptr(GString) model = g_string_new(is_auto ? fallback : guest->cpu);
    if (machine->kvm && is_auto && !guest->nested) {
        g_string_append(model, ",vmx=off,svm=off");
    }
    if (machine->kvm && guest->profile == LODGE_PROFILE_WINDOWS) {
        g_string_append(model, HYPER_V);
    }
    lodge_command_option(command, "-cpu", "%s", model->str);
    g_autoptr(GString) topology = g_string_new(NULL);
    g_string_append_printf(topology, "%u", guest->cpus);
    if (guest->cpus_max > guest->cpus) {
        g_string_append_printf(topology, ",maxcpus=%u", guest->cpus_max);
    }
    const struct {
        const char *name;
        guint count;
    } parts[] = {{"sockets", guest->sockets}, {"cores", guest->cores}, {"threads", guest->threads}};
    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (parts[i].count != 0) {
            g_string_append_printf(topology, ",%s=%u", parts[i].name, parts[i].count);
        }
    }
    lodge_command_option(command, "-smp", "%s", topology->str);
}

/* ",policy=bind,host-nodes=0"; "" without. Free with g_free. */
static char *
host_nodes(const LodgeGuest *guest)
{
    static const char *const policies[] = {"bind", "preferred", "interleave"};
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GArray) nodes = guest->numa != NULL ? lodge_number_list_parse(guest->numa, 127, NULL)
                                                  : NULL;
    if (nodes != NULL) {
        g_string_append_printf(text, ",policy=%s", policies[guest->numa_policy]);
    }
    for (guint i = 0; nodes != NULL && i < nodes->len; i++) {
        g_string_append_printf(text, ",host-nodes=%u", g_array_index(nodes, guint, i));
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* A file is opened by the way of /proc: QEMU has no descriptor sets for memory. */
static void
add_memory_file(LodgeCommand *command, const LodgeGuest *guest, const LodgeMachine *machine,
                guint64 mib)
{
    static const char *const uses[] = {
        [LODGE_MEMORY_OWN] = "",
        [LODGE_MEMORY_WRITTEN] = "share=on",
        [LODGE_MEMORY_COPIED] = "share=off",
        [LODGE_MEMORY_READ_ONLY] = "share=off,readonly=on,rom=off",
    };
    g_autofree char *nodes = host_nodes(guest);
    int fd = lodge_command_pass_open(command, machine->memory_file, machine->memory_fd);
    lodge_command_option(command, "-object",
                         "memory-backend-file,id=ram,size=%" G_GUINT64_FORMAT
                         "M,mem-path=/proc/self/fd/%d,%s%s",
                         mib, fd, uses[machine->memory_use], nodes);
}

static void
add_memory(LodgeCommand *command, const LodgeGuest *guest, const LodgeMachine *machine)
{
    guint64 mib = guest->memory_bytes / MIB_BYTES;
    guint64 most_mib = guest->memory_max_bytes / MIB_BYTES;
    if (most_mib > mib) {
        lodge_command_option(command, "-m",
                             "size=%" G_GUINT64_FORMAT "M,slots=%d,maxmem=%" G_GUINT64_FORMAT "M",
                             mib, MEMORY_SLOTS, most_mib);
    } else {
        lodge_command_option(command, "-m", "%" G_GUINT64_FORMAT, mib);
    }
    if (machine->memory_file != NULL) {
        add_memory_file(command, guest, machine, mib);
        return;
    }
    g_autofree char *nodes = host_nodes(guest);
    lodge_command_option(command, "-object", "%s,id=ram,size=%" G_GUINT64_FORMAT "M%s",
                         guest->huge_pages ? "memory-backend-memfd,hugetlb=on,hugetlbsize=2M"
                                           : "memory-backend-ram",
                         mib, nodes);
}

static void
add_clock(LodgeCommand *command, const LodgeGuest *guest, const LodgeMachine *machine)
{
    gboolean is_local = guest->clock == LODGE_CLOCK_LOCAL ||
                        (guest->clock == LODGE_CLOCK_AUTO &&
                         guest->profile != LODGE_PROFILE_STANDARD);
    gboolean is_windows = guest->profile == LODGE_PROFILE_WINDOWS;
    lodge_command_option(command, "-rtc", "base=%s%s", is_local ? "localtime" : "utc",
                         is_windows ? ",driftfix=slew" : "");
    if (is_windows && machine->kvm) {
        lodge_command_option(command, "-global", "kvm-pit.lost_tick_policy=discard");
    }
}

static void
add_watchdog(LodgeCommand *command, const LodgeGuest *guest)
{
    switch ((LodgeWatchdog)guest->watchdog) {
    case LODGE_WATCHDOG_NONE:
        return;
    case LODGE_WATCHDOG_I6300ESB:
        lodge_command_option(command, "-device", "i6300esb,id=watchdog");
        break;
    case LODGE_WATCHDOG_IB700:
        lodge_command_option(command, "-device", "ib700,id=watchdog");
        break;
    }
    lodge_command_option(command, "-action", "watchdog=%s", guest->watchdog_action);
}

/* What older systems and BIOS know is the interface by memory and interrupt, TIS. */
static void
add_tpm(LodgeCommand *command, const LodgeGuest *guest, const LodgeMachine *machine)
{
    int fd = lodge_command_pass_open(command, "tpm", machine->tpm_fd);
    lodge_command_option(command, "-chardev", "socket,id=tpm,fd=%d", fd);
    lodge_command_option(command, "-tpmdev", "emulator,id=tpm0,chardev=tpm");
    lodge_command_option(command, "-device", "%s,tpmdev=tpm0",
                         lodge_guest_is_uefi(guest) ? "tpm-crb" : "tpm-tis");
}

/* QEMU's default for what it has translated is a quarter of a gigabyte, all of it private to each
 * guest; forks are many, and are to share what they have. Less makes a guest translate anew what it
 * had: a Debian that begins as a copy takes twice the time to SSH with 24 MiB, a tenth more with
 * 40, and with 48 no more than with 64. */
static void
add_accel(LodgeCommand *command, const LodgeMachine *machine)
{
    gboolean is_fork = machine->memory_use == LODGE_MEMORY_COPIED ||
                       machine->memory_use == LODGE_MEMORY_READ_ONLY;
    if (machine->kvm) {
        lodge_command_option(command, "-accel", "kvm");
    } else if (is_fork) {
        lodge_command_option(command, "-accel", "tcg,thread=multi,tb-size=%d",
                             FORK_TRANSLATION_MIB);
    } else {
        lodge_command_option(command, "-accel", "tcg,thread=multi");
    }
}

gboolean
lodge_command_add_machine(LodgeCommand *command, const LodgeGuest *guest,
                          const LodgeMachine *machine, GError **error)
{
    gboolean is_uefi = lodge_guest_is_uefi(guest);
    if (is_uefi && lodge_machine_type(guest) != LODGE_MACHINE_Q35) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "guest %s: firmware=uefi needs machine=q35", guest->name);
    }
    if (is_uefi) {
        add_firmware(command, machine);
    }
    /* A SATA controller without drives costs an emulated guest a second to probe its ports. */
    gboolean drops_sata = lodge_machine_type(guest) == LODGE_MACHINE_Q35 && !needs_sata(guest);
    lodge_command_option(command, "-machine", "%s%s,memory-backend=ram%s", board(guest),
                         drops_sata ? ",sata=off" : "",
                         is_uefi ? ",pflash0=firmware-code,pflash1=firmware-vars" : "");
    if (lodge_guest_secure_boot(guest)) {
        /* Only system management mode may write the variables, and no S3 resume goes around it. */
        lodge_command_option(command, "-global", "driver=cfi.pflash01,property=secure,value=on");
        lodge_command_option(command, "-global", "ICH9-LPC.disable_s3=1");
    }
    add_accel(command, machine);
    add_cpu(command, guest, machine);
    add_memory(command, guest, machine);
    add_clock(command, guest, machine);
    add_watchdog(command, guest);
    if (lodge_guest_has_tpm(guest)) {
        add_tpm(command, guest, machine);
    }
    return TRUE;
}
