/* A NIC of a running guest that moves from the network `user`, or to it. Private to this layer. */
#pragma once

#include "ops/live.h"

/* Pull NIC number @index out of the guest, which must let go of it, and plug it in again as @nic
 * says, in the same place and with the same MAC: it was @old. On failure it is plugged in as it
 * was, if the guest has let go of it at all. */
gboolean nic_replug(const LiveChange *change, const LodgeNic *old, const LodgeNic *nic, guint index,
                    GError **error);
