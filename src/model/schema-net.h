/* Values of key files that are of the network's kind. Private to the model. */
#pragma once

#include <glib.h>

#include "model/schema.h"

/* Check @value of one of the types from LODGE_TYPE_LINK to LODGE_TYPE_VLANS; its canonical
 * spelling goes to @out_text (g_free). USAGE error. */
gboolean lodge_schema_net_value(LodgeValueType type, const char *value, char **out_text,
                                GError **error);
