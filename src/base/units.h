/* Sizes and times as people write them. */
#pragma once

#include <glib.h>

/* "2G", "512M", "1.5T", "4096", "10 GiB": binary multiples, in bytes. USAGE error if it is none, is
 * negative, or passes 2^63. */
gboolean lodge_size_parse(const char *text, guint64 *out_bytes, GError **error);

/* The shortest text that lodge_size_parse() reads back as the same number: "2G", "1536M". */
char *lodge_size_format(guint64 size_bytes);

/* For people: "1.4 GiB", "0 B". */
char *lodge_size_human(guint64 size_bytes);

/* "90", "90s", "10m", "2h", "1500ms", "7d": in milliseconds; a bare number is seconds. */
gboolean lodge_duration_parse(const char *text, gint64 *out_ms, GError **error);

/* For people: "0.42 s", "12.1 s", "3 min 5 s", "2 h 10 min", "3 d 4 h". */
char *lodge_duration_human(gint64 time_ms);
