#include "config.h"

#include <string.h>

#include "base/base.h"
#include "qemu/builder.h"
#include "qemu/disks.h"

#define VIRTIO_NET "virtio-net-pci"

static guint
boot_index(const json_t *indexes, const char *kind, const char *name)
{
    g_autofree char *id = g_strconcat(kind, "-", name, NULL);
    return (guint)lodge_json_int(indexes, id, 0);
}

static void
add_limit_group(LodgeCommand *command, const LodgeDisk *disk)
{
    const char *key = NULL;
    const json_t *value = NULL;
    g_autoptr(json_t) limits = lodge_disk_limits(disk);
    g_autoptr(GString) group = g_string_new(NULL);
    g_string_append_printf(group, "throttle-group,id=limit-%s", disk->name);
    json_object_foreach (limits, key, value) {
        if (json_integer_value(value) != 0) {
            g_string_append_printf(group, ",x-%s=%" JSON_INTEGER_FORMAT, key,
                                   json_integer_value(value));
        }
    }
    lodge_command_option(command, "-object", "%s", group->str);
}

static void
add_nodes(LodgeCommand *command, const LodgeDiskNodes *nodes)
{
    for (guint depth = nodes->chain->len; depth-- > 0;) {
        const LodgeLayer *layer = nodes->chain->pdata[depth];
        LodgePassKind kind = lodge_disk_layer_is_written(nodes, depth) ? LODGE_PASS_WRITE
                                                                       : LODGE_PASS_READ;
        g_autofree char *path = layer->is_remote
                                    ? NULL
                                    : lodge_command_pass_set(command, kind, layer->path);
        lodge_command_blockdev(command, lodge_disk_file_node(nodes, depth, path));
        lodge_command_blockdev(command, lodge_disk_format_node(nodes, depth));
    }
    add_limit_group(command, nodes->disk);
    lodge_command_blockdev(command, lodge_disk_limit_node(nodes));
}

/* Take the next place on @bus: its name (NULL: QEMU's choice), free with g_free. */
static char *
take_place(LodgeCommand *command, const LodgeGuest *guest, LodgeBus bus, const char *id,
           LodgeDrivePlace *place)
{
    char *name = NULL;
    place->unit = -1;
    switch (bus) {
    case LODGE_BUS_AUTO:
    case LODGE_BUS_VIRTIO:
        name = lodge_command_take_port(command, guest, id);
        break;
    case LODGE_BUS_SCSI:
        name = g_strdup("scsi.0");
        break;
    case LODGE_BUS_USB:
        name = g_strdup("usb.0");
        break;
    case LODGE_BUS_SATA:
    case LODGE_BUS_IDE: {
        guint drive = command->drives++;
        gboolean is_pc = lodge_machine_type(guest) == LODGE_MACHINE_PC;
        name = g_strdup_printf("ide.%u", is_pc ? drive / 2 : drive);
        place->unit = is_pc ? (int)(drive % 2) : -1;
        break;
    }
    }
    return name;
}

static void
add_device(LodgeCommand *command, json_t *device)
{
    g_autoptr(json_t) own = device;
    g_autofree char *text = lodge_device_text(own);
    lodge_command_option(command, "-device", "%s", text);
}

static gboolean
needs_scsi(const LodgeGuest *guest)
{
    gboolean needs = FALSE;
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        needs = needs || disk->bus == LODGE_BUS_SCSI;
    }
    for (guint i = 0; i < guest->cdroms->len; i++) {
        const LodgeCdrom *cdrom = guest->cdroms->pdata[i];
        needs = needs || cdrom->bus == LODGE_BUS_SCSI;
    }
    return needs;
}

static void
add_seed_disk(LodgeCommand *command, const char *seed_disk)
{
    g_autofree char *path = lodge_command_pass_set(command, LODGE_PASS_READ, seed_disk);
    lodge_command_blockdev(command, lodge_disc_node("seed", path));
    lodge_command_option(command, "-device", "virtio-blk-pci,id=seed,drive=seed");
}

void
lodge_command_add_disks(LodgeCommand *command, const LodgeGuest *guest, const LodgeMachine *machine)
{
    g_autoptr(json_t) indexes = lodge_boot_indexes(guest, guest->boot);
    if (needs_scsi(guest)) {
        lodge_command_option(command, "-device", "virtio-scsi-pci,id=scsi");
    }
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        const LodgeDiskNodes nodes = {disk, i, machine->chains->pdata[i]};
        LodgeDrivePlace place = {.boot_index = boot_index(indexes, "disk", disk->name)};
        LodgeBus bus = lodge_drive_bus(guest, disk->bus, FALSE);
        add_nodes(command, &nodes);
        g_autofree char *id = g_strconcat("disk-", disk->name, NULL);
        g_autofree char *name = take_place(command, guest, bus, id, &place);
        place.bus = name;
        if (disk->iothread && bus == LODGE_BUS_VIRTIO) {
            lodge_command_option(command, "-object", "iothread,id=thread-%s", disk->name);
        }
        add_device(command, lodge_disk_device(guest, &nodes, &place));
    }
    if (machine->seed_disk != NULL) {
        add_seed_disk(command, machine->seed_disk);
    }
}

void
lodge_command_add_cdroms(LodgeCommand *command, const LodgeGuest *guest)
{
    g_autoptr(json_t) indexes = lodge_boot_indexes(guest, guest->boot);
    for (guint i = 0; i < guest->cdroms->len; i++) {
        const LodgeCdrom *cdrom = guest->cdroms->pdata[i];
        LodgeDrivePlace place = {.boot_index = boot_index(indexes, "cdrom", cdrom->name)};
        g_autofree char *node = cdrom->file != NULL ? g_strdup_printf("c%u", i) : NULL;
        if (node != NULL) {
            g_autofree char *path = lodge_command_pass_set(command, LODGE_PASS_READ, cdrom->file);
            lodge_command_blockdev(command, lodge_disc_node(node, path));
        }
        LodgeBus bus = lodge_drive_bus(guest, cdrom->bus, TRUE);
        g_autofree char *id = g_strconcat("cdrom-", cdrom->name, NULL);
        g_autofree char *name = take_place(command, guest, bus, id, &place);
        place.bus = name;
        add_device(command, lodge_cdrom_device(guest, cdrom, node, &place));
    }
}

static const char *
nic_device(const LodgeGuest *guest, const LodgeNic *nic)
{
    switch ((LodgeNicModel)nic->model) {
    case LODGE_NIC_AUTO:
        switch ((LodgeProfile)guest->profile) {
        case LODGE_PROFILE_STANDARD:
            return VIRTIO_NET;
        case LODGE_PROFILE_LEGACY:
            return "e1000";
        case LODGE_PROFILE_WINDOWS:
            return "e1000e";
        }
        return VIRTIO_NET;
    case LODGE_NIC_VIRTIO:
        return VIRTIO_NET;
    case LODGE_NIC_E1000:
        return "e1000";
    case LODGE_NIC_E1000E:
        return "e1000e";
    case LODGE_NIC_RTL8139:
        return "rtl8139";
    case LODGE_NIC_VMXNET3:
        return "vmxnet3";
    }
    return VIRTIO_NET;
}

static gboolean
add_forwards(GString *netdev, const LodgeNic *nic, GError **error)
{
    g_autoptr(GPtrArray)
        forwards = lodge_forwards_parse(nic->forward != NULL ? nic->forward : "", error);
    for (guint i = 0; forwards != NULL && i < forwards->len; i++) {
        const LodgeForward *forward = forwards->pdata[i];
        if (strchr(forward->address, ':') != NULL) {
            return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                                   "nic %s: the user-mode network forwards IPv4 only, not [%s]",
                                   nic->name, forward->address);
        }
        g_string_append_printf(netdev, ",hostfwd=%s:%s:%u-:%u", forward->udp ? "udp" : "tcp",
                               forward->address, forward->host_port, forward->guest_port);
    }
    return forwards != NULL;
}

static gboolean
add_netdev(LodgeCommand *command, const LodgeGuest *guest, const LodgeMachine *machine, guint i,
           GError **error)
{
    const LodgeNic *nic = guest->nics->pdata[i];
    const LodgeTap *tap = machine->taps != NULL ? &machine->taps[i] : NULL;
    if (tap != NULL && tap->link != NULL) {
        int fd = lodge_command_pass_open(command, tap->link, tap->fd);
        if (tap->is_socket) {
            lodge_command_option(command, "-netdev",
                                 "stream,id=n%u,server=on,addr.type=fd,addr.str=%d", i, fd);
            return TRUE;
        }
        g_autofree char *vhost = NULL;
        if (tap->vhost_fd >= 0 && g_str_equal(nic_device(guest, nic), VIRTIO_NET)) {
            int vhost_fd = lodge_command_pass_open(command, "vhost-net", tap->vhost_fd);
            vhost = g_strdup_printf(",vhost=on,vhostfd=%d", vhost_fd);
        }
        lodge_command_option(command, "-netdev", "tap,id=n%u,fd=%d%s", i, fd,
                             vhost != NULL ? vhost : "");
        return TRUE;
    }
    if (g_strcmp0(nic->network, "user") != 0) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "guest %s: nic %s: no network “%s”",
                               guest->name, nic->name, nic->network);
    }
    g_autoptr(GString) netdev = g_string_new(NULL);
    g_string_append_printf(netdev, "user,id=n%u", i);
    if (i == 0 && machine->ssh_port != 0) {
        g_string_append_printf(netdev, ",hostfwd=tcp:127.0.0.1:%u-:22", machine->ssh_port);
    }
    if (!add_forwards(netdev, nic, error)) {
        return lodge_error_prefix(error, "guest %s", guest->name);
    }
    lodge_command_option(command, "-netdev", "%s", netdev->str);
    return TRUE;
}

gboolean
lodge_command_add_nics(LodgeCommand *command, const LodgeGuest *guest, const LodgeMachine *machine,
                       GError **error)
{
    g_autoptr(json_t) indexes = lodge_boot_indexes(guest, guest->boot);
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        if (!add_netdev(command, guest, machine, i, error)) {
            return FALSE;
        }
        g_autofree char *id = g_strconcat("nic-", nic->name, NULL);
        g_autofree char *port = lodge_command_take_port(command, guest, id);
        guint index = boot_index(indexes, "nic", nic->name);
        g_autofree char *boot = index != 0 ? g_strdup_printf(",bootindex=%u", index)
                                           : g_strdup(",romfile=");
        /* Without its option ROM the BIOS has no network boot to try, and starts sooner. */
        lodge_command_option(command, "-device", "%s%s%s,id=nic-%s,netdev=n%u,mac=%s%s",
                             nic_device(guest, nic), port != NULL ? ",bus=" : "",
                             port != NULL ? port : "", nic->name, i, nic->mac, boot);
    }
    return TRUE;
}

void
lodge_command_add_pcis(LodgeCommand *command, const LodgeGuest *guest)
{
    for (guint i = 0; i < guest->pcis->len; i++) {
        const LodgePci *pci = guest->pcis->pdata[i];
        g_autofree char *id = g_strconcat("pci-", pci->name, NULL);
        g_autofree char *port = lodge_command_take_port(command, guest, id);
        add_device(command, lodge_pci_device(pci, port));
    }
}

static const char *
video_device(const LodgeGuest *guest)
{
    switch ((LodgeVideo)guest->video) {
    case LODGE_VIDEO_AUTO:
        return guest->profile == LODGE_PROFILE_LEGACY ? "cirrus-vga" : "VGA";
    case LODGE_VIDEO_NONE:
        return NULL;
    case LODGE_VIDEO_STD:
        return "VGA";
    case LODGE_VIDEO_VIRTIO:
        return "virtio-vga";
    case LODGE_VIDEO_CIRRUS:
        return "cirrus-vga";
    case LODGE_VIDEO_VMWARE:
        return "vmware-svga";
    }
    return NULL;
}

void
lodge_command_add_display(LodgeCommand *command, const LodgeGuest *guest)
{
    gboolean is_microvm = lodge_machine_type(guest) == LODGE_MACHINE_MICROVM;
    const char *video = is_microvm ? NULL : video_device(guest);
    /* A VNC server that listens nowhere: viewers' connections are handed to it. Until a password is
     * set it lets nobody in but those who were vouched for. */
    lodge_command_option(command, "-display", "%s",
                         video != NULL ? "vnc=none,password=on" : "none");
    if (!is_microvm) {
        lodge_command_option(command, "-device", "%s",
                             guest->profile == LODGE_PROFILE_LEGACY ? "piix3-usb-uhci,id=usb"
                                                                    : "qemu-xhci,id=usb");
    }
    if (video == NULL) {
        return;
    }
    lodge_command_option(command, "-device", "%s,id=video", video);
    /* A tablet says where the pointer is, so a viewer's and the guest's can't drift apart. */
    lodge_command_option(command, "-device", "usb-tablet,id=tablet,bus=usb.0");
    if (guest->keymap != NULL) {
        lodge_command_option(command, "-k", "%s", guest->keymap);
    }
}
