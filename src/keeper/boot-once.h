/* One start from somewhere else than the definition says. Private to lodge-keeper. */
#pragma once

#include <glib.h>

#include "qmp/qmp.h"
#include "store/store.h"

/* Has `lodge start --boot-once` left word for this start? Then it is taken, @guest is changed for
 * this start, and what brings the boot order back is returned (json_decref). NULL: no. */
json_t *boot_once_take(const LodgeStore *store, LodgeGuest *guest);

/* Have QEMU go back to the definition's order at the guest's next reset; @order is taken, NULL is
 * fine. Doesn't wait. */
void boot_once_restore(LodgeQmp *qmp, json_t *order);
