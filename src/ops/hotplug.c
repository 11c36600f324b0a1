/* Devices of a running QEMU: where they fit, how they come and go. */
#include "config.h"

#include "ops/hotplug.h"

#include <string.h>

#include "base/base.h"
#include "qemu/command.h"

enum {
    PORTS_AT_MOST = 256,
};

const char *
hotplug_obstacle(const LodgeGuest *guest, LodgeBus bus)
{
    switch (bus) {
    case LODGE_BUS_SATA:
    case LODGE_BUS_IDE:
        return "its bus takes nothing while the guest runs (virtio, scsi and usb do)";
    case LODGE_BUS_AUTO:
    case LODGE_BUS_VIRTIO:
    case LODGE_BUS_SCSI:
    case LODGE_BUS_USB:
        break;
    }
    return lodge_machine_type(guest) == LODGE_MACHINE_MICROVM
               ? "machine=microvm takes nothing while the guest runs"
               : NULL;
}

gboolean
hotplug_has_device(const Hotplug *hotplug, const char *id)
{
    g_autofree char *path = g_strconcat("/machine/peripheral/", id, NULL);
    return lodge_qmp_run(hotplug->qmp, hotplug->deadline, NULL, "qom-list", "{s:s}", "path", path);
}

/* QEMU's object tree rather than query-pci, which shows nothing behind ports before the guest's
 * firmware has numbered them. NULL: there is no such port. */
static json_t *
list_port(const Hotplug *hotplug, guint number)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/port%u/port%u", number, number);
    return lodge_qmp_ask(hotplug->qmp, hotplug->deadline, NULL, "qom-list", "{s:s}", "path", path);
}

static gboolean
has_child(const json_t *properties)
{
    gsize i = 0;
    const json_t *property = NULL;
    json_array_foreach (properties, i, property) {
        if (g_str_has_prefix(lodge_json_string(property, "name", ""), "child[")) {
            return TRUE;
        }
    }
    return FALSE;
}

static char *
find_port(const Hotplug *hotplug, GError **error)
{
    if (lodge_machine_type(hotplug->guest) == LODGE_MACHINE_PC) {
        return g_strdup("pci.0");
    }
    for (guint number = 1; number < PORTS_AT_MOST; number++) {
        g_autoptr(json_t) properties = list_port(hotplug, number);
        if (properties == NULL) {
            break;
        }
        if (!has_child(properties)) {
            return g_strdup_printf("port%u", number);
        }
    }
    lodge_error_set(error, LODGE_ERROR_BUSY,
                    "all its ports for devices are taken (a restart makes new ones; bus=scsi and "
                    "bus=usb need none)");
    return NULL;
}

gboolean
hotplug_add_device(const Hotplug *hotplug, json_t *device, GError **error)
{
    g_autoptr(json_t)
        done = lodge_qmp_call(hotplug->qmp, "device_add", device, hotplug->deadline, error);
    return done != NULL;
}

static gboolean
ensure_scsi(const Hotplug *hotplug, GError **error)
{
    if (hotplug_has_device(hotplug, "scsi")) {
        return TRUE;
    }
    g_autofree char *port = find_port(hotplug, error);
    return port != NULL &&
           hotplug_add_device(
               hotplug,
               json_pack("{s:s, s:s, s:s}", "driver", "virtio-scsi-pci", "id", "scsi", "bus", port),
               error);
}

char *
hotplug_find_place(const Hotplug *hotplug, LodgeBus bus, GError **error)
{
    const char *obstacle = hotplug_obstacle(hotplug->guest, bus);
    if (obstacle != NULL) {
        lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "%s", obstacle);
        return NULL;
    }
    switch (bus) {
    case LODGE_BUS_SCSI:
        return ensure_scsi(hotplug, error) ? g_strdup("scsi.0") : NULL;
    case LODGE_BUS_USB:
        return g_strdup("usb.0");
    case LODGE_BUS_AUTO:
    case LODGE_BUS_VIRTIO:
    case LODGE_BUS_SATA:
    case LODGE_BUS_IDE:
        break;
    }
    return find_port(hotplug, error);
}

static gboolean
add_layers(const Hotplug *hotplug, const LodgeDiskNodes *nodes, GError **error)
{
    for (guint depth = nodes->chain->len; depth-- > 0;) {
        const LodgeLayer *layer = nodes->chain->pdata[depth];
        gboolean is_written = lodge_disk_layer_is_written(nodes, depth);
        g_autofree char *path = layer->is_remote
                                    ? NULL
                                    : hotplug_pass(hotplug, layer->path, is_written, error);
        if ((path == NULL && !layer->is_remote) ||
            !hotplug_add_node(hotplug, lodge_disk_file_node(nodes, depth, path), error) ||
            !hotplug_add_node(hotplug, lodge_disk_format_node(nodes, depth), error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
add_limits(const Hotplug *hotplug, const LodgeDiskNodes *nodes, GError **error)
{
    const LodgeDisk *disk = nodes->disk;
    g_autofree char *limit = g_strconcat("limit-", disk->name, NULL);
    g_autofree char *thread = g_strconcat("thread-", disk->name, NULL);
    gboolean wants_thread = disk->iothread &&
                            lodge_drive_bus(hotplug->guest, disk->bus, FALSE) == LODGE_BUS_VIRTIO;
    return lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "object-add", "{s:s, s:s, s:o}",
                         "qom-type", "throttle-group", "id", limit, "limits",
                         lodge_disk_limits(disk)) &&
           (!wants_thread || lodge_qmp_run(hotplug->qmp, hotplug->deadline, error, "object-add",
                                           "{s:s, s:s}", "qom-type", "iothread", "id", thread)) &&
           hotplug_add_node(hotplug, lodge_disk_limit_node(nodes), error);
}

static gboolean
add_drive(const Hotplug *hotplug, const LodgeDiskNodes *nodes, GError **error)
{
    LodgeBus bus = lodge_drive_bus(hotplug->guest, nodes->disk->bus, FALSE);
    g_autofree char *place_name = hotplug_find_place(hotplug, bus, error);
    const LodgeDrivePlace place = {.bus = place_name, .unit = -1};
    return place_name != NULL &&
           hotplug_add_device(hotplug, lodge_disk_device(hotplug->guest, nodes, &place), error);
}

gboolean
hotplug_add_disk(const Hotplug *hotplug, const LodgeDisk *disk, const GPtrArray *chain,
                 GError **error)
{
    g_autofree char *id = g_strconcat("disk-", disk->name, NULL);
    if (hotplug_has_device(hotplug, id)) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS,
                               "the running guest still has a disk of that name");
    }
    /* What a detaching left that the guest took too long for. */
    if (!hotplug_drop_disk(hotplug, disk->name, error)) {
        return FALSE;
    }
    int number = hotplug_free_number(hotplug, 'd', error);
    if (number < 0) {
        return FALSE;
    }
    const LodgeDiskNodes nodes = {disk, (guint)number, chain};
    if (add_layers(hotplug, &nodes, error) && add_limits(hotplug, &nodes, error) &&
        add_drive(hotplug, &nodes, error)) {
        return TRUE;
    }
    hotplug_drop_nodes(hotplug, 'd', nodes.number, NULL);
    hotplug_drop_disk(hotplug, disk->name, NULL);
    return FALSE;
}

static gboolean
is_deletion_of(const json_t *event, gpointer id)
{
    return g_strcmp0(lodge_json_string(lodge_qmp_event_data(event), "device", NULL), id) == 0;
}

gboolean
hotplug_remove_device(const Hotplug *hotplug, const char *id, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (!lodge_qmp_run(hotplug->qmp, hotplug->deadline, &problem, "device_del", "{s:s}", "id",
                       id)) {
        if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
            return TRUE;
        }
        /* It was asked before, by a command that did not wait for so long. */
        if (strstr(problem->message, "in the process of unplug") == NULL) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        g_clear_error(&problem);
    }
    g_autoptr(json_t) event = lodge_qmp_wait_event(hotplug->qmp, "DEVICE_DELETED", is_deletion_of,
                                                   (gpointer)id, hotplug->deadline, &problem);
    if (event != NULL) {
        return TRUE;
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
        return lodge_error_set(error, LODGE_ERROR_TIMEOUT,
                               "the guest does not let go of it (unmount it there; a guest that "
                               "has not booted yet can't either; try again, or stop the guest "
                               "first)");
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}
