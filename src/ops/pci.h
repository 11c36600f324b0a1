/* The host's PCI devices in guests. Rules stand in the definition, [pci NAME] device=…; the keeper
 * takes the devices from the host before the guest starts, and gives them back when it has ended
 * (keeper/pcis.h). */
#pragma once

#include <glib.h>

#include "ops/disk.h"

typedef struct {
    const char *guest;
    const char *address; /* lodge_pci_address_parse() */
    const char *name;    /* NULL: one is made */
    gboolean group;      /* all of its IOMMU group, bridges excepted */
} LodgePciWish;

/* Give a guest a device, now if it runs, else from its next start. @out_result names all that came,
 * "network, network-2". BUSY if the host or another guest uses what is in its group. */
gboolean lodge_pci_attach(const LodgeStore *store, const LodgePciWish *wish,
                          LodgeDiskResult *out_result, GError **error);

/* Take it away: @which is its name or its address. The host's driver gets it back at once. */
gboolean lodge_pci_detach(const LodgeStore *store, const char *guest, const char *which,
                          LodgeDiskResult *out_result, GError **error);
