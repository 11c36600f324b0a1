/* The host's PCI devices and their IOMMU groups, as sysfs shows them. */
#pragma once

#include <glib.h>

typedef struct {
    char *address; /* "0000:01:00.0" */
    guint class;   /* as in PCI's header: 0x030000 is a VGA card */
    guint vendor, device;
    char *driver; /* that has it on this host, "vfio-pci"; NULL: none */
    int group;    /* IOMMU group; -1: none, so no guest can have it */
} LodgePciDevice;

/* The devices below <root>/sys in order of their addresses. @root is "" but in tests. A host
 * without PCI has none. LodgePciDevice * that it frees. */
GPtrArray *lodge_pci_devices(const char *root, GError **error);
void lodge_pci_device_free(LodgePciDevice *device);

/* The one at @address, written in full; NULL if there is none. */
const LodgePciDevice *lodge_pci_device_at(const GPtrArray *devices, const char *address);

/* "network", "display" …: the class in a word; "other" for rare ones. Static. */
const char *lodge_pci_class_word(const LodgePciDevice *device);

/* Bridges of the host's are no obstacle in a group, and no guest's. */
gboolean lodge_pci_is_bridge(const LodgePciDevice *device);

/* Why a guest could not be given this device; a static text, or NULL. */
const char *lodge_pci_obstacle(const GPtrArray *devices, const LodgePciDevice *device);
