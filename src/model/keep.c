#include "config.h"

#include "model/keep.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

enum {
    NUMBER_AT_MOST = 9999,
};

static guint *
field_of(LodgeKeep *keep, char letter)
{
    switch (letter) {
    case 'h':
        return &keep->hours;
    case 'd':
        return &keep->days;
    case 'w':
        return &keep->weeks;
    case 'm':
        return &keep->months;
    case 'y':
        return &keep->years;
    default:
        return NULL;
    }
}

gboolean
lodge_keep_parse(const char *text, LodgeKeep *out_keep, GError **error)
{
    LodgeKeep keep = {0};
    guint total = 0;
    g_auto(GStrv) words = g_strsplit_set(text, " ,", -1);
    for (gsize i = 0; words[i] != NULL; i++) {
        char *end = words[i];
        if (*end == '\0') {
            continue;
        }
        guint64 number = g_ascii_isdigit(*end) ? g_ascii_strtoull(words[i], &end, 10) : 0;
        guint *field = *end != '\0' && end[1] == '\0' ? field_of(&keep, *end) : NULL;
        if (number == 0 || number > NUMBER_AT_MOST || field == NULL) {
            return lodge_error_set(error, LODGE_ERROR_USAGE,
                                   "“%s”: write how many hours, days, weeks, months or years have "
                                   "a point kept, like \"7d 4w 6m\"",
                                   words[i]);
        }
        *field = (guint)number;
        total += (guint)number;
    }
    if (total == 0) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s” keeps nothing: write it like \"7d 4w 6m\"", text);
    }
    *out_keep = keep;
    return TRUE;
}

/* A number that is the same for all times of one hour, day, week … */
static gint64
period_of(GDateTime *time, char letter)
{
    gint64 year = g_date_time_get_year(time);
    switch (letter) {
    case 'h':
        return (year * 366 + g_date_time_get_day_of_year(time)) * 24 + g_date_time_get_hour(time);
    case 'd':
        return year * 366 + g_date_time_get_day_of_year(time);
    case 'w':
        return (gint64)g_date_time_get_week_numbering_year(time) * 54 +
               g_date_time_get_week_of_year(time);
    case 'm':
        return year * 12 + g_date_time_get_month(time);
    default:
        return year;
    }
}

gboolean *
lodge_keep_choose(const LodgeKeep *keep, const gint64 *times, gsize count, GTimeZone *zone)
{
    static const char letters[] = "hdwmy";
    LodgeKeep left = *keep;
    gboolean *chosen = g_new0(gboolean, count + 1);
    if (count > 0) {
        chosen[count - 1] = TRUE;
    }
    for (const char *letter = letters; *letter != '\0'; letter++) {
        guint *number = field_of(&left, *letter);
        gint64 last = -1;
        for (gsize i = count; i > 0 && *number > 0; i--) {
            g_autoptr(GDateTime) utc = g_date_time_new_from_unix_utc(times[i - 1]);
            g_autoptr(GDateTime) local = utc != NULL ? g_date_time_to_timezone(utc, zone) : NULL;
            gint64 period = local != NULL ? period_of(local, *letter) : -1;
            if (period != last) {
                chosen[i - 1] = TRUE;
                last = period;
                (*number)--;
            }
        }
    }
    return chosen;
}
