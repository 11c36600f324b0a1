/* The host's PCI devices that guests have: taken from the host's drivers before QEMU opens them,
 * and given back when it has let go. */
#pragma once

#include <glib.h>

#include "host/pci.h"
#include "store/store.h"

/* The rule of @guest that takes the device at @address, written in full; borrowed; NULL: none. */
const LodgePci *lodge_pci_rule(const LodgeGuest *guest, const char *address);

/* Which guest's rule takes the device at @address, and under which name. Strings with g_free;
 * FALSE: none. */
gboolean lodge_pci_owner(const LodgeStore *store, const char *address, char **out_guest,
                         char **out_name);

/* Can @guest, with the rules of its definition, have @device? All of its IOMMU group must be this
 * guest's, or nobody's. BUSY, NOT_FOUND, UNSUPPORTED that say what is in the way and the mend. */
gboolean lodge_pci_check(const LodgeStore *store, const LodgeGuest *guest, const char *address,
                         GError **error);

/* Take the devices of the definition (or only the one of the rule @name; NULL: all) for QEMU's user
 * @uid. What is taken stands in the run folder, and on failure is given back. UNSUPPORTED without
 * root. */
gboolean lodge_pcis_take(const LodgeStore *store, const LodgeGuest *guest, const char *name,
                         uid_t uid, GError **error);

/* Give back what was taken for the guest: all, or what is at @address. What can't be is left. */
void lodge_pcis_give_back(const LodgeStore *store, const char *guest, const char *address);

/* How much memory QEMU must be allowed to lock, in bytes: devices write to the guest's memory, so
 * none of it may move. 0: the guest has no such device. */
guint64 lodge_pcis_locked_bytes(const LodgeGuest *guest);
