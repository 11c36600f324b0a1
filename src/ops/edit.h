/* Changing one section of a guest's definition, comments kept. Private to this layer. */
#pragma once

#include <glib.h>

#include "ops/session.h"

typedef enum {
    EDIT_DEFINITION, /* guest.conf: what shall be */
    EDIT_STARTED,    /* what the running QEMU has taken; nothing to do if none runs */
} EditWhere;

/* Set keys of the section @group ("disk data"), which is made if absent. @pairs are keys and values
 * in turn, ended by NULL; "" as a value takes the key away. @pairs NULL removes the section.
 * INVALID if the definition would be malformed; it is then as it was. */
gboolean edit_section(const Session *session, EditWhere where, const char *group,
                      const char *const *pairs, GError **error);
