#include "config.h"

#include "base/base.h"

static void
test_names(void)
{
    static const char *const good[] = {"a", "web1", "a-b", "0", "w--x"};
    static const char *const bad[] = {
        "",
        "-a",
        "a-",
        "Web",
        "a.b",
        "a/b",
        "..",
        "ä",
        "a b",
        "a\n",
        "0123456789012345678901234567890123456789012345678901234567890123"};
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        g_assert_true(lodge_name_check("guest", good[i], NULL));
    }
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(lodge_name_check("guest", bad[i], &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
    }
    g_assert_true(lodge_image_name_check("ubuntu-24.04", NULL));
    g_assert_false(lodge_image_name_check("..", NULL));
    g_assert_false(lodge_image_name_check(".hidden", NULL));
}

static void
test_nearest(void)
{
    static const char *const verbs[] = {"list", "show", "start", "stop", "memory", "cpus", NULL};
    g_assert_cmpstr(lodge_text_nearest("lst", verbs), ==, "list");
    g_assert_cmpstr(lodge_text_nearest("satrt", verbs), ==, "start");
    g_assert_cmpstr(lodge_text_nearest("memry", verbs), ==, "memory");
    g_assert_cmpstr(lodge_text_nearest("frobnicate", verbs), ==, NULL);
    g_assert_cmpstr(lodge_text_nearest("", verbs), ==, NULL);
}

static void
test_foreign_text(void)
{
    g_autofree char *last = lodge_text_last_line("one\ntwo \x1b[31mred\r\n\n");
    g_assert_cmpstr(last, ==, "two ?[31mred");
    g_autofree char *plain = lodge_text_shell_quote("/a/b-1.c");
    g_assert_cmpstr(plain, ==, "/a/b-1.c");
    g_autofree char *quoted = lodge_text_shell_quote("a b$(c)");
    g_assert_cmpstr(quoted, ==, "'a b$(c)'");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/text/names", test_names);
    g_test_add_func("/base/text/nearest", test_nearest);
    g_test_add_func("/base/text/foreign", test_foreign_text);
    return g_test_run();
}
