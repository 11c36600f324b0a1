#include "config.h"

#include "model/guest.h"

#include <string.h>

#include "base/base.h"
#include "model/keep.h"
#include "model/schedule.h"

#define GIB (G_GUINT64_CONSTANT(1) << 30)
#define MIB (G_GUINT64_CONSTANT(1) << 20)

#define GUEST(field) G_STRUCT_OFFSET(LodgeGuest, field)
#define DISK(field) G_STRUCT_OFFSET(LodgeDisk, field)
#define CDROM(field) G_STRUCT_OFFSET(LodgeCdrom, field)
#define USB(field) G_STRUCT_OFFSET(LodgeUsb, field)
#define PCI(field) G_STRUCT_OFFSET(LodgePci, field)
#define NIC(field) G_STRUCT_OFFSET(LodgeNic, field)

static const LodgeKey guest_keys[] = {
    {"description", LODGE_TYPE_TEXT, GUEST(description),
     .help = "Words of your own, shown by `lodge show`."},
    {"os", LODGE_TYPE_IMAGE, GUEST(os), .help = "What runs in it, a name of the catalogue."},
    {"image", LODGE_TYPE_IMAGE, GUEST(image), .help = "The image its root disk is an overlay of."},
    {"user", LODGE_TYPE_USER, GUEST(user), "root", .help = "The login name that `lodge ssh` uses."},
    {"profile", LODGE_TYPE_CHOICE, GUEST(profile), "standard", "standard|legacy|windows",
     .help = "What the guest can deal with. `legacy`: IDE, an e1000 NIC, a Cirrus VGA, a clock in "
             "local time, "
             "for systems without virtio drivers; `windows`: UEFI with secure boot, a TPM, SATA, "
             "e1000e, Hyper-V's interfaces, a clock in local time. Each is a default that the key "
             "in question overrides."},
    {"machine", LODGE_TYPE_CHOICE, GUEST(machine), "auto", "auto|q35|pc|microvm",
     .help = "The mainboard. `auto`: q35, or pc for profile=legacy. `microvm` has no video and "
             "needs kernel=."},
    {"cpus", LODGE_TYPE_COUNT, GUEST(cpus), "2", .least = 1, .most = 255, .help = "Virtual CPUs."},
    {"cpus-max", LODGE_TYPE_COUNT, GUEST(cpus_max), "0", .most = 255,
     .help = "Up to how many can be added while it runs. 0: none."},
    {"sockets", LODGE_TYPE_COUNT, GUEST(sockets), "0", .most = 64,
     .help = "Topology that the guest sees: sockets. 0: chosen by QEMU."},
    {"cores", LODGE_TYPE_COUNT, GUEST(cores), "0", .most = 255, .help = "Cores of a socket."},
    {"threads", LODGE_TYPE_COUNT, GUEST(threads), "0", .most = 8, .help = "Threads of a core."},
    {"memory", LODGE_TYPE_SIZE, GUEST(memory_bytes), "1G", .least = 32 * MIB, .most = 4096 * GIB,
     .help = "Memory, like 512M or 2G."},
    {"memory-max", LODGE_TYPE_SIZE, GUEST(memory_max_bytes), "0", .most = 4096 * GIB,
     .help = "Up to how much can be added while it runs. 0: none."},
    {"balloon", LODGE_TYPE_CHOICE, GUEST(balloon), "off", "off|auto",
     .help =
         "Whether its memory follows the host's need. `auto`: when the host runs short, what the "
         "guest does not use is taken from it, and given back when there is enough."},
    {"memory-min", LODGE_TYPE_SIZE, GUEST(memory_min_bytes), "0", .most = 4096 * GIB,
     .help = "How much balloon=auto leaves it at least. 0: a quarter of its memory."},
    {"huge-pages", LODGE_TYPE_BOOL, GUEST(huge_pages), "no",
     .help = "Take its memory from the host's reserved 2 MiB pages."},
    {"pin", LODGE_TYPE_TEXT, GUEST(pin),
     .help =
         "Host CPUs that its virtual CPUs stay on, like `2-5` or `2,3,6,7`: the first one on the "
         "first, and so on, beginning anew where there are fewer. None: wherever there is room."},
    {"numa", LODGE_TYPE_TEXT, GUEST(numa),
     .help = "Host memory nodes that its memory comes from, like `0` or `0-1`. None: wherever."},
    {"numa-policy", LODGE_TYPE_CHOICE, GUEST(numa_policy), "bind", "bind|preferred|interleave",
     .help =
         "How: `bind` takes it from nowhere else, `preferred` from elsewhere when they are full, "
         "`interleave` from all in turn."},
    {"firmware", LODGE_TYPE_CHOICE, GUEST(firmware), "auto", "auto|bios|uefi",
     .help =
         "What starts the machine: SeaBIOS, or OVMF with variables of its own. `auto`: bios, or "
         "uefi for profile=windows."},
    {"secure-boot", LODGE_TYPE_CHOICE, GUEST(secure_boot), "auto", "auto|yes|no",
     .help = "Whether the UEFI starts signed systems only, by Microsoft's keys, which are put into "
             "its variables when they are made. `auto`: for profile=windows."},
    {"tpm", LODGE_TYPE_CHOICE, GUEST(tpm), "auto", "auto|yes|no",
     .help = "A TPM 2.0, emulated by swtpm, whose state is a folder beside the definition. "
             "`auto`: for profile=windows."},
    {"accel", LODGE_TYPE_CHOICE, GUEST(accel), "auto", "auto|kvm|tcg",
     .help =
         "How its code runs. `auto` takes KVM only where `lodge check` saw it work in hardware."},
    {"cpu", LODGE_TYPE_TEXT, GUEST(cpu), "auto",
     .help = "CPU model, as QEMU names them. `auto`: the host's under KVM, a fast plain one else."},
    {"nested", LODGE_TYPE_BOOL, GUEST(nested), "no",
     .help = "Let it run guests of its own with hardware virtualization, where this host can give "
             "it; an emulated guest sees AMD's, emulated."},
    {"clock", LODGE_TYPE_CHOICE, GUEST(clock), "auto", "auto|utc|local",
     .help = "What its hardware clock shows. `auto`: UTC, or local time by the profile."},
    {"video", LODGE_TYPE_CHOICE, GUEST(video), "auto", "auto|none|std|virtio|cirrus|vmware",
     .help = "Its graphics card. `auto`: std, or cirrus for profile=legacy."},
    {"keymap", LODGE_TYPE_NAME, GUEST(keymap),
     .help =
         "Keyboard layout for viewers that send characters, as QEMU names them: `en-us`, `de`."},
    {"watchdog", LODGE_TYPE_CHOICE, GUEST(watchdog), "none", "none|i6300esb|ib700",
     .help = "A watchdog that acts when the guest stops feeding it."},
    {"watchdog-action", LODGE_TYPE_WORD, GUEST(watchdog_action), "reset",
     "reset|shutdown|poweroff|pause|none|inject-nmi", .help = "What it does then."},
    {"boot", LODGE_TYPE_WORDS, GUEST(boot), "disk", "disk|cdrom|net",
     .help = "Where to look for a system, in order, divided by commas."},
    {"on-crash", LODGE_TYPE_CHOICE, GUEST(on_crash), "stop", "restart|stop|pause",
     .help =
         "What the keeper does when the guest panics or QEMU dies. `restart`: five times in ten "
         "minutes at most."},
    {"provision", LODGE_TYPE_CHOICE, GUEST(provision), "none", "none|lodge|nocloud",
     .help =
         "How the guest learns its name and keys: images of Lodge's own, or cloud-init's seed."},
    {"agent", LODGE_TYPE_BOOL, GUEST(agent), "no",
     .help =
         "Whether the guest is known to hold QEMU's guest agent, so that readiness waits for it."},
    {"autostart", LODGE_TYPE_BOOL, GUEST(autostart), "no",
     .help = "Start it when the host starts."},
    {"start-order", LODGE_TYPE_COUNT, GUEST(start_order), "50", .most = 1000,
     .help = "When, among those that start with the host: lower ones first."},
    {"start-delay", LODGE_TYPE_COUNT, GUEST(start_delay_s), "0", .most = 3600,
     .help = "Seconds to wait after it before the next one starts."},
    {"kernel", LODGE_TYPE_PATH, GUEST(kernel),
     .help = "Boot this kernel directly instead of the disk's boot loader."},
    {"initrd", LODGE_TYPE_PATH, GUEST(initrd), .help = "The initial RAM disk that goes with it."},
    {"kernel-arguments", LODGE_TYPE_TEXT, GUEST(kernel_arguments), .help = "Its command line."},
    {"variables", LODGE_TYPE_PATH, GUEST(variables), "nvram.qcow2",
     .help = "The file of its UEFI variables, in the guest's folder. `lodge snapshot` changes it."},
    {"tpm-state", LODGE_TYPE_FILE, GUEST(tpm_state), "tpm",
     .help = "The folder of its TPM's state, in the guest's folder. `lodge snapshot` changes it."},
    {"forked-from", LODGE_TYPE_TEXT, GUEST(forked_from),
     .help = "Files of other guests that its disks stand on, like web1/root.qcow2, the nearest "
             "first. `lodge fork` writes it."},
    {"snapshot", LODGE_TYPE_NAME, GUEST(snapshot),
     .help = "The snapshot that its disks stand on. `lodge snapshot` changes it."},
    {"snapshots", LODGE_TYPE_TEXT, GUEST(snapshots),
     .help = "Snapshots to make by themselves while it runs: `every 10m keep 6`, with `disks-only` "
             "behind it for those without its memory. `lodge rewind` goes back to them."},
};

static const LodgeKey disk_keys[] = {
    {"file", LODGE_TYPE_PATH, DISK(file),
     .help = "The disk's file, in the guest's folder, or an absolute path that stays yours."},
    {"size", LODGE_TYPE_SIZE, DISK(size_bytes), .least = 1 * MIB,
     .help = "Its size as the guest sees it."},
    {"format", LODGE_TYPE_CHOICE, DISK(format), "qcow2", "qcow2|raw",
     .help = "The file's format. Never guessed from the content, which the guest controls."},
    {"covers", LODGE_TYPE_PATH, DISK(covers),
     .help = "While a disk elsewhere is backed up: that disk, which the layer in `file` covers. "
             "Lodge sets it, and removes it."},
    {"bus", LODGE_TYPE_CHOICE, DISK(bus), "auto", "auto|virtio|scsi|sata|ide|usb",
     .help = "What it is attached to. `auto`: virtio, or ide or sata by the profile."},
    {"cache", LODGE_TYPE_CHOICE, DISK(cache), "writeback", "writeback|none|writethrough|unsafe",
     .help =
         "How the host caches it. `writeback` is as safe as a disk with a cache of its own: what "
         "the guest flushes is on the disk; guests of one image share what is read. `none` "
         "passes the page cache by, for guests that cache well and hosts short of memory; "
         "`unsafe` ignores flushes."},
    {"aio", LODGE_TYPE_CHOICE, DISK(aio), "auto", "auto|threads|native|io_uring",
     .help = "How QEMU does its input and output. `auto`: io_uring where this kernel and QEMU were "
             "seen to do it, else native with cache=none, which it needs, and threads without."},
    {"discard", LODGE_TYPE_BOOL, DISK(discard), "yes",
     .help = "Give back to the host what the guest discards."},
    {"iothread", LODGE_TYPE_BOOL, DISK(iothread), "no",
     .help = "Serve it by a thread of its own (virtio only)."},
    {"read-only", LODGE_TYPE_BOOL, DISK(read_only), "no", .help = "Refuse the guest's writes."},
    {"iops", LODGE_TYPE_COUNT, DISK(iops), "0",
     .help = "Requests a second at most. 0: any number."},
    {"iops-read", LODGE_TYPE_COUNT, DISK(iops_read), "0", .help = "The same for reads."},
    {"iops-write", LODGE_TYPE_COUNT, DISK(iops_write), "0", .help = "The same for writes."},
    {"bytes", LODGE_TYPE_SIZE, DISK(bytes), "0",
     .help = "Bytes a second at most, like 50M. 0: any number."},
    {"bytes-read", LODGE_TYPE_SIZE, DISK(bytes_read), "0", .help = "The same for reads."},
    {"bytes-write", LODGE_TYPE_SIZE, DISK(bytes_write), "0", .help = "The same for writes."},
};

static const LodgeKey cdrom_keys[] = {
    {"file", LODGE_TYPE_PATH, CDROM(file),
     .help = "The disc in it, an ISO file. None: it is empty."},
    {"bus", LODGE_TYPE_CHOICE, CDROM(bus), "auto", "auto|virtio|scsi|sata|ide|usb",
     .help = "What the drive is attached to. `auto`: sata, or ide on machine=pc."},
};

static const LodgeKey nic_keys[] = {
    {"network", LODGE_TYPE_NAME, NIC(network), "user",
     .help = "The network it is on. `user`: in user mode, which needs no "
             "privileges: passt's, or QEMU's own."},
    {"mac", LODGE_TYPE_MAC, NIC(mac), .help = "Its MAC address; made at random by `lodge create`."},
    {"model", LODGE_TYPE_CHOICE, NIC(model), "auto", "auto|virtio|e1000|e1000e|rtl8139|vmxnet3",
     .help = "What card it is. `auto`: virtio, or e1000 or e1000e by the profile."},
    {"address", LODGE_TYPE_ADDRESS4, NIC(address),
     .help = "Its IPv4 address, reserved on the network; chosen by `lodge create`."},
    {"address6", LODGE_TYPE_ADDRESS6, NIC(address6), .help = "The same for IPv6."},
    {"filter", LODGE_TYPE_BOOL, NIC(filter), "yes",
     .help = "Whether the guest is held to this MAC and these addresses. `no` lets it route or "
             "bridge for others."},
    {"route", LODGE_TYPE_PREFIXES, NIC(route),
     .help = "On a network in mode `routed`: further addresses and prefixes of either family that "
             "are routed to the guest, by its own address, and that it may use."},
    {"vlan", LODGE_TYPE_COUNT, NIC(vlan), "0", .most = 4094,
     .help =
         "On a bridge that keeps VLANs apart (`vlan-aware=yes`): the VLAN that the guest is in, "
         "without seeing tags. 0: the network's."},
    {"trunk", LODGE_TYPE_VLANS, NIC(trunk),
     .help = "On such a bridge: VLANs that the guest sees with their tags, and may send to, like "
             "`10 20-29`. In these it is held to its MAC, not to addresses."},
    {"rate-in", LODGE_TYPE_SIZE, NIC(rate_in_bytes), "0",
     .help =
         "Bytes a second at most that come to the guest, like 10M. 0: any number. On networks of "
         "Lodge's, not `user`; what is too much is dropped, and TCP adapts."},
    {"rate-out", LODGE_TYPE_SIZE, NIC(rate_out_bytes), "0", .help = "The same for what it sends."},
    {"forward", LODGE_TYPE_FORWARDS, NIC(forward),
     .help = "Host ports that reach the guest: `[ADDRESS:]HOST:GUEST[/udp]`, divided by spaces."},
    {"ssh-port", LODGE_TYPE_COUNT, NIC(ssh_port), "0", .most = 65535,
     .help = "The loopback port that reaches its SSH. 0: one is chosen at each start."},
};

static const LodgeKey limits_keys[] = {
    {"cpu", LODGE_TYPE_PERCENT, GUEST(limits.cpu_percent), "0%", .most = 100000,
     .help = "CPU time at most, in percent of one of the host's CPUs: `150%` is one and a half. "
             "`0%`: no limit."},
    {"cpu-weight", LODGE_TYPE_COUNT, GUEST(limits.cpu_weight), "100", .least = 1, .most = 10000,
     .help = "Its share of the CPUs beside other guests' when there is not enough for all."},
    {"memory-max", LODGE_TYPE_SIZE, GUEST(limits.memory_max_bytes), "0",
     .help = "Memory that its QEMU may take from the host, at least 64M more than memory=; "
             "emulation without KVM wants some 300M more. A QEMU that needs more is ended by the "
             "kernel. 0: no limit."},
    {"io-weight", LODGE_TYPE_COUNT, GUEST(limits.io_weight), "100", .least = 1, .most = 10000,
     .help = "Its share of the host's disks, where the disks' scheduler (BFQ) divides them."},
    {"pids-max", LODGE_TYPE_COUNT, GUEST(limits.pids_max), "0", .most = 4194304,
     .help = "How many threads its QEMU may have. 0: no limit."},
};

static const LodgeKey usb_keys[] = {
    {"device", LODGE_TYPE_TEXT, USB(device),
     .help = "Which of the host's devices: `VENDOR:PRODUCT[:SERIAL]` or a port like `1-2.3`, as "
             "`lodge usb list` shows them. The guest gets it at its start and whenever it is "
             "plugged in."},
};

static const LodgeKey pci_keys[] = {
    {"device", LODGE_TYPE_TEXT, PCI(device),
     .help =
         "Its address on the host, like `0000:01:00.0`, as `lodge pci list` shows it. The guest "
         "has it from its start to its end; meanwhile the host has not."},
};

static const LodgeKey backup_keys[] = {
    {"target", LODGE_TYPE_PATH, GUEST(backup_target),
     .help = "The folder that `lodge backup` of this guest goes to when none is said. An absolute "
             "path."},
    {"keep", LODGE_TYPE_TEXT, GUEST(backup_keep),
     .help =
         "Which points stay there after a backup when --keep is not said: the newest of so many "
         "hours, days, weeks, months, years, like `7d 4w 6m`. None: all."},
};

static const LodgeSection sections[] = {
    {"guest", FALSE, guest_keys, G_N_ELEMENTS(guest_keys), "The machine itself."},
    {"disk", TRUE, disk_keys, G_N_ELEMENTS(disk_keys),
     "A disk. The first is the one that the machine boots from."},
    {"cdrom", TRUE, cdrom_keys, G_N_ELEMENTS(cdrom_keys), "A CD drive."},
    {"nic", TRUE, nic_keys, G_N_ELEMENTS(nic_keys), "A network interface."},
    {"usb", TRUE, usb_keys, G_N_ELEMENTS(usb_keys), "A USB device of the host."},
    {"pci", TRUE, pci_keys, G_N_ELEMENTS(pci_keys), "A PCI device of the host."},
    {"limits", FALSE, limits_keys, G_N_ELEMENTS(limits_keys),
     "What the host gives the guest at most. Disks have limits of their own, in their sections."},
    {"backup", FALSE, backup_keys, G_N_ELEMENTS(backup_keys),
     "Where `lodge backup` keeps it, and what of it."},
    {NULL},
};

/* Sections that are there once. */
static const LodgeSection *const single[] = {&sections[0], &sections[6], &sections[7]};

const LodgeSection *
lodge_guest_sections(void)
{
    return sections;
}

/* Repeating sections: where their objects go. Each structure begins with `char *name`. */
typedef struct {
    const LodgeSection *section;
    gsize object_size;
    gsize array_offset;
} Repeated;

static const Repeated repeated[] = {
    {&sections[1], sizeof(LodgeDisk), GUEST(disks)},
    {&sections[2], sizeof(LodgeCdrom), GUEST(cdroms)},
    {&sections[3], sizeof(LodgeNic), GUEST(nics)},
    {&sections[4], sizeof(LodgeUsb), GUEST(usbs)},
    {&sections[5], sizeof(LodgePci), GUEST(pcis)},
};

static GPtrArray **
array_of(LodgeGuest *guest, const Repeated *kind)
{
    return (GPtrArray **)(gpointer)((char *)guest + kind->array_offset);
}

static void
free_objects(LodgeGuest *guest, const Repeated *kind)
{
    GPtrArray *array = *array_of(guest, kind);
    for (guint i = 0; array != NULL && i < array->len; i++) {
        g_free(*(char **)array->pdata[i]);
        lodge_schema_clear(kind->section, array->pdata[i]);
        g_free(array->pdata[i]);
    }
    g_clear_pointer(array_of(guest, kind), g_ptr_array_unref);
}

void
lodge_guest_free(LodgeGuest *guest)
{
    if (guest == NULL) {
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(single); i++) {
        lodge_schema_clear(single[i], guest);
    }
    g_free(guest->name);
    for (gsize i = 0; i < G_N_ELEMENTS(repeated); i++) {
        free_objects(guest, &repeated[i]);
    }
    g_free(guest);
}

enum {
    QEMU_THREADS = 80, /* main, RCU, signal, and up to 64 that do its input and output */
};

guint64
lodge_guest_memory_floor(const LodgeGuest *guest)
{
    return guest->memory_min_bytes != 0 ? guest->memory_min_bytes : guest->memory_bytes / 4;
}

gboolean
lodge_guest_is_uefi(const LodgeGuest *guest)
{
    return guest->firmware == LODGE_FIRMWARE_UEFI ||
           (guest->firmware == LODGE_FIRMWARE_AUTO && guest->profile == LODGE_PROFILE_WINDOWS);
}

static gboolean
is_wanted(const LodgeGuest *guest, int maybe)
{
    return maybe == LODGE_MAYBE_YES ||
           (maybe == LODGE_MAYBE_AUTO && guest->profile == LODGE_PROFILE_WINDOWS);
}

gboolean
lodge_guest_secure_boot(const LodgeGuest *guest)
{
    return lodge_guest_is_uefi(guest) && is_wanted(guest, guest->secure_boot);
}

gboolean
lodge_guest_has_tpm(const LodgeGuest *guest)
{
    return is_wanted(guest, guest->tpm);
}

char *
lodge_guest_tpm_file(const char *state)
{
    return g_build_filename(state, "tpm2-00.permall", NULL);
}

static gboolean
check_limits(const LodgeGuest *guest, GError **error)
{
    const LodgeLimits *limits = &guest->limits;
    guint threads = MAX(guest->cpus, guest->cpus_max) + QEMU_THREADS;
    guint64 memory = guest->memory_bytes + LODGE_QEMU_OVERHEAD_BYTES;
    if (limits->memory_max_bytes != 0 && limits->memory_max_bytes < memory) {
        g_autofree char *least = lodge_size_format(memory);
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "guest %s: [limits] memory-max= must be %s at least: QEMU needs 64M "
                               "besides the guest's memory",
                               guest->name, least);
    }
    if (limits->pids_max != 0 && limits->pids_max < threads) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "guest %s: [limits] pids-max= must be %u at least: so many threads "
                               "QEMU may need",
                               guest->name, threads);
    }
    if (guest->memory_min_bytes > guest->memory_bytes) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "guest %s: memory-min= is more than memory=", guest->name);
    }
    return TRUE;
}

/* What names a device of the host is wrong in the definition, not in a command. */
static gboolean
wrong_device(const LodgeGuest *guest, const char *kind, const char *name, GError **error)
{
    if (error != NULL && *error != NULL) {
        (*error)->code = LODGE_ERROR_INVALID;
    }
    return lodge_error_prefix(error, "guest %s: [%s %s] device=", guest->name, kind, name);
}

static gboolean
check_host_devices(const LodgeGuest *guest, GError **error)
{
    for (guint i = 0; i < guest->usbs->len; i++) {
        LodgeUsbSpec spec;
        const LodgeUsb *usb = guest->usbs->pdata[i];
        if (!lodge_usb_spec_parse(usb->device != NULL ? usb->device : "", &spec, error)) {
            return wrong_device(guest, "usb", usb->name, error);
        }
    }
    for (guint i = 0; i < guest->pcis->len; i++) {
        char address[LODGE_PCI_ADDRESS_BYTES];
        const LodgePci *pci = guest->pcis->pdata[i];
        if (!lodge_pci_address_parse(pci->device != NULL ? pci->device : "", address, error)) {
            return wrong_device(guest, "pci", pci->name, error);
        }
    }
    return guest->pcis->len == 0 || guest->machine != LODGE_MACHINE_MICROVM ||
           lodge_error_set(error, LODGE_ERROR_INVALID,
                           "guest %s: machine=microvm takes no PCI device of the host",
                           guest->name);
}

static gboolean
check_numbers(const LodgeGuest *guest, const char *key, const char *list, guint most,
              GError **error)
{
    g_autoptr(GArray) numbers = list != NULL ? lodge_number_list_parse(list, most, error) : NULL;
    return list == NULL || numbers != NULL ||
           lodge_error_prefix(error, "guest %s: %s=", guest->name, key);
}

static gboolean
check_places(const LodgeGuest *guest, GError **error)
{
    if (!check_numbers(guest, "pin", guest->pin, 8191, error) ||
        !check_numbers(guest, "numa", guest->numa, 127, error)) {
        return FALSE;
    }
    return guest->numa == NULL || guest->numa_policy != LODGE_NUMA_PREFERRED ||
           strspn(guest->numa, "0123456789") == strlen(guest->numa) ||
           lodge_error_set(error, LODGE_ERROR_INVALID,
                           "guest %s: numa-policy=preferred takes one node, not numa=%s",
                           guest->name, guest->numa);
}

static gboolean
invalid(const LodgeGuest *guest, const char *key, GError **error)
{
    if (error != NULL && *error != NULL) {
        (*error)->code = LODGE_ERROR_INVALID;
    }
    return lodge_error_prefix(error, "guest %s: %s=", guest->name, key);
}

/* What Lodge does by itself, or without being told each time. */
static gboolean
check_habits(const LodgeGuest *guest, GError **error)
{
    LodgeSchedule schedule;
    LodgeKeep keep;
    if (guest->snapshots != NULL && !lodge_schedule_parse(guest->snapshots, &schedule, error)) {
        return invalid(guest, "snapshots", error);
    }
    if (guest->backup_keep != NULL && !lodge_keep_parse(guest->backup_keep, &keep, error)) {
        return invalid(guest, "[backup] keep", error);
    }
    return guest->backup_target == NULL || g_path_is_absolute(guest->backup_target) ||
           lodge_error_set(error, LODGE_ERROR_INVALID,
                           "guest %s: [backup] target=%s is no absolute path", guest->name,
                           guest->backup_target);
}

/* What no single row can see. */
static gboolean
check_whole(const LodgeGuest *guest, GError **error)
{
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        if (disk->file == NULL) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "guest %s: [disk %s] has no file=", guest->name, disk->name);
        }
    }
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        if (nic->mac == NULL) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "guest %s: [nic %s] has no mac=", guest->name, nic->name);
        }
        if ((nic->vlan != 0 || nic->trunk != NULL) && g_str_equal(nic->network, "user")) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "guest %s: [nic %s] vlan= and trunk= are for bridged networks, "
                                   "not network=user",
                                   guest->name, nic->name);
        }
    }
    if (guest->cpus_max != 0 && guest->cpus_max < guest->cpus) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "guest %s: cpus-max= is less than cpus=", guest->name);
    }
    if (guest->memory_max_bytes != 0 && guest->memory_max_bytes < guest->memory_bytes) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "guest %s: memory-max= is less than memory=", guest->name);
    }
    if (guest->machine == LODGE_MACHINE_MICROVM && guest->kernel == NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "guest %s: machine=microvm needs kernel=", guest->name);
    }
    if (guest->secure_boot == LODGE_MAYBE_YES && !lodge_guest_is_uefi(guest)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "guest %s: secure-boot=yes needs firmware=uefi", guest->name);
    }
    if (guest->tpm == LODGE_MAYBE_YES && guest->machine == LODGE_MACHINE_MICROVM) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "guest %s: machine=microvm has no TPM",
                               guest->name);
    }
    if (guest->initrd != NULL && guest->kernel == NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "guest %s: initrd= without kernel=", guest->name);
    }
    return check_habits(guest, error) && check_host_devices(guest, error) &&
           check_places(guest, error) && check_limits(guest, error);
}

static gboolean
fill_objects(LodgeGuest *guest, const Repeated *kind, const LodgeKeyFile *file, GError **error)
{
    GPtrArray *array = g_ptr_array_new();
    gsize length = strlen(kind->section->name);
    *array_of(guest, kind) = array;
    for (gsize i = 0; i < file->count; i++) {
        const LodgeEntry *entry = &file->entries[i];
        if (entry->key == NULL && strncmp(entry->group, kind->section->name, length) == 0 &&
            entry->group[length] == ' ') {
            gpointer object = g_malloc0(kind->object_size);
            *(char **)object = g_strdup(entry->group + length + 1);
            g_ptr_array_add(array, object);
            if (!lodge_schema_fill(kind->section, file, entry->group, object, error)) {
                return FALSE;
            }
        }
    }
    return TRUE;
}

LodgeGuest *
lodge_guest_parse(const char *name, const char *text, gsize length, GError **error)
{
    g_autofree char *what = g_strdup_printf("guest %s", name);
    g_autoptr(LodgeKeyFile) file = lodge_key_file_parse(what, text, length, error);
    g_autoptr(LodgeGuest) guest = g_new0(LodgeGuest, 1);
    guest->name = g_strdup(name);
    if (file == NULL || !lodge_schema_check(sections, file, error)) {
        return NULL;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(single); i++) {
        if (!lodge_schema_fill(single[i], file, single[i]->name, guest, error)) {
            return NULL;
        }
    }
    for (gsize i = 0; i < G_N_ELEMENTS(repeated); i++) {
        if (!fill_objects(guest, &repeated[i], file, error)) {
            return NULL;
        }
    }
    return check_whole(guest, error) ? g_steal_pointer(&guest) : NULL;
}

char *
lodge_mac_random(void)
{
    guint32 number = 0;
    lodge_random(&number, sizeof number);
    return g_strdup_printf("52:54:00:%02x:%02x:%02x", number >> 16 & 0xff, number >> 8 & 0xff,
                           number & 0xff);
}
