/* The client and the real agent: who the guest is, how it does, and its end. The agent's files are
 * below a folder of the test's; where it sets the kernel's name and NICs, it has namespaces of its
 * own, or leaves the kernel as it is. */
#include "config.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/protocol.h"
#include "qmp/agent-control.h"
#include "qmp/tests/agent-fixture.h"

static AgentFixture fixture;

static void
expect_root_file(const char *name, const char *content, mode_t mode)
{
    g_autoptr(GError) error = NULL;
    struct stat about;
    g_autofree char *root = agent_fixture_path(&fixture, "root");
    g_autofree char *path = g_build_filename(root, name, NULL);
    g_autofree char *text = lodge_file_read(path, 1 << 20, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(text, ==, content);
    g_assert_cmpint(stat(path, &about), ==, 0);
    g_assert_cmpuint(about.st_mode & 07777, ==, mode);
}

static void
write_root_file(const char *name, const char *content)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *root = agent_fixture_path(&fixture, "root");
    g_autofree char *path = g_build_filename(root, name, NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    lodge_dir_make(folder, 0755, &error);
    lodge_file_write(path, content, strlen(content), 0644, LODGE_WRITE_NO_SYNC, &error);
    g_assert_no_error(error);
}

/* Keys are written as their user would write them. */
static void
give_home(const char *name, uid_t uid)
{
    g_autofree char *home = agent_fixture_path(&fixture, name);
    if (geteuid() == 0) {
        g_assert_cmpint(chmod(fixture.folder, 0755), ==, 0);
        g_assert_cmpint(chown(home, uid, uid), ==, 0);
    }
}

/* A home's owner may have put a link there: root must not write where its owner may not. */
static void
test_keys_stay_at_home(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    g_autofree char *link = agent_fixture_path(&fixture, "root/home/eve/.ssh");
    g_autofree char *target = agent_fixture_path(&fixture, "root/etc/secret");
    if (geteuid() != 0) {
        g_test_skip("needs root");
        return;
    }
    write_root_file("etc/passwd", "eve:x:1001:1001::/home/eve:\n");
    write_root_file("home/eve/x", "");
    write_root_file("etc/secret/authorized_keys", "root's\n");
    give_home("root/home/eve", 1001);
    g_assert_cmpint(symlink(target, link), ==, 0);
    g_assert_false(lodge_agent_write_keys(agent, "eve", "eve's\n", DEADLINE, &error));
    g_assert_nonnull(strstr(error->message, "keys eve: Permission denied"));
    expect_root_file("etc/secret/authorized_keys", "root's\n", 0644);
}

static void
test_identity(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    static const char *const addresses[] = {"10.77.0.12/24", "fd00::12/64", NULL};
    static const char *const gateways[] = {"10.77.0.1", NULL};
    static const char *const dns[] = {"10.77.0.1", NULL};
    g_autofree char *long_key = g_strnfill(100000, 'k');
    LodgeAgentNicIdentity nics[] = {
        {.nic = "", .mac = "52:54:00:12:34:56", .addresses = addresses, .gateways = gateways}, {0}};
    LodgeAgentFile files[] = {
        {"/etc/ssh/ssh_host_ed25519_key", 0600, "private\n", 8},
        {"/etc/long", 0644, long_key, 100000},
        {0},
    };
    LodgeAgentIdentity identity = {
        .hostname = "web1.example.org",
        .machine_id = "0123456789abcdef0123456789abcdef",
        .clock = TRUE,
        .entropy = TRUE,
        .nics = nics,
        .dns = dns,
        .keys_user = "ada",
        .authorized_keys = "ssh-ed25519 AAAA ada@host\n",
        .files = files,
    };
    write_root_file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:\n");
    write_root_file("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 old\n::1 localhost");
    write_root_file("etc/ssh/sshd_config", "");
    write_root_file("home/ada/x", "");
    give_home("root/home/ada", 1000);
    g_assert_true(lodge_agent_identity(agent, &identity, DEADLINE, &error));
    g_assert_no_error(error);
    expect_root_file("etc/hostname", "web1.example.org\n", 0644);
    expect_root_file("etc/hosts",
                     "127.0.0.1 localhost\n127.0.1.1 web1.example.org web1\n::1 localhost\n", 0644);
    expect_root_file("etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0444);
    expect_root_file("etc/ssh/ssh_host_ed25519_key", "private\n", 0600);
    expect_root_file("etc/long", long_key, 0644);
    expect_root_file("etc/resolv.conf", "nameserver 10.77.0.1\n", 0644);
    expect_root_file("home/ada/.ssh/authorized_keys", "ssh-ed25519 AAAA ada@host\n", 0600);
    /* Where sshd has a folder for them, there. */
    write_root_file("etc/ssh/authorized_keys.d/x", "");
    g_assert_true(lodge_agent_write_keys(agent, "ada", "other\n", DEADLINE, &error));
    expect_root_file("etc/ssh/authorized_keys.d/ada", "other\n", 0644);
    g_assert_true(lodge_agent_set_time(agent, DEADLINE, &error));
}

/* What fails is named, and what can be done is done. */
static void
test_identity_in_part(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    LodgeAgentNicIdentity nics[] = {{.nic = "eth0", .mac = "nonsense"}, {0}};
    LodgeAgentIdentity identity = {
        .hostname = "bad name",
        .machine_id = "fedcba9876543210fedcba9876543210",
        .keys_user = "nobody-here",
        .authorized_keys = "x",
        .nics = nics,
    };
    write_root_file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    g_assert_false(lodge_agent_identity(agent, &identity, DEADLINE, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "hostname: Invalid argument"));
    g_assert_nonnull(strstr(error->message, "keys nobody-here: No such file or directory"));
    g_assert_nonnull(strstr(error->message, "nic eth0: Invalid argument"));
    g_assert_null(strstr(error->message, "machine-id"));
    expect_root_file("etc/machine-id", "fedcba9876543210fedcba9876543210\n", 0444);
}

static void
test_info(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    write_root_file("etc/os-release", "NAME=x\nID=debian\nVERSION_ID=\"12\"\n"
                                      "PRETTY_NAME=\"Debian \e[31m12\"\n");
    write_root_file("proc/meminfo", "MemTotal:  2000 kB\nMemFree: 500 kB\nMemAvailable: 1000 kB\n");
    g_autoptr(LodgeAgentInfo) info = lodge_agent_info(agent, DEADLINE, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(info->os_id, ==, "debian");
    g_assert_cmpstr(info->os_version, ==, "12");
    g_assert_null(strchr(info->os_name, '\e'));
    g_assert_cmpuint(info->memory_total, ==, 2000 * 1024);
    g_assert_cmpuint(info->memory_available, ==, 1000 * 1024);
    g_assert_cmpuint(info->memory_free, ==, 500 * 1024);
    g_assert_nonnull(info->kernel);
    g_assert_cmpuint(info->uptime_ms, >, 0);
    g_assert_cmpstr(info->agent_version, ==, LODGE_VERSION);
}

static void
test_freeze(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    guint count;
    g_assert_false(lodge_agent_thaw(agent, DEADLINE, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
    g_clear_error(&error);
    if (!lodge_agent_freeze(agent, 10000, DEADLINE, &count, &error)) {
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
        g_test_skip("no block file system here");
        return;
    }
    g_assert_cmpuint(count, >, 0);
    g_assert_false(lodge_agent_freeze(agent, 10000, DEADLINE, &count, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_BUSY);
    g_clear_error(&error);
    g_assert_true(lodge_agent_thaw(agent, DEADLINE, &error));
    g_assert_true(lodge_agent_freeze(agent, 20, DEADLINE, &count, &error));
    g_assert_true(lodge_wait_for(100, NULL));
    g_assert_false(lodge_agent_thaw(agent, DEADLINE, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
}

static void
test_shutdown(void)
{
    g_autoptr(LodgeAgent) agent = agent_fixture_connect(&fixture);
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_agent_shutdown(agent, FALSE, DEADLINE, &error));
    g_assert_true(lodge_agent_shutdown(agent, TRUE, DEADLINE, &error));
    g_assert_no_error(error);
}

/* --- The control port ------------------------------------------------------------------------ */

static LodgeAgentEvent *
next_event(LodgeAgentControl *control)
{
    for (;;) {
        LodgeAgentEvent *event = lodge_agent_control_take(control);
        if (event != NULL) {
            return event;
        }
        g_assert_true(lodge_wait_fd(lodge_agent_control_fd(control),
                                    (short)lodge_agent_control_fd_events(control), DEADLINE, NULL));
        g_assert_true(lodge_agent_control_pump(control));
    }
}

static void
test_control(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = agent_fixture_path(&fixture, "agent-0.sock");
    for (guint i = 0; i < 3; i++) { /* one keeper after another */
        int fd = lodge_unix_connect(path, &error);
        g_assert_no_error(error);
        g_autoptr(LodgeAgentControl) control = lodge_agent_control_new(fd);
        g_autoptr(LodgeAgentEvent) ready = next_event(control);
        g_assert_cmpint((int)ready->kind, ==, LODGE_AGENT_READY);
        g_assert_cmpstr(ready->info->agent_version, ==, LODGE_VERSION);
        g_autoptr(LodgeAgentEvent) addresses = next_event(control);
        g_assert_cmpint((int)addresses->kind, ==, LODGE_AGENT_ADDRESSES);
        g_assert_nonnull(addresses->nics);
        lodge_agent_control_ask_info(control);
        g_autoptr(LodgeAgentEvent) info = next_event(control);
        g_assert_cmpint((int)info->kind, ==, LODGE_AGENT_INFO);
        g_assert_nonnull(info->info->kernel);
    }
}

/* --- Resynchronization ----------------------------------------------------------------------- */

static void
send_bytes(int fd, const void *bytes, gsize length)
{
    g_assert_cmpint(send(fd, bytes, length, MSG_NOSIGNAL), ==, length);
}

static void
say_hello(int fd, guint8 mark)
{
    guint8 hello[MAGIC_BYTES + 2 * HEADER_BYTES + NONCE_BYTES];
    memcpy(hello, MAGIC, MAGIC_BYTES);
    header_write(hello + MAGIC_BYTES, FRAME_HELLO, HEADER_BYTES + NONCE_BYTES);
    header_write(hello + MAGIC_BYTES + HEADER_BYTES, FIELD_NONCE, NONCE_BYTES);
    memset(hello + MAGIC_BYTES + 2 * HEADER_BYTES, mark, NONCE_BYTES);
    send_bytes(fd, hello, sizeof hello);
}

/* Read until the agent has echoed the nonce. */
static void
await_hello(int fd, guint8 mark)
{
    guint8 wanted[MAGIC_BYTES + 2 * HEADER_BYTES];
    g_autoptr(GByteArray) input = g_byte_array_new();
    gint64 deadline = DEADLINE;
    memcpy(wanted, MAGIC, MAGIC_BYTES);
    for (;;) {
        guint8 buffer[4096];
        g_assert_true(lodge_wait_fd(fd, POLLIN, deadline, NULL));
        gssize count = recv(fd, buffer, sizeof buffer, 0);
        g_assert_cmpint(count, >, 0);
        g_byte_array_append(input, buffer, (guint)count);
        guint8 nonce[NONCE_BYTES];
        memset(nonce, mark, sizeof nonce);
        const guint8 *at = memmem(input->data, input->len, MAGIC, MAGIC_BYTES);
        if (at != NULL && memmem(at, input->len - (gsize)(at - input->data), nonce, NONCE_BYTES)) {
            return;
        }
    }
}

static void
send_exec(int fd, const char *program, const char *argument)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();
    guint8 header[HEADER_BYTES];
    gsize lengths[] = {strlen(program), strlen(argument)};
    header_write(header, FRAME_EXEC, (guint32)(2 * HEADER_BYTES + lengths[0] + lengths[1]));
    g_byte_array_append(frame, header, sizeof header);
    header_write(header, FIELD_ARGUMENT, (guint32)lengths[0]);
    g_byte_array_append(frame, header, sizeof header);
    g_byte_array_append(frame, (const guint8 *)program, (guint)lengths[0]);
    header_write(header, FIELD_ARGUMENT, (guint32)lengths[1]);
    g_byte_array_append(frame, header, sizeof header);
    g_byte_array_append(frame, (const guint8 *)argument, (guint)lengths[1]);
    send_bytes(fd, frame->data, frame->len);
}

/* A port passes from one host to the next unnoticed, in the midst of a frame: the first one's
 * program ends, and the next is heard. */
static void
test_next_hello(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = agent_fixture_path(&fixture, "agent-5.sock");
    lodge_autofd fd = lodge_unix_connect(path, &error);
    g_assert_no_error(error);
    send_bytes(fd, "stale\x30\xff", 7);
    say_hello(fd, 1);
    await_hello(fd, 1);
    g_autofree char *sleeper = g_strdup_printf("sleep 987658.%d", (int)getpid());
    g_autofree char *other = g_strdup_printf("sleep 987659.%d", (int)getpid());
    send_exec(fd, "sleep", sleeper + strlen("sleep "));
    agent_await_processes(sleeper, 1);
    static const guint8 half[] = {FRAME_DATA, 0, 16, 0, 'x', 'y'};
    send_bytes(fd, half, sizeof half);
    send_bytes(fd, MAGIC, 7); /* and of a hello */
    say_hello(fd, 2);
    await_hello(fd, 2);
    agent_await_processes(sleeper, 0);
    /* Garbage that is no frame: deaf until the next hello. */
    static const guint8 garbage[] = {FRAME_INFO, 0xff, 0xff, 0xff, 1, 2, 3};
    send_bytes(fd, garbage, sizeof garbage);
    send_exec(fd, "sleep", other + strlen("sleep "));
    say_hello(fd, 3);
    await_hello(fd, 3);
    g_assert_cmpuint(agent_count_processes(other), ==, 0);
}

/* What was put to sleep before the machine was parked, and an agent that ended before it woke it.
 */
static void
test_settle(void)
{
    static const char *const groups[] = {"a.service", "b.service"};
    g_autoptr(GError) error = NULL;
    g_autofree char *root = g_dir_make_tmp("lodge-settle-XXXXXX", &error);
    g_assert_no_error(error);
    g_autofree char *run = g_build_filename(root, "run/lodge-agent", NULL);
    g_autofree char *asleep = g_build_filename(run, "asleep", NULL);
    g_autoptr(GString) list = g_string_new("/sys/gone/cgroup.freeze\n");
    g_assert_true(lodge_dir_make(run, 0755, &error));
    for (gsize i = 0; i < G_N_ELEMENTS(groups); i++) {
        g_autofree char *folder = g_build_filename(root, "sys", groups[i], NULL);
        g_autofree char *place = g_build_filename(folder, "cgroup.freeze", NULL);
        g_assert_true(lodge_dir_make(folder, 0755, &error));
        g_assert_true(g_file_set_contents(place, "1", -1, &error));
        g_string_append_printf(list, "/sys/%s/cgroup.freeze\n", groups[i]);
    }
    g_assert_true(g_file_set_contents(asleep, list->str, -1, &error));
    const char *argv[] = {
        g_getenv("LODGE_TEST_AGENT"), "--dry", "--root", root, "--port-dir", root, NULL};
    GPid pid;
    g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH, NULL,
                  NULL, &pid, &error);
    g_assert_no_error(error);
    gint64 deadline = DEADLINE;
    for (gsize i = 0; i < G_N_ELEMENTS(groups); i++) {
        g_autofree char *place = g_build_filename(root, "sys", groups[i], "cgroup.freeze", NULL);
        g_autofree char *text = NULL;
        while (text == NULL || !g_str_equal(text, "0")) {
            g_assert_false(lodge_deadline_passed(deadline));
            g_assert_true(lodge_wait_for(5, NULL));
            g_free(text);
            g_assert_true(g_file_get_contents(place, &text, NULL, NULL));
        }
    }
    g_assert_false(g_file_test(asleep, G_FILE_TEST_EXISTS));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    g_assert_true(lodge_tree_remove(root, &error));
}

int
main(int argc, char **argv)
{
    static const char *const dry[] = {"--dry", NULL};
    g_test_init(&argc, &argv, NULL);
    agent_fixture_start(&fixture, dry);
    g_test_add_func("/agent/system/keys-stay-at-home", test_keys_stay_at_home);
    g_test_add_func("/agent/system/identity", test_identity);
    g_test_add_func("/agent/system/identity-in-part", test_identity_in_part);
    g_test_add_func("/agent/system/info", test_info);
    g_test_add_func("/agent/system/freeze", test_freeze);
    g_test_add_func("/agent/system/shutdown", test_shutdown);
    g_test_add_func("/agent/system/control", test_control);
    g_test_add_func("/agent/system/next-hello", test_next_hello);
    g_test_add_func("/agent/system/settle", test_settle);
    int status = g_test_run();
    agent_fixture_end(&fixture);
    return status;
}
