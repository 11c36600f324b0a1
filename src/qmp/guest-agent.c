/* Theory of operation
 *
 * The agent reads commands from a serial port and writes answers to it, one line each, in order and
 * without a reliable id. Neither end sees when the other starts or ends: QEMU holds the socket open
 * while the agent, or the whole guest, restarts, and what is written while no agent is there waits
 * in the port for the next one. So an answer may be one that an earlier client asked for, and a
 * line may begin in the middle.
 *
 * `in_sync` says that nothing is under way: every question had its answer. It is cleared before
 * each question and set by its answer, so that whatever goes wrong leaves it cleared; likewise if
 * the agent speaks unasked. Without it the next call synchronizes first: it sends 0xFF, which no
 * JSON contains and which resets the agent's parser, then guest-sync-delimited with a random
 * number; and it drops all that comes until 0xFF and that number come back.
 *
 * A question that was not sent yet when its caller gave up is dropped: a guest whose agent comes up
 * an hour later must not then run what nobody waits for.
 */
#include "config.h"

#include "qmp/guest-agent.h"

#include <stdarg.h>
#include <string.h>

#include "base/base.h"
#include "qmp/guest-agent-private.h"
#include "qmp/wire.h"

/* guest-exec-status: 16 MiB each of output and error output, in base64, and a little. */
#define MESSAGE_LIMIT_BYTES (44 * 1024 * 1024)
#define MARK 0xff
#define MARK_TEXT "\xff"
#define SYNC_COMMAND "guest-sync-delimited"

enum {
    STALE_READS = 64,
};

struct LodgeGuestAgent {
    LodgeWire *wire;
    gboolean in_sync;
    gboolean is_assumed;
};

LodgeGuestAgent *
lodge_guest_agent_new(int fd)
{
    LodgeGuestAgent *agent = g_new0(LodgeGuestAgent, 1);
    agent->wire = lodge_wire_new(fd, "the guest agent", MESSAGE_LIMIT_BYTES);
    return agent;
}

LodgeGuestAgent *
lodge_guest_agent_connect(const char *socket_path, gint64 deadline, GError **error)
{
    int fd = lodge_unix_connect(socket_path, error);
    if (fd < 0) {
        return NULL;
    }
    g_autoptr(LodgeGuestAgent) agent = lodge_guest_agent_new(fd);
    if (!lodge_guest_agent_sync(agent, deadline, error)) {
        return NULL;
    }
    return g_steal_pointer(&agent);
}

void
lodge_guest_agent_free(LodgeGuestAgent *agent)
{
    if (agent == NULL) {
        return;
    }
    lodge_wire_free(agent->wire);
    g_free(agent);
}

void
lodge_guest_agent_assume_sync(LodgeGuestAgent *agent)
{
    agent->is_assumed = TRUE;
}

/* The next line that is not empty; NULL on error. */
static const char *
receive_line(LodgeGuestAgent *agent, gint64 deadline, gsize *out_length, GError **error)
{
    for (;;) {
        if (!lodge_interrupt_check(error)) {
            return NULL;
        }
        if (lodge_deadline_passed(deadline)) {
            lodge_error_set(error, LODGE_ERROR_TIMEOUT, "the guest agent does not answer");
            return NULL;
        }
        g_autoptr(GError) problem = NULL;
        const char *line = lodge_wire_line(agent->wire, out_length, &problem);
        if (line != NULL && *out_length > 0) {
            return line;
        }
        if (line == NULL && problem == NULL) {
            if (lodge_wire_at_end(agent->wire)) {
                lodge_error_set(error, LODGE_ERROR_FAILED,
                                "QEMU closed the guest agent's connection");
                return NULL;
            }
            lodge_wire_wait(agent->wire, deadline, &problem);
        }
        if (problem != NULL && !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return NULL;
        }
    }
}

static gboolean
send_command(LodgeGuestAgent *agent, const char *mark, const char *command, json_t *arguments,
             GError **error)
{
    g_autoptr(json_t)
        message = json_pack("{s:s, s:O*}", "execute", command, "arguments", arguments);
    return lodge_wire_send_json(agent->wire, mark, message, -1, error);
}

static gboolean
send_sync(LodgeGuestAgent *agent, const char *mark, guint32 *out_id, GError **error)
{
    *out_id = g_random_int();
    g_autoptr(json_t) arguments = json_pack("{s:I}", "id", (json_int_t)*out_id);
    return send_command(agent, mark, SYNC_COMMAND, arguments, error);
}

/* Take lines until the answer to the sync with @id. @out_before (may be NULL) is set on failure
 * too: the last message that came before it and can be parsed, or NULL. */
static gboolean
await_sync(LodgeGuestAgent *agent, guint32 id, gint64 deadline, json_t **out_before, GError **error)
{
    for (;;) {
        gsize length = 0;
        const char *line = receive_line(agent, deadline, &length, error);
        if (line == NULL) {
            return FALSE;
        }
        const char *mark = memrchr(line, MARK, length);
        const char *start = mark != NULL ? mark + 1 : line;
        g_autoptr(json_t)
            message = lodge_wire_parse(agent->wire, start, length - (gsize)(start - line), NULL);
        const json_t *echo = json_object_get(message, "return");
        if (mark != NULL && json_is_integer(echo) && json_integer_value(echo) == id) {
            agent->in_sync = TRUE;
            return TRUE;
        }
        if (mark == NULL && message != NULL && out_before != NULL) {
            json_decref(*out_before);
            *out_before = g_steal_pointer(&message);
        }
    }
}

gboolean
lodge_guest_agent_sync(LodgeGuestAgent *agent, gint64 deadline, GError **error)
{
    guint32 id;
    agent->in_sync = FALSE;
    lodge_wire_drop_unsent(agent->wire);
    gboolean done = send_sync(agent, MARK_TEXT, &id, error) &&
                    await_sync(agent, id, deadline, NULL, error);
    lodge_wire_drop_unsent(agent->wire);
    return done;
}

/* Whatever lies there was not asked for: it must not pass for the answer to the next question. */
static gboolean
drop_stale(LodgeGuestAgent *agent, GError **error)
{
    for (guint i = 0; i < STALE_READS; i++) {
        gsize length = 0;
        g_autoptr(GError) problem = NULL;
        while (lodge_wire_line(agent->wire, &length, &problem) != NULL) {
            agent->in_sync = FALSE;
        }
        if (problem != NULL) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        gssize count = lodge_wire_read(agent->wire, error);
        if (count <= 0) {
            return count == 0;
        }
        agent->in_sync = FALSE;
    }
    return TRUE;
}

static gboolean
make_ready(LodgeGuestAgent *agent, gint64 deadline, GError **error)
{
    if (agent->is_assumed) {
        return TRUE;
    }
    if (!drop_stale(agent, error)) {
        return FALSE;
    }
    if (agent->in_sync && !lodge_wire_has_unread(agent->wire)) {
        return TRUE;
    }
    return lodge_guest_agent_sync(agent, deadline, error);
}

/* Disabled commands: agents before 7.1 have no class for them, and none has one for the frozen. */
static void
refine_code(GError *refusal)
{
    if (strstr(refusal->message, "has been disabled") != NULL) {
        gboolean is_frozen = strstr(refusal->message, "frozen") != NULL;
        refusal->code = is_frozen ? LODGE_ERROR_BUSY : LODGE_ERROR_UNSUPPORTED;
    }
}

static json_t *
result_of(const json_t *reply, const char *command, GError **error)
{
    const json_t *problem = json_object_get(reply, "error");
    if (problem != NULL) {
        g_autoptr(GError) refusal = NULL;
        lodge_wire_reply_error(problem, command, &refusal);
        refine_code(refusal);
        g_propagate_error(error, g_steal_pointer(&refusal));
        return NULL;
    }
    json_t *result = json_object_get(reply, "return");
    if (result == NULL) {
        lodge_guest_agent_malformed(error, command);
    }
    return json_incref(result);
}

static json_t *
exchange(LodgeGuestAgent *agent, const char *command, json_t *arguments, gint64 deadline,
         GError **error)
{
    if (!make_ready(agent, deadline, error)) {
        return NULL;
    }
    agent->in_sync = FALSE;
    if (!send_command(agent, "", command, arguments, error)) {
        return NULL;
    }
    gsize length = 0;
    const char *line = receive_line(agent, deadline, &length, error);
    lodge_wire_drop_unsent(agent->wire);
    if (line == NULL) {
        return NULL;
    }
    json_t *reply = lodge_wire_parse(agent->wire, line, length, error);
    agent->in_sync = reply != NULL;
    return reply;
}

json_t *
lodge_guest_agent_call(LodgeGuestAgent *agent, const char *command, json_t *arguments,
                       gint64 deadline, GError **error)
{
    g_autoptr(json_t) owned = arguments;
    g_autoptr(json_t) reply = exchange(agent, command, owned, deadline, error);
    if (reply == NULL) {
        lodge_error_prefix(error, "%s", command);
        return NULL;
    }
    return result_of(reply, command, error);
}

json_t *
lodge_guest_agent_ask(LodgeGuestAgent *agent, gint64 deadline, GError **error, const char *command,
                      const char *format, ...)
{
    json_t *arguments = NULL;
    if (format != NULL) {
        json_error_t where;
        va_list values;
        va_start(values, format);
        arguments = json_vpack_ex(&where, 0, format, values);
        va_end(values);
        if (arguments == NULL) {
            lodge_error_set(error, LODGE_ERROR_INVALID, "%s: arguments: %s", command, where.text);
            return NULL;
        }
    }
    return lodge_guest_agent_call(agent, command, arguments, deadline, error);
}

gboolean
lodge_guest_agent_call_silent(LodgeGuestAgent *agent, const char *command, json_t *arguments,
                              gint64 deadline, GError **error)
{
    g_autoptr(json_t) owned = arguments;
    if (!make_ready(agent, deadline, error)) {
        return lodge_error_prefix(error, "%s", command);
    }
    /* A sync right behind it: its answer shows that a refusal would have come by now. Without the
     * mark, to which some agents answer with an error of its own. */
    guint32 id;
    agent->in_sync = FALSE;
    g_autoptr(json_t) before = NULL;
    g_autoptr(GError) problem = NULL;
    if (!send_command(agent, "", command, owned, error) || !send_sync(agent, "", &id, error)) {
        return lodge_error_prefix(error, "%s", command);
    }
    gboolean answered = await_sync(agent, id, deadline, &before, &problem);
    lodge_wire_drop_unsent(agent->wire);
    if (json_object_get(before, "error") != NULL) {
        result_of(before, command, error); /* NULL, as it is an error */
        return FALSE;
    }
    if (!answered && (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INTERRUPTED) ||
                      g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INVALID))) {
        g_propagate_prefixed_error(error, g_steal_pointer(&problem), "%s: ", command);
        return FALSE;
    }
    return TRUE;
}
