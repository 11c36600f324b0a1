/* A guest's NICs on the host's networks. Private to the keeper. */
#pragma once

#include <glib.h>

#include "qemu/command.h"
#include "store/store.h"

/* Start the networks that the guest's NICs are on, if they are not running, and open a tap for each
 * such NIC; of a guest under @kvm the kernel carries the packets, where it can. The result has an
 * element for each NIC, and is freed with lodge_taps_free(). */
LodgeTap *lodge_taps_open(const LodgeStore *store, const LodgeGuest *guest, gboolean kvm,
                          GError **error);
void lodge_taps_free(LodgeTap *taps, guint count);

/* The address at which the host reaches a guest whose taps are open: of the first NIC that has one,
 * on a network where the host is too. Free with g_free; NULL: none is known. */
char *lodge_nics_address(const LodgeStore *store, const LodgeGuest *guest);

/* Take away what the networks have of the guest. Its taps are gone with its QEMU. */
void lodge_taps_forget(const LodgeStore *store, const char *guest);
