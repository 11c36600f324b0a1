/* NICs of a running guest on the network `user`, or that move from it or to it. Private to this
 * layer. */
#pragma once

#include "ops/live.h"

/* Pull NIC number @index out of the guest, which must let go of it, and plug it in again as @nic
 * says, in the same place and with the same MAC: it was @old. On failure it is plugged in as it
 * was, if the guest has let go of it at all. */
gboolean nic_replug(const LiveChange *change, const LodgeNic *old, const LodgeNic *nic, guint index,
                    GError **error);

/* The keeper says where SSH gets in, and begins passts: it reads the definition anew. */
void nic_tell_keeper(const Session *session);

/* Is it passt that NIC number @index has for its network? Else QEMU's own serves. */
gboolean nic_has_passt(const Session *session, guint index);

/* Have the keeper begin that passt anew with @nic's forwards, and wait until it has. FAILED if
 * passt can't have them, with its reason: those that were go on. */
gboolean nic_forward_by_passt(const LiveChange *change, const LodgeNic *nic, guint index,
                              GError **error);
