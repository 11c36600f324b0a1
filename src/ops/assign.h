/* KEY=VALUE as a user writes it: memory=2G, limits.cpu=150%, disk.root.iops=500. Private to this
 * layer. */
#pragma once

#include <glib.h>

#include "model/model.h"

/* "disk root", "iops" -> "disk.root.iops"; "guest", "memory" -> "memory". Free with g_free. */
char *assign_spell(const char *group, const char *key);

/* The reverse. @out_key is the schema's; free @out_group with g_free. USAGE, with a suggestion, for
 * what is no key; NOT_FOUND if @file has no such object. */
gboolean assign_resolve(GKeyFile *file, const char *spelling, char **out_group,
                        const LodgeKey **out_key, GError **error);

/* Set the key in @file; "KEY=" takes it away. The errors of assign_resolve(), and USAGE or INVALID
 * for a value that can't be. Whether the values fit together is for lodge_guest_parse() to say. */
gboolean assign(GKeyFile *file, const char *assignment, GError **error);
