#include "config.h"

#include "base/base.h"

static void
test_output_and_input(void)
{
    const char *argv[] = {"sh", "-c", "cat; echo $X", NULL};
    const char *environment[] = {"X=seen", NULL};
    g_autofree char *output = NULL;
    g_autoptr(GError) error = NULL;
    LodgeProcess process = {.argv = argv, .environment = environment, .input = "in\n"};
    g_assert_true(lodge_process_run(&process, &output, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(output, ==, "in\nseen\n");
}

static void
test_failure_says_why(void)
{
    const char *argv[] = {"sh", "-c", "echo first >&2; echo the reason >&2; exit 3", NULL};
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_process_run_argv(argv, 0, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    g_assert_cmpstr(error->message, ==, "sh: the reason");
}

static void
test_absent_program(void)
{
    const char *argv[] = {"no-such-program-here", NULL};
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_process_run_argv(argv, 0, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
}

static void
test_deadline_ends_the_group(void)
{
    const char *argv[] = {"sh", "-c", "sleep 60 & sleep 60", NULL};
    g_autoptr(GError) error = NULL;
    gint64 before = g_get_monotonic_time();
    g_assert_false(lodge_process_run_argv(argv, 100, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
    g_assert_cmpint(g_get_monotonic_time() - before, <, 4 * G_USEC_PER_SEC);
}

static void
collect(const char *line, gpointer data)
{
    g_ptr_array_add(data, g_strdup(line));
}

static void
test_lines(void)
{
    const char *argv[] = {"sh", "-c", "printf 'a\\nb\\rc'", NULL};
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    LodgeProcess process = {.argv = argv, .on_line = collect, .data = lines};
    g_assert_true(lodge_process_run(&process, NULL, NULL));
    g_assert_cmpuint(lines->len, ==, 3);
    g_assert_cmpstr(lines->pdata[2], ==, "c");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/process/output-and-input", test_output_and_input);
    g_test_add_func("/base/process/failure", test_failure_says_why);
    g_test_add_func("/base/process/absent", test_absent_program);
    g_test_add_func("/base/process/deadline", test_deadline_ends_the_group);
    g_test_add_func("/base/process/lines", test_lines);
    return g_test_run();
}
