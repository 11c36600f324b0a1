/* The guest agent's client against an agent that is absent, stale, or hostile; and against the real
 * one, where it is installed. */
#include "config.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/base.h"
#include "qmp/guest-agent-private.h"
#include "qmp/tests/fake.h"

#define DEADLINE lodge_deadline_in(20000)
#define SOON lodge_deadline_in(100)

typedef struct {
    Fake fake;
    LodgeGuestAgent *agent;
} Peer;

static Peer
peer_start(const char *script)
{
    Peer peer = {.fake = fake_start(script)};
    peer.agent = lodge_guest_agent_new(peer.fake.fd);
    return peer;
}

static void
peer_end(Peer *peer)
{
    g_clear_pointer(&peer->agent, lodge_guest_agent_free);
    fake_end(&peer->fake);
}

static void
test_sync_drops_what_is_stale(void)
{
    Peer peer = peer_start(
        "raw -data\": 5}}\\n{\"return\": 12}\\n\\n\\xff{\"return\": 13}\\n{\"return\": {\n"
        "sync\nexpect guest-ping\nreturn {}\nexpect guest-ping\nreturn {}");
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_guest_agent_ping(peer.agent, DEADLINE, &error));
    g_assert_no_error(error);
    g_assert_true(lodge_guest_agent_ping(peer.agent, DEADLINE, &error));
    g_assert_no_error(error);
    peer_end(&peer);
}

static void
test_absent(void)
{
    Peer peer = peer_start("silence");
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_guest_agent_ping(peer.agent, SOON, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
    g_assert_cmpstr(error->message, ==, "guest-ping: the guest agent does not answer");
    peer_end(&peer);
}

static void
test_late_answer(void)
{
    Peer peer = peer_start(
        "sync\nexpect guest-info\nexpect guest-sync-delimited\n"
        "return-again {\"version\": \"late\"}\n"
        "raw {\"error\": {\"class\": \"GenericError\", \"desc\": \"stray\"}}\\n\n"
        "expect guest-sync-delimited\nraw \\xff\nreturn-again 0\nraw \\xff\n"
        "sync\nexpect guest-ping\nreturn {}");
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_guest_agent_sync(peer.agent, DEADLINE, &error));
    g_assert_false(lodge_guest_agent_info(peer.agent, SOON, NULL, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
    g_clear_error(&error);
    for (guint i = 0; i < 2; i++) {
        g_assert_false(lodge_guest_agent_ping(peer.agent, SOON, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
        g_clear_error(&error);
    }
    g_assert_true(lodge_guest_agent_ping(peer.agent, DEADLINE, &error));
    g_assert_no_error(error);
    peer_end(&peer);
}

static void
test_unasked(void)
{
    Peer peer = peer_start("sync\nexpect guest-ping\nreturn {}\nreturn {}\n"
                           "sync\nexpect guest-get-time\nreturn 5");
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_guest_agent_ping(peer.agent, DEADLINE, &error));
    g_assert_true(lodge_wait_for(50, NULL));
    g_autoptr(json_t)
        time = lodge_guest_agent_call(peer.agent, "guest-get-time", NULL, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_cmpint(json_integer_value(time), ==, 5);
    peer_end(&peer);
}

static void
test_garbage(void)
{
    Peer peer = peer_start("sync\nexpect guest-ping\nraw garbage\\n\n"
                           "sync\nexpect guest-ping\nraw \\xff\\xfe\\n\n"
                           "sync\nexpect guest-ping\nraw {\"neither\": 1}\\n\n"
                           "expect guest-ping\nraw {\"error\": \"text\"}\\n\n"
                           "expect guest-ping\nhuge 47000000\n"
                           "raw \\n\nsync\nexpect guest-ping\nreturn {}\nclose");
    g_autoptr(GError) error = NULL;
    for (guint i = 0; i < 5; i++) {
        g_assert_false(lodge_guest_agent_ping(peer.agent, DEADLINE, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
        g_clear_error(&error);
    }
    g_assert_true(lodge_guest_agent_ping(peer.agent, DEADLINE, &error));
    g_assert_no_error(error);
    g_assert_false(lodge_guest_agent_ping(peer.agent, DEADLINE, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    peer_end(&peer);
}

static void
test_flood(void)
{
    Peer peer = peer_start("repeat 10000000 raw {\"return\": 1}\\n");
    g_autoptr(GError) error = NULL;
    gint64 before = g_get_monotonic_time();
    g_assert_false(lodge_guest_agent_ping(peer.agent, lodge_deadline_in(300), &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
    g_assert_cmpint(g_get_monotonic_time() - before, <, 5 * G_USEC_PER_SEC);
    peer_end(&peer);
}

static void
test_refusals(void)
{
    static const struct {
        const char *reply;
        LodgeError code;
    } cases[] = {
        {"error CommandNotFound The command x has not been found", LODGE_ERROR_UNSUPPORTED},
        {"error GenericError The command x has been disabled for this instance",
         LODGE_ERROR_UNSUPPORTED},
        {"error CommandNotFound Command x has been disabled: the agent is in frozen state",
         LODGE_ERROR_BUSY},
        {"error GenericError no", LODGE_ERROR_FAILED},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *script = g_strdup_printf("sync\nexpect guest-ping\n%s", cases[i].reply);
        Peer peer = peer_start(script);
        g_autoptr(GError) error = NULL;
        g_assert_false(lodge_guest_agent_ping(peer.agent, DEADLINE, &error));
        g_assert_error(error, LODGE_ERROR, (int)cases[i].code);
        peer_end(&peer);
    }
}

static void
test_info(void)
{
    Peer peer = peer_start(
        "sync\nexpect guest-info\nreturn {\"version\": \"7.2\\u001b[31m\", "
        "\"supported_commands\": [{\"name\": \"guest-ping\", \"enabled\": true}, "
        "{\"name\": \"guest-exec\", \"enabled\": false}]}\n"
        "expect guest-info\nreturn {\"version\": \"7\", \"supported_commands\": [1]}");
    g_autoptr(GError) error = NULL;
    g_autofree char *version = NULL;
    g_auto(GStrv) commands = NULL;
    g_assert_true(lodge_guest_agent_info(peer.agent, DEADLINE, &version, &commands, &error));
    g_assert_cmpstr(version, ==, "7.2?[31m");
    g_assert_cmpuint(g_strv_length(commands), ==, 1);
    g_assert_cmpstr(commands[0], ==, "guest-ping");
    g_assert_false(lodge_guest_agent_info(peer.agent, DEADLINE, NULL, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    peer_end(&peer);
}

static void
test_shutdown(void)
{
    enum { TAKEN = -1 };
    static const struct {
        const char *script;
        int code;
    } cases[] = {
        {"sync\nsync\nexpect guest-shutdown\narguments {\"mode\": \"powerdown\"}\nsync", TAKEN},
        {"sync\nsync\nexpect guest-shutdown\nclose", TAKEN},
        {"sync\nsync\nexpect guest-shutdown\nsilence", TAKEN},
        {"sync\nsync\nexpect guest-shutdown\nerror GenericError no\nsync", LODGE_ERROR_FAILED},
        {"sync\nsilence", LODGE_ERROR_TIMEOUT},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Peer peer = peer_start(cases[i].script);
        g_autoptr(GError) error = NULL;
        g_assert_true(lodge_guest_agent_sync(peer.agent, DEADLINE, &error));
        gboolean done = lodge_guest_agent_shutdown(peer.agent, LODGE_GUEST_SHUTDOWN_POWERDOWN,
                                                   lodge_deadline_in(1000), &error);
        g_assert_cmpint(done, ==, cases[i].code == TAKEN);
        if (!done) {
            g_assert_error(error, LODGE_ERROR, cases[i].code);
        }
        peer_end(&peer);
    }
}

static void
test_exec(void)
{
    Peer peer = peer_start(
        "sync\nexpect guest-exec\n"
        "arguments {\"path\": \"tr\", \"arg\": [\"a\", \"b\"], \"env\": [\"A=1\"], "
        "\"input-data\": \"YQ==\", \"capture-output\": true}\nreturn {\"pid\": 7}\n"
        "expect guest-exec-status\narguments {\"pid\": 7}\nreturn {\"exited\": false}\n"
        "expect guest-exec-status\nreturn {\"exited\": true, \"exitcode\": 3, "
        "\"out-data\": \"YgA=\", \"err-data\": \"eA==\", \"err-truncated\": true}");
    const char *argv[] = {"tr", "a", "b", NULL};
    const char *environment[] = {"A=1", NULL};
    LodgeGuestExec exec = {
        .argv = argv, .environment = environment, .input = "a", .input_bytes = 1};
    g_auto(LodgeGuestExecResult) result = {0};
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_guest_agent_exec(peer.agent, &exec, DEADLINE, &result, &error));
    g_assert_no_error(error);
    g_assert_cmpint(result.exit_status, ==, 3);
    g_assert_cmpint(result.signal, ==, 0);
    g_assert_cmpmem(result.output, result.output_bytes, "b\0", 2);
    g_assert_false(result.output_truncated);
    g_assert_cmpmem(result.error_output, result.error_output_bytes, "x", 1);
    g_assert_true(result.error_output_truncated);
    peer_end(&peer);
}

static void
test_exec_failures(void)
{
    static const struct {
        const char *answers;
        LodgeError code;
    } cases[] = {
        {"error GenericError Failed to execute child process “x” (No such file or directory)",
         LODGE_ERROR_NOT_FOUND},
        {"return {\"pid\": -1}", LODGE_ERROR_INVALID},
        {"return {\"pid\": \"7\"}", LODGE_ERROR_INVALID},
        {"return []", LODGE_ERROR_INVALID},
        {"return {\"pid\": 7}\nexpect guest-exec-status\nreturn {}", LODGE_ERROR_INVALID},
        {"return {\"pid\": 7}\nexpect guest-exec-status\nreturn {\"exited\": true}",
         LODGE_ERROR_INVALID},
        {"return {\"pid\": 7}\nexpect guest-exec-status\n"
         "return {\"exited\": true, \"exitcode\": 4294967296}",
         LODGE_ERROR_INVALID},
        {"return {\"pid\": 7}\nexpect guest-exec-status\n"
         "return {\"exited\": true, \"exitcode\": 0, \"out-data\": \"a b=\"}",
         LODGE_ERROR_INVALID},
        {"return {\"pid\": 7}\nexpect guest-exec-status\n"
         "return {\"exited\": true, \"exitcode\": 0, \"out-data\": 5}",
         LODGE_ERROR_INVALID},
        {"return {\"pid\": 7}\nexpect guest-exec-status\nreturn {\"exited\": false}\nsilence",
         LODGE_ERROR_TIMEOUT},
    };
    const char *argv[] = {"x", NULL};
    LodgeGuestExec exec = {.argv = argv};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *script = g_strconcat("sync\nexpect guest-exec\n", cases[i].answers, NULL);
        Peer peer = peer_start(script);
        LodgeGuestExecResult result = {0};
        g_autoptr(GError) error = NULL;
        gint64 deadline = cases[i].code == LODGE_ERROR_TIMEOUT ? lodge_deadline_in(500) : DEADLINE;
        g_assert_false(lodge_guest_agent_exec(peer.agent, &exec, deadline, &result, &error));
        g_assert_error(error, LODGE_ERROR, (int)cases[i].code);
        g_assert_null(result.output);
        peer_end(&peer);
    }
}

static void
test_files(void)
{
    Peer peer = peer_start(
        "sync\nexpect guest-file-open\narguments {\"path\": \"/a\", \"mode\": \"r\"}\n"
        "return 1000\nexpect guest-file-read\n"
        "return {\"count\": 3, \"buf-b64\": \"YWJj\", \"eof\": false}\nexpect guest-file-read\n"
        "return {\"count\": 0, \"buf-b64\": \"\", \"eof\": true}\nexpect guest-file-close\n"
        "arguments {\"handle\": 1000}\nreturn {}\n"
        "expect guest-file-open\nreturn 1001\nexpect guest-file-write\n"
        "arguments {\"handle\": 1001, \"buf-b64\": \"YWJj\"}\nreturn {\"count\": 2}\n"
        "expect guest-file-write\narguments {\"handle\": 1001, \"buf-b64\": \"Yw==\"}\n"
        "return {\"count\": 1}\nexpect guest-file-close\nreturn {}\n"
        "expect guest-file-open\nerror GenericError failed to open file '/b' (mode: 'r'): "
        "No such file or directory");
    g_autoptr(GError) error = NULL;
    gsize length = 0;
    g_autofree char *text = lodge_guest_agent_file_read(peer.agent, "/a", 3, DEADLINE, &length,
                                                        &error);
    g_assert_no_error(error);
    g_assert_cmpstr(text, ==, "abc");
    g_assert_cmpuint(length, ==, 3);
    g_assert_true(lodge_guest_agent_file_write(peer.agent, "/a", "abc", 3, DEADLINE, &error));
    g_assert_no_error(error);
    g_assert_null(lodge_guest_agent_file_read(peer.agent, "/b", 3, DEADLINE, &length, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
    peer_end(&peer);
}

static void
test_hostile_files(void)
{
    static const char *const reads[] = {
        "{\"count\": 4, \"buf-b64\": \"YWJjZA==\", \"eof\": false}",
        "{\"count\": 0, \"buf-b64\": \"\", \"eof\": false}",
        "{\"count\": 9, \"buf-b64\": \"YWJjZGVmZ2hp\", \"eof\": true}",
        "{\"eof\": true}",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(reads); i++) {
        g_autofree char *script = g_strdup_printf(
            "sync\nexpect guest-file-open\nreturn 1\nexpect guest-file-read\nreturn %s\n"
            "expect guest-file-close\nreturn {}",
            reads[i]);
        Peer peer = peer_start(script);
        g_autoptr(GError) error = NULL;
        gsize length = 0;
        g_assert_null(lodge_guest_agent_file_read(peer.agent, "/a", 3, DEADLINE, &length, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
        peer_end(&peer);
    }
    Peer peer = peer_start("sync\nexpect guest-file-open\nreturn 1\nexpect guest-file-write\n"
                           "return {\"count\": 4}\nexpect guest-file-close\nreturn {}");
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_guest_agent_file_write(peer.agent, "/a", "abc", 3, DEADLINE, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    peer_end(&peer);
}

static void
test_interfaces(void)
{
    Peer peer = peer_start(
        "sync\nexpect guest-network-get-interfaces\n"
        "return [{\"name\": \"eth0\", \"hardware-address\": \"52:54:00:00:00:01\", "
        "\"statistics\": {}, \"ip-addresses\": ["
        "{\"ip-address\": \"10.77.0.12\", \"ip-address-type\": \"ipv4\", \"prefix\": 24}, "
        "{\"ip-address\": \"fe80::1%eth0\", \"ip-address-type\": \"ipv6\", \"prefix\": 64}]}, "
        "{\"name\": \"x\\u001b\"}]\n"
        "expect guest-network-get-interfaces\nreturn {}\n"
        "expect guest-network-get-interfaces\nreturn [{\"name\": 5}]\n"
        "expect guest-network-get-interfaces\nreturn [{\"name\": \"a\", \"ip-addresses\": ["
        "{\"ip-address\": \"10.0.0.1; rm\", \"ip-address-type\": \"ipv4\", \"prefix\": 24}]}]\n"
        "expect guest-network-get-interfaces\nreturn [{\"name\": \"a\", \"ip-addresses\": ["
        "{\"ip-address\": \"10.0.0.1\", \"ip-address-type\": \"ipv4\", \"prefix\": 33}]}]");
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) interfaces = lodge_guest_agent_interfaces(peer.agent, DEADLINE, &error);
    g_assert_no_error(error);
    char *text = json_dumps(interfaces, JSON_COMPACT);
    g_assert_cmpstr(text, ==,
                    "[{\"name\":\"eth0\",\"mac\":\"52:54:00:00:00:01\",\"addresses\":["
                    "{\"family\":\"ipv4\",\"address\":\"10.77.0.12\",\"prefix\":24},"
                    "{\"family\":\"ipv6\",\"address\":\"fe80::1\",\"prefix\":64}]},"
                    "{\"name\":\"x?\",\"mac\":null,\"addresses\":[]}]");
    free(text);
    for (guint i = 0; i < 4; i++) {
        g_assert_null(lodge_guest_agent_interfaces(peer.agent, DEADLINE, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
        g_clear_error(&error);
    }
    peer_end(&peer);
}

static void
test_system(void)
{
    Peer peer = peer_start(
        "sync\nsync\nexpect guest-set-time\nreturn {}\n"
        "expect guest-fsfreeze-freeze\nreturn 2\nexpect guest-fsfreeze-thaw\nreturn -1\n");
    g_autoptr(GError) error = NULL;
    guint count = 0;
    g_assert_true(lodge_guest_agent_sync(peer.agent, DEADLINE, &error));
    g_assert_true(lodge_guest_agent_set_time(peer.agent, DEADLINE, &error));
    g_assert_true(lodge_guest_agent_freeze(peer.agent, DEADLINE, &count, &error));
    g_assert_cmpuint(count, ==, 2);
    g_assert_false(lodge_guest_agent_thaw(peer.agent, DEADLINE, &count, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    peer_end(&peer);
}

/* The real agent, run here on a socket: only what does no harm to this machine. */
static void
use_real_agent(LodgeGuestAgent *agent, const char *folder)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) commands = NULL;
    g_assert_true(lodge_guest_agent_info(agent, DEADLINE, NULL, &commands, &error));
    g_assert_true(g_strv_contains((const char *const *)commands, "guest-exec"));

    const char *argv[] = {"sh", "-c", "cat; echo oops >&2; exit 4", NULL};
    LodgeGuestExec exec = {.argv = argv, .input = "in\0put", .input_bytes = 6};
    g_auto(LodgeGuestExecResult) result = {0};
    g_assert_true(lodge_guest_agent_exec(agent, &exec, DEADLINE, &result, &error));
    g_assert_no_error(error);
    g_assert_cmpint(result.exit_status, ==, 4);
    g_assert_cmpmem(result.output, result.output_bytes, "in\0put", 6);
    g_assert_cmpstr(result.error_output, ==, "oops\n");
    lodge_guest_exec_result_clear(&result);

    /* More than the agent keeps: the largest answer that there is. */
    const char *large[] = {"sh", "-c", "head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2",
                           NULL};
    exec = (LodgeGuestExec){.argv = large};
    g_assert_true(lodge_guest_agent_exec(agent, &exec, DEADLINE, &result, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(result.output_bytes, ==, 16 * 1024 * 1024);
    g_assert_true(result.output_truncated && result.error_output_truncated);
    lodge_guest_exec_result_clear(&result);

    const char *killed[] = {"sh", "-c", "kill -9 $$", NULL};
    exec = (LodgeGuestExec){.argv = killed};
    g_assert_true(lodge_guest_agent_exec(agent, &exec, DEADLINE, &result, &error));
    g_assert_cmpint(result.signal, ==, SIGKILL);
    g_assert_cmpint(result.exit_status, ==, -1);

    const char *absent[] = {"no-such-program-here", NULL};
    exec = (LodgeGuestExec){.argv = absent};
    g_assert_false(lodge_guest_agent_exec(agent, &exec, DEADLINE, &result, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
    g_clear_error(&error);

    g_autofree char *path = g_build_filename(folder, "file", NULL);
    g_autofree char *data = g_strnfill(1500000, 'x');
    gsize length = 0;
    g_assert_true(lodge_guest_agent_file_write(agent, path, data, 1500000, DEADLINE, &error));
    g_assert_no_error(error);
    g_autofree char *back = lodge_guest_agent_file_read(agent, path, 1500000, DEADLINE, &length,
                                                        &error);
    g_assert_no_error(error);
    g_assert_cmpmem(back, length, data, 1500000);
    g_assert_null(lodge_guest_agent_file_read(agent, path, 1499999, DEADLINE, &length, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    g_autofree char *nowhere = g_build_filename(folder, "no", "file", NULL);
    g_assert_null(lodge_guest_agent_file_read(agent, nowhere, 1, DEADLINE, &length, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
    g_clear_error(&error);

    g_autoptr(json_t) interfaces = lodge_guest_agent_interfaces(agent, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(json_array_size(interfaces), >, 0);
}

static void
test_real(void)
{
    g_autofree char *program = lodge_program_find("qemu-ga");
    if (program == NULL) {
        g_test_skip("qemu-ga is not installed");
        return;
    }
    g_autofree char *folder = g_dir_make_tmp("lodge-agent-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "socket", NULL);
    const char *argv[] = {program, "-m", "unix-listen", "-p", path, "-t", folder, NULL};
    GPid pid;
    g_autoptr(GError) error = NULL;
    g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL,
                  NULL, NULL, &pid, &error);
    g_assert_no_error(error);
    gint64 deadline = DEADLINE;
    g_autoptr(LodgeGuestAgent) agent = NULL;
    while ((agent = lodge_guest_agent_connect(path, deadline, &error)) == NULL) {
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
        g_clear_error(&error);
        g_assert_true(lodge_wait_for(20, NULL));
    }
    use_real_agent(agent, folder);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    lodge_tree_remove(folder, NULL);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qmp/guest-agent/sync-drops-what-is-stale", test_sync_drops_what_is_stale);
    g_test_add_func("/qmp/guest-agent/absent", test_absent);
    g_test_add_func("/qmp/guest-agent/late-answer", test_late_answer);
    g_test_add_func("/qmp/guest-agent/unasked", test_unasked);
    g_test_add_func("/qmp/guest-agent/garbage", test_garbage);
    g_test_add_func("/qmp/guest-agent/flood", test_flood);
    g_test_add_func("/qmp/guest-agent/refusals", test_refusals);
    g_test_add_func("/qmp/guest-agent/info", test_info);
    g_test_add_func("/qmp/guest-agent/shutdown", test_shutdown);
    g_test_add_func("/qmp/guest-agent/exec", test_exec);
    g_test_add_func("/qmp/guest-agent/exec-failures", test_exec_failures);
    g_test_add_func("/qmp/guest-agent/files", test_files);
    g_test_add_func("/qmp/guest-agent/hostile-files", test_hostile_files);
    g_test_add_func("/qmp/guest-agent/interfaces", test_interfaces);
    g_test_add_func("/qmp/guest-agent/system", test_system);
    g_test_add_func("/qmp/guest-agent/real", test_real);
    return g_test_run();
}
