/* Which points of a backup to keep: "7d 4w 6m" keeps the newest of each of the last seven days,
 * four weeks and six months that have one. Pure. */
#pragma once

#include <glib.h>

typedef struct {
    guint hours, days, weeks, months, years;
} LodgeKeep;

/* Words NUMBER and one of h, d, w, m, y, divided by spaces or commas. USAGE if it is anything else,
 * or nothing would be kept. */
gboolean lodge_keep_parse(const char *text, LodgeKeep *out_keep, GError **error);

/* Which of @count points, made at @times (seconds of the Unix epoch, rising), to keep; the newest
 * always. Days begin at midnight in @zone. Free with g_free. */
gboolean *lodge_keep_choose(const LodgeKeep *keep, const gint64 *times, gsize count,
                            GTimeZone *zone);
