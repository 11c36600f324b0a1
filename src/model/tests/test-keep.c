#include "config.h"

#include <string.h>

#include "base/base.h"
#include "model/point.h"
#include "model/keep.h"

/* Which of the points, by their names, are kept: "20261121-120000 …". */
static char *
choose(const char *words, const char *points, const char *zone_name)
{
    LodgeKeep keep;
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_keep_parse(words, &keep, &error));
    g_assert_no_error(error);
    g_auto(GStrv) names = g_strsplit(points, " ", -1);
    gsize count = g_strv_length(names);
    g_autofree gint64 *times = g_new0(gint64, count + 1);
    for (gsize i = 0; i < count; i++) {
        times[i] = lodge_point_time(names[i]);
        g_assert_cmpint(times[i], >=, 0);
    }
    g_autoptr(GTimeZone) zone = g_time_zone_new_identifier(zone_name);
    g_assert_nonnull(zone);
    g_autofree gboolean *chosen = lodge_keep_choose(&keep, times, count, zone);
    g_autoptr(GString) text = g_string_new(NULL);
    for (gsize i = 0; i < count; i++) {
        if (chosen[i]) {
            g_string_append_printf(text, "%s%s", text->len > 0 ? " " : "", names[i]);
        }
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void
test_choose(void)
{
    static const struct {
        const char *keep, *points, *zone, *kept;
    } cases[] = {
        {"1d", "20261121-120000", "UTC", "20261121-120000"},
        {"2d", "20261119-120000 20261120-080000 20261120-220000 20261121-120000", "UTC",
         "20261120-220000 20261121-120000"},
        /* days without a point take no place */
        {"2d", "20261101-120000 20261121-110000 20261121-120000", "UTC",
         "20261101-120000 20261121-120000"},
        /* midnight is the zone's: 23:30 UTC is the next day in Berlin */
        {"2d", "20261119-233000 20261120-120000 20261121-120000", "Europe/Berlin",
         "20261120-120000 20261121-120000"},
        {"1d 2w", "20261108-120000 20261115-120000 20261116-120000 20261121-120000", "UTC",
         "20261115-120000 20261121-120000"},
        /* a week that begins in one year and ends in the next */
        {"2w", "20251228-120000 20251230-120000 20260102-120000", "UTC",
         "20251228-120000 20260102-120000"},
        {"2m 2y", "20241231-120000 20251231-120000 20260930-120000 20261001-120000", "UTC",
         "20251231-120000 20260930-120000 20261001-120000"},
        {"2h", "20261121-110000 20261121-115959 20261121-120000 20261121-120001", "UTC",
         "20261121-115959 20261121-120001"},
        {"1y,3d", "20261121-110000 20261122-120000", "UTC", "20261121-110000 20261122-120000"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *kept = choose(cases[i].keep, cases[i].points, cases[i].zone);
        g_assert_cmpstr(kept, ==, cases[i].kept);
    }
}

static void
test_none(void)
{
    LodgeKeep keep;
    g_assert_true(lodge_keep_parse("7d 4w 6m", &keep, NULL));
    g_autoptr(GTimeZone) zone = g_time_zone_new_utc();
    g_autofree gboolean *chosen = lodge_keep_choose(&keep, NULL, 0, zone);
    g_assert_nonnull(chosen);
}

static void
test_refused(void)
{
    static const char *const texts[] = {"",   " ",   "7",   "d",   "0d",
                                        "7x", "7dd", "-1d", "7 d", "99999d"};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        LodgeKeep keep;
        g_autoptr(GError) error = NULL;
        g_assert_false(lodge_keep_parse(texts[i], &keep, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/keep/choose", test_choose);
    g_test_add_func("/model/keep/none", test_none);
    g_test_add_func("/model/keep/refused", test_refused);
    return g_test_run();
}
