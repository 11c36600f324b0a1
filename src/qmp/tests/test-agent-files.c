/* The client and the real agent: files and trees, in both directions. */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "qmp/tests/agent-fixture.h"

static AgentFixture fixture;

static void
write_file(const char *path, const char *content)
{
    g_autoptr(GError) error = NULL;
    lodge_file_write(path, content, strlen(content), 0640, LODGE_WRITE_NO_SYNC, &error);
    g_assert_no_error(error);
}

static void
expect_file(const char *path, const char *content, mode_t mode)
{
    g_autoptr(GError) error = NULL;
    struct stat about;
    g_autofree char *text = lodge_file_read(path, 1 << 20, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(text, ==, content);
    g_assert_cmpint(stat(path, &about), ==, 0);
    g_assert_cmpuint(about.st_mode & 07777, ==, mode);
}

/* No half-copied file may be left over. */
static void
expect_no_rest(void)
{
    g_autofree char *work = agent_fixture_path(&fixture, "work");
    g_autoptr(GDir) folder = g_dir_open(work, 0, NULL);
    for (const char *name; (name = g_dir_read_name(folder)) != NULL;) {
        g_assert_null(strstr(name, ".lodge-"));
    }
}

static gboolean
put(LodgeAgent *agent, const char *content, const char *path, int mode, GError **error)
{
    g_autofree char *source = agent_fixture_path(&fixture, "source");
    write_file(source, content);
    lodge_autofd fd = open(source, O_RDONLY | O_CLOEXEC);
    return lodge_agent_put_fd(agent, fd, path, mode, NULL, error);
}

static void
test_put(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    g_autofree char *path = agent_fixture_path(&fixture, "work/file");
    g_autofree char *link = agent_fixture_path(&fixture, "work/link");
    g_autofree char *folder = agent_fixture_path(&fixture, "work");
    g_assert_true(put(agent, "first", path, -1, &error));
    expect_file(path, "first", 0644);
    g_assert_cmpint(chmod(path, 0600), ==, 0);
    g_assert_true(put(agent, "second", path, -1, &error));
    expect_file(path, "second", 0600);
    g_assert_true(put(agent, "", path, 0755, &error));
    expect_file(path, "", 0755);
    /* Through a link to the file it leads to. */
    g_assert_cmpint(symlink("file", link), ==, 0);
    g_assert_true(put(agent, "linked", link, -1, &error));
    expect_file(path, "linked", 0755);
    g_assert_true(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
    g_assert_false(put(agent, "x", folder, -1, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
    g_clear_error(&error);
    g_assert_false(put(agent, "x", "/no/such/folder/file", -1, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_false(put(agent, "x", "/dev/null", -1, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_false(put(agent, "x", "relative", -1, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    /* All of these left the conversation in order. */
    g_assert_true(put(agent, "end", path, -1, &error));
    expect_file(path, "end", 0755);
    expect_no_rest();
}

static void
test_put_refused_early(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    lodge_autofd zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    /* Without end: the refusal must be heard while sending. */
    g_assert_false(lodge_agent_put_fd(agent, zeros, "/no/such/file", -1, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
}

static void
test_put_killed(void)
{
    g_autofree char *path = agent_fixture_path(&fixture, "work/half");
    g_autofree char *work = agent_fixture_path(&fixture, "work");
    GPid pid = fork();
    if (pid == 0) {
        g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
        lodge_autofd zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        lodge_agent_put_fd(agent, zeros, path, -1, NULL, NULL);
        _exit(0);
    }
    gint64 deadline = DEADLINE;
    while (lodge_tree_allocated(work) < (1 << 20)) {
        g_assert_false(lodge_deadline_passed(deadline));
        g_assert_true(lodge_wait_for(5, NULL));
    }
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    while (lodge_tree_allocated(work) > (1 << 19)) {
        g_assert_false(lodge_deadline_passed(deadline));
        g_assert_true(lodge_wait_for(5, NULL));
    }
    expect_no_rest();
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void
test_get(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    g_autofree char *path = agent_fixture_path(&fixture, "work/get");
    g_autofree char *target = agent_fixture_path(&fixture, "got");
    g_autofree char *content = g_strnfill(300000, 'c');
    write_file(path, content);
    lodge_autofd fd = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    LodgeAgentCopy copy = {0};
    g_assert_true(lodge_agent_get_fd(agent, path, fd, &copy, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(copy.out_bytes, ==, 300000);
    expect_file(target, content, 0600);
    g_assert_false(lodge_agent_get_fd(agent, "/no/such", fd, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
    g_clear_error(&error);
    g_assert_false(lodge_agent_get_fd(agent, "/tmp", fd, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
    g_clear_error(&error);
    g_assert_false(lodge_agent_get_fd(agent, "/dev/zero", fd, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    /* What says that it is empty and is not. */
    g_assert_true(lodge_agent_get_fd(agent, "/proc/self/status", fd, &copy, &error));
    g_assert_cmpuint(copy.out_bytes, >, 0);
}

static void
make_tree(const char *base)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *deep = g_build_filename(base, "a", "b", NULL);
    g_assert_true(lodge_dir_make(deep, 0755, &error));
    for (guint i = 0; i < 300; i++) {
        g_autofree char *name = g_strdup_printf("a/b/file-%u", i);
        g_autofree char *path = g_build_filename(base, name, NULL);
        write_file(path, name);
    }
    g_autofree char *up = g_build_filename(base, "a/b/up", NULL);
    g_autofree char *out = g_build_filename(base, "a/out", NULL);
    g_autofree char *absolute = g_build_filename(base, "absolute", NULL);
    g_autofree char *fifo = g_build_filename(base, "fifo", NULL);
    g_assert_cmpint(symlink("../b/file-1", up), ==, 0);
    g_assert_cmpint(symlink("../../elsewhere", out), ==, 0);
    g_assert_cmpint(symlink("/etc/passwd", absolute), ==, 0);
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
}

static void
test_trees(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    g_autofree char *source = agent_fixture_path(&fixture, "tree");
    g_autofree char *inside = agent_fixture_path(&fixture, "work/into");
    g_autofree char *back = agent_fixture_path(&fixture, "back");
    LodgeAgentCopy copy = {0};
    make_tree(source);
    g_assert_true(lodge_agent_copy_in(agent, source, inside, &copy, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(copy.out_files, ==, 300);
    g_assert_cmpuint(copy.out_skipped, ==, 1);
    /* It is a folder now: a second copy goes into it. */
    g_assert_true(lodge_agent_copy_in(agent, source, inside, &copy, &error));
    g_autofree char *again = g_build_filename(inside, "tree/a/b/file-299", NULL);
    expect_file(again, "a/b/file-299", 0640);
    g_assert_true(lodge_agent_copy_out(agent, inside, back, &copy, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(copy.out_files, ==, 600);
    g_assert_cmpuint(copy.out_skipped, ==, 3); /* those that lead out of what is copied now */
    g_autofree char *link = g_build_filename(back, "a/b/up", NULL);
    expect_file(link, "a/b/file-1", 0640);
    g_autofree char *outside = g_build_filename(back, "a/out", NULL);
    g_assert_false(g_file_test(outside, G_FILE_TEST_IS_SYMLINK));
    /* One file, into a folder. */
    g_assert_true(lodge_agent_copy_out(agent, again, back, &copy, &error));
    g_autofree char *single = g_build_filename(back, "file-299", NULL);
    expect_file(single, "a/b/file-299", 0640);
    g_assert_true(lodge_agent_copy_in(agent, single, "/nowhere/to/go", &copy, &error) == FALSE);
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
}

static void
test_stat(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    LodgeAgentKind kind;
    g_assert_true(lodge_agent_stat(agent, "/", TRUE, DEADLINE, &kind, NULL, &error));
    g_assert_cmpint((int)kind, ==, LODGE_AGENT_FOLDER);
    g_assert_true(lodge_agent_stat(agent, "/proc/self/exe", FALSE, DEADLINE, &kind, NULL, &error));
    g_assert_cmpint((int)kind, ==, LODGE_AGENT_SYMLINK);
    g_assert_true(lodge_agent_stat(agent, "/dev/null", TRUE, DEADLINE, &kind, NULL, &error));
    g_assert_cmpint((int)kind, ==, LODGE_AGENT_OTHER);
    g_autofree char *path = agent_fixture_path(&fixture, "work/made");
    g_assert_true(lodge_agent_mkdir(agent, path, 0700, DEADLINE, &error));
    g_assert_true(lodge_agent_mkdir(agent, path, 0700, DEADLINE, &error));
    g_assert_true(g_file_test(path, G_FILE_TEST_IS_DIR));
    g_assert_true(lodge_agent_sync(agent, DEADLINE, &error));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    agent_fixture_start(&fixture, NULL);
    g_test_add_func("/agent/files/put", test_put);
    g_test_add_func("/agent/files/put-refused-early", test_put_refused_early);
    g_test_add_func("/agent/files/put-killed", test_put_killed);
    g_test_add_func("/agent/files/get", test_get);
    g_test_add_func("/agent/files/trees", test_trees);
    g_test_add_func("/agent/files/stat", test_stat);
    int status = g_test_run();
    agent_fixture_end(&fixture);
    return status;
}
