#include "config.h"

#include "base/base.h"

#include <signal.h>
#include <sys/wait.h>

static char *folder;

static void
test_one_holder(void)
{
    g_autofree char *path = g_build_filename(folder, "one", NULL);
    g_assert_false(lodge_lock_is_held(path));
    g_autoptr(GError) error = NULL;
    lodge_autofd first = lodge_lock_take(path, &error);
    g_assert_no_error(error);
    g_assert_true(lodge_lock_is_held(path));
    g_assert_cmpint(lodge_lock_take(path, &error), ==, -1);
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    lodge_fd_clear(&first);
    g_assert_false(lodge_lock_is_held(path));
}

static void
test_waits_no_longer_than_told(void)
{
    g_autofree char *path = g_build_filename(folder, "wait", NULL);
    lodge_autofd first = lodge_lock_take(path, NULL);
    g_assert_cmpint(first, >=, 0);
    g_autoptr(GError) error = NULL;
    gint64 before = g_get_monotonic_time();
    g_assert_cmpint(lodge_lock_take_within(path, 60, &error), ==, -1);
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    g_assert_cmpint(g_get_monotonic_time() - before, >=, 60000);
}

static void
test_child_inherits(void)
{
    g_autofree char *path = g_build_filename(folder, "child", NULL);
    lodge_autofd fd = lodge_lock_take(path, NULL);
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    g_assert_true(lodge_lock_write_pid(fd, child, NULL));
    lodge_fd_clear(&fd);
    g_assert_true(lodge_lock_is_held(path));
    pid_t found = 0;
    lodge_autofd pid_fd = lodge_lock_open_holder(path, &found);
    g_assert_cmpint(found, ==, child);
    g_assert_true(lodge_pid_fd_signal(pid_fd, SIGKILL, NULL));
    g_assert_true(lodge_wait_fd(pid_fd, POLLIN, lodge_deadline_in(5000), NULL));
    waitpid(child, NULL, 0);
    g_assert_false(lodge_lock_is_held(path));
    g_assert_cmpint(lodge_lock_open_holder(path, NULL), ==, -1);
}

static void
test_removed_file_is_taken_anew(void)
{
    g_autofree char *path = g_build_filename(folder, "gone", NULL);
    lodge_autofd first = lodge_lock_take(path, NULL);
    g_assert_cmpint(first, >=, 0);
    unlink(path);
    lodge_autofd second = lodge_lock_take(path, NULL);
    g_assert_cmpint(second, >=, 0);
    g_assert_true(lodge_lock_is_held(path));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    g_test_add_func("/base/lock/one-holder", test_one_holder);
    g_test_add_func("/base/lock/deadline", test_waits_no_longer_than_told);
    g_test_add_func("/base/lock/child-inherits", test_child_inherits);
    g_test_add_func("/base/lock/removed-file", test_removed_file_is_taken_anew);
    int status = g_test_run();
    lodge_tree_remove(folder, NULL);
    g_free(folder);
    return status;
}
