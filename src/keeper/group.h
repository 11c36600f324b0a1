/* A guest's control group: made by its keeper, changed by `lodge limits`, seen by `lodge top`.
 * Where it is stands in the guest's run folder, in the file `cgroup`. */
#pragma once

#include <glib.h>

#include "host/cgroup.h"
#include "store/store.h"

/* What the definition asks for. */
LodgeCgroupLimits lodge_limits_of(const LodgeGuest *guest);
/* Does it ask for anything? */
gboolean lodge_limits_asked(const LodgeGuest *guest);

/* Put the guest's QEMU into a group of its own, with its limits, and publish where. On failure
 * (UNSUPPORTED, with the reason) the reason is published instead, and QEMU stays where it is. */
gboolean lodge_limits_place(const LodgeStore *store, const LodgeGuest *guest, pid_t qemu_pid,
                            GError **error);

/* The group that was published; NULL if there is none, the reason then goes to @out_why (may be
 * NULL; itself NULL if nothing is known). Free both. */
LodgeCgroup *lodge_limits_cgroup(const LodgeStore *store, const char *name, char **out_why);

/* Remove the group of a guest whose QEMU has ended. Nothing to remove is fine. */
void lodge_limits_remove(const LodgeStore *store, const char *name);
