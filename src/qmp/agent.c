#include "config.h"

#include "qmp/agent.h"

#include <errno.h>
#include <string.h>

#include "qmp/agent-private.h"

enum {
    HELLO_MS = 3000, /* on one port; then another is tried */
    LOOK_AGAIN_MS = 50,
    FIELD_AT_MOST = FRAME_LIMIT - HEADER_BYTES,
};

/* --- Requests -------------------------------------------------------------------------------- */

void
agent_add_bytes(AgentRequest *request, guint8 tag, const void *bytes, gsize length)
{
    guint8 header[HEADER_BYTES];
    header_write(header, tag, (guint32)MIN(length, 0xffffff));
    g_byte_array_append(request, header, sizeof header);
    g_byte_array_append(request, bytes, (guint)MIN(length, 0xffffff));
}

void
agent_add_text(AgentRequest *request, guint8 tag, const char *text)
{
    if (text != NULL) {
        agent_add_bytes(request, tag, text, strlen(text));
    }
}

void
agent_add_texts(AgentRequest *request, guint8 tag, const char *const *texts)
{
    for (gsize i = 0; texts != NULL && texts[i] != NULL; i++) {
        agent_add_text(request, tag, texts[i]);
    }
}

void
agent_add_number(AgentRequest *request, guint8 tag, guint64 number)
{
    guint8 value[8];
    number_write(value, number);
    agent_add_bytes(request, tag, value, sizeof value);
}

void
agent_add_long(AgentRequest *request, guint8 tag, const char *bytes, gsize length)
{
    do {
        gsize part = MIN(length, FIELD_AT_MOST);
        agent_add_bytes(request, tag, bytes, part);
        bytes += part;
        length -= part;
    } while (length > 0);
}

gboolean
agent_request(LodgeAgent *agent, guint8 type, const AgentRequest *request, GError **error)
{
    static const char too_large[] = "more than the agent takes in one request";
    FieldReader fields = {request->data, request->len};
    const guint8 *first = fields.next;
    Field field;
    if (agent->is_over) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "the conversation is over");
    }
    if (request->len > REQUEST_LIMIT) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, too_large);
    }
    while (field_next(&fields, &field) > 0) {
        if (field.length > FIELD_AT_MOST) {
            return lodge_error_set(error, LODGE_ERROR_INVALID, too_large);
        }
        const guint8 *begin = field.value - HEADER_BYTES;
        if ((gsize)(fields.next - first) > FRAME_LIMIT) {
            if (!agent_link_send(&agent->link, FRAME_MORE, first, (gsize)(begin - first))) {
                return lodge_error_set(error, LODGE_ERROR_INVALID, "it can't be sent");
            }
            first = begin;
        }
    }
    return agent_link_send(&agent->link, type, first, (gsize)(fields.next - first)) ||
           lodge_error_set(error, LODGE_ERROR_INVALID, "it can't be sent");
}

/* --- Answers --------------------------------------------------------------------------------- */

gboolean
agent_malformed(LodgeAgent *agent, GError **error)
{
    agent->is_over = TRUE;
    return lodge_error_set(error, LODGE_ERROR_INVALID, "the agent's answer is malformed");
}

int
agent_take(LodgeAgent *agent, AgentFrame *out_frame, GError **error)
{
    if (agent->is_over) {
        lodge_error_set(error, LODGE_ERROR_FAILED, "the conversation is over");
        return -1;
    }
    switch (agent_link_next(&agent->link, out_frame)) {
    case AGENT_LINK_FRAME:
        return 1;
    case AGENT_LINK_ANEW:
        agent->is_over = TRUE;
        lodge_error_set(error, LODGE_ERROR_FAILED,
                        "the agent began anew (was the guest rebooted?)");
        return -1;
    case AGENT_LINK_GARBAGE:
        agent_malformed(agent, error);
        return -1;
    case AGENT_LINK_NOTHING:
        break;
    }
    if (agent->link.at_end) {
        agent->is_over = TRUE;
        lodge_error_set(error, LODGE_ERROR_FAILED, "QEMU closed the agent's port");
        return -1;
    }
    return 0;
}

gboolean
agent_wait(LodgeAgent *agent, struct pollfd *polls, gsize count, gint64 deadline, GError **error)
{
    struct pollfd all[AGENT_POLLS_AT_MOST + 1];
    const LodgeAgentGuard *guard = agent->guard;
    memcpy(all, polls, count * sizeof *polls);
    all[count] = (struct pollfd){.fd = guard != NULL ? guard->fd : -1, .events = POLLIN};
    for (;;) {
        gboolean any = FALSE;
        if (!lodge_wait_polls(all, count + 1, deadline, error)) {
            return FALSE;
        }
        for (gsize i = 0; i < count; i++) {
            any = any || all[i].revents != 0;
        }
        /* What has come counts, whatever became of the guest since. */
        if (any) {
            memcpy(polls, all, count * sizeof *polls);
            return TRUE;
        }
        if (!guard->look(guard->data, error)) {
            agent->is_over = TRUE;
            return FALSE;
        }
    }
}

gboolean
agent_receive(LodgeAgent *agent, gint64 deadline, AgentFrame *out_frame, GError **error)
{
    agent_link_flush(&agent->link);
    for (;;) {
        int taken = agent_take(agent, out_frame, error);
        if (taken != 0) {
            return taken > 0;
        }
        struct pollfd port = {.fd = agent->link.fd, .events = agent_link_events(&agent->link)};
        if (!agent_wait(agent, &port, 1, deadline, error)) {
            agent->is_over = TRUE;
            return FALSE;
        }
        agent_link_flush(&agent->link);
        if ((port.revents & ~POLLOUT) != 0) {
            agent_link_read(&agent->link);
        }
    }
}

static LodgeError
code_of_problem(guint64 problem)
{
    switch (problem) {
    case PROBLEM_NOT_FOUND:
        return LODGE_ERROR_NOT_FOUND;
    case PROBLEM_EXISTS:
        return LODGE_ERROR_EXISTS;
    case PROBLEM_BUSY:
        return LODGE_ERROR_BUSY;
    case PROBLEM_UNSUPPORTED:
        return LODGE_ERROR_UNSUPPORTED;
    case PROBLEM_INVALID:
        return LODGE_ERROR_INVALID;
    case PROBLEM_TIMEOUT:
        return LODGE_ERROR_TIMEOUT;
    default: /* the guest's number, any */
        return LODGE_ERROR_FAILED;
    }
}

gboolean
agent_problem(GError **error, guint64 problem, const char *text)
{
    return lodge_error_set(error, code_of_problem(problem), "%s", text);
}

gboolean
agent_check(const AgentFrame *frame, GError **error)
{
    FieldReader fields = {frame->payload, frame->length};
    Field field;
    guint64 problem = PROBLEM_FAILED;
    g_autofree char *text = NULL;
    if (frame->type != FRAME_FAILED) {
        return TRUE;
    }
    while (field_next(&fields, &field) > 0) {
        if (field.tag == FIELD_CODE) {
            field_number(&field, &problem);
        } else if (field.tag == FIELD_TEXT) {
            g_free(text);
            text = agent_field_text(&field);
        }
    }
    return agent_problem(error, problem, text != NULL ? text : "the agent refused");
}

gboolean
agent_ask(LodgeAgent *agent, guint8 type, const AgentRequest *request, gint64 deadline,
          FieldReader *out_fields, GError **error)
{
    AgentFrame frame;
    if (!agent_request(agent, type, request, error) ||
        !agent_receive(agent, deadline, &frame, error) || !agent_check(&frame, error)) {
        return FALSE;
    }
    if (frame.type != FRAME_RESULT) {
        return agent_malformed(agent, error);
    }
    if (out_fields != NULL) {
        *out_fields = (FieldReader){frame.payload, frame.length};
    }
    return TRUE;
}

char *
agent_field_text(const Field *field)
{
    enum { TEXT_AT_MOST = 4096 };
    g_autofree char *raw = g_strndup((const char *)field->value, MIN(field->length, TEXT_AT_MOST));
    return *raw != '\0' ? lodge_text_printable(raw) : NULL;
}

/* --- Connecting ------------------------------------------------------------------------------ */

static void
take_version(LodgeAgent *agent, const AgentFrame *hello)
{
    FieldReader fields = {hello->payload, hello->length};
    Field field;
    while (field_next(&fields, &field) > 0) {
        if (field.tag == FIELD_VERSION) {
            g_free(agent->version);
            agent->version = agent_field_text(&field);
        } else if (field.tag == FIELD_PROTOCOL) {
            field_number(&field, &agent->protocol);
        }
    }
    if (agent->version == NULL) {
        agent->version = g_strdup("unknown");
    }
}

/* An agent that begins meanwhile says so, and then hears our hello: that is no failure yet. */
static gboolean
greet(LodgeAgent *agent, gint64 deadline, GError **error)
{
    AgentFrame frame;
    agent_link_greet(&agent->link);
    for (;;) {
        g_autoptr(GError) problem = NULL;
        if (agent_receive(agent, deadline, &frame, &problem)) {
            take_version(agent, &frame);
            return TRUE;
        }
        if (agent->link.at_end || !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_FAILED)) {
            if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
                return lodge_error_set(error, LODGE_ERROR_TIMEOUT, "no agent answers");
            }
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        agent->is_over = FALSE;
    }
}

LodgeAgent *
lodge_agent_open(int fd, gint64 deadline, GError **error)
{
    g_autoptr(LodgeAgent) agent = g_new0(LodgeAgent, 1);
    agent->lock_fd = -1;
    agent_link_init(&agent->link, fd);
    return greet(agent, deadline, error) ? g_steal_pointer(&agent) : NULL;
}

/* One port. NULL without error: it is taken by another. */
static LodgeAgent *
try_port(const char *run_folder, guint number, gint64 deadline, GError **error)
{
    g_autofree char *lock_path = g_strdup_printf("%s/agent-%u.lock", run_folder, number);
    g_autofree char *path = g_strdup_printf("%s/" PORT_SOCKET, run_folder, number);
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "the guest has no such port");
        return NULL;
    }
    g_autoptr(GError) problem = NULL;
    lodge_autofd lock = lodge_lock_take(lock_path, &problem);
    if (lock < 0) {
        if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
            g_propagate_error(error, g_steal_pointer(&problem));
        }
        return NULL;
    }
    int fd = lodge_unix_connect(path, error);
    LodgeAgent *agent = fd >= 0 ? lodge_agent_open(fd, deadline, error) : NULL;
    if (agent != NULL) {
        agent->lock_fd = lodge_fd_steal(&lock);
        agent->port = number;
    }
    return agent;
}

LodgeAgent *
lodge_agent_connect(const char *run_folder, gint64 deadline, GError **error)
{
    gboolean was_free = FALSE;
    for (;;) {
        for (guint i = 1; i < PORT_COUNT; i++) {
            g_autoptr(GError) problem = NULL;
            gint64 soon = MIN(deadline, lodge_deadline_in(HELLO_MS));
            LodgeAgent *agent = try_port(run_folder, i, soon, &problem);
            if (agent != NULL) {
                return agent;
            }
            gboolean is_silent = g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT);
            was_free |= is_silent;
            if ((problem != NULL && !is_silent) || (is_silent && lodge_deadline_passed(deadline))) {
                g_propagate_error(error, g_steal_pointer(&problem));
                return NULL;
            }
        }
        if (lodge_deadline_passed(deadline)) {
            lodge_error_set(error, was_free ? LODGE_ERROR_TIMEOUT : LODGE_ERROR_BUSY,
                            was_free ? "no agent answers" : "all of the agent's ports are in use");
            return NULL;
        }
        /* Locks can't be waited for together. */
        if (!lodge_wait_for(LOOK_AGAIN_MS, error)) {
            return NULL;
        }
    }
}

void
lodge_agent_free(LodgeAgent *agent)
{
    if (agent == NULL) {
        return;
    }
    agent_link_clear(&agent->link);
    lodge_fd_clear(&agent->lock_fd); /* after the port: whoever gets it must not meet us there */
    g_free(agent->version);
    g_free(agent);
}

const char *
lodge_agent_version(const LodgeAgent *agent)
{
    return agent->version;
}

guint
lodge_agent_port(const LodgeAgent *agent)
{
    return agent->port;
}

void
lodge_agent_guard(LodgeAgent *agent, const LodgeAgentGuard *guard)
{
    agent->guard = guard;
}
