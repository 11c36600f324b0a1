#include "config.h"

#include "base/base.h"
#include "model/model.h"

static LodgePrefix
parse(const char *text)
{
    LodgePrefix prefix;
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_prefix_parse(text, &prefix, &error));
    g_assert_no_error(error);
    return prefix;
}

static void
test_round_trip(void)
{
    static const char *const texts[] = {"10.77.0.0/24",    "10.77.0.1",   "0.0.0.0/0", "::/0",
                                        "fd77:0:0:1::/64", "2001:db8::1", "fe80::/10"};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        LodgePrefix prefix = parse(texts[i]);
        g_autofree char *text = lodge_prefix_format(&prefix);
        g_assert_cmpstr(text, ==, texts[i]);
    }
    LodgePrefix subnet = parse("10.77.0.0/22");
    g_autofree char *mask = lodge_prefix_format_mask(&subnet);
    g_assert_cmpstr(mask, ==, "255.255.252.0");
}

static void
test_refused(void)
{
    static const struct {
        const char *text;
        const char *says;
    } bad[] = {
        {"10.77.0.1/24",
         "“10.77.0.1/24” has bits behind its length (did you mean “10.77.0.0/24”?)"},
        {"10.77.0.0/33", "“10.77.0.0/33”: the prefix length must be 0 to 32"},
        {"10.77.0/24", "“10.77.0” is not an IP address"},
        {"fd77::/129", "“fd77::/129”: the prefix length must be 0 to 128"},
        {"fd77::/-1", "“fd77::/-1”: the prefix length must be 0 to 128"},
        {"", "“” is not an IP address"},
        {"fe80::1%eth0", "“fe80::1%eth0” is not an IP address"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        LodgePrefix prefix;
        g_autoptr(GError) error = NULL;
        g_assert_false(lodge_prefix_parse(bad[i].text, &prefix, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
        g_assert_cmpstr(error->message, ==, bad[i].says);
    }
}

static void
test_overlaps(void)
{
    static const struct {
        const char *a, *b;
        gboolean overlap;
    } cases[] = {
        {"10.0.0.0/8", "10.77.0.0/24", TRUE},    {"10.77.0.0/24", "10.77.1.0/24", FALSE},
        {"10.77.0.0/23", "10.77.1.0/24", TRUE},  {"10.77.0.5", "10.77.0.0/24", TRUE},
        {"0.0.0.0/0", "fd77::/64", FALSE},       {"fd77::/48", "fd77:0:0:1::/64", TRUE},
        {"fd77::/64", "fd77:0:0:1::/64", FALSE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        LodgePrefix a = parse(cases[i].a);
        LodgePrefix b = parse(cases[i].b);
        g_assert_cmpint(lodge_prefix_overlaps(&a, &b), ==, cases[i].overlap);
        g_assert_cmpint(lodge_prefix_overlaps(&b, &a), ==, cases[i].overlap);
    }
}

static void
test_hosts(void)
{
    LodgePrefix subnet = parse("10.77.0.0/16");
    LodgePrefix host = lodge_prefix_host(&subnet, 0x1ff);
    g_autofree char *text = lodge_prefix_format(&host);
    g_assert_cmpstr(text, ==, "10.77.1.255");
    g_assert_cmpuint(lodge_prefix_number(&subnet, &host), ==, 0x1ff);
    LodgePrefix prefix = parse("fd77:0:0:1::/64");
    LodgePrefix host6 = lodge_prefix_host(&prefix, 0x1000);
    g_autofree char *text6 = lodge_prefix_format(&host6);
    g_assert_cmpstr(text6, ==, "fd77:0:0:1::1000");
    LodgePrefix own = lodge_prefix_eui64(&prefix, "52:54:00:12:34:56");
    g_autofree char *own_text = lodge_prefix_format(&own);
    g_assert_cmpstr(own_text, ==, "fd77::1:5054:ff:fe12:3456");
}

static void
test_choose(void)
{
    g_autoptr(GPtrArray)
        taken = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_owned_prefix_free);
    LodgePrefix pool = parse("10.64.0.0/10");
    LodgePrefix lan = parse("10.77.0.0/23");
    g_ptr_array_add(taken, lodge_owned_prefix_new(&lan, "eth0"));
    LodgePrefix chosen;
    g_assert_true(lodge_prefix_choose(&pool, 24, 13 << 8, taken, &chosen));
    g_autofree char *text = lodge_prefix_format(&chosen);
    g_assert_cmpstr(text, ==, "10.77.2.0/24");
    g_autoptr(GError) error = NULL;
    LodgePrefix mine = parse("10.77.1.0/24");
    g_assert_false(lodge_prefix_check_free(&mine, "network lan", taken, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
    g_assert_cmpstr(error->message, ==,
                    "10.77.1.0/24 of network lan overlaps 10.77.0.0/23 of eth0");
    LodgePrefix everything = parse("10.0.0.0/8");
    g_ptr_array_add(taken, lodge_owned_prefix_new(&everything, "network big"));
    g_assert_false(lodge_prefix_choose(&pool, 24, 0, taken, &chosen));
}

static void
test_ula(void)
{
    LodgePrefix fc = parse("fc00::/7");
    LodgePrefix a = lodge_prefix_random_ula();
    LodgePrefix b = lodge_prefix_random_ula();
    g_assert_true(lodge_prefix_contains(&fc, &a));
    g_assert_cmpuint(a.length, ==, 64);
    g_assert_false(lodge_prefix_equal(&a, &b));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/model/prefix/round-trip", test_round_trip);
    g_test_add_func("/model/prefix/refused", test_refused);
    g_test_add_func("/model/prefix/overlaps", test_overlaps);
    g_test_add_func("/model/prefix/hosts", test_hosts);
    g_test_add_func("/model/prefix/choose", test_choose);
    g_test_add_func("/model/prefix/ula", test_ula);
    return g_test_run();
}
