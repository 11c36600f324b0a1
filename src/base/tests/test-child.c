#include "config.h"

#include "base/base.h"

#include <signal.h>

static GString *stages;

static void
on_stage(LodgeProgress *progress, const char *words)
{
    (void)progress;
    g_string_append_printf(stages, "%s;", words);
}

static gboolean
works(gpointer data, LodgeProgress *progress, GError **error)
{
    (void)error;
    lodge_progress_stage(progress, "%s", (const char *)data);
    lodge_progress_stage(progress, "two\nlines");
    return TRUE;
}

static gboolean
fails(gpointer data, LodgeProgress *progress, GError **error)
{
    (void)data;
    (void)progress;
    return lodge_error_set(error, LODGE_ERROR_BUSY, "so it is\nin two lines");
}

static gboolean
waits(gpointer data, LodgeProgress *progress, GError **error)
{
    (void)data;
    lodge_progress_stage(progress, "waiting");
    return lodge_wait_for(60000, error);
}

static gboolean
dies(gpointer data, LodgeProgress *progress, GError **error)
{
    (void)data;
    (void)progress;
    (void)error;
    raise(SIGKILL);
    return TRUE;
}

static gboolean
draws(gpointer data, LodgeProgress *progress, GError **error)
{
    (void)error;
    (void)data;
    g_autofree char *uuid = lodge_uuid_random();
    lodge_progress_stage(progress, "%u %s", g_random_int(), uuid);
    return TRUE;
}

/* Until it has ended, or said something. */
static gboolean
hear(LodgeChild *child)
{
    LodgeProgress progress = {.stage = on_stage};
    GError *error = NULL;
    lodge_wait_fd(lodge_child_fd(child), POLLIN, lodge_deadline_in(30000), &error);
    g_assert_no_error(error);
    return lodge_child_hear(child, &progress);
}

static gboolean
run(LodgeChildWork work, gpointer data, GError **error)
{
    g_autoptr(LodgeChild) child = lodge_child_begin(work, data, NULL);
    while (!hear(child)) {
    }
    return lodge_child_end(child, error);
}

static void
test_says_how_it_went(void)
{
    g_autoptr(GError) error = NULL;
    g_string_truncate(stages, 0);
    g_assert_true(run(works, (gpointer) "one", &error));
    g_assert_no_error(error);
    g_assert_cmpstr(stages->str, ==, "one;two lines;");
    g_assert_false(run(fails, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    g_assert_cmpstr(error->message, ==, "so it is\nin two lines");
    g_clear_error(&error);
    g_assert_false(run(dies, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
}

/* Interrupted, it says so itself, and the parent is not. */
static void
test_is_interrupted(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeChild) child = lodge_child_begin(waits, NULL, &error);
    g_assert_no_error(error);
    g_assert_false(hear(child));
    lodge_child_interrupt(child);
    g_assert_false(lodge_child_end(child, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INTERRUPTED);
    g_assert_cmpint(lodge_interrupt_signal(), ==, 0);
}

static void
test_one_that_is_dropped_is_killed(void)
{
    g_autoptr(LodgeChild) child = lodge_child_begin(waits, NULL, NULL);
    g_assert_false(hear(child));
}

static void
test_random_numbers_differ(void)
{
    g_random_int();
    g_string_truncate(stages, 0);
    run(draws, NULL, NULL);
    run(draws, NULL, NULL);
    g_auto(GStrv) drawn = g_strsplit_set(stages->str, " ;", -1);
    g_assert_cmpuint(g_strv_length(drawn), ==, 5);
    g_assert_cmpstr(drawn[0], !=, drawn[2]);
    g_assert_cmpstr(drawn[1], !=, drawn[3]);
    g_assert_true(g_uuid_string_is_valid(drawn[1]));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    lodge_interrupt_install();
    stages = g_string_new(NULL);
    g_test_add_func("/base/child/says-how-it-went", test_says_how_it_went);
    g_test_add_func("/base/child/is-interrupted", test_is_interrupted);
    g_test_add_func("/base/child/dropped", test_one_that_is_dropped_is_killed);
    g_test_add_func("/base/child/random", test_random_numbers_differ);
    int status = g_test_run();
    g_string_free(stages, TRUE);
    return status;
}
