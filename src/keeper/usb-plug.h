/* The host's USB devices that a guest has from its start. Private to lodge-keeper. */
#pragma once

#include <glib.h>

#include "qmp/qmp.h"
#include "store/store.h"

/* Pass to QEMU those devices of the definition that are plugged in now. Doesn't wait; what fails is
 * an event in the log, and no reason not to start: rules also hold for devices that are away. */
void usb_plug_all(LodgeQmp *qmp, const LodgeStore *store, const LodgeGuest *guest);
