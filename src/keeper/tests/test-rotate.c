#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "keeper/rotate.h"

static void
test_rotate(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_dir_make_tmp("lodge-rotate-XXXXXX", &error);
    g_autofree char *path = g_build_filename(folder, "console.log", NULL);
    g_autofree char *old = g_strconcat(path, ".1", NULL);
    /* As QEMU has it. */
    lodge_autofd writer = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    g_assert_cmpint(write(writer, "first", 5), ==, 5);
    g_assert_false(keeper_rotate_log(path, 5));
    g_assert_cmpint(write(writer, "+", 1), ==, 1);
    g_assert_true(keeper_rotate_log(path, 5));
    g_assert_cmpint(write(writer, "then", 4), ==, 4);
    g_autofree char *aside = lodge_file_read(old, 100, NULL, &error);
    g_autofree char *now = lodge_file_read(path, 100, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(aside, ==, "first+");
    g_assert_cmpstr(now, ==, "then");
    struct stat info;
    g_assert_cmpint(stat(old, &info), ==, 0);
    g_assert_cmpuint(info.st_mode & 0777, ==, 0600);
    /* The next time the older content goes. */
    g_assert_true(keeper_rotate_log(path, 1));
    g_autofree char *again = lodge_file_read(old, 100, NULL, &error);
    g_assert_cmpstr(again, ==, "then");
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    g_assert_cmpuint(g_strv_length(names), ==, 2);
    lodge_tree_remove(folder, NULL);
}

/* A disk that is full, as far as a process can be told. */
static void
test_no_space(void)
{
    struct rlimit all;
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = g_dir_make_tmp("lodge-rotate-XXXXXX", &error);
    g_autofree char *path = g_build_filename(folder, "console.log", NULL);
    g_autofree char *old = g_strconcat(path, ".1", NULL);
    lodge_autofd writer = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    g_assert_true(g_file_set_contents(old, "older", -1, NULL));
    for (guint i = 0; i < 1000; i++) {
        g_assert_cmpint(dprintf(writer, "line %03u\n", i), ==, 9);
    }
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &all), ==, 0);
    const struct rlimit full = {.rlim_cur = 4000, .rlim_max = all.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &full), ==, 0);
    gboolean rotated = keeper_rotate_log(path, 100);
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &all), ==, 0);
    g_assert_true(rotated);
    g_assert_cmpint(write(writer, "then\n", 5), ==, 5);
    g_autofree char *now = lodge_file_read(path, 100000, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(now, ==, "line 995\nline 996\nline 997\nline 998\nline 999\nthen\n");
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    g_assert_cmpuint(g_strv_length(names), ==, 1);
    lodge_tree_remove(folder, NULL);
}

static void
test_no_file(void)
{
    g_autofree char *folder = g_dir_make_tmp("lodge-rotate-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "console.log", NULL);
    g_assert_false(keeper_rotate_log(path, 0));
    /* Links are nobody's log. */
    g_assert_cmpint(symlink("/etc/passwd", path), ==, 0);
    g_assert_false(keeper_rotate_log(path, 0));
    lodge_tree_remove(folder, NULL);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/keeper/rotate/rotate", test_rotate);
    g_test_add_func("/keeper/rotate/no-space", test_no_space);
    g_test_add_func("/keeper/rotate/no-file", test_no_file);
    return g_test_run();
}
