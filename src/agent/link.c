/* Theory of operation
 *
 * Input is a buffer of two frames' size. Bytes are searched for MAGIC once, as they come (with the
 * last 15 before them, where it may have begun). MAGIC makes the link LINK_GREETED at once and
 * voids what stands before it; nothing is taken until link_greet() has answered. The reader must
 * take frames, or drop them, so that there is always room to read on: a full buffer whose first
 * frame is whole and not taken is a host that sends requests ahead; a hang-up is seen all the same.
 *
 * A hang-up of a port is not believed at once. The kernel learns of the host's closing and opening
 * by another way than of its bytes: the next host's hello may be there, read and answered, before
 * the word comes that the last one went. So the link lives on for HANG_UP_MS. If the host side is
 * open again by then, that was such a word, or a host that will say hello, which ends what was
 * before.
 *
 * Output is one buffer with room for a whole frame of data and a few small ones behind it. Data are
 * read right into it when it is empty (link_room), so nothing is copied, and a host that reads
 * slowly holds up the program whose output it is, not our memory. */
#include "agent/link.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/message.h"

enum {
    INPUT_BYTES = 2 * (FRAME_LIMIT + HEADER_BYTES),
    /* A frame of data, its parts' headers, and a frame of fields behind it. */
    OUTPUT_BYTES = 2 * (FRAME_LIMIT + HEADER_BYTES) + 4096,
    OTHERS_AT_MOST = 4,
    HELLO_LIMIT = 1024,
    HANG_UP_MS = 250,
};

bool
link_init(Link *link, int fd, bool is_port)
{
    *link = (Link){
        .fd = fd,
        .signal_fd = -1,
        .is_port = is_port,
        .edge_fd = -1,
        .hung_up_at_ms = -1,
        .state = LINK_IDLE,
    };
    link->input = malloc(INPUT_BYTES);
    link->output = malloc(OUTPUT_BYTES);
    return link->input != NULL && link->output != NULL;
}

void
link_clear(Link *link)
{
    if (link->edge_fd >= 0) {
        close(link->edge_fd);
        link->edge_fd = -1;
    }
    free(link->input);
    free(link->output);
    link->input = NULL;
    link->output = NULL;
}

static void
queue(Link *link, const void *bytes, size_t length)
{
    memcpy(link->output + link->output_start + link->output_length, bytes, length);
    link->output_length += length;
}

static void
queue_hello(Link *link, const uint8_t *nonce, const char *version)
{
    Message *message = message_begin();
    uint8_t header[HEADER_BYTES];
    message_bytes(message, FIELD_NONCE, nonce, NONCE_BYTES);
    message_number(message, FIELD_PROTOCOL, PROTOCOL_VERSION);
    message_text(message, FIELD_VERSION, version);
    header_write(header, FRAME_HELLO, (uint32_t)message->length);
    link->output_start = link->output_length = 0;
    queue(link, MAGIC, MAGIC_BYTES);
    queue(link, header, sizeof header);
    queue(link, message->bytes, message->length);
    link_flush(link);
}

void
link_announce(Link *link)
{
    static const uint8_t zeros[NONCE_BYTES];
    queue_hello(link, zeros, "");
}

static void
drop_input(Link *link, size_t length)
{
    link->input_start += length;
    link->input_length -= length;
    if (link->input_length == 0) {
        link->input_start = 0;
    }
}

bool
link_greet(Link *link, const char *version)
{
    const uint8_t *header = link->input + link->input_start;
    if (link->state != LINK_GREETED || link->input_length < HEADER_BYTES) {
        return false;
    }
    uint32_t length = header_length(header);
    if (header[0] != FRAME_HELLO || length > HELLO_LIMIT) {
        link->state = LINK_IDLE;
        return false;
    }
    if (link->input_length < HEADER_BYTES + length) {
        return false;
    }
    FieldReader reader = {header + HEADER_BYTES, length};
    Field field;
    memset(link->nonce, 0, sizeof link->nonce);
    while (field_next(&reader, &field) > 0) {
        if (field.tag == FIELD_NONCE && field.length == NONCE_BYTES) {
            memcpy(link->nonce, field.value, NONCE_BYTES);
        }
    }
    drop_input(link, HEADER_BYTES + length);
    link->state = LINK_OPEN;
    queue_hello(link, link->nonce, version);
    return true;
}

/* Look for the last MAGIC in what came, and void all before it. */
static void
search(Link *link, size_t fresh)
{
    size_t before = link->input_length - fresh;
    size_t overlap = before < MAGIC_BYTES - 1 ? before : MAGIC_BYTES - 1;
    for (;;) {
        size_t length = fresh + overlap;
        const uint8_t *from = link->input + link->input_start + link->input_length - length;
        size_t at = magic_find(from, length);
        if (at == length) {
            return;
        }
        drop_input(link, link->input_length - length + at + MAGIC_BYTES);
        link->state = LINK_GREETED;
        fresh = link->input_length;
        overlap = 0;
    }
}

static void
hang_up(Link *link)
{
    if (!link->is_port) {
        link->state = LINK_CLOSED;
    } else if (link->hung_up_at_ms < 0) {
        link->hung_up_at_ms = now_ms();
    }
}

void
link_read(Link *link)
{
    if (link->state == LINK_CLOSED) {
        return;
    }
    if (link->state == LINK_IDLE && link->input_length >= MAGIC_BYTES) {
        drop_input(link, link->input_length - (MAGIC_BYTES - 1)); /* MAGIC may have begun there */
    }
    if (link->input_start > 0 &&
        link->input_start + link->input_length + FRAME_LIMIT > INPUT_BYTES) {
        memmove(link->input, link->input + link->input_start, link->input_length);
        link->input_start = 0;
    }
    size_t room = INPUT_BYTES - link->input_start - link->input_length;
    if (room == 0) {
        return;
    }
    ssize_t count = read(link->fd, link->input + link->input_start + link->input_length, room);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (count < 0) {
        link->state = LINK_CLOSED; /* the device is gone */
        return;
    }
    if (count == 0) {
        hang_up(link);
        return;
    }
    link->hung_up_at_ms = -1;
    link->input_length += (size_t)count;
    search(link, (size_t)count);
}

bool
link_frame(Link *link, Frame *out_frame)
{
    const uint8_t *header = link->input + link->input_start;
    if (link->state != LINK_OPEN || link->input_length < HEADER_BYTES) {
        return false;
    }
    out_frame->type = header[0];
    out_frame->length = header_length(header);
    out_frame->payload = header + HEADER_BYTES;
    if (out_frame->length > FRAME_LIMIT) {
        /* No protocol of ours. Whatever it is, only a new hello makes sense of it again. */
        link->state = LINK_IDLE;
        return false;
    }
    return link->input_length - HEADER_BYTES >= out_frame->length;
}

void
link_pop(Link *link)
{
    drop_input(link, HEADER_BYTES + header_length(link->input + link->input_start));
}

void
link_flush(Link *link)
{
    while (link->output_length > 0) {
        ssize_t count = write(link->fd, link->output + link->output_start, link->output_length);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return; /* EAGAIN; or nobody is there, which reading tells */
        }
        link->output_start += (size_t)count;
        link->output_length -= (size_t)count;
    }
    link->output_start = 0;
}

bool
link_has_unsent(const Link *link)
{
    return link->output_length > 0;
}

short
link_events(const Link *link)
{
    bool has_room = link->input_length < INPUT_BYTES;
    return (short)((has_room ? POLLIN : 0) | (link->output_length > 0 ? POLLOUT : 0));
}

void
link_take_signals(Link *link)
{
    struct signalfd_siginfo signal;
    while (read(link->signal_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo == SIGCHLD) {
            link->child_ended = true;
        } else {
            link->state = LINK_CLOSED;
        }
    }
}

/* While the host side is closed the port says so all the time: wait for a change instead. */
static int
edge_fd(Link *link)
{
    if (link->edge_fd < 0) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
        link->edge_fd = epoll_create1(EPOLL_CLOEXEC);
        if (link->edge_fd >= 0) {
            epoll_ctl(link->edge_fd, EPOLL_CTL_ADD, link->fd, &event);
        }
    }
    return link->edge_fd;
}

/* Look whether the host side is open again, or has been closed for too long. */
static void
reconsider(Link *link)
{
    struct epoll_event event;
    struct pollfd port = {.fd = link->fd, .events = POLLIN};
    epoll_wait(link->edge_fd, &event, 1, 0);
    poll(&port, 1, 0);
    if ((port.revents & POLLHUP) == 0) {
        link->hung_up_at_ms = -1;
    } else if (now_ms() - link->hung_up_at_ms >= HANG_UP_MS) {
        link->state = LINK_CLOSED;
        return;
    }
    if ((port.revents & POLLIN) != 0) {
        link_read(link);
    }
}

static int
wait_ms(const Link *link, int64_t deadline_ms)
{
    enum { LONGEST_MS = 1000000 };
    if (link->hung_up_at_ms >= 0 &&
        (deadline_ms < 0 || deadline_ms > link->hung_up_at_ms + HANG_UP_MS)) {
        deadline_ms = link->hung_up_at_ms + HANG_UP_MS;
    }
    int64_t left_ms = deadline_ms - now_ms();
    return deadline_ms < 0        ? -1
           : left_ms < 0          ? 0
           : left_ms > LONGEST_MS ? LONGEST_MS
                                  : (int)left_ms;
}

static void
serve_port(Link *link, short events)
{
    if ((events & POLLOUT) != 0) {
        link_flush(link);
    }
    if ((events & POLLIN) != 0) {
        link_read(link);
    } else if ((events & POLLHUP) != 0 && link->is_port && link->input_length >= INPUT_BYTES) {
        hang_up(link); /* nothing could be read */
    } else if ((events & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
        link->state = LINK_CLOSED;
    }
}

bool
link_wait(Link *link, struct pollfd *others, unsigned count, int64_t deadline_ms)
{
    bool is_hung_up = link->hung_up_at_ms >= 0;
    struct pollfd polls[2 + OTHERS_AT_MOST] = {
        {.fd = link->fd, .events = link_events(link)},
        {.fd = link->signal_fd, .events = POLLIN},
    };
    if (is_hung_up) {
        polls[0] = (struct pollfd){.fd = edge_fd(link), .events = POLLIN};
    }
    for (unsigned i = 0; i < count; i++) {
        polls[2 + i] = others[i];
    }
    int ready = poll(polls, 2 + count, wait_ms(link, deadline_ms));
    for (unsigned i = 0; i < count; i++) {
        others[i].revents = ready > 0 ? polls[2 + i].revents : 0;
    }
    if (ready > 0 && polls[1].revents != 0) {
        link_take_signals(link);
    }
    if (is_hung_up) {
        reconsider(link);
    } else if (ready > 0) {
        serve_port(link, polls[0].revents);
    }
    return link->state == LINK_OPEN;
}

uint8_t *
link_room(Link *link)
{
    return link->output_length == 0 ? link->output + HEADER_BYTES : NULL;
}

void
link_commit(Link *link, uint8_t type, size_t length)
{
    uint8_t *header = link->output;
    link->output_start = 0;
    link->output_length = HEADER_BYTES + length;
    for (;;) {
        uint8_t *payload = header + HEADER_BYTES;
        size_t at = magic_find(payload, length);
        size_t part = at == length ? length : at + MAGIC_BYTES / 2;
        header_write(header, type, (uint32_t)part);
        if (at == length) {
            break;
        }
        memmove(payload + part + HEADER_BYTES, payload + part, length - part);
        link->output_length += HEADER_BYTES;
        header = payload + part;
        length -= part;
    }
    link_flush(link);
}

bool
link_send(Link *link, uint8_t type, const void *payload, size_t length)
{
    uint8_t header[HEADER_BYTES];
    if (length > FRAME_LIMIT || magic_find(payload, length) != length) {
        return false;
    }
    while (link->output_start + link->output_length + HEADER_BYTES + length > OUTPUT_BYTES) {
        if (link->output_length > 0 && !link_wait(link, NULL, 0, -1)) {
            return false;
        }
        memmove(link->output, link->output + link->output_start, link->output_length);
        link->output_start = 0;
    }
    header_write(header, type, (uint32_t)length);
    queue(link, header, sizeof header);
    queue(link, payload, length);
    link_flush(link);
    return link->state == LINK_OPEN;
}

Problem
problem_of_errno(int error_number)
{
    switch (error_number) {
    case ENOENT:
    case ENOTDIR:
    case ESRCH:
    case ENODEV:
        return PROBLEM_NOT_FOUND;
    case EEXIST:
    case EISDIR:
        return PROBLEM_EXISTS;
    case EBUSY:
    case ETXTBSY:
    case EAGAIN:
        return PROBLEM_BUSY;
    case ENOSYS:
    case EOPNOTSUPP:
        return PROBLEM_UNSUPPORTED;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
        return PROBLEM_INVALID;
    case ETIMEDOUT:
        return PROBLEM_TIMEOUT;
    default:
        return PROBLEM_FAILED;
    }
}

bool
link_fail(Link *link, Problem problem, const char *text)
{
    Message *message = message_begin();
    message_number(message, FIELD_CODE, problem);
    message_text(message, FIELD_TEXT, text);
    return link_send(link, FRAME_FAILED, message->bytes, message->length);
}

bool
link_fail_errno(Link *link, int error_number, const char *what)
{
    char text[AGENT_PATH_LIMIT + 256];
    snprintf(text, sizeof text, "%s: %s", what, strerror(error_number));
    return link_fail(link, problem_of_errno(error_number), text);
}
