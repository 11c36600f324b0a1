/* The client against a QEMU that is late, silent, talks nonsense, or goes. */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "base/base.h"
#include "qmp/qmp.h"
#include "qmp/tests/fake.h"

#define DEADLINE lodge_deadline_in(20000)
#define SOON lodge_deadline_in(100)

typedef struct {
    Fake fake;
    LodgeQmp *qmp;
} Peer;

static Peer
peer_start(const char *script)
{
    Peer peer = {.fake = fake_start(script)};
    peer.qmp = lodge_qmp_new(peer.fake.fd);
    return peer;
}

static Peer
peer_ready(const char *script)
{
    g_autofree char *whole = g_strconcat("ready\n", script, NULL);
    Peer peer = peer_start(whole);
    g_autoptr(GError) error = NULL;
    lodge_qmp_handshake(peer.qmp, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_true(lodge_qmp_is_ready(peer.qmp));
    return peer;
}

static void
peer_end(Peer *peer)
{
    g_clear_pointer(&peer->qmp, lodge_qmp_free);
    fake_end(&peer->fake);
}

/* Whatever script comes first, the next command ends with this error, and the connection is lost.
 */
static void
assert_fatal(const char *script, LodgeError code, const char *message)
{
    Peer peer = peer_start(script);
    g_autoptr(GError) error = NULL;
    g_assert_null(lodge_qmp_call(peer.qmp, "query-status", NULL, DEADLINE, &error));
    g_assert_error(error, LODGE_ERROR, (int)code);
    g_assert_cmpstr(error->message, ==, message);
    g_assert_true(lodge_qmp_is_closed(peer.qmp));
    g_autoptr(GError) again = NULL;
    g_assert_null(lodge_qmp_next_event(peer.qmp, DEADLINE, &again));
    g_assert_error(again, LODGE_ERROR, (int)code);
    g_clear_error(&again);
    g_assert_false(lodge_qmp_pump(peer.qmp, &again));
    g_assert_error(again, LODGE_ERROR, (int)code);
    g_clear_error(&again);
    g_assert_cmpuint(lodge_qmp_send(peer.qmp, "stop", NULL, -1, NULL, NULL, &again), ==, 0);
    g_assert_true(g_str_has_prefix(again->message, "stop: "));
    peer_end(&peer);
}

static void
test_handshake_and_call(void)
{
    Peer peer = peer_ready("expect block_resize\n"
                           "arguments {\"device\": \"root\", \"size\": 1024}\n"
                           "return {\"a\": 1}");
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(lodge_qmp_version(peer.qmp), ==, 70214);
    g_autoptr(json_t)
        result = lodge_qmp_ask(peer.qmp, DEADLINE, &error, "block_resize", "{s:s, s:I}", "device",
                               "root", "size", (json_int_t)1024);
    g_assert_no_error(error);
    g_assert_cmpint(lodge_json_int(result, "a", 0), ==, 1);
    peer_end(&peer);
}

static void
test_handshake_failures(void)
{
    assert_fatal("close", LODGE_ERROR_FAILED, "query-status: QEMU closed the connection");
    assert_fatal("greet\nexpect qmp_capabilities\nerror GenericError No\nsilence",
                 LODGE_ERROR_FAILED, "query-status: qmp_capabilities: No");
    assert_fatal("greet\ngreet\nsilence", LODGE_ERROR_INVALID,
                 "query-status: QEMU sent a malformed greeting");
    assert_fatal("raw {\"QMP\": {\"version\": {\"qemu\": {\"major\": \"7\"}}}}\\n\nsilence",
                 LODGE_ERROR_INVALID, "query-status: QEMU sent a malformed greeting");
    assert_fatal("raw {\"QMP\": {\"version\": {\"qemu\": "
                 "{\"major\": 7, \"minor\": 2, \"micro\": -1}}}}\\n\nsilence",
                 LODGE_ERROR_INVALID, "query-status: QEMU sent a malformed greeting");
}

/* The first command does not wait for the answer to qmp_capabilities. */
static void
test_early_command(void)
{
    Peer peer = peer_start("greet\nexpect qmp_capabilities\nexpect stop\nreturn {}");
    g_autoptr(GError) error = NULL;
    lodge_qmp_handshake(peer.qmp, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_true(lodge_qmp_run(peer.qmp, DEADLINE, &error, "stop", NULL));
    g_assert_no_error(error);
    peer_end(&peer);
}

static void
test_no_greeting(void)
{
    Peer peer = peer_start("silence");
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_qmp_handshake(peer.qmp, SOON, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
    g_assert_nonnull(strstr(error->message, "did not greet"));
    g_assert_false(lodge_qmp_is_closed(peer.qmp));
    peer_end(&peer);
}

static void
test_errors_of_qemu(void)
{
    static const struct {
        const char *class;
        LodgeError code;
    } cases[] = {
        {"GenericError", LODGE_ERROR_FAILED},       {"DeviceNotFound", LODGE_ERROR_NOT_FOUND},
        {"DeviceNotActive", LODGE_ERROR_BUSY},      {"CommandNotFound", LODGE_ERROR_UNSUPPORTED},
        {"KVMMissingCap", LODGE_ERROR_UNSUPPORTED},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *script = g_strdup_printf("expect device_del\nerror %s The \x1b reason",
                                                  cases[i].class);
        Peer peer = peer_ready(script);
        g_autoptr(GError) error = NULL;
        g_assert_false(lodge_qmp_run(peer.qmp, DEADLINE, &error, "device_del", "{s:s}", "id", "x"));
        g_assert_error(error, LODGE_ERROR, (int)cases[i].code);
        g_assert_cmpstr(error->message, ==, "device_del: The ? reason");
        g_assert_cmpstr(lodge_qmp_error_class(peer.qmp), ==, cases[i].class);
        peer_end(&peer);
    }
}

static void
test_error_without_id(void)
{
    Peer peer = peer_ready("expect x\nerror-no-id GenericError JSON parse error\nreturn {}\n"
                           "expect y\nreturn {}");
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_qmp_run(peer.qmp, DEADLINE, &error, "x", NULL));
    g_assert_cmpstr(error->message, ==, "x: JSON parse error");
    g_assert_true(lodge_qmp_run(peer.qmp, DEADLINE, NULL, "y", NULL));
    peer_end(&peer);
}

static void
test_late_reply(void)
{
    Peer peer = peer_ready("expect slow\nexpect quick\n"
                           "return-again {\"of\": \"slow\"}\nreturn {\"of\": \"quick\"}\n"
                           "return {\"of\": \"quick, twice\"}\n"
                           "raw {\"id\": 77, \"return\": {}}\\n{\"return\": {}}\\n\n"
                           "raw {\"id\": [\"strange\"], \"return\": {}}\\n\n"
                           "expect last\nreturn {\"of\": \"last\"}");
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_qmp_run(peer.qmp, SOON, &error, "slow", NULL));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
    g_assert_cmpstr(error->message, ==, "slow: no answer in time");
    g_clear_error(&error);
    g_autoptr(json_t) quick = lodge_qmp_call(peer.qmp, "quick", NULL, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(lodge_json_string(quick, "of", ""), ==, "quick");
    g_autoptr(json_t) last = lodge_qmp_call(peer.qmp, "last", NULL, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(lodge_json_string(last, "of", ""), ==, "last");
    peer_end(&peer);
}

static void
test_garbage(void)
{
    static const char *const lines[] = {
        "garbage\\n",
        "\\xff\\xfe\\x00\\n",
        "{\"event\": \"\\xff\"}\\n",
        "[1, 2]\\n",
        "3\\n",
        "{\"return\": {}\\n",
        "{\"event\": \"A\", \"event\": \"B\"}\\n",
        "{\"a\": 99999999999999999999}\\n",
        "\\x00\\n",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *script = g_strdup_printf("ready\nraw %s\nsilence", lines[i]);
        assert_fatal(script, LODGE_ERROR_INVALID,
                     "query-status: QEMU sent what is not a JSON object");
    }
    assert_fatal("ready\nraw {\"event\": 1}\\n\nsilence", LODGE_ERROR_INVALID,
                 "query-status: QEMU sent a malformed event");
    assert_fatal("ready\nraw {\"event\": \"X\", \"data\": []}\\n\nsilence", LODGE_ERROR_INVALID,
                 "query-status: QEMU sent a malformed event");
    assert_fatal("ready\nraw {\"what\": 1}\\n\nsilence", LODGE_ERROR_INVALID,
                 "query-status: QEMU sent a malformed message");
    assert_fatal("ready\nraw {\"error\": 1}\\n\nsilence", LODGE_ERROR_INVALID,
                 "query-status: the answer is malformed");
}

static void
test_too_large(void)
{
    assert_fatal("ready\nhuge 17000000\nsilence", LODGE_ERROR_INVALID,
                 "query-status: QEMU sent a message of more than 16777216 bytes");
    assert_fatal("ready\nvalues 300000\nsilence", LODGE_ERROR_INVALID,
                 "query-status: QEMU sent a message of more than 262144 values");
}

static void
test_pieces(void)
{
    Peer peer = peer_start("bytewise on\nready\nevent A {\"n\": 1}\nraw \\r\\n\\n\n"
                           "expect x\nreturn {}\nbytewise off\n"
                           "raw {\"event\":\"B\"}\\n{\"event\":\"C\"}\\n{\"event\":\nwait 20\n"
                           "raw  \"D\"}\\n");
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_qmp_run(peer.qmp, DEADLINE, &error, "x", NULL));
    for (const char *name = "ABCD"; *name != '\0'; name++) {
        g_autoptr(json_t) event = lodge_qmp_next_event(peer.qmp, DEADLINE, &error);
        g_assert_no_error(error);
        g_assert_cmpint(lodge_qmp_event_name(event)[0], ==, *name);
        g_assert_true(json_is_object(lodge_qmp_event_data(event)));
    }
    peer_end(&peer);
}

static gboolean
is_job(const json_t *event, gpointer data)
{
    return strcmp(lodge_json_string(lodge_qmp_event_data(event), "device", ""), data) == 0;
}

static void
test_wait_event(void)
{
    Peer peer = peer_ready("event STOP\n"
                           "event BLOCK_JOB_COMPLETED {\"device\": \"other\"}\nexpect x\n"
                           "event RESUME\nreturn {}\nwait 20\n"
                           "event BLOCK_JOB_COMPLETED {\"device\": \"mine\"}\nexpect y\nreturn {}\n"
                           "silence");
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_qmp_run(peer.qmp, DEADLINE, &error, "x", NULL));
    g_autoptr(json_t) mine = lodge_qmp_wait_event(peer.qmp, "BLOCK_JOB_COMPLETED", is_job,
                                                  (gpointer) "mine", DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_true(is_job(mine, (gpointer) "mine"));
    g_assert_true(lodge_qmp_run(peer.qmp, DEADLINE, &error, "y", NULL));

    static const char *const others[] = {"STOP", "BLOCK_JOB_COMPLETED", "RESUME"};
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++) {
        g_autoptr(json_t) event = lodge_qmp_take_event(peer.qmp);
        g_assert_cmpstr(lodge_qmp_event_name(event), ==, others[i]);
    }
    g_assert_null(lodge_qmp_take_event(peer.qmp));
    g_assert_null(lodge_qmp_wait_event(peer.qmp, "STOP", NULL, NULL, SOON, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
    peer_end(&peer);
}

static void
test_flood_is_bounded(void)
{
    Peer peer = peer_ready("repeat 5000 event X {\"n\": #}\nexpect x\nreturn {}");
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_qmp_run(peer.qmp, DEADLINE, &error, "x", NULL));
    g_assert_cmpuint(lodge_qmp_dropped_events(peer.qmp), ==, 5000 - LODGE_QMP_EVENTS_LIMIT);
    g_autoptr(json_t) oldest = lodge_qmp_take_event(peer.qmp);
    g_assert_cmpint(lodge_json_int(lodge_qmp_event_data(oldest), "n", 0), ==,
                    5000 - LODGE_QMP_EVENTS_LIMIT);
    peer_end(&peer);
}

/* An event that is waited for is found even if more come behind it than the queue holds. */
static void
test_event_before_flood(void)
{
    Peer peer = peer_ready("event WANTED\nrepeat 9000 raw {\"event\":\"X\"}\\n\nsilence");
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t)
        wanted = lodge_qmp_wait_event(peer.qmp, "WANTED", NULL, NULL, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_nonnull(wanted);
    peer_end(&peer);
}

/* A QEMU that never falls silent must not hold us beyond the deadline. */
static void
test_endless_events(void)
{
    Peer peer = peer_ready("expect x\nrepeat 10000000 event X\n");
    g_autoptr(GError) error = NULL;
    gint64 before = g_get_monotonic_time();
    g_assert_false(lodge_qmp_run(peer.qmp, lodge_deadline_in(300), &error, "x", NULL));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
    g_assert_cmpint(g_get_monotonic_time() - before, <, 5 * G_USEC_PER_SEC);
    peer_end(&peer);
}

static void
test_disconnect(void)
{
    Peer peer = peer_ready("expect x\nevent SHUTDOWN\nraw {\"half\":\nclose");
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_qmp_run(peer.qmp, DEADLINE, &error, "x", NULL));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    g_assert_cmpstr(error->message, ==, "x: QEMU closed the connection");
    g_clear_error(&error);
    g_autoptr(json_t) event = lodge_qmp_next_event(peer.qmp, DEADLINE, &error);
    g_assert_cmpstr(lodge_qmp_event_name(event), ==, "SHUTDOWN");
    g_assert_null(lodge_qmp_next_event(peer.qmp, DEADLINE, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    peer_end(&peer);
}

static void
test_descriptor(void)
{
    Peer peer = peer_ready("expect getfd\narguments {\"fdname\": \"tap\"}\ndescriptor hello\n"
                           "return {}");
    int pipe_fds[2];
    g_assert_cmpint(pipe2(pipe_fds, O_CLOEXEC), ==, 0);
    lodge_autofd reader = pipe_fds[0];
    lodge_autofd writer = pipe_fds[1];
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) result = lodge_qmp_call_fd(
        peer.qmp, "getfd", json_pack("{s:s}", "fdname", "tap"), writer, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_nonnull(result);
    lodge_fd_clear(&writer);
    char text[16] = "";
    g_assert_cmpint(read(reader, text, sizeof text - 1), ==, 5);
    g_assert_cmpstr(text, ==, "hello");
    /* No copy of ours is left open. */
    g_assert_cmpint(read(reader, text, sizeof text), ==, 0);
    peer_end(&peer);
}

static void
test_bad_arguments(void)
{
    Peer peer = peer_ready("expect x\nnothing\nreturn {}");
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_qmp_run(peer.qmp, DEADLINE, &error, "bad", "{s:s}", "a", "\xff"));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_null(lodge_qmp_call(peer.qmp, "bad", json_array(), DEADLINE, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_null(lodge_qmp_call_fd(peer.qmp, "bad", NULL, 9999, DEADLINE, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    g_assert_true(lodge_qmp_run(peer.qmp, DEADLINE, NULL, "x", NULL));
    peer_end(&peer);
}

/* Without waiting */

typedef struct {
    GString *log;
    LodgeQmp *qmp;
} Log;

static void
on_reply(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    Log *log = data;
    g_assert_true(qmp == log->qmp);
    g_string_append_printf(log->log, "%s\n",
                           error != NULL ? error->message : lodge_json_string(result, "of", "?"));
}

/* Calls from a callback, while other replies wait behind. */
static void
on_reply_call(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    on_reply(qmp, result, error, data);
    g_autoptr(json_t) inner = lodge_qmp_call(qmp, "inner", NULL, DEADLINE, NULL);
    on_reply(qmp, inner, NULL, data);
}

static void
pump_until_closed(LodgeQmp *qmp)
{
    while (lodge_qmp_pump(qmp, NULL)) {
        short events = (lodge_qmp_fd_events(qmp) & G_IO_OUT) != 0 ? POLLIN | POLLOUT : POLLIN;
        g_assert_true(lodge_wait_fd(lodge_qmp_fd(qmp), events, DEADLINE, NULL));
    }
}

static void
test_pump(void)
{
    Peer peer = peer_start("wait 50\nready\nexpect early\nexpect second\nexpect third\n"
                           "return {\"of\": \"third\"}\nreturn-again {\"of\": \"second\"}\n"
                           "raw {\"event\":\"A\"}\\n{\"event\":\"B\"}\\n\nclose");
    g_autoptr(GString) text = g_string_new("");
    Log log = {.log = text, .qmp = peer.qmp};
    static const char *const names[] = {"early", "given-up", "second", "third"};
    guint64 ids[G_N_ELEMENTS(names)];
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        ids[i] = lodge_qmp_send(peer.qmp, names[i], NULL, -1, on_reply, &log, NULL);
        g_assert_cmpuint(ids[i], !=, 0);
    }
    lodge_qmp_forget(peer.qmp, ids[1]);
    pump_until_closed(peer.qmp);
    g_assert_cmpstr(text->str, ==, "third\nsecond\nearly: QEMU closed the connection\n");
    g_autoptr(json_t) a = lodge_qmp_take_event(peer.qmp);
    g_autoptr(json_t) b = lodge_qmp_take_event(peer.qmp);
    g_assert_cmpstr(lodge_qmp_event_name(a), ==, "A");
    g_assert_cmpstr(lodge_qmp_event_name(b), ==, "B");
    peer_end(&peer);
}

static void
test_call_from_callback(void)
{
    Peer peer = peer_start("ready\nexpect first\nexpect second\n"
                           "return-again {\"of\": \"first\"}\nreturn {\"of\": \"second\"}\n"
                           "expect inner\nreturn {\"of\": \"inner\"}\nclose");
    g_autoptr(GString) text = g_string_new("");
    Log log = {.log = text, .qmp = peer.qmp};
    lodge_qmp_send(peer.qmp, "first", NULL, -1, on_reply_call, &log, NULL);
    lodge_qmp_send(peer.qmp, "second", NULL, -1, on_reply, &log, NULL);
    pump_until_closed(peer.qmp);
    g_assert_cmpstr(text->str, ==, "first\nsecond\ninner\n");
    peer_end(&peer);
}

/* What we send waits for a QEMU that does not read, and goes out when it does. */
static void
test_slow_reader(void)
{
    Peer peer = peer_ready("wait 200\nexpect x\nexpect y\nreturn {}");
    g_autofree char *large = g_strnfill(4 * 1024 * 1024, 'x');
    g_assert_cmpuint(
        lodge_qmp_send(peer.qmp, "x", json_pack("{s:s}", "a", large), -1, NULL, NULL, NULL), !=, 0);
    g_assert_cmpint(lodge_qmp_fd_events(peer.qmp), ==, G_IO_IN | G_IO_OUT);
    g_assert_true(lodge_qmp_run(peer.qmp, DEADLINE, NULL, "y", NULL));
    g_assert_cmpint(lodge_qmp_fd_events(peer.qmp), ==, G_IO_IN);
    peer_end(&peer);
}

/* The scripted QEMU in the place of the program, as end-to-end tests use it. */
static void
test_stand_in(void)
{
    g_autofree char *folder = g_dir_make_tmp("lodge-qmp-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "jobs.qmp", NULL);
    g_autofree char *chardev = g_strdup_printf("socket,id=jobs,path=%s,server=on,wait=off", path);
    const char *argv[] = {LODGE_SOURCE_DIR "/src/qmp/tests/fake-qemu.py",
                          "-machine",
                          "q35",
                          "-chardev",
                          chardev,
                          "-mon",
                          "chardev=jobs,mode=control",
                          NULL};
    Fake fake = {.fd = -1};
    g_autoptr(GError) error = NULL;
    g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &fake.pid,
                  &error);
    g_assert_no_error(error);
    g_autoptr(LodgeQmp) qmp = NULL;
    gint64 deadline = DEADLINE;
    while ((qmp = lodge_qmp_connect(path, deadline, &error)) == NULL) {
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
        g_clear_error(&error);
        g_assert_false(lodge_deadline_passed(deadline));
        g_assert_true(lodge_wait_for(20, NULL));
    }
    /* A second client waits in vain, as with QEMU. */
    g_assert_null(lodge_qmp_connect(path, SOON, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
    g_assert_true(lodge_qmp_run(qmp, DEADLINE, NULL, "stop", NULL));
    g_autoptr(json_t) status = lodge_qmp_call(qmp, "query-status", NULL, DEADLINE, NULL);
    g_assert_cmpstr(lodge_json_string(status, "status", ""), ==, "paused");
    g_assert_true(lodge_qmp_run(qmp, DEADLINE, NULL, "quit", NULL));
    fake_end(&fake);
    lodge_tree_remove(folder, NULL);
}

/* Last of all: signals no longer end this process. */
static void
test_interrupted(void)
{
    Peer peer = peer_ready("expect x\nexpect y\nreturn-again {}\nreturn {\"of\": \"y\"}");
    lodge_interrupt_install();
    raise(SIGTERM);
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_qmp_run(peer.qmp, DEADLINE, &error, "x", NULL));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INTERRUPTED);
    g_clear_error(&error);
    /* Tidying up uses the same connection. */
    lodge_interrupt_forget();
    g_autoptr(json_t) result = lodge_qmp_call(peer.qmp, "y", NULL, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(lodge_json_string(result, "of", ""), ==, "y");
    peer_end(&peer);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qmp/handshake-and-call", test_handshake_and_call);
    g_test_add_func("/qmp/handshake-failures", test_handshake_failures);
    g_test_add_func("/qmp/early-command", test_early_command);
    g_test_add_func("/qmp/no-greeting", test_no_greeting);
    g_test_add_func("/qmp/errors-of-qemu", test_errors_of_qemu);
    g_test_add_func("/qmp/error-without-id", test_error_without_id);
    g_test_add_func("/qmp/late-reply", test_late_reply);
    g_test_add_func("/qmp/garbage", test_garbage);
    g_test_add_func("/qmp/too-large", test_too_large);
    g_test_add_func("/qmp/pieces", test_pieces);
    g_test_add_func("/qmp/wait-event", test_wait_event);
    g_test_add_func("/qmp/flood-is-bounded", test_flood_is_bounded);
    g_test_add_func("/qmp/event-before-flood", test_event_before_flood);
    g_test_add_func("/qmp/endless-events", test_endless_events);
    g_test_add_func("/qmp/disconnect", test_disconnect);
    g_test_add_func("/qmp/descriptor", test_descriptor);
    g_test_add_func("/qmp/bad-arguments", test_bad_arguments);
    g_test_add_func("/qmp/pump", test_pump);
    g_test_add_func("/qmp/call-from-callback", test_call_from_callback);
    g_test_add_func("/qmp/slow-reader", test_slow_reader);
    g_test_add_func("/qmp/stand-in", test_stand_in);
    g_test_add_func("/qmp/interrupted", test_interrupted);
    return g_test_run();
}
