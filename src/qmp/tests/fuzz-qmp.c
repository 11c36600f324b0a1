/* Feeds bytes to the two clients as if QEMU or a guest had sent them. The first byte chooses who
 * listens, the rest is what they hear; then the connection ends. */
#include "config.h"

#include <string.h>
#include <sys/socket.h>

#include "base/tests/fuzz.h"
#include "qmp/guest-agent-private.h"
#include "qmp/qmp.h"

static void
on_reply(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    guint *count = data;
    g_assert_true((result == NULL) != (error == NULL));
    g_assert_cmpuint(++*count, ==, 1);
    lodge_qmp_error_class(qmp);
}

/* Ids are random: in the input, the bytes 1, 2 and 3 stand for those of the two commands under way
 * and of the handshake. */
static GString *
with_ids(const guint8 *data, gsize size, guint64 first_id)
{
    GString *text = g_string_sized_new(size);
    for (gsize i = 0; i < size; i++) {
        if (data[i] >= 1 && data[i] <= 3) {
            g_string_append_printf(text, "%" G_GUINT64_FORMAT, first_id + data[i] - 1);
        } else {
            g_string_append_c(text, (char)data[i]);
        }
    }
    return text;
}

static void
say(int fd, const char *data, gsize size)
{
    if (send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        /* The client hung up: it has heard enough. */
    }
}

static void
feed_qmp(int ours, int theirs, const guint8 *data, gsize size, gboolean waits)
{
    g_autoptr(LodgeQmp) qmp = lodge_qmp_new(ours);
    guint counts[2] = {0};
    guint64 id = lodge_qmp_send(qmp, "one", NULL, -1, on_reply, &counts[0], NULL);
    lodge_qmp_send(qmp, "two", NULL, -1, on_reply, &counts[1], NULL);
    g_autoptr(GString) text = with_ids(data, size, id);
    /* In two parts, so that a message may be cut anywhere. */
    say(theirs, text->str, text->len / 2);
    lodge_qmp_pump(qmp, NULL);
    say(theirs, text->str + text->len / 2, text->len - text->len / 2);
    shutdown(theirs, SHUT_WR);
    if (waits) {
        lodge_qmp_run(qmp, LODGE_NO_DEADLINE, NULL, "three", "{s:i}", "a", 1);
    }
    while (lodge_qmp_pump(qmp, NULL)) {
    }
    g_assert_true(lodge_qmp_is_closed(qmp));
    g_assert_cmpuint(counts[0] + counts[1], ==, 2);
    json_t *event;
    while ((event = lodge_qmp_take_event(qmp)) != NULL) {
        g_assert_nonnull(lodge_qmp_event_name(event));
        g_assert_true(json_is_object(lodge_qmp_event_data(event)));
        json_decref(event);
    }
}

static void
ask_agent(LodgeGuestAgent *agent, guint8 which)
{
    const char *argv[] = {"a", NULL};
    LodgeGuestExec exec = {.argv = argv};
    g_auto(LodgeGuestExecResult) result = {0};
    g_autofree char *text = NULL;
    g_auto(GStrv) commands = NULL;
    g_autoptr(json_t) interfaces = NULL;
    gsize length = 0;
    guint count = 0;
    switch (which % 8) {
    case 0:
        lodge_guest_agent_sync(agent, LODGE_NO_DEADLINE, NULL);
        break;
    case 1:
        lodge_guest_agent_info(agent, LODGE_NO_DEADLINE, &text, &commands, NULL);
        break;
    case 2:
        lodge_guest_agent_shutdown(agent, LODGE_GUEST_SHUTDOWN_HALT, LODGE_NO_DEADLINE, NULL);
        break;
    case 3:
        lodge_guest_agent_exec(agent, &exec, LODGE_NO_DEADLINE, &result, NULL);
        break;
    case 4:
        text = lodge_guest_agent_file_read(agent, "/a", 1000, LODGE_NO_DEADLINE, &length, NULL);
        g_assert_true(text == NULL || (length <= 1000 && text[length] == '\0'));
        break;
    case 5:
        lodge_guest_agent_file_write(agent, "/a", "abc", 3, LODGE_NO_DEADLINE, NULL);
        break;
    case 6:
        interfaces = lodge_guest_agent_interfaces(agent, LODGE_NO_DEADLINE, NULL);
        break;
    case 7:
        lodge_guest_agent_freeze(agent, LODGE_NO_DEADLINE, &count, NULL);
        break;
    }
}

static void
fuzz_one(const guint8 *data, gsize size)
{
    int pair[2];
    if (size == 0 || size > FUZZ_SEED_LIMIT_BYTES ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return;
    }
    lodge_autofd theirs = pair[1];
    if (data[0] == 'q' || data[0] == 'Q') {
        feed_qmp(pair[0], theirs, data + 1, size - 1, data[0] == 'Q');
        return;
    }
    g_autoptr(LodgeGuestAgent) agent = lodge_guest_agent_new(pair[0]);
    lodge_guest_agent_assume_sync(agent);
    say(theirs, (const char *)data + 1, size - 1);
    shutdown(theirs, SHUT_WR);
    ask_agent(agent, data[0]);
}
