/* How QEMU is executed, with other programs in its place. */
#include "config.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "qemu/builder.h"
#include "qemu/spawn.h"

enum {
    PASSED_COUNT = 40, /* so many that their numbers are those that a small process has in use */
};

static char *folder;

static char *
path_of(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

static void
add_argv(LodgeCommand *command, const char *const *argv)
{
    for (gsize i = 0; argv[i] != NULL; i++) {
        lodge_command_add(command, argv[i]);
    }
    g_ptr_array_add(command->argv, NULL);
}

/* As in a keeper, the numbers that QEMU's descriptors get are taken. */
static GArray *
take_low_numbers(void)
{
    GArray *taken = g_array_new(FALSE, FALSE, sizeof(int));
    g_array_set_clear_func(taken, (GDestroyNotify)lodge_fd_clear);
    for (int fd = -1; fd < 20;) {
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        g_assert_cmpint(fd, >=, 0);
        g_array_append_val(taken, fd);
    }
    return taken;
}

/* Execute @argv with @count files passed to be written; its exit status. */
static int
run(const char *const *argv, guint count, GError **error)
{
    g_autoptr(LodgeCommand) command = lodge_command_new();
    for (guint i = 0; i < count; i++) {
        g_autofree char *name = g_strdup_printf("disk-%u", i);
        g_autofree char *path = path_of(name);
        g_assert_true(g_file_set_contents(path, "data", 4, NULL));
        lodge_command_pass(command, LODGE_PASS_WRITE, path);
    }
    add_argv(command, argv);
    g_autofree char *log_path = path_of("log");
    lodge_autofd lock_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    g_autoptr(GArray) busy = take_low_numbers();
    LodgeSpawn how = {.log_path = log_path, .lock_fd = lock_fd};
    pid_t pid = 0;
    lodge_autofd pid_fd = -1;
    if (!lodge_qemu_spawn(command, &how, &pid, &pid_fd, error)) {
        return -1;
    }
    int status = 0;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *
take_log(void)
{
    g_autofree char *path = path_of("log");
    char *text = lodge_file_read(path, 65536, NULL, NULL);
    g_unlink(path);
    return text;
}

/* A program that can't be executed says so in the log, and in no disk. */
static void
test_failure_spares_disks(void)
{
    static const char *const argv[] = {"/nonexistent/qemu", NULL};
    g_assert_cmpint(run(argv, PASSED_COUNT, NULL), ==, 127);
    g_autofree char *log = take_log();
    g_assert_nonnull(strstr(log, "could not prepare or execute"));
    for (guint i = 0; i < PASSED_COUNT; i++) {
        g_autofree char *name = g_strdup_printf("disk-%u", i);
        g_autofree char *path = path_of(name);
        g_autofree char *text = lodge_file_read(path, 65536, NULL, NULL);
        g_assert_cmpstr(text, ==, "data");
    }
}

/* Each file under the number that the command line says; nothing else but the lock. */
static void
test_descriptors(void)
{
    static const char *const argv[] = {
        "/bin/sh", "-c", "for fd in /proc/$$/fd/*; do echo \"${fd##*/} $(readlink $fd)\"; done",
        NULL};
    lodge_autofd leaked = fcntl(2, F_DUPFD, 200); /* somebody was not careful */
    g_assert_cmpint(run(argv, 2, NULL), ==, 0);
    g_autofree char *log = take_log();
    g_autofree char *first = g_strdup_printf("\n10 %s/disk-0\n11 %s/disk-1\n", folder, folder);
    g_autofree char *leak = g_strdup_printf("\n%d ", leaked);
    g_assert_nonnull(strstr(log, first));
    g_assert_null(strstr(log, leak));
}

/* Not more descriptors are needed at once than what is passed, twice, and a few. */
static void
test_few_descriptors(void)
{
    static const char *const argv[] = {"/bin/true", NULL};
    g_autoptr(GError) error = NULL;
    struct rlimit before;
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
    struct rlimit few = {.rlim_cur = 128, .rlim_max = before.rlim_max};
    if (g_test_subprocess()) {
        few.rlim_max = 128;
        g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
        g_assert_cmpint(run(argv, PASSED_COUNT, &error), ==, 0);
        g_assert_no_error(error);
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    g_test_add_func("/qemu/spawn/failure-spares-disks", test_failure_spares_disks);
    g_test_add_func("/qemu/spawn/descriptors", test_descriptors);
    g_test_add_func("/qemu/spawn/few-descriptors", test_few_descriptors);
    int status = g_test_run();
    lodge_tree_remove(folder, NULL);
    g_free(folder);
    return status;
}
