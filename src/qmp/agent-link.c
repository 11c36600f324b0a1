/* Theory of operation
 *
 * What is read is searched for MAGIC at once; where it stands last, all before it is void. A frame
 * is taken when it is there whole, so the input holds at most one frame and one read.
 *
 * Until our hello is answered nothing is believed: it may have been meant for who had the port
 * before us, by an agent that has not noticed yet. Afterwards MAGIC means that the agent began
 * anew. */
#include "config.h"

#include "qmp/agent-link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/fd.h"

enum {
    READ_BYTES = 128 * 1024,
    KEEP_BYTES = 512 * 1024,
};

void
agent_link_init(AgentLink *link, int fd)
{
    *link = (AgentLink){.fd = fd};
    link->input = g_byte_array_new();
    link->output = g_byte_array_new();
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void
agent_link_clear(AgentLink *link)
{
    lodge_fd_clear(&link->fd);
    g_clear_pointer(&link->input, g_byte_array_unref);
    g_clear_pointer(&link->output, g_byte_array_unref);
}

static void
queue_frame(AgentLink *link, guint8 type, const void *payload, gsize length)
{
    guint8 header[HEADER_BYTES];
    header_write(header, type, (guint32)length);
    g_byte_array_append(link->output, header, sizeof header);
    if (length > 0) {
        g_byte_array_append(link->output, payload, (guint)length);
    }
}

static void
make_nonce(guint8 nonce[NONCE_BYTES])
{
    if (getrandom(nonce, NONCE_BYTES, 0) != NONCE_BYTES) {
        for (gsize i = 0; i < NONCE_BYTES; i++) {
            nonce[i] = (guint8)g_random_int_range(0, 256);
        }
    }
    nonce[0] = 1; /* never all zeros, and never MAGIC */
}

void
agent_link_greet(AgentLink *link)
{
    guint8 payload[2 * HEADER_BYTES + NONCE_BYTES + 8];
    guint8 *second = payload + HEADER_BYTES + NONCE_BYTES;
    make_nonce(link->nonce);
    header_write(payload, FIELD_NONCE, NONCE_BYTES);
    memcpy(payload + HEADER_BYTES, link->nonce, NONCE_BYTES);
    header_write(second, FIELD_PROTOCOL, 8);
    number_write(second + HEADER_BYTES, PROTOCOL_VERSION);
    g_byte_array_set_size(link->output, 0);
    link->sent = 0;
    link->is_greeted = FALSE;
    g_byte_array_append(link->output, (const guint8 *)MAGIC, MAGIC_BYTES);
    queue_frame(link, FRAME_HELLO, payload, sizeof payload);
}

gboolean
agent_link_send(AgentLink *link, guint8 type, const void *payload, gsize length)
{
    if (length > FRAME_LIMIT || magic_find(payload, length) != length) {
        return FALSE;
    }
    queue_frame(link, type, payload, length);
    return TRUE;
}

void
agent_link_send_data(AgentLink *link, const void *bytes, gsize length)
{
    const guint8 *next = bytes;
    while (length > 0) {
        gsize part = MIN(length, FRAME_LIMIT);
        gsize at = magic_find(next, part);
        if (at < part) {
            part = at + MAGIC_BYTES / 2;
        }
        queue_frame(link, FRAME_DATA, next, part);
        next += part;
        length -= part;
    }
}

gsize
agent_link_unsent(const AgentLink *link)
{
    return link->output->len - link->sent;
}

void
agent_link_flush(AgentLink *link)
{
    while (agent_link_unsent(link) > 0) {
        gssize count = send(link->fd, link->output->data + link->sent, agent_link_unsent(link),
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            break; /* the end shows when reading */
        }
        link->sent += (gsize)count;
    }
    if (agent_link_unsent(link) == 0) {
        g_byte_array_set_size(link->output, 0);
        link->sent = 0;
    } else if (link->sent > KEEP_BYTES) {
        g_byte_array_remove_range(link->output, 0, (guint)link->sent);
        link->sent = 0;
    }
}

/* Look for the last MAGIC in what came, and void all before it. */
static void
search(AgentLink *link, gsize fresh)
{
    for (;;) {
        gsize held = link->input->len - link->start;
        gsize length = MIN(held, fresh + MAGIC_BYTES - 1);
        const guint8 *from = link->input->data + link->input->len - length;
        gsize at = magic_find(from, length);
        if (at == length) {
            return;
        }
        link->start = link->input->len - length + at + MAGIC_BYTES;
        link->expects_hello = TRUE;
        fresh = link->input->len - link->start;
    }
}

void
agent_link_read(AgentLink *link)
{
    if (!link->is_greeted && !link->expects_hello) {
        /* Stale, all but where MAGIC may have begun. */
        gsize held = link->input->len - link->start;
        link->start += held - MIN(held, MAGIC_BYTES - 1);
    }
    if (link->start > 0) {
        g_byte_array_remove_range(link->input, 0, (guint)link->start);
        link->start = 0;
    }
    guint before = link->input->len;
    g_byte_array_set_size(link->input, before + READ_BYTES);
    gssize count = recv(link->fd, link->input->data + before, READ_BYTES, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        g_byte_array_set_size(link->input, before);
        return;
    }
    link->at_end = count <= 0;
    g_byte_array_set_size(link->input, before + (guint)MAX(count, 0));
    search(link, (gsize)MAX(count, 0));
}

short
agent_link_events(const AgentLink *link)
{
    return (short)(POLLIN | (agent_link_unsent(link) > 0 ? POLLOUT : 0));
}

/* The hello that MAGIC announced. */
static AgentLinkNext
judge_hello(AgentLink *link, const AgentFrame *hello)
{
    static const guint8 zeros[NONCE_BYTES];
    FieldReader fields = {hello->payload, hello->length};
    Field field;
    gboolean was_greeted = link->is_greeted;
    gboolean is_announced = FALSE;
    link->expects_hello = FALSE;
    link->is_greeted = FALSE;
    while (hello->type == FRAME_HELLO && field_next(&fields, &field) > 0) {
        if (field.tag == FIELD_NONCE && field.length == NONCE_BYTES) {
            link->is_greeted = !was_greeted && memcmp(field.value, link->nonce, NONCE_BYTES) == 0;
            is_announced = memcmp(field.value, zeros, NONCE_BYTES) == 0;
        }
    }
    if (link->is_greeted) {
        return AGENT_LINK_FRAME;
    }
    /* Answers to those before us are nothing new; an announcement, or the end of what was, is. */
    return was_greeted || is_announced ? AGENT_LINK_ANEW : AGENT_LINK_NOTHING;
}

AgentLinkNext
agent_link_next(AgentLink *link, AgentFrame *out_frame)
{
    gsize held = link->input->len - link->start;
    if ((!link->is_greeted && !link->expects_hello) || held < HEADER_BYTES) {
        return AGENT_LINK_NOTHING;
    }
    const guint8 *header = link->input->data + link->start;
    AgentFrame frame = {header[0], header + HEADER_BYTES, header_length(header)};
    if (frame.length > FRAME_LIMIT) {
        gboolean was_greeted = link->is_greeted;
        link->is_greeted = link->expects_hello = FALSE;
        return was_greeted ? AGENT_LINK_GARBAGE : AGENT_LINK_NOTHING;
    }
    if (held - HEADER_BYTES < frame.length) {
        return AGENT_LINK_NOTHING;
    }
    link->start += HEADER_BYTES + frame.length;
    *out_frame = frame;
    return link->expects_hello ? judge_hello(link, &frame) : AGENT_LINK_FRAME;
}
