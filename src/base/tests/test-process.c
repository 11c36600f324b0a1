#include "config.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

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
test_only(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_dir_make_tmp("lodge-only-XXXXXX", NULL);
    g_autofree char *open = g_build_filename(folder, "open", NULL);
    g_autofree char *closed = g_build_filename(folder, "closed", NULL);
    g_autofree char *output = NULL;
    g_assert_true(g_file_set_contents(open, "open", -1, NULL));
    g_assert_true(g_file_set_contents(closed, "closed", -1, NULL));
    const char *only[] = {open, "/no/such/file", NULL};
    const char *reads[] = {"cat", open, NULL};
    const char *strays[] = {"cat", closed, NULL};
    const char *writes[] = {"cp", open, closed, NULL};
    LodgeProcess process = {.argv = reads, .only = only};
    g_assert_true(lodge_process_run(&process, &output, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(output, ==, "open");
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0) {
        process.argv = strays;
        g_assert_false(lodge_process_run(&process, NULL, NULL));
        process.argv = writes;
        g_assert_false(lodge_process_run(&process, NULL, NULL));
    } else {
        g_test_message("this kernel has no Landlock");
    }
    lodge_tree_remove(folder, NULL);
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

/* It has inherited the pipe, and never stops. */
static void
test_grandchild_is_not_awaited(void)
{
    const char *argv[] = {"sh", "-c", "(while sleep 0.01; do echo on; done) & echo $!", NULL};
    g_autofree char *output = NULL;
    g_autoptr(GError) error = NULL;
    gint64 before = g_get_monotonic_time();
    lodge_process_run_argv(argv, 60000, &output, &error);
    g_assert_no_error(error);
    g_assert_cmpint(g_get_monotonic_time() - before, <, 5 * G_USEC_PER_SEC);
    g_assert_cmpint(kill((pid_t)g_ascii_strtoll(output, NULL, 10), SIGKILL), ==, 0);
}

/* What a program that outlives us must not have of ours. */
static void
test_detached_is_a_stranger(void)
{
    static const char script[] =
        "[ -e /proc/$$/fd/57 ] && { echo 0 a descriptor >&3; exit; };"
        "grep -q '^SigBlk:.*[1-9a-f]' /proc/self/status && { echo 0 a blocked signal >&3; exit; };"
        /* the two that the C library keeps for itself may be ignored: make has it so */
        "ignored=$(sed -n 's/^SigIgn:.//p' /proc/self/status);"
        "[ $((0x$ignored & ~0x180000000)) = 0 ] || { echo 0 ignored: $ignored >&3; exit; };"
        "[ $(umask) = 0022 ] || { echo 0 a umask >&3; exit; };"
        "printf ready >&3";
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    g_autoptr(GError) error = NULL;
    sigset_t hangup, before;
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    sigprocmask(SIG_BLOCK, &hangup, &before);
    signal(SIGUSR1, SIG_IGN);
    mode_t mask = umask(077);
    lodge_autofd inherited = fcntl(2, F_DUPFD, 57);
    g_assert_cmpint(inherited, ==, 57);
    lodge_detached_start(argv, 60000, &error);
    g_assert_no_error(error);
    umask(mask);
    signal(SIGUSR1, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

/* Interrupted as soon as it has begun, but not before; what it says then is not lost either. */
static void
test_detached_begins(void)
{
    g_autofree char *file = g_build_filename(g_get_tmp_dir(), "lodge-begun-XXXXXX", NULL);
    int fd = g_mkstemp(file);
    g_autofree char *script = g_strdup_printf(
        "kill -INT %d; echo begun >%s; echo >&3; sleep 2; printf ready >&3", (int)getpid(), file);
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    const char *ready[] = {"/bin/sh", "-c", "echo >&3; printf ready >&3", NULL};
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    close(fd);
    lodge_interrupt_install();
    g_assert_false(lodge_detached_start(argv, 60000, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INTERRUPTED);
    g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "begun\n");
    lodge_interrupt_forget();
    g_clear_error(&error);
    g_assert_true(lodge_detached_start(ready, 60000, &error));
    g_assert_no_error(error);
    unlink(file);
}

static void
test_detached_failure(void)
{
    const char *argv[] = {"/bin/sh", "-c", "echo 5 it is taken >&3", NULL};
    const char *absent[] = {"/nonexistent/program", NULL};
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_detached_start(argv, 60000, &error));
    g_assert_cmpint(error->code, ==, 5);
    g_clear_error(&error);
    g_assert_false(lodge_detached_start(absent, 60000, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    g_assert_nonnull(strstr(error->message, "could not be executed"));
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
    g_test_add_func("/base/process/only", test_only);
    g_test_add_func("/base/process/absent", test_absent_program);
    g_test_add_func("/base/process/deadline", test_deadline_ends_the_group);
    g_test_add_func("/base/process/lines", test_lines);
    g_test_add_func("/base/process/grandchild", test_grandchild_is_not_awaited);
    g_test_add_func("/base/detached/stranger", test_detached_is_a_stranger);
    g_test_add_func("/base/detached/failure", test_detached_failure);
    g_test_add_func("/base/detached/begins", test_detached_begins);
    return g_test_run();
}
