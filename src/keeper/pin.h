/* A guest's virtual CPUs on the host's: pin=. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "model/model.h"

/* Are pin= and numa= what this host has? UNSUPPORTED that says what it has. */
gboolean lodge_pin_check(const LodgeGuest *guest, GError **error);

/* Have each virtual CPU's thread stay where the definition wants it; without pin=, let it go
 * anywhere. @cpus is the result of query-cpus-fast. */
gboolean lodge_pin_apply(const LodgeGuest *guest, const json_t *cpus, GError **error);
