/* Where a running QEMU has its devices. Private to this layer. */
#pragma once

#include <glib.h>

#include "ops/hotplug.h"

/* See that another QEMU could have the devices that this one has, where it has them, so that it can
 * read their state. *@out_layout: where that is (see qemu/command.h), if they came or went since it
 * was started; else NULL. Free it with g_free. UNSUPPORTED names a device that no command line can
 * have in its place, and the mend. */
gboolean live_layout(const Hotplug *hotplug, pid_t qemu, char **out_layout, GError **error);
