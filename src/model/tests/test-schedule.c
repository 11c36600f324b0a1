#include "config.h"

#include "base/base.h"
#include "model/model.h"

static void
test_parse(void)
{
    LodgeSchedule schedule;
    g_assert_true(lodge_schedule_parse("every 10m keep 6", &schedule, NULL));
    g_assert_cmpint(schedule.every_ms, ==, 600000);
    g_assert_cmpuint(schedule.keep, ==, 6);
    g_assert_false(schedule.disks_only);
    g_assert_true(lodge_schedule_parse(" every 1d keep 1000 disks-only ", &schedule, NULL));
    g_assert_cmpint(schedule.every_ms, ==, 86400000);
    g_assert_true(schedule.disks_only);
}

static void
test_refused(void)
{
    static const char *const texts[] = {
        "",
        "every",
        "every 10m",
        "every 10m keep",
        "every 10m keep 0",
        "every 10m keep 1001",
        "every 10m keep -1",
        "every 59 keep 6",
        "every soon keep 6",
        "each 10m keep 6",
        "every 10m keep 6 disks",
        "every 10m keep 6 disks-only now",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        LodgeSchedule schedule;
        g_autoptr(GError) error = NULL;
        g_assert_false(lodge_schedule_parse(texts[i], &schedule, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
    }
}

static void
test_due(void)
{
    LodgeSchedule schedule;
    static const char *const none[] = {"before", "auto-later", NULL};
    static const char *const some[] = {"auto-20261121-154423", "auto-20261121-150000", "z", NULL};
    g_assert_true(lodge_schedule_parse("every 10m keep 6", &schedule, NULL));
    g_autofree char *name = lodge_schedule_name(1795275863);
    g_assert_cmpstr(name, ==, "auto-20261121-154423");
    g_assert_cmpint(lodge_schedule_time(name), ==, 1795275863);
    g_assert_cmpint(lodge_schedule_time("20261121-154423"), ==, -1);
    g_assert_cmpint(lodge_schedule_due(&schedule, none, 1000), ==, 1600);
    g_assert_cmpint(lodge_schedule_due(&schedule, some, 1000), ==, 1795275863 + 600);
    /* started anew after a long time: not at once, but one period after */
    g_assert_cmpint(lodge_schedule_due(&schedule, some, 1795275863 + 5000), ==, 1795275863 + 5600);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/schedule/parse", test_parse);
    g_test_add_func("/model/schedule/refused", test_refused);
    g_test_add_func("/model/schedule/due", test_due);
    return g_test_run();
}
