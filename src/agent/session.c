#include "config.h"

#include "agent/session.h"

#include <stdlib.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/info.h"
#include "agent/message.h"
#include "agent/nic.h"

bool
session_result(Session *session)
{
    Message *message = message_begin();
    return link_send(&session->link, FRAME_RESULT, message->bytes, message->length);
}

static void
info_request(Session *session, FieldReader *fields)
{
    (void)fields;
    Message *message = message_begin();
    info_fill(message);
    link_send(&session->link, FRAME_RESULT, message->bytes, message->length);
}

static void
addresses_request(Session *session, FieldReader *fields)
{
    (void)fields;
    Message *message = message_begin();
    if (!nic_fill_addresses(message)) {
        link_fail(&session->link, PROBLEM_FAILED, "the kernel does not list its NICs");
        return;
    }
    link_send(&session->link, FRAME_RESULT, message->bytes, message->length);
}

static void
sync_request(Session *session, FieldReader *fields)
{
    (void)fields;
    sync();
    session_result(session);
}

static const struct {
    uint8_t type;
    void (*handle)(Session *session, FieldReader *fields);
} requests[] = {
    {FRAME_EXEC, exec_request},
    {FRAME_PUT, put_request},
    {FRAME_GET, get_request},
    {FRAME_MKDIR, mkdir_request},
    {FRAME_SYMLINK, symlink_request},
    {FRAME_STAT, stat_request},
    {FRAME_LIST, list_request},
    {FRAME_INFO, info_request},
    {FRAME_ADDRESSES, addresses_request},
    {FRAME_IDENTITY, identity_request},
    {FRAME_FREEZE, freeze_request},
    {FRAME_THAW, thaw_request},
    {FRAME_TRIM, trim_request},
    {FRAME_SYNC, sync_request},
    {FRAME_SHUTDOWN, shutdown_request},
};

static void
handle(Session *session, uint8_t type, const uint8_t *payload, size_t length)
{
    FieldReader check = {payload, length};
    FieldReader fields = check;
    Field field;
    int got;
    while ((got = field_next(&check, &field)) > 0) {
    }
    if (got < 0) {
        link_fail(&session->link, PROBLEM_INVALID, "the request is malformed");
        return;
    }
    for (size_t i = 0; i < COUNT(requests); i++) {
        if (requests[i].type == type) {
            requests[i].handle(session, &fields);
            return;
        }
    }
    link_fail(&session->link, PROBLEM_UNSUPPORTED, "this agent has no such request");
}

/* A request under construction: what MORE frames brought, and its own fields behind it. */
typedef struct {
    uint8_t *bytes;
    size_t length;
} Request;

static bool
request_append(Request *request, const Frame *frame)
{
    uint8_t *bytes = NULL;
    if (request->length + frame->length <= REQUEST_LIMIT) {
        bytes = realloc(request->bytes, request->length + frame->length + 1);
    }
    if (bytes == NULL) {
        return false;
    }
    memcpy(bytes + request->length, frame->payload, frame->length);
    request->bytes = bytes;
    request->length += frame->length;
    return true;
}

static void
request_clear(Request *request)
{
    free(request->bytes);
    *request = (Request){0};
}

static bool
is_stream(uint8_t type)
{
    return type == FRAME_DATA || type == FRAME_DATA_END || type == FRAME_SIGNAL ||
           type == FRAME_RESIZE || type == FRAME_PING;
}

/* Take the first frame. The request is copied: handling it reads on, which moves the input. */
static void
take_frame(Session *session, Request *request, const Frame *frame)
{
    uint8_t type = frame->type;
    if (is_stream(type)) {
        link_pop(&session->link);
        return;
    }
    bool fits = request_append(request, frame);
    link_pop(&session->link);
    if (!fits) {
        request_clear(request);
        link_fail(&session->link, PROBLEM_INVALID, "the request is too large");
        session->link.state = session->link.state == LINK_OPEN ? LINK_IDLE : session->link.state;
        return;
    }
    if (type != FRAME_MORE) {
        handle(session, type, request->bytes, request->length);
        request_clear(request);
    }
}

/* From hello to hang-up, or to the next hello. */
static void
converse(Session *session)
{
    Request request = {0};
    Frame frame;
    for (;;) {
        while (link_frame(&session->link, &frame)) {
            take_frame(session, &request, &frame);
        }
        if (session->link.state != LINK_OPEN || !link_wait(&session->link, NULL, 0, -1)) {
            break;
        }
    }
    session_thaw(session);
    request_clear(&request);
}

void
session_run(int fd, int signal_fd)
{
    Session session = {.guard_fd = -1};
    if (!link_init(&session.link, fd, settings.port_dir == NULL)) {
        complain("no memory for a session");
        link_clear(&session.link);
        return;
    }
    session.link.signal_fd = signal_fd;
    while (session.link.state != LINK_CLOSED) {
        if (link_greet(&session.link, AGENT_VERSION)) {
            converse(&session);
        } else {
            link_wait(&session.link, NULL, 0, -1);
        }
    }
    link_clear(&session.link);
}
