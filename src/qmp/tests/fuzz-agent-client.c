/* Feeds bytes to the client of lodge-agent as if a guest had sent them. The first byte chooses what
 * is asked, the rest is what comes back; then the port closes. In the
 * bytes, "MAGIC" stands for the agent's mark, and "NONCE" for that of the keeper's last hello. */
#include "config.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "base/tests/fuzz.h"
#include "qmp/agent-private.h"

enum {
    KINDS = 13,
};

static GString *
with_marks(const guint8 *data, gsize size, const guint8 *nonce)
{
    GString *text = g_string_sized_new(size);
    for (gsize i = 0; i < size;) {
        if (size - i >= 5 && memcmp(data + i, "MAGIC", 5) == 0) {
            g_string_append_len(text, MAGIC, MAGIC_BYTES);
            i += 5;
        } else if (size - i >= 5 && memcmp(data + i, "NONCE", 5) == 0) {
            g_string_append_len(text, (const char *)nonce, NONCE_BYTES);
            i += 5;
        } else {
            g_string_append_c(text, (char)data[i++]);
        }
    }
    return text;
}

static void
say(int fd, const char *bytes, gsize length)
{
    if (send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        /* It hung up: it has heard enough. */
    }
}

static void
check_nics(const GPtrArray *nics)
{
    for (guint i = 0; nics != NULL && i < nics->len; i++) {
        const LodgeAgentNic *nic = nics->pdata[i];
        g_assert_nonnull(nic->name);
        g_assert_true(g_utf8_validate(nic->name, -1, NULL));
        g_assert_nonnull(nic->addresses);
    }
}

static void
check_info(const LodgeAgentInfo *info)
{
    g_assert_true(info == NULL || info->os_name == NULL ||
                  g_utf8_validate(info->os_name, -1, NULL));
}

static void
feed_control(int ours, int theirs, const guint8 *data, gsize size)
{
    g_autoptr(LodgeAgentControl) control = lodge_agent_control_new(ours);
    lodge_agent_control_pump(control);
    guint8 hello[MAGIC_BYTES + HEADER_BYTES + HEADER_BYTES + NONCE_BYTES] = {0};
    g_assert_cmpint(recv(theirs, hello, sizeof hello, MSG_WAITALL), ==, sizeof hello);
    g_autoptr(GString)
        text = with_marks(data, size, hello + MAGIC_BYTES + HEADER_BYTES + HEADER_BYTES);
    say(theirs, text->str, text->len / 2);
    lodge_agent_control_pump(control);
    lodge_agent_control_ask_info(control);
    say(theirs, text->str + text->len / 2, text->len - text->len / 2);
    shutdown(theirs, SHUT_WR);
    while (lodge_agent_control_pump(control)) {
    }
    for (guint i = 0;; i++) {
        g_autoptr(LodgeAgentEvent) event = lodge_agent_control_take(control);
        if (event == NULL) {
            break;
        }
        g_assert_cmpuint(i, <, 100);
        check_nics(event->nics);
        check_info(event->info);
    }
}

/* Nothing but "target" may come to be in the folder, however the guest names its files. */
static void
copy_out(LodgeAgent *agent)
{
    g_autofree char *folder = g_dir_make_tmp("lodge-fuzz-XXXXXX", NULL);
    g_autofree char *outer = g_build_filename(folder, "outer", NULL);
    g_autofree char *target = g_build_filename(outer, "target", NULL);
    g_assert_true(lodge_dir_make(outer, 0700, NULL));
    lodge_agent_copy_out(agent, "/guest", target, NULL, NULL);
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    g_assert_cmpuint(g_strv_length(names), ==, 1);
    g_auto(GStrv) inner = lodge_dir_names(outer, NULL);
    g_assert_true(inner[0] == NULL || (g_str_equal(inner[0], "target") && inner[1] == NULL));
    g_assert_true(lodge_tree_remove(folder, NULL));
}

static void
ask(LodgeAgent *agent, guint which)
{
    static const char *const argv[] = {"a", NULL};
    LodgeAgentExec exec = {.argv = argv};
    g_auto(LodgeAgentResult) result = {0};
    LodgeAgentIdentity identity = {.hostname = "a"};
    gint64 deadline = LODGE_NO_DEADLINE;
    LodgeAgentKind kind = LODGE_AGENT_FILE;
    guint64 bytes;
    guint count;
    lodge_autofd null = open("/dev/null", O_RDWR | O_CLOEXEC);
    LodgeAgentStreams streams = {null, null, null, -1, NULL, NULL};
    LodgeAgentEnd end;
    switch (which) {
    case 0:
        lodge_agent_run(agent, &exec, "input", 5, 1000, deadline, &result, NULL);
        g_assert_true(result.output_bytes <= 1000 && result.error_output_bytes <= 1000);
        break;
    case 1:
        lodge_agent_exec_stream(agent, &exec, &streams, deadline, &end, NULL);
        break;
    case 2:
        copy_out(agent);
        break;
    case 3:
        lodge_agent_get_fd(agent, "/a", null, NULL, NULL);
        break;
    case 4:
        lodge_agent_put_fd(agent, null, "/a", -1, NULL, NULL);
        break;
    case 5:
        lodge_agent_copy_in(agent, LODGE_SOURCE_DIR "/src/qmp/tests/seeds", "/a", NULL, NULL);
        break;
    case 6:
        lodge_agent_stat(agent, "/a", TRUE, deadline, &kind, &bytes, NULL);
        g_assert_true(kind <= LODGE_AGENT_OTHER);
        break;
    case 7: {
        g_autoptr(LodgeAgentInfo) info = lodge_agent_info(agent, deadline, NULL);
        check_info(info);
        break;
    }
    case 8: {
        g_autoptr(GPtrArray) nics = lodge_agent_addresses(agent, deadline, NULL);
        check_nics(nics);
        break;
    }
    case 9:
        lodge_agent_identity(agent, &identity, deadline, NULL);
        break;
    case 10:
        lodge_agent_freeze(agent, 1, deadline, &count, NULL);
        break;
    case 11:
        lodge_agent_trim(agent, deadline, &bytes, NULL);
        break;
    case 12:
        lodge_agent_shutdown(agent, TRUE, deadline, NULL);
        break;
    }
}

static void
fuzz_one(const guint8 *data, gsize size)
{
    static const guint8 zeros[NONCE_BYTES];
    int pair[2];
    if (size == 0 || size > FUZZ_SEED_LIMIT_BYTES ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return;
    }
    lodge_autofd theirs = pair[1];
    if (data[0] == 'k') {
        feed_control(pair[0], theirs, data + 1, size - 1);
        return;
    }
    LodgeAgent *agent = g_new0(LodgeAgent, 1);
    agent->lock_fd = -1;
    agent->version = g_strdup("0");
    agent_link_init(&agent->link, pair[0]);
    agent->link.is_greeted = TRUE;
    g_autoptr(GString) text = with_marks(data + 1, size - 1, zeros);
    say(theirs, text->str, text->len);
    shutdown(theirs, SHUT_WR);
    ask(agent, data[0] % KINDS);
    lodge_agent_free(agent);
}
