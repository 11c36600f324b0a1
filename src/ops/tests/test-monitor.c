#include "config.h"

#include "base/base.h"
#include "ops/view.h"

static void
check(const char *text, const char *wanted, const char *wanted_arguments)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *command = NULL;
    json_t *arguments = NULL;
    g_assert_true(lodge_monitor_parse(text, &command, &arguments, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(command, ==, wanted);
    char *shown = arguments != NULL ? json_dumps(arguments, JSON_COMPACT) : NULL;
    g_assert_cmpstr(shown, ==, wanted_arguments);
    free(shown);
    json_decref(arguments);
}

static void
test_forms(void)
{
    check("query-status", "query-status", NULL);
    check("  query-status\n", "query-status", NULL);
    check("stop {}", "stop", "{}");
    check("qom-get {\"path\": \"/machine\"}", "qom-get", "{\"path\":\"/machine\"}");
    check("qom-get{\"path\": \"/machine\"}", "qom-get", "{\"path\":\"/machine\"}");
    check("{\"execute\": \"stop\"}", "stop", NULL);
    check("{\"execute\": \"eject\", \"arguments\": {\"id\": \"c\"}}", "eject", "{\"id\":\"c\"}");
}

static void
test_refused(void)
{
    static const char *const bad[] = {
        "",
        "{",
        "{}",
        "{\"execute\": 1}",
        "{\"execute\": \"a\", \"arguments\": []}",
        "stop []",
        "stop x",
        "stop {",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *command = NULL;
        json_t *arguments = NULL;
        g_assert_false(lodge_monitor_parse(bad[i], &command, &arguments, &error));
        g_assert_nonnull(error);
        g_assert_null(command);
        g_assert_null(arguments);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ops/monitor/forms", test_forms);
    g_test_add_func("/ops/monitor/refused", test_refused);
    return g_test_run();
}
