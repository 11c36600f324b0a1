/* Forwarded ports of a guest on a NAT network. Private to the net layer. */
#pragma once

#include "net/net.h"

/* Can the port's forwards be had? BUSY, naming the one and who has it, if another guest's are the
 * same, or if a program of the host listens there, which would be cut off. */
gboolean lodge_net_check_forwards(const LodgeStore *store, const LodgePort *port, GError **error);
