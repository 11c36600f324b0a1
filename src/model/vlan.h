/* Lists of VLANs, as in trunk=: "10 20-29". */
#pragma once

#include <glib.h>

typedef struct {
    guint16 first, last; /* 1 to 4094; the same for one alone */
} LodgeVlanRange;

/* Parse a list, divided by spaces or commas, into LodgeVlanRange; free with g_array_unref. USAGE
 * error if a number is no VLAN, or a range ends before it begins. */
GArray *lodge_vlans_parse(const char *text, GError **error);

/* As it would be written. Free with g_free. */
char *lodge_vlans_format(const GArray *ranges);
