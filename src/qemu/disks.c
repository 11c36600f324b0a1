#include "config.h"

#include "qemu/disks.h"

#include <string.h>

#include "base/base.h"
#include "qemu/builder.h"

static char *
node_name(guint disk, guint layer)
{
    return layer == 0 ? g_strdup_printf("d%u", disk) : g_strdup_printf("d%u-%u", disk, layer);
}

static const char *
aio_word(const LodgeDisk *disk)
{
    switch ((LodgeAio)disk->aio) {
    case LODGE_AIO_AUTO:
        return disk->cache == LODGE_CACHE_NONE ? "native" : "threads";
    case LODGE_AIO_THREADS:
        return "threads";
    case LODGE_AIO_NATIVE:
        return "native";
    case LODGE_AIO_IO_URING:
        return "io_uring";
    }
    return "threads";
}

void
lodge_disks_choose_aio(LodgeGuest *guest, gboolean io_uring)
{
    for (guint i = 0; i < guest->disks->len; i++) {
        LodgeDisk *disk = guest->disks->pdata[i];
        if (io_uring && disk->aio == LODGE_AIO_AUTO) {
            disk->aio = LODGE_AIO_IO_URING;
        }
    }
}

static json_t *
cache_options(const LodgeDisk *disk)
{
    return json_pack("{s:b, s:b}", "direct", disk->cache == LODGE_CACHE_NONE, "no-flush",
                     disk->cache == LODGE_CACHE_UNSAFE);
}

gboolean
lodge_disk_layer_is_written(const LodgeDiskNodes *nodes, guint depth)
{
    return depth == 0 && !nodes->disk->read_only;
}

json_t *
lodge_disk_file_node(const LodgeDiskNodes *nodes, guint depth, const char *path)
{
    const LodgeLayer *layer = nodes->chain->pdata[depth];
    const LodgeDisk *disk = nodes->disk;
    g_autofree char *name = node_name(nodes->number, depth);
    g_autofree char *file_name = g_strconcat(name, "-file", NULL);
    const char *driver = layer->is_block_device ? "host_device" : "file";
    json_t *node = layer->is_remote ? lodge_disk_remote(layer->path, NULL)
                                    : json_pack("{s:s}", "driver", driver);
    json_object_set_new(node, "node-name", json_string(file_name));
    if (!layer->is_remote) {
        json_object_set_new(node, "filename", json_string(path));
    }
    json_object_set_new(node, "read-only",
                        json_boolean(!lodge_disk_layer_is_written(nodes, depth)));
    json_object_set_new(node, "discard", json_string(disk->discard ? "unmap" : "ignore"));
    if (!layer->is_remote) {
        json_object_set_new(node, "aio", json_string(aio_word(disk)));
    }
    json_object_set_new(node, "cache", cache_options(disk));
    return node;
}

json_t *
lodge_disk_format_node(const LodgeDiskNodes *nodes, guint depth)
{
    const LodgeLayer *layer = nodes->chain->pdata[depth];
    const LodgeDisk *disk = nodes->disk;
    gboolean is_raw = g_str_equal(layer->format, "raw");
    gboolean is_written = lodge_disk_layer_is_written(nodes, depth);
    g_autofree char *name = node_name(nodes->number, depth);
    g_autofree char *file_name = g_strconcat(name, "-file", NULL);
    json_t *node = json_pack("{s:s, s:s, s:s, s:b, s:o}", "driver", is_raw ? "raw" : "qcow2",
                             "node-name", name, "file", file_name, "read-only", !is_written,
                             "cache", cache_options(disk));
    if (is_written) {
        json_object_set_new(node, "discard", json_string(disk->discard ? "unmap" : "ignore"));
        json_object_set_new(node, "detect-zeroes", json_string(disk->discard ? "unmap" : "off"));
    }
    if (!is_raw) {
        /* Named, so that QEMU never opens what the header says by itself. */
        g_autofree char *below = node_name(nodes->number, depth + 1);
        json_object_set_new(node, "backing",
                            depth + 1 < nodes->chain->len ? json_string(below) : json_null());
    }
    return node;
}

json_t *
lodge_disk_limit_node(const LodgeDiskNodes *nodes)
{
    g_autofree char *below = node_name(nodes->number, 0);
    g_autofree char *name = g_strconcat(below, "-limit", NULL);
    g_autofree char *group = g_strconcat("limit-", nodes->disk->name, NULL);
    json_t *node = json_pack("{s:s, s:s, s:s, s:s}", "driver", "throttle", "node-name", name,
                             "throttle-group", group, "file", below);
    if (nodes->disk->read_only) {
        /* Else the device wants to write, and is refused. */
        json_object_set_new(node, "read-only", json_true());
    }
    return node;
}

json_t *
lodge_disk_limits(const LodgeDisk *disk)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "iops-total", (json_int_t)disk->iops,
                     "iops-read", (json_int_t)disk->iops_read, "iops-write",
                     (json_int_t)disk->iops_write, "bps-total", (json_int_t)disk->bytes, "bps-read",
                     (json_int_t)disk->bytes_read, "bps-write", (json_int_t)disk->bytes_write);
}

json_t *
lodge_disc_node(const char *name, const char *path)
{
    return json_pack("{s:s, s:s, s:b, s:{s:s, s:s, s:b}}", "driver", "raw", "node-name", name,
                     "read-only", 1, "file", "driver", "file", "filename", path, "read-only", 1);
}

LodgeBus
lodge_drive_bus(const LodgeGuest *guest, int wanted, gboolean is_cdrom)
{
    gboolean is_pc = lodge_machine_type(guest) == LODGE_MACHINE_PC;
    LodgeBus bus = (LodgeBus)wanted;
    if (bus == LODGE_BUS_AUTO) {
        bus = guest->profile == LODGE_PROFILE_STANDARD && !is_cdrom ? LODGE_BUS_VIRTIO
                                                                    : LODGE_BUS_SATA;
    }
    /* q35 calls its AHCI ports ide.N, pc its two IDE channels: what is there is meant. */
    if (bus == LODGE_BUS_SATA && is_pc) {
        bus = LODGE_BUS_IDE;
    }
    return bus;
}

const char *
lodge_bus_word(LodgeBus bus)
{
    switch (bus) {
    case LODGE_BUS_AUTO:
        return "auto";
    case LODGE_BUS_VIRTIO:
        return "virtio";
    case LODGE_BUS_SCSI:
        return "scsi";
    case LODGE_BUS_SATA:
        return "sata";
    case LODGE_BUS_IDE:
        return "ide";
    case LODGE_BUS_USB:
        return "usb";
    }
    return "auto";
}

const char *
lodge_drive_driver(LodgeBus bus, gboolean is_cdrom)
{
    switch (bus) {
    case LODGE_BUS_AUTO:
    case LODGE_BUS_VIRTIO:
        return "virtio-blk-pci";
    case LODGE_BUS_SCSI:
        return is_cdrom ? "scsi-cd" : "scsi-hd";
    case LODGE_BUS_USB:
        return "usb-storage";
    case LODGE_BUS_SATA:
    case LODGE_BUS_IDE:
        return is_cdrom ? "ide-cd" : "ide-hd";
    }
    return "virtio-blk-pci";
}

static json_t *
device_at(const char *driver, const LodgeDrivePlace *place)
{
    json_t *device = json_pack("{s:s}", "driver", driver);
    if (place->bus != NULL) {
        json_object_set_new(device, "bus", json_string(place->bus));
    }
    if (place->unit >= 0) {
        json_object_set_new(device, "unit", json_integer(place->unit));
    }
    return device;
}

static void
set_boot_index(json_t *device, const LodgeDrivePlace *place)
{
    if (place->boot_index != 0) {
        json_object_set_new(device, "bootindex", json_integer(place->boot_index));
    }
}

json_t *
lodge_disk_device(const LodgeGuest *guest, const LodgeDiskNodes *nodes,
                  const LodgeDrivePlace *place)
{
    const LodgeDisk *disk = nodes->disk;
    LodgeBus bus = lodge_drive_bus(guest, disk->bus, FALSE);
    g_autofree char *id = g_strconcat("disk-", disk->name, NULL);
    g_autofree char *drive = g_strdup_printf("d%u-limit", nodes->number);
    json_t *device = device_at(lodge_drive_driver(bus, FALSE), place);
    json_object_set_new(device, "id", json_string(id));
    json_object_set_new(device, "drive", json_string(drive));
    set_boot_index(device, place);
    if (disk->iothread && bus == LODGE_BUS_VIRTIO) {
        g_autofree char *thread = g_strconcat("thread-", disk->name, NULL);
        json_object_set_new(device, "iothread", json_string(thread));
    }
    if (bus == LODGE_BUS_USB) {
        /* Guests treat a stick as one that may be drawn at any time, and flush it sooner. */
        json_object_set_new(device, "removable", json_true());
    }
    if (disk->cache == LODGE_CACHE_WRITETHROUGH) {
        json_object_set_new(device, "write-cache", json_string("off"));
    }
    return device;
}

json_t *
lodge_cdrom_device(const LodgeGuest *guest, const LodgeCdrom *cdrom, const char *node,
                   const LodgeDrivePlace *place)
{
    LodgeBus bus = lodge_drive_bus(guest, cdrom->bus, TRUE);
    g_autofree char *id = g_strconcat("cdrom-", cdrom->name, NULL);
    json_t *device = device_at(lodge_drive_driver(bus, TRUE), place);
    json_object_set_new(device, "id", json_string(id));
    if (node != NULL) {
        json_object_set_new(device, "drive", json_string(node));
    }
    set_boot_index(device, place);
    return device;
}

json_t *
lodge_pci_device(const LodgePci *pci, const char *bus)
{
    char address[LODGE_PCI_ADDRESS_BYTES] = "";
    const LodgeDrivePlace place = {.bus = bus, .unit = -1};
    g_autofree char *id = g_strconcat("pci-", pci->name, NULL);
    json_t *device = device_at("vfio-pci", &place);
    lodge_pci_address_parse(pci->device, address, NULL); /* the definition was checked */
    json_object_set_new(device, "host", json_string(address));
    json_object_set_new(device, "id", json_string(id));
    return device;
}

char *
lodge_device_text(const json_t *device)
{
    const char *key = NULL;
    const json_t *value = NULL;
    g_autoptr(GString) text = g_string_new(lodge_json_string(device, "driver", ""));
    json_object_foreach ((json_t *)device, key, value) {
        if (g_str_equal(key, "driver")) {
            continue;
        }
        if (json_is_boolean(value)) {
            g_string_append_printf(text, ",%s=%s", key, json_is_true(value) ? "on" : "off");
        } else if (json_is_integer(value)) {
            g_string_append_printf(text, ",%s=%" JSON_INTEGER_FORMAT, key,
                                   json_integer_value(value));
        } else {
            g_string_append_printf(text, ",%s=%s", key, json_string_value(value));
        }
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* Each of these structures begins with its object's name. */
static void
add_indexes(json_t *indexes, const GPtrArray *objects, const char *prefix, guint first)
{
    for (guint i = 0; i < objects->len; i++) {
        g_autofree char *id = g_strconcat(prefix, *(char *const *)objects->pdata[i], NULL);
        json_object_set_new(indexes, id, json_integer(first + i));
    }
}

json_t *
lodge_boot_indexes(const LodgeGuest *guest, const char *boot)
{
    json_t *indexes = json_object();
    g_auto(GStrv) kinds = g_strsplit(boot, ",", -1);
    for (guint i = 0; kinds[i] != NULL; i++) {
        guint first = i * 100 + 1;
        if (g_str_equal(kinds[i], "disk")) {
            add_indexes(indexes, guest->disks, "disk-", first);
        } else if (g_str_equal(kinds[i], "cdrom")) {
            add_indexes(indexes, guest->cdroms, "cdrom-", first);
        } else if (g_str_equal(kinds[i], "net")) {
            add_indexes(indexes, guest->nics, "nic-", first);
        }
    }
    return indexes;
}
