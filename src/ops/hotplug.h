/* Drives that come to a running QEMU, and go. What QEMU opens is opened here and passed as a
 * descriptor, as at start. Private to this layer. */
#pragma once

#include <glib.h>

#include "ops/session.h"
#include "qemu/disks.h"

typedef struct {
    LodgeQmp *qmp;
    const LodgeGuest *guest;
    gint64 deadline;
} Hotplug;

/* Can something be plugged into @bus of this guest while it runs? If not, why: a static text. */
const char *hotplug_obstacle(const LodgeGuest *guest, LodgeBus bus);

/* Plug in a disk: nodes of all layers of @chain, limits, device. On failure nothing of it stays. */
gboolean hotplug_add_disk(const Hotplug *hotplug, const LodgeDisk *disk, const GPtrArray *chain,
                          GError **error);

/* Ask the guest to give up the device @id, and wait until it has. One that isn't there is fine.
 * TIMEOUT, with the mend, if the guest keeps it. */
gboolean hotplug_remove_device(const Hotplug *hotplug, const char *id, GError **error);

/* Remove what stood behind a disk's device: nodes, descriptors, limits. */
gboolean hotplug_drop_disk(const Hotplug *hotplug, const char *disk, GError **error);

/* The node "dN-limit" to which the device of @disk is attached. Free with g_free; NULL: NOT_FOUND.
 */
char *hotplug_disk_node(const Hotplug *hotplug, const char *disk, GError **error);

/* The number N of the nodes of @disk. -1 on error. */
int hotplug_disk_number(const Hotplug *hotplug, const char *disk, GError **error);

/* The format nodes of disk N as they stand on each other, the top first: char * that it frees.
 * Those that QEMU does not use, because a command was killed, are dropped before. */
GPtrArray *hotplug_disk_layers(const Hotplug *hotplug, guint number, GError **error);

/* The descriptor set that the file node @node was opened by; -1: by none. */
int hotplug_node_set(const Hotplug *hotplug, const char *node);

/* Delete a file node, and the descriptor set @set that it was opened by (-1: none). */
gboolean hotplug_drop_file(const Hotplug *hotplug, const char *file, int set, GError **error);

/* Delete one format node with its file and descriptors; no other must stand on it. */
gboolean hotplug_drop_layer(const Hotplug *hotplug, const char *node, GError **error);

/* Where on @bus something can be plugged: its name ("port5", "scsi.0"), free with g_free. Makes a
 * SCSI controller if there is none. BUSY if all places are taken. */
char *hotplug_find_place(const Hotplug *hotplug, LodgeBus bus, GError **error);

/* Plug in a device; @device is taken. */
gboolean hotplug_add_device(const Hotplug *hotplug, json_t *device, GError **error);

/* Is there a device (or bus, by its path below /machine/peripheral) of that id? */
gboolean hotplug_has_device(const Hotplug *hotplug, const char *id);

/* Open @path and pass it: "/dev/fdset/N" for QEMU to open. Free with g_free. */
char *hotplug_pass(const Hotplug *hotplug, const char *path, gboolean is_written, GError **error);

/* Add a block node; @node is taken. */
gboolean hotplug_add_node(const Hotplug *hotplug, json_t *node, GError **error);

/* The lowest N for which there is no node "<letter>N" or "<letter>N-…". -1 on error. */
int hotplug_free_number(const Hotplug *hotplug, char letter, GError **error);

/* Delete the nodes "<letter>N" and "<letter>N-…" with the descriptors they have. */
gboolean hotplug_drop_nodes(const Hotplug *hotplug, char letter, guint number, GError **error);
