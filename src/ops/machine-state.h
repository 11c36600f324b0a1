/* What a machine is besides its memory and disks: its devices' state, written and read by QEMU's
 * migration. Memory that is a file shared with others is left out of it. Private to this layer. */
#pragma once

#include <glib.h>

#include "qmp/qmp.h"

/* Have a machine that stands still write it to @path, which is made. Its disks are at rest then. */
gboolean machine_state_write(LodgeQmp *qmp, const char *path, gint64 deadline, GError **error);

/* Cut what user-mode networks said out of a state in the file @fd: they begin anew. Their
 * connections can't be had twice, and an address that was leased to one MAC should be had by
 * others'. And who reads it need have none: passt serves as well. */
gboolean machine_state_cut_networks(int fd, GError **error);

/* Have a QEMU that waits for it read it from @path. FAILED if it can't, with QEMU's reason if it
 * gives one; it ends then. */
gboolean machine_state_read(LodgeQmp *qmp, const char *path, gint64 deadline, GError **error);
