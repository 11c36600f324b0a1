#include "config.h"

#include "base/base.h"

static void
test_size_parse(void)
{
    static const struct {
        const char *text;
        guint64 bytes;
    } good[] = {{"0", 0},
                {"4096", 4096},
                {"1k", 1024},
                {"2G", 2147483648},
                {"1.5T", 1649267441664},
                {"10 GiB", 10737418240},
                {"512mb", 536870912}};
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        guint64 bytes = 1;
        g_autoptr(GError) error = NULL;
        g_assert_true(lodge_size_parse(good[i].text, &bytes, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(bytes, ==, good[i].bytes);
    }
    static const char *const bad[] = {"",
                                      "G",
                                      "-1",
                                      "1e9",
                                      "0x10",
                                      "inf",
                                      "nan",
                                      "1.2.3",
                                      "2GG",
                                      "2 q",
                                      ".5",
                                      "8E",
                                      "99999999999999999999",
                                      "1Gi"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        guint64 bytes = 77;
        g_autoptr(GError) error = NULL;
        g_assert_false(lodge_size_parse(bad[i], &bytes, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
        g_assert_cmpuint(bytes, ==, 77);
    }
}

static void
test_size_round_trip(void)
{
    static const guint64 sizes[] = {0,    1,       1023,       1024,
                                    1536, 1048576, 1610612736, G_GUINT64_CONSTANT(1) << 62};
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        guint64 again = 0;
        g_autofree char *text = lodge_size_format(sizes[i]);
        g_assert_true(lodge_size_parse(text, &again, NULL));
        g_assert_cmpuint(again, ==, sizes[i]);
    }
    g_autofree char *human = lodge_size_human(1503238553);
    g_assert_cmpstr(human, ==, "1.4 GiB");
    g_autofree char *whole = lodge_size_human(2147483648);
    g_assert_cmpstr(whole, ==, "2 GiB");
}

static void
test_duration(void)
{
    gint64 ms = 0;
    g_assert_true(lodge_duration_parse("90", &ms, NULL));
    g_assert_cmpint(ms, ==, 90000);
    g_assert_true(lodge_duration_parse("1500ms", &ms, NULL));
    g_assert_cmpint(ms, ==, 1500);
    g_assert_true(lodge_duration_parse("2h", &ms, NULL));
    g_assert_cmpint(ms, ==, 7200000);
    g_assert_false(lodge_duration_parse("-1s", &ms, NULL));
    g_assert_false(lodge_duration_parse("soon", &ms, NULL));
    g_assert_false(lodge_duration_parse("99999999999", &ms, NULL));
    g_autofree char *human = lodge_duration_human(185000);
    g_assert_cmpstr(human, ==, "3 min 5 s");
}

static void
test_deadlines(void)
{
    gint64 longest_ms = 0;
    g_assert_true(lodge_duration_parse("2000000000d", &longest_ms, NULL));
    g_assert_cmpint(lodge_deadline_in(longest_ms), ==, LODGE_NO_DEADLINE);
    g_assert_false(lodge_deadline_passed(lodge_deadline_in(longest_ms)));
    g_assert_cmpint(lodge_deadline_in(1000), >=, g_get_monotonic_time());
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/units/size-parse", test_size_parse);
    g_test_add_func("/base/units/size-round-trip", test_size_round_trip);
    g_test_add_func("/base/units/duration", test_duration);
    g_test_add_func("/base/units/deadlines", test_deadlines);
    return g_test_run();
}
