/* All that must be found out before a guest's command line can be written. Private to the keeper.
 */
#pragma once

#include <glib.h>

#include "keeper/memory.h"
#include "keeper/passt.h"
#include "qemu/command.h"
#include "store/store.h"

typedef struct {
    LodgeCommand *command;
    gboolean kvm;
    guint ssh_port;
    char *ssh_host; /* NULL: 127.0.0.1 */
    LodgeTap *taps; /* for each NIC */
    guint tap_count;
    int port_reservation;
    KeeperMemory memory;
} LodgePlan;

/* Decide on acceleration and ports, walk the disks' chains, find the firmware, and build the
 * command; make the UEFI's variables if there are none. aio=auto of @guest's disks is settled.
 * @tpm_fd: the socket to swtpm. @passts begin, unless what QEMU is to read has a network of its
 * own. Errors name what is missing or in the way. */
LodgePlan *lodge_plan_make(const LodgeStore *store, LodgeGuest *guest, LodgeBegin begin, int tpm_fd,
                           Passts *passts, GError **error);
/* Where SSH gets into a guest whose first NIC is not on the user-mode network, replacing @host and
 * @port. FALSE: it is, and its port stays. */
gboolean lodge_plan_find_host(const LodgeStore *store, const LodgeGuest *guest, char **host,
                              guint *port);
void lodge_plan_free(LodgePlan *plan);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgePlan, lodge_plan_free)
