/* Disks and CD drives as QEMU's objects: the same nodes and devices are written into a command line
 * at start, and sent by QMP to a QEMU that runs. All pure; JSON comes as new references.
 *
 * Disk N is node "dN" over the protocol node "dN-file"; its backing layers are "dN-1", "dN-2" …;
 * above it is "dN-limit", to which the guest's device is attached, so that limits can come and go.
 * Node names are limited to 31 bytes, so they are numbers rather than the disk's name. A CD drive's
 * disc is "cN". */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "model/model.h"
#include "qemu/qcow2.h"

/* One disk and where it goes. */
typedef struct {
    const LodgeDisk *disk;
    guint number;           /* N */
    const GPtrArray *chain; /* LodgeLayer *, the top first */
} LodgeDiskNodes;

/* Settle what aio=auto is, on a host that does @io_uring or not. */
void lodge_disks_choose_aio(LodgeGuest *guest, gboolean io_uring);

/* Does QEMU write to layer @depth (0: the top)? */
gboolean lodge_disk_layer_is_written(const LodgeDiskNodes *nodes, guint depth);

/* The protocol node of layer @depth. @path is what QEMU opens ("/dev/fdset/5"); NULL for a layer
 * that is not a file of this host. */
json_t *lodge_disk_file_node(const LodgeDiskNodes *nodes, guint depth, const char *path);
/* The format node above it. */
json_t *lodge_disk_format_node(const LodgeDiskNodes *nodes, guint depth);
/* The filter on top. */
json_t *lodge_disk_limit_node(const LodgeDiskNodes *nodes);

/* The disk's limits as QAPI's ThrottleLimits; all members are there, 0 is none. */
json_t *lodge_disk_limits(const LodgeDisk *disk);

/* The disc in a drive: the raw node @name that reads @path. */
json_t *lodge_disc_node(const char *name, const char *path);

/* What `auto` comes to for a disk or CD drive of this guest. */
LodgeBus lodge_drive_bus(const LodgeGuest *guest, int wanted, gboolean is_cdrom);
const char *lodge_bus_word(LodgeBus bus);

/* The device's driver: "virtio-blk-pci", "scsi-cd" … Static. */
const char *lodge_drive_driver(LodgeBus bus, gboolean is_cdrom);

/* What a device is made with, besides its definition. */
typedef struct {
    const char *bus;  /* "port3", "scsi.0"; NULL: QEMU's choice */
    int unit;         /* -1: QEMU's choice */
    guint boot_index; /* 0: none */
} LodgeDrivePlace;

/* The arguments of -device and device_add; "driver" comes first. */
json_t *lodge_disk_device(const LodgeGuest *guest, const LodgeDiskNodes *nodes,
                          const LodgeDrivePlace *place);
/* @node NULL: the drive is empty. */
json_t *lodge_cdrom_device(const LodgeGuest *guest, const LodgeCdrom *cdrom, const char *node,
                           const LodgeDrivePlace *place);

/* A PCI device of the host's; @bus as in a place. */
json_t *lodge_pci_device(const LodgePci *pci, const char *bus);

/* The same as -device's text: "virtio-blk-pci,bus=port1,id=disk-root". Free with g_free. */
char *lodge_device_text(const json_t *device);

/* The boot order as device ids and bootindex values: {"disk-root": 1, "cdrom-cd": 101}. @boot is
 * the words of the key boot=. Kinds are 100 apart; devices of a kind follow each other. */
json_t *lodge_boot_indexes(const LodgeGuest *guest, const char *boot);

/* Is a disk's file= none of this host's files, but "nbd://HOST[:PORT][/EXPORT]" or
 * "rbd:POOL[/NAMESPACE]/IMAGE"? */
gboolean lodge_disk_is_remote(const char *file);
/* The protocol node's arguments for such a one: "driver" and what belongs to it. INVALID if it is
 * malformed. */
json_t *lodge_disk_remote(const char *file, GError **error);
