#include "config.h"

#include "model/schedule.h"

#include <string.h>

#include "base/base.h"
#include "model/point.h"

enum {
    LEAST_MS = 60 * 1000,
    MOST_KEPT = 1000,
};

gboolean
lodge_schedule_parse(const char *text, LodgeSchedule *out_schedule, GError **error)
{
    guint64 keep = 0;
    LodgeSchedule schedule = {0};
    g_autofree char *trimmed = g_strstrip(g_strdup(text));
    g_auto(GStrv) words = g_strsplit(trimmed, " ", -1);
    guint count = g_strv_length(words);
    if (count < 4 || count > 5 || !g_str_equal(words[0], "every") ||
        !g_str_equal(words[2], "keep") ||
        !lodge_duration_parse(words[1], &schedule.every_ms, NULL) ||
        !g_ascii_string_to_unsigned(words[3], 10, 1, MOST_KEPT, &keep, NULL) ||
        (count == 5 && !g_str_equal(words[4], "disks-only"))) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s”: write it like \"every 10m keep 6\" or \"every 1d keep 7 "
                               "disks-only\"",
                               text);
    }
    if (schedule.every_ms < LEAST_MS) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s”: a minute is the shortest time between two", text);
    }
    schedule.keep = (guint)keep;
    schedule.disks_only = count == 5;
    *out_schedule = schedule;
    return TRUE;
}

char *
lodge_schedule_name(gint64 time_s)
{
    g_autofree char *name = lodge_point_name(time_s);
    return g_strconcat(LODGE_SCHEDULED_PREFIX, name, NULL);
}

gint64
lodge_schedule_time(const char *name)
{
    return g_str_has_prefix(name, LODGE_SCHEDULED_PREFIX)
               ? lodge_point_time(name + strlen(LODGE_SCHEDULED_PREFIX))
               : -1;
}

gint64
lodge_schedule_due(const LodgeSchedule *schedule, const char *const *names, gint64 since_s)
{
    gint64 last_s = since_s;
    for (gsize i = 0; names[i] != NULL; i++) {
        last_s = MAX(last_s, lodge_schedule_time(names[i]));
    }
    return last_s + schedule->every_ms / 1000;
}
