/* Handing a PCI device from the host's driver to vfio-pci, and back. */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "host/pci.h"

/* Have vfio-pci drive @device, whatever did before; it is loaded if need be. One that has it
 * already is fine. UNSUPPORTED if this kernel has no vfio-pci; FAILED if it does not take the
 * device, which then has its old driver again. @root as for lodge_pci_devices(). */
gboolean lodge_pci_take(const char *root, const LodgePciDevice *device, GError **error);

/* Give the device at @address back to @driver ("": to none, NULL: to whichever wants it). */
gboolean lodge_pci_give_back(const char *root, const char *address, const char *driver,
                             GError **error);

/* Let the user @uid open the device's IOMMU group; 0 takes that back. A group that is not there any
 * more is fine. */
gboolean lodge_pci_lend_group(const char *root, int group, uid_t uid, GError **error);
