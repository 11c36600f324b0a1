/* The client and the real agent, over sockets that stand for the ports: programs. */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "qmp/tests/agent-fixture.h"

enum {
    LIMIT_BYTES = 1 << 20,
    SESSION_MEMORY_LIMIT_BYTES = 3 << 20,
};

static AgentFixture fixture;

/* "sleep 9876.<our pid>": processes of this test, whatever else runs on this machine. */
static char *
own_text(const char *program, guint number)
{
    return g_strdup_printf("%s %u.%d", program, number, (int)getpid());
}

static void
run_shell(LodgeAgent *agent, const char *script, const char *input, LodgeAgentResult *out_result)
{
    g_autoptr(GError) error = NULL;
    const char *argv[] = {"sh", "-c", script, NULL};
    LodgeAgentExec exec = {.argv = argv, .folder = "/"};
    lodge_agent_run(agent, &exec, input, input != NULL ? strlen(input) : 0, LIMIT_BYTES, DEADLINE,
                    out_result, &error);
    g_assert_no_error(error);
}

static void
test_output_and_status(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_assert_cmpstr(lodge_agent_version(agent), ==, LODGE_VERSION);
    g_auto(LodgeAgentResult) result = {0};
    run_shell(agent, "echo out; echo err >&2; exit 7", NULL, &result);
    g_assert_cmpstr(result.output, ==, "out\n");
    g_assert_cmpstr(result.error_output, ==, "err\n");
    g_assert_cmpint(result.end.exit_status, ==, 7);
    g_assert_cmpint(result.end.signal, ==, 0);
    /* The same conversation again. */
    lodge_agent_result_clear(&result);
    run_shell(agent, "cat; kill -9 $$", "input", &result);
    g_assert_cmpstr(result.output, ==, "input");
    g_assert_cmpint(result.end.signal, ==, 9);
    g_assert_cmpint(result.end.exit_status, ==, -1);
}

static void
test_environment_and_folder(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    const char *argv[] = {"sh", "-c", "echo $A $PWD $USER ${LODGE_TEST_AGENT-unset}; cat", NULL};
    const char *environment[] = {"A=b c", NULL};
    LodgeAgentExec exec = {.argv = argv, .environment = environment, .folder = "/tmp"};
    g_auto(LodgeAgentResult) result = {0};
    lodge_agent_run(agent, &exec, NULL, 0, LIMIT_BYTES, DEADLINE, &result, &error);
    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(result.output, "b c /tmp "));
    g_assert_true(g_str_has_suffix(result.output, " unset\n"));
}

static void
expect_refusal(const LodgeAgentExec *exec, int code)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    g_auto(LodgeAgentResult) result = {0};
    g_assert_false(lodge_agent_run(agent, exec, NULL, 0, LIMIT_BYTES, DEADLINE, &result, &error));
    g_assert_error(error, LODGE_ERROR, code);
    run_shell(agent, "echo on", NULL, &result);
    g_assert_cmpstr(result.output, ==, "on\n");
}

static void
test_refusals(void)
{
    const char *absent[] = {"/no/such/program", NULL};
    const char *present[] = {"true", NULL};
    g_autofree char *long_text = g_strnfill(70000, 'x');
    const char *too_long[] = {"true", long_text, NULL};
    expect_refusal(&(LodgeAgentExec){.argv = absent}, LODGE_ERROR_NOT_FOUND);
    expect_refusal(&(LodgeAgentExec){.argv = present, .folder = "/no/such"}, LODGE_ERROR_NOT_FOUND);
    expect_refusal(&(LodgeAgentExec){.argv = present, .user = "nobody-here"},
                   LODGE_ERROR_NOT_FOUND);
    expect_refusal(&(LodgeAgentExec){.argv = too_long}, LODGE_ERROR_INVALID);
}

/* More than one frame of arguments. */
static void
test_many_arguments(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(argv, g_strdup("echo"));
    for (guint i = 0; i < 3000; i++) {
        g_ptr_array_add(argv, g_strdup_printf("%060u", i));
    }
    g_ptr_array_add(argv, NULL);
    LodgeAgentExec exec = {.argv = (const char *const *)argv->pdata};
    g_auto(LodgeAgentResult) result = {0};
    lodge_agent_run(agent, &exec, NULL, 0, LIMIT_BYTES, DEADLINE, &result, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(result.output_bytes, ==, 3000 * 61);
}

static void
test_merge_and_limit(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    const char *argv[] = {"sh", "-c", "echo a; echo b >&2; head -c 100000 /dev/zero", NULL};
    LodgeAgentExec exec = {.argv = argv, .merge = TRUE};
    g_auto(LodgeAgentResult) result = {0};
    lodge_agent_run(agent, &exec, NULL, 0, 50000, DEADLINE, &result, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(result.output_bytes, ==, 50000);
    g_assert_cmpuint(result.error_output_bytes, ==, 0);
    g_assert_true(result.truncated);
    g_assert_cmpmem(result.output, 4, "a\nb\n", 4);
}

/* A process left behind holds the pipes: its starter's end is the end all the same. */
static void
test_left_behind(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_auto(LodgeAgentResult) result = {0};
    gint64 begin = g_get_monotonic_time();
    g_autofree char *sleeper = own_text("sleep", 987651);
    g_autofree char *script = g_strdup_printf("%s & echo $!", sleeper);
    run_shell(agent, script, NULL, &result);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 5 * G_USEC_PER_SEC);
    g_assert_cmpuint(agent_count_processes(sleeper), ==, 1);
    kill((pid_t)g_ascii_strtoll(result.output, NULL, 10), SIGKILL);
}

/* The agent's mark in a program's streams is data like any other. */
static void
test_magic_in_streams(void)
{
    static const char mark[] = "\xfa\xf3\xfe\xf0\xf9\xf5\xfc\xf2\xf8\xf1\xff\xf6\xfb\xf4\xfd\xf7";
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) text = g_string_new("begin ");
    for (guint i = 0; i < 20000; i++) {
        g_string_append_len(text, mark, 16);
        g_string_append_len(text, mark, i % 17);
    }
    const char *argv[] = {"cat", NULL};
    LodgeAgentExec exec = {.argv = argv};
    g_auto(LodgeAgentResult) result = {0};
    lodge_agent_run(agent, &exec, text->str, text->len, LIMIT_BYTES, DEADLINE, &result, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(result.output, result.output_bytes, text->str, text->len);
}

/* --- Streams --------------------------------------------------------------------------------- */

/* Sends numbered blocks in a process of its own, or checks them. */
static GPid
fork_sender(int fd, guint64 bytes)
{
    GPid pid = fork();
    if (pid == 0) {
        guint64 block[512];
        for (guint64 sent = 0; sent < bytes; sent += sizeof block) {
            for (guint i = 0; i < G_N_ELEMENTS(block); i++) {
                block[i] = (sent / 8 + i) * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15);
            }
            if (write(fd, block, sizeof block) != (gssize)sizeof block) {
                _exit(1);
            }
        }
        _exit(0);
    }
    return pid;
}

static GPid
fork_checker(int fd, int other_fd, guint64 bytes)
{
    GPid pid = fork();
    if (pid == 0) {
        close(other_fd); /* or there would be no end to read */
        guint64 word, count = 0;
        FILE *file = fdopen(fd, "r");
        while (fread(&word, sizeof word, 1, file) == 1) {
            if (word != count * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15)) {
                _exit(1);
            }
            count++;
        }
        _exit(count * 8 == bytes ? 0 : 2);
    }
    return pid;
}

static void
expect_success(GPid pid)
{
    int status;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
}

static void
test_gigabyte(void)
{
    guint64 bytes = G_GUINT64_CONSTANT(1)
                    << (g_test_slow() || g_getenv("LODGE_TEST_BIG") ? 30 : 28);
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    int in[2], out[2];
    g_assert_cmpint(pipe2(in, O_CLOEXEC), ==, 0);
    g_assert_cmpint(pipe2(out, O_CLOEXEC), ==, 0);
    GPid sender = fork_sender(in[1], bytes);
    close(in[1]);
    GPid checker = fork_checker(out[0], out[1], bytes);
    close(out[0]);
    const char *argv[] = {"cat", NULL};
    LodgeAgentExec exec = {.argv = argv};
    LodgeAgentStreams streams = {in[0], out[1], -1, -1, NULL, NULL};
    LodgeAgentEnd end = {-1, -1};
    gint64 begin = g_get_monotonic_time();
    lodge_agent_exec_stream(agent, &exec, &streams, lodge_deadline_in(300000), &end, &error);
    g_assert_no_error(error);
    g_test_message("%.0f MB/s", (double)bytes / (double)(g_get_monotonic_time() - begin));
    g_assert_cmpint(end.exit_status, ==, 0);
    close(in[0]);
    close(out[1]);
    expect_success(sender);
    expect_success(checker);
    if (g_getenv("LODGE_TEST_AGENT_MEMORY") != NULL) {
        guint64 most = agent_resident_most(&fixture);
        g_test_message("%" G_GUINT64_FORMAT " KiB resident at most", most / 1024);
        g_assert_cmpuint(most, <, SESSION_MEMORY_LIMIT_BYTES);
    }
}

/* Nobody reads here: the program there must come to a stand, and nothing grow. */
static void
test_slow_reader(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    int out[2];
    g_assert_cmpint(pipe2(out, O_CLOEXEC), ==, 0);
    g_autofree char *shouter = own_text("yes", 987652);
    const char *argv[] = {"sh", "-c", shouter, NULL};
    LodgeAgentExec exec = {.argv = argv};
    LodgeAgentStreams streams = {-1, out[1], -1, -1, NULL, NULL};
    LodgeAgentEnd end;
    g_assert_false(lodge_agent_exec_stream(agent, &exec, &streams, SOON, &end, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
    g_assert_cmpuint(agent_count_processes(shouter), >, 0);
    if (g_getenv("LODGE_TEST_AGENT_MEMORY") != NULL) {
        g_assert_cmpuint(agent_resident_most(&fixture), <, SESSION_MEMORY_LIMIT_BYTES);
    }
    g_clear_pointer(&agent, lodge_agent_free);
    agent_await_processes(shouter, 0);
    close(out[0]);
    close(out[1]);
}

/* A reader that went away ends the program there. */
static void
test_reader_gone(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    int out[2];
    signal(SIGPIPE, SIG_IGN);
    g_assert_cmpint(pipe2(out, O_CLOEXEC), ==, 0);
    close(out[0]);
    g_autofree char *shouter = own_text("yes", 987653);
    const char *argv[] = {"sh", "-c", shouter, NULL};
    LodgeAgentExec exec = {.argv = argv};
    LodgeAgentStreams streams = {-1, out[1], -1, -1, NULL, NULL};
    LodgeAgentEnd end;
    g_assert_false(lodge_agent_exec_stream(agent, &exec, &streams, DEADLINE, &end, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    g_clear_pointer(&agent, lodge_agent_free);
    agent_await_processes(shouter, 0);
    close(out[1]);
}

/* A program that reads no input, and far more input than the window: signals still arrive. */
static gboolean
say_over(gpointer data, GError **error)
{
    char byte;
    g_assert_cmpint(read(*(const int *)data, &byte, 1), ==, 1);
    return lodge_error_set(error, LODGE_ERROR_FAILED, "it is over");
}

static gboolean
never(gpointer data)
{
    (void)data;
    return FALSE;
}

/* Who knows better than the port that nobody is there ends a program's wait. */
static void
test_guard(void)
{
    int pipe_fds[2];
    g_assert_cmpint(pipe2(pipe_fds, O_CLOEXEC), ==, 0);
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_assert_cmpuint(lodge_agent_port(agent), >=, 1);
    const LodgeAgentGuard guard = {pipe_fds[0], say_over, never, &pipe_fds[0]};
    lodge_agent_guard(agent, &guard);
    g_autoptr(GError) error = NULL;
    g_auto(LodgeAgentResult) result = {0};
    const char *argv[] = {"sleep", "1000", NULL};
    const LodgeAgentExec exec = {.argv = argv, .folder = "/"};
    g_assert_cmpint(write(pipe_fds[1], "", 1), ==, 1);
    g_assert_false(lodge_agent_run(agent, &exec, NULL, 0, LIMIT_BYTES, DEADLINE, &result, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    g_assert_nonnull(strstr(error->message, "it is over"));
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void
on_wake_signal(LodgeAgent *agent, gpointer data)
{
    int *fd = data;
    char byte;
    if (read(*fd, &byte, 1) == 1) {
        lodge_agent_exec_signal(agent, SIGTERM);
    }
}

static void
test_signal_overtakes_input(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    int wake[2];
    g_assert_cmpint(pipe2(wake, O_CLOEXEC), ==, 0);
    lodge_autofd zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    g_autofree char *sleeper = own_text("sleep", 987654);
    const char *argv[] = {"sleep", strchr(sleeper, ' ') + 1, NULL};
    LodgeAgentExec exec = {.argv = argv};
    LodgeAgentStreams streams = {zeros, -1, -1, wake[0], on_wake_signal, &wake[0]};
    LodgeAgentEnd end = {0};
    GPid pid = fork();
    if (pid == 0) {
        agent_await_processes(sleeper, 1);
        _exit(write(wake[1], "", 1) == 1 ? 0 : 1);
    }
    lodge_agent_exec_stream(agent, &exec, &streams, DEADLINE, &end, &error);
    g_assert_no_error(error);
    g_assert_cmpint(end.signal, ==, SIGTERM);
    expect_success(pid);
    close(wake[0]);
    close(wake[1]);
}

static void
test_terminal(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    const char *argv[] = {"sh", "-c", "stty size; read line; echo got $line; tty; test -t 1", NULL};
    LodgeAgentExec exec = {.argv = argv, .terminal = TRUE, .rows = 33, .columns = 77};
    g_auto(LodgeAgentResult) result = {0};
    lodge_agent_run(agent, &exec, "typed\n", 6, LIMIT_BYTES, DEADLINE, &result, &error);
    g_assert_no_error(error);
    g_assert_cmpint(result.end.exit_status, ==, 0);
    g_assert_nonnull(strstr(result.output, "33 77\r\n"));
    g_assert_nonnull(strstr(result.output, "got typed\r\n"));
    g_assert_nonnull(strstr(result.output, "/dev/pts/"));
    /* The end of input is the terminal's end-of-file character. */
    const char *cat[] = {"cat", NULL};
    exec.argv = cat;
    lodge_agent_result_clear(&result);
    lodge_agent_run(agent, &exec, "x\n", 2, LIMIT_BYTES, DEADLINE, &result, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(result.output, ==, "x\r\nx\r\n");
}

static void
on_wake_resize(LodgeAgent *agent, gpointer data)
{
    int *fd = data;
    char byte;
    if (read(*fd, &byte, 1) == 1) {
        lodge_agent_exec_resize(agent, 44, 99);
    }
}

static void
test_resize(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    int wake[2], out[2];
    char text[256];
    g_assert_cmpint(pipe2(wake, O_CLOEXEC), ==, 0);
    g_assert_cmpint(pipe2(out, O_CLOEXEC), ==, 0);
    g_autofree char *mark = own_text(":", 987655);
    g_autofree char *script = g_strdup_printf(
        "trap 'stty size; exit' WINCH; %s; while :; do sleep 0.05; done", mark);
    const char *argv[] = {"bash", "-c", script, NULL};
    LodgeAgentExec exec = {.argv = argv, .terminal = TRUE, .rows = 10, .columns = 20};
    LodgeAgentStreams streams = {-1, out[1], -1, wake[0], on_wake_resize, &wake[0]};
    LodgeAgentEnd end = {0};
    GPid pid = fork();
    if (pid == 0) {
        agent_await_processes(mark, 1);
        lodge_wait_for(200, NULL);
        _exit(write(wake[1], "", 1) == 1 ? 0 : 1);
    }
    lodge_agent_exec_stream(agent, &exec, &streams, DEADLINE, &end, &error);
    g_assert_no_error(error);
    expect_success(pid);
    gssize length = read(out[0], text, sizeof text - 1);
    text[MAX(length, 0)] = '\0';
    g_assert_cmpstr(text, ==, "44 99\r\n");
    for (guint i = 0; i < 2; i++) {
        close(wake[i]);
        close(out[i]);
    }
}

/* --- Ends ------------------------------------------------------------------------------------ */

/* A client killed in the midst leaves no process there, not even one that ignores the hang-up. */
static void
test_killed_client(void)
{
    g_autofree char *sleeper = own_text("sleep", 987656);
    g_autofree char *script = g_strdup_printf("trap '' HUP TERM; %s & %s; %s", sleeper, sleeper,
                                              sleeper);
    GPid pid = fork();
    if (pid == 0) {
        g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
        g_auto(LodgeAgentResult) result = {0};
        run_shell(agent, script, NULL, &result);
        _exit(0);
    }
    agent_await_processes(sleeper, 3); /* two, and the shell's own line */
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    agent_await_processes(sleeper, 0);
}

static void
test_quick_ones(void)
{
    guint count = g_getenv("LODGE_TEST_BIG") ? 1000 : 200;
    g_autoptr(GError) error = NULL;
    const char *argv[] = {"true", NULL};
    LodgeAgentExec exec = {.argv = argv};
    gint64 begin = g_get_monotonic_time();
    for (guint i = 0; i < count; i++) {
        g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
        g_auto(LodgeAgentResult) result = {0};
        lodge_agent_run(agent, &exec, NULL, 0, 0, DEADLINE, &result, &error);
        g_assert_no_error(error);
        g_assert_cmpint(result.end.exit_status, ==, 0);
    }
    g_test_message("%.2f ms each", (double)(g_get_monotonic_time() - begin) / 1000 / count);
}

static void
test_all_ports(void)
{
    LodgeAgent *agents[7];
    g_autoptr(GError) error = NULL;
    for (guint i = 0; i < 7; i++) {
        agents[i] = agent_fixture_connect(&fixture);
    }
    g_assert_null(lodge_agent_connect(fixture.folder, SOON, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    for (guint i = 0; i < 7; i++) {
        g_auto(LodgeAgentResult) result = {0};
        run_shell(agents[i], "echo $((6*7))", NULL, &result);
        g_assert_cmpstr(result.output, ==, "42\n");
        lodge_agent_free(agents[i]);
    }
}

static void
test_absent(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(lodge_agent_connect("/nonexistent", SOON, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
    g_clear_error(&error);
    int pair[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    g_assert_null(lodge_agent_open(pair[0], SOON, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
    close(pair[1]);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    agent_fixture_start(&fixture, NULL);
    g_test_add_func("/agent/exec/guard", test_guard);
    g_test_add_func("/agent/exec/output-and-status", test_output_and_status);
    g_test_add_func("/agent/exec/environment-and-folder", test_environment_and_folder);
    g_test_add_func("/agent/exec/refusals", test_refusals);
    g_test_add_func("/agent/exec/many-arguments", test_many_arguments);
    g_test_add_func("/agent/exec/merge-and-limit", test_merge_and_limit);
    g_test_add_func("/agent/exec/left-behind", test_left_behind);
    g_test_add_func("/agent/exec/magic-in-streams", test_magic_in_streams);
    g_test_add_func("/agent/exec/gigabyte", test_gigabyte);
    g_test_add_func("/agent/exec/slow-reader", test_slow_reader);
    g_test_add_func("/agent/exec/reader-gone", test_reader_gone);
    g_test_add_func("/agent/exec/signal-overtakes-input", test_signal_overtakes_input);
    g_test_add_func("/agent/exec/terminal", test_terminal);
    g_test_add_func("/agent/exec/resize", test_resize);
    g_test_add_func("/agent/exec/killed-client", test_killed_client);
    g_test_add_func("/agent/exec/quick-ones", test_quick_ones);
    g_test_add_func("/agent/exec/all-ports", test_all_ports);
    g_test_add_func("/agent/exec/absent", test_absent);
    int status = g_test_run();
    agent_fixture_end(&fixture);
    return status;
}
