/* Theory of operation
 *
 * One loop over the port, the local input, the local output that is being written to, and the wake
 * descriptor. Of the local input no more is read than the guest allows (its window) and the port
 * takes. A frame of output is written out before the port is read again, so a slow reader here
 * holds up the program there, and nothing is kept.
 *
 * Local descriptors are the caller's, shared with its shell: they are not made non-blocking. poll()
 * promises room for PIPE_BUF bytes, so no more than that is written at once, but to files. */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "qmp/agent-private.h"

enum {
    INPUT_CHUNK_BYTES = 64 * 1024,
    SILENCE_MS = 5000, /* then the agent is asked for a sign of life */
    HANG_MS = 25000,   /* and has so long for it: guests swap, and hosts are busy */
};

/* Where a stream of output goes: a descriptor, or memory. */
typedef struct {
    int fd;
    gboolean is_file;
    GString *text;
    gsize limit_bytes;
    gboolean truncated;
} Sink;

typedef struct {
    LodgeAgent *agent;
    const LodgeAgentStreams *streams;
    const char *input; /* from memory, or NULL */
    gsize input_left;
    int input_fd;
    gsize window;
    Sink output;
    Sink errors;
    Sink *sink; /* what `rest` is for; NULL: nothing */
    const guint8 *rest;
    gsize rest_length;
    gint64 look_at; /* when to ask for a sign of life, or to give up waiting for it */
    gboolean is_asked;
} Transfer;

static gboolean
sink_write(Sink *sink, const guint8 **bytes, gsize *length, GError **error)
{
    gsize count = *length;
    if (sink->text != NULL) {
        gsize room = sink->limit_bytes - sink->text->len;
        sink->truncated |= count > room;
        g_string_append_len(sink->text, (const char *)*bytes, (gssize)MIN(count, room));
    } else if (sink->fd >= 0) {
        gssize put = write(sink->fd, *bytes, sink->is_file ? count : MIN(count, PIPE_BUF));
        if (put < 0 && errno != EINTR && errno != EAGAIN) {
            return lodge_error_errno(error, errno, "Writing its output");
        }
        count = (gsize)MAX(put, 0);
    }
    *bytes += count;
    *length -= count;
    return TRUE;
}

static gboolean
request_exec(LodgeAgent *agent, const LodgeAgentExec *exec, gboolean has_input, GError **error)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    guint64 flags = (exec->terminal ? EXEC_TERMINAL : 0) | (exec->merge ? EXEC_MERGE : 0) |
                    (has_input || exec->terminal ? 0 : EXEC_NO_INPUT);
    if (exec->argv == NULL || exec->argv[0] == NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "no program to run");
    }
    agent_add_texts(request, FIELD_ARGUMENT, exec->argv);
    agent_add_texts(request, FIELD_VARIABLE, exec->environment);
    agent_add_text(request, FIELD_FOLDER, exec->folder);
    agent_add_text(request, FIELD_USER, exec->user);
    agent_add_number(request, FIELD_FLAGS, flags);
    if (exec->terminal) {
        agent_add_number(request, FIELD_ROWS, exec->rows);
        agent_add_number(request, FIELD_COLUMNS, exec->columns);
    }
    return agent_request(agent, FRAME_EXEC, request, error);
}

static void
send_input(Transfer *transfer, const char *bytes, gsize length)
{
    agent_link_send_data(&transfer->agent->link, bytes, length);
    transfer->window -= length;
}

static void
read_input(Transfer *transfer)
{
    char buffer[INPUT_CHUNK_BYTES];
    gssize count = read(transfer->input_fd, buffer, MIN(sizeof buffer, transfer->window));
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (count <= 0) {
        transfer->input_fd = -1;
        agent_link_send(&transfer->agent->link, FRAME_DATA_END, "", 0);
        return;
    }
    send_input(transfer, buffer, (gsize)count);
}

static void
feed_memory(Transfer *transfer)
{
    gsize count = MIN(transfer->input_left, transfer->window);
    if (transfer->input == NULL || (count == 0 && transfer->input_left > 0)) {
        return;
    }
    send_input(transfer, transfer->input, count);
    transfer->input += count;
    transfer->input_left -= count;
    if (transfer->input_left == 0) {
        transfer->input = NULL;
        agent_link_send(&transfer->agent->link, FRAME_DATA_END, "", 0);
    }
}

static gboolean
take_window(Transfer *transfer, const AgentFrame *frame, GError **error)
{
    FieldReader fields = {frame->payload, frame->length};
    Field field;
    guint64 more = 0;
    while (field_next(&fields, &field) > 0) {
        if (field.tag == FIELD_SIZE) {
            field_number(&field, &more);
        }
    }
    if (more > WINDOW_BYTES - transfer->window) {
        return agent_malformed(transfer->agent, error);
    }
    transfer->window += more;
    return TRUE;
}

static gboolean
take_end(LodgeAgent *agent, const AgentFrame *frame, LodgeAgentEnd *out_end, GError **error)
{
    FieldReader fields = {frame->payload, frame->length};
    Field field;
    guint64 status = G_MAXUINT64, signal = 0;
    while (field_next(&fields, &field) > 0) {
        if (field.tag == FIELD_STATUS) {
            field_number(&field, &status);
        } else if (field.tag == FIELD_SIGNAL) {
            field_number(&field, &signal);
        }
    }
    if ((status <= 255) == (signal > 0) || signal > 127) {
        return agent_malformed(agent, error);
    }
    *out_end = (LodgeAgentEnd){.exit_status = signal > 0 ? -1 : (int)status, .signal = (int)signal};
    return TRUE;
}

static void
heard(Transfer *transfer)
{
    transfer->is_asked = FALSE;
    transfer->look_at = lodge_deadline_in(SILENCE_MS);
}

/* The guest has been silent for a while. */
static gboolean
look_for_life(Transfer *transfer, GError **error)
{
    LodgeAgent *agent = transfer->agent;
    const LodgeAgentGuard *guard = agent->guard;
    if (guard == NULL || agent->protocol < 2 || transfer->rest_length > 0) {
        heard(transfer); /* it can't be asked, or we did not listen */
        return TRUE;
    }
    if (!transfer->is_asked) {
        agent_link_send(&agent->link, FRAME_PING, "", 0);
        transfer->is_asked = TRUE;
    } else if (!guard->stands(guard->data)) {
        return lodge_error_set(error, LODGE_ERROR_TIMEOUT,
                               "the guest gives no sign of life (its console may say why)");
    }
    transfer->look_at = lodge_deadline_in(HANG_MS);
    return TRUE;
}

/* Take frames until there is output to write, or none is left. 1: the program has ended. */
static int
take_frames(Transfer *transfer, LodgeAgentEnd *out_end, GError **error)
{
    AgentFrame frame;
    while (transfer->rest_length == 0) {
        int taken = agent_take(transfer->agent, &frame, error);
        if (taken <= 0) {
            return taken;
        }
        heard(transfer);
        switch (frame.type) {
        case FRAME_DATA:
        case FRAME_ERROR_DATA:
            transfer->sink = frame.type == FRAME_DATA ? &transfer->output : &transfer->errors;
            transfer->rest = frame.payload;
            transfer->rest_length = frame.length;
            if (transfer->sink->fd < 0 || transfer->sink->is_file) {
                while (transfer->rest_length > 0) {
                    if (!sink_write(transfer->sink, &transfer->rest, &transfer->rest_length,
                                    error)) {
                        return -1;
                    }
                }
            }
            break;
        case FRAME_PONG:
            break;
        case FRAME_WINDOW:
            if (!take_window(transfer, &frame, error)) {
                return -1;
            }
            break;
        case FRAME_RESULT:
            return take_end(transfer->agent, &frame, out_end, error) ? 1 : -1;
        case FRAME_FAILED:
            agent_check(&frame, error);
            return -1;
        default: /* a guest's byte */
            agent_malformed(transfer->agent, error);
            return -1;
        }
    }
    return 0;
}

static gboolean
wait_and_move(Transfer *transfer, gint64 deadline, GError **error)
{
    AgentLink *link = &transfer->agent->link;
    gboolean wants_input = transfer->window > 0 && agent_link_unsent(link) < AGENT_UNSENT_BYTES;
    gboolean is_writing = transfer->rest_length > 0;
    struct pollfd polls[] = {
        {.fd = link->fd, .events = agent_link_events(link)},
        {.fd = wants_input ? transfer->input_fd : -1, .events = POLLIN},
        {.fd = is_writing ? transfer->sink->fd : -1, .events = POLLOUT},
        {.fd = transfer->streams->wake_fd, .events = POLLIN},
    };
    if (is_writing) {
        polls[0].events &= POLLOUT;
        polls[0].fd = polls[0].events != 0 ? link->fd : -1;
    }
    g_autoptr(GError) problem = NULL;
    if (!agent_wait(transfer->agent, polls, G_N_ELEMENTS(polls), MIN(deadline, transfer->look_at),
                    &problem)) {
        if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT) &&
            !lodge_deadline_passed(deadline)) {
            return look_for_life(transfer, error);
        }
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (polls[3].revents != 0 && transfer->streams->on_wake != NULL) {
        transfer->streams->on_wake(transfer->agent, transfer->streams->data);
    }
    if (polls[1].revents != 0) {
        read_input(transfer);
    }
    agent_link_flush(link);
    if (polls[2].revents != 0) {
        return sink_write(transfer->sink, &transfer->rest, &transfer->rest_length, error);
    }
    if (!is_writing && (polls[0].revents & ~POLLOUT) != 0) {
        agent_link_read(link);
    }
    return TRUE;
}

static gboolean
run_transfer(Transfer *transfer, const LodgeAgentExec *exec, gint64 deadline,
             LodgeAgentEnd *out_end, GError **error)
{
    gboolean has_input = transfer->input != NULL || transfer->input_fd >= 0;
    if (!request_exec(transfer->agent, exec, has_input, error)) {
        return lodge_error_prefix(error, "exec");
    }
    g_autoptr(GError) problem = NULL;
    heard(transfer);
    for (;;) {
        int taken = take_frames(transfer, out_end, &problem);
        if (taken > 0) {
            return TRUE;
        }
        feed_memory(transfer); /* behind the frames, which may allow more */
        agent_link_flush(&transfer->agent->link);
        if (taken < 0 || !wait_and_move(transfer, deadline, &problem)) {
            break;
        }
    }
    /* Unless the guest refused, something of it may still run: nothing else is said here then. */
    gboolean is_refusal = transfer->rest_length == 0 && !transfer->agent->is_over &&
                          !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT) &&
                          !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INTERRUPTED);
    transfer->agent->is_over = !is_refusal;
    g_propagate_prefixed_error(error, g_steal_pointer(&problem), "exec: ");
    return FALSE;
}

static Sink
sink_of_fd(int fd)
{
    struct stat about;
    return (Sink){.fd = fd, .is_file = fd >= 0 && fstat(fd, &about) == 0 && S_ISREG(about.st_mode)};
}

gboolean
lodge_agent_exec_stream(LodgeAgent *agent, const LodgeAgentExec *exec,
                        const LodgeAgentStreams *streams, gint64 deadline, LodgeAgentEnd *out_end,
                        GError **error)
{
    Transfer transfer = {
        .agent = agent,
        .streams = streams,
        .input_fd = streams->input_fd,
        .window = WINDOW_BYTES,
        .output = sink_of_fd(streams->output_fd),
        .errors = sink_of_fd(streams->error_fd),
    };
    return run_transfer(&transfer, exec, deadline, out_end, error);
}

void
lodge_agent_exec_resize(LodgeAgent *agent, guint rows, guint columns)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    agent_add_number(request, FIELD_ROWS, rows);
    agent_add_number(request, FIELD_COLUMNS, columns);
    agent_link_send(&agent->link, FRAME_RESIZE, request->data, request->len);
}

void
lodge_agent_exec_signal(LodgeAgent *agent, int signal_number)
{
    g_autoptr(GByteArray) request = g_byte_array_new();
    agent_add_number(request, FIELD_SIGNAL, (guint64)signal_number);
    agent_link_send(&agent->link, FRAME_SIGNAL, request->data, request->len);
}

void
lodge_agent_result_clear(LodgeAgentResult *result)
{
    g_free(result->output);
    g_free(result->error_output);
    *result = (LodgeAgentResult){0};
}

gboolean
lodge_agent_run(LodgeAgent *agent, const LodgeAgentExec *exec, const char *input, gsize input_bytes,
                gsize limit_bytes, gint64 deadline, LodgeAgentResult *out_result, GError **error)
{
    static const LodgeAgentStreams none = {-1, -1, -1, -1, NULL, NULL};
    g_autoptr(GString) output = g_string_new(NULL);
    g_autoptr(GString) errors = g_string_new(NULL);
    LodgeAgentEnd end;
    Transfer transfer = {
        .agent = agent,
        .streams = &none,
        .input = input,
        .input_left = input_bytes,
        .input_fd = -1,
        .window = WINDOW_BYTES,
        .output = {.fd = -1, .text = output, .limit_bytes = limit_bytes},
        .errors = {.fd = -1, .text = errors, .limit_bytes = limit_bytes},
    };
    if (!run_transfer(&transfer, exec, deadline, &end, error)) {
        return FALSE;
    }
    *out_result = (LodgeAgentResult){
        .end = end,
        .output_bytes = output->len,
        .error_output_bytes = errors->len,
        .truncated = transfer.output.truncated || transfer.errors.truncated,
    };
    out_result->output = g_string_free(g_steal_pointer(&output), FALSE);
    out_result->error_output = g_string_free(g_steal_pointer(&errors), FALSE);
    return TRUE;
}
