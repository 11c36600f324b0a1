/* Host ports for guests' SSH, and whether forwarded ports are free. Private to the keeper. */
#pragma once

#include <glib.h>

#include "model/model.h"

/* Choose a free TCP port of 127.0.0.1, the same one for the same guest wherever possible, and
 * reserve it against other keepers until @out_reservation is closed. 0 with an error if none is. */
guint lodge_port_choose(const char *guest_folder, int *out_reservation, GError **error);

/* Are the host's ports of all forwards of @nic, and its ssh-port, free? BUSY, naming the port, if
 * not; UNSUPPORTED below 1024, where QEMU may not listen. */
gboolean lodge_ports_check(const LodgeNic *nic, GError **error);
