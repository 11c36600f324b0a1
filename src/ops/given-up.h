/* Files in a guest's folder that Lodge may do away with as soon as nothing names them: new layers
 * until the definition does, and old ones whose snapshot was deleted. They are written down before
 * they are made or lose their name, so that nothing is left that no name owns, and nothing else is
 * ever removed. Private to this layer. */
#pragma once

#include <glib.h>

#include "store/store.h"

/* Their names, relative to the guest's folder; none is an empty list. Free with g_strfreev. NULL on
 * error. */
char **given_up_read(const LodgeStore *store, const char *guest, GError **error);

/* Add some (NULL-terminated), at one stroke. */
gboolean given_up_add(const LodgeStore *store, const char *guest, const char *const *files,
                      GError **error);

/* Let it be exactly these; none removes the list. */
gboolean given_up_write(const LodgeStore *store, const char *guest, const char *const *files,
                        GError **error);
