/* Lists as the kernel writes those of CPUs and memory nodes: "0-3,8". */
#pragma once

#include <glib.h>

/* Read it: guint each, in the order of the text, 1 to 1024 of them. INVALID if it is malformed, or
 * a number is beyond @most. Free with g_array_unref. */
GArray *lodge_number_list_parse(const char *text, guint most, GError **error);

/* The reverse, with ranges where numbers follow each other. Free with g_free. */
char *lodge_number_list_format(const GArray *numbers);

gboolean lodge_number_list_has(const GArray *numbers, guint number);
