#include "config.h"

#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *folder;

static char *
in_folder(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

static void
test_write_and_read(void)
{
    g_autofree char *path = in_folder("a");
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_file_write(path, "one", 3, 0600, LODGE_WRITE_DEFAULT, &error));
    g_assert_true(lodge_file_write(path, "second", 6, 0640, LODGE_WRITE_NO_SYNC, &error));
    gsize length = 0;
    g_autofree char *text = lodge_file_read(path, 100, &length, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(text, length, "second", 6);
    struct stat info;
    g_assert_cmpint(stat(path, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 0777, ==, 0640);
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    g_assert_cmpuint(g_strv_length(names), ==, 1);
}

static void
test_dir_make(void)
{
    g_autofree char *deep = in_folder("made/by/all/");
    g_autofree char *parent = in_folder("made");
    g_autofree char *file = in_folder("plain");
    g_autofree char *below = in_folder("plain/x");
    g_autoptr(GError) error = NULL;
    struct stat info;
    mode_t mask = umask(077);
    g_assert_true(lodge_dir_make(deep, 0755, &error));
    g_assert_true(lodge_dir_make(deep, 0700, &error));
    umask(mask);
    g_assert_cmpint(stat(deep, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 0777, ==, geteuid() == 0 ? 0755 : 0700);
    g_assert_cmpint(stat(parent, &info), ==, 0);
    g_assert_cmpint(info.st_mode & 0777, ==, geteuid() == 0 ? 0755 : 0700);
    g_assert_true(lodge_file_write(file, "", 0, 0600, LODGE_WRITE_NO_SYNC, NULL));
    g_assert_false(lodge_dir_make(file, 0755, NULL));
    g_assert_false(lodge_dir_make(below, 0755, NULL));
}

static void
test_read_refuses(void)
{
    g_autofree char *path = in_folder("b");
    g_autoptr(GError) absent = NULL;
    g_assert_null(lodge_file_read(path, 100, NULL, &absent));
    g_assert_error(absent, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
    g_assert_true(lodge_file_write(path, "12345", 5, 0600, LODGE_WRITE_NO_SYNC, NULL));
    g_autoptr(GError) large = NULL;
    g_assert_null(lodge_file_read(path, 4, NULL, &large));
    g_assert_error(large, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_autofree char *fifo = in_folder("fifo");
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    g_autoptr(GError) special = NULL;
    g_assert_null(lodge_file_read(fifo, 100, NULL, &special));
    g_assert_error(special, LODGE_ERROR, LODGE_ERROR_INVALID);
}

static void
test_failed_write_leaves_old(void)
{
    g_autofree char *path = in_folder("nowhere/c");
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_file_write(path, "x", 1, 0600, LODGE_WRITE_DEFAULT, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
}

/* What a killed writer left is the next one's; what only looks like it, or belongs to a writer who
 * lives, is left alone. */
static void
test_neighbour(void)
{
    g_autofree char *path = in_folder("n/file");
    g_autofree char *neighbour = in_folder("n/.file.new");
    g_autofree char *place = in_folder("n");
    g_autofree char *other = in_folder("other");
    g_assert_true(lodge_dir_make(place, 0700, NULL));
    g_assert_true(g_file_set_contents(neighbour, "longer than what is written", -1, NULL));
    g_assert_true(lodge_file_write(path, "new", 3, 0600, LODGE_WRITE_NO_SYNC, NULL));
    g_assert_false(g_file_test(neighbour, G_FILE_TEST_EXISTS));
    g_autofree char *text = lodge_file_read(path, 100, NULL, NULL);
    g_assert_cmpstr(text, ==, "new");

    lodge_autofd writer = lodge_lock_take(neighbour, NULL);
    g_assert_cmpint(writer, >=, 0);
    g_assert_true(lodge_file_write(path, "two", 3, 0600, LODGE_WRITE_NO_SYNC, NULL));
    g_assert_true(g_file_test(neighbour, G_FILE_TEST_EXISTS));
    lodge_fd_clear(&writer);
    g_assert_cmpint(unlink(neighbour), ==, 0);

    g_assert_true(g_file_set_contents(other, "kept", -1, NULL));
    g_assert_cmpint(link(other, neighbour), ==, 0);
    g_assert_true(lodge_file_write(path, "three", 5, 0600, LODGE_WRITE_NO_SYNC, NULL));
    g_assert_cmpint(unlink(neighbour), ==, 0);
    g_assert_cmpint(symlink(other, neighbour), ==, 0);
    g_assert_true(lodge_file_write(path, "four", 4, 0600, LODGE_WRITE_NO_SYNC, NULL));
    g_assert_cmpint(unlink(neighbour), ==, 0);
    g_autofree char *kept = lodge_file_read(other, 100, NULL, NULL);
    g_autofree char *last = lodge_file_read(path, 100, NULL, NULL);
    g_assert_cmpstr(kept, ==, "kept");
    g_assert_cmpstr(last, ==, "four");
    g_assert_cmpint(rmdir(place), ==, -1);
    g_assert_cmpint(unlink(path), ==, 0);
    g_assert_cmpint(rmdir(place), ==, 0);
}

static void
test_tree_remove_keeps_what_links_point_to(void)
{
    g_autofree char *tree = in_folder("tree/deep");
    g_autofree char *top = in_folder("tree");
    g_autofree char *kept = in_folder("kept");
    g_autofree char *link_path = in_folder("tree/link");
    g_assert_true(lodge_dir_make(tree, 0700, NULL));
    g_assert_true(lodge_file_write(kept, "k", 1, 0600, LODGE_WRITE_NO_SYNC, NULL));
    g_assert_cmpint(symlink(folder, link_path), ==, 0);
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_tree_remove(top, &error));
    g_assert_no_error(error);
    g_assert_false(g_file_test(top, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_test(kept, G_FILE_TEST_EXISTS));
    g_assert_true(lodge_tree_remove(top, &error));
}

static void
test_long_socket_path(void)
{
    g_autofree char *deep = in_folder("0123456789012345678901234567890123456789/"
                                      "0123456789012345678901234567890123456789/"
                                      "0123456789012345678901234567890123456789");
    g_assert_true(lodge_dir_make(deep, 0700, NULL));
    g_autofree char *path = g_build_filename(deep, "s", NULL);
    g_autoptr(GError) error = NULL;
    lodge_autofd listener = lodge_unix_listen(path, 0600, &error);
    g_assert_no_error(error);
    lodge_autofd client = lodge_unix_connect(path, &error);
    g_assert_no_error(error);
    g_assert_cmpint(client, >=, 0);
    lodge_fd_clear(&listener);
    g_assert_cmpint(lodge_unix_connect(path, &error), ==, -1);
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    g_test_add_func("/base/file/write-and-read", test_write_and_read);
    g_test_add_func("/base/file/dir-make", test_dir_make);
    g_test_add_func("/base/file/read-refuses", test_read_refuses);
    g_test_add_func("/base/file/failed-write", test_failed_write_leaves_old);
    g_test_add_func("/base/file/neighbour", test_neighbour);
    g_test_add_func("/base/file/tree-remove", test_tree_remove_keeps_what_links_point_to);
    g_test_add_func("/base/file/long-socket-path", test_long_socket_path);
    int status = g_test_run();
    lodge_tree_remove(folder, NULL);
    g_free(folder);
    return status;
}
