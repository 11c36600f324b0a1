#include "config.h"

#include "qmp/agent-copy.h"

#include <errno.h>

enum {
    STALL_MS = 60000,
    CHUNK_BYTES = 64 * 1024,
};

void
copying_begin(Copying *copying, LodgeAgent *agent, LodgeAgentCopy *copy)
{
    *copying = (Copying){.agent = agent};
    copying->copy = copy != NULL ? copy : &copying->own;
    copying->copy->out_files = copying->copy->out_bytes = copying->copy->out_skipped = 0;
}

gint64
copying_deadline(const Copying *copying)
{
    return lodge_deadline_in(copying->copy->stall_ms > 0 ? copying->copy->stall_ms : STALL_MS);
}

void
copying_progress(Copying *copying, gsize bytes, const char *path)
{
    LodgeAgentCopy *copy = copying->copy;
    copy->out_bytes += bytes;
    if (copy->on_progress != NULL) {
        copy->on_progress(copy->out_bytes, path, copy->data);
    }
}

static gboolean
take_answers(Copying *copying, GError **error)
{
    AgentFrame frame;
    int taken;
    while ((taken = agent_take(copying->agent, &frame, error)) > 0) {
        if (!agent_check(&frame, error)) {
            /* What was sent ahead is still under way; only a new conversation is sure of its
             * answers. */
            copying->agent->is_over |= copying->unanswered > 1;
            return FALSE;
        }
        if (frame.type != FRAME_RESULT || copying->unanswered == 0) {
            return agent_malformed(copying->agent, error);
        }
        copying->unanswered--;
    }
    return taken == 0;
}

gboolean
copying_drain(Copying *copying, guint unanswered, GError **error)
{
    AgentLink *link = &copying->agent->link;
    for (;;) {
        agent_link_flush(link);
        if (!take_answers(copying, error)) {
            return FALSE;
        }
        if (copying->unanswered <= unanswered && agent_link_unsent(link) < AGENT_UNSENT_BYTES) {
            return lodge_interrupt_check(error);
        }
        struct pollfd port = {.fd = link->fd, .events = agent_link_events(link)};
        if (!agent_wait(copying->agent, &port, 1, copying_deadline(copying), error)) {
            copying->agent->is_over = TRUE;
            return FALSE;
        }
        if ((port.revents & ~POLLOUT) != 0) {
            agent_link_read(link);
        }
    }
}

AgentRequest *
copying_request(const char *guest_path)
{
    AgentRequest *request = g_byte_array_new();
    agent_add_text(request, FIELD_PATH, guest_path);
    return request;
}

gboolean
copying_send(Copying *copying, guint8 type, const AgentRequest *request, GError **error)
{
    if (!agent_request(copying->agent, type, request, error)) {
        return FALSE;
    }
    copying->unanswered++;
    return TRUE;
}

static gboolean
send_content(Copying *copying, const CopyingFile *file, GError **error)
{
    g_autofree char *buffer = g_malloc(CHUNK_BYTES);
    for (;;) {
        if (!lodge_wait_fd(file->fd, POLLIN, copying_deadline(copying), error)) {
            return FALSE;
        }
        gssize count = read(file->fd, buffer, CHUNK_BYTES);
        if (count < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (count < 0) {
            return lodge_error_errno(error, errno, "Reading what to copy");
        }
        if (count == 0) {
            agent_link_send(&copying->agent->link, FRAME_DATA_END, "", 0);
            return TRUE;
        }
        agent_link_send_data(&copying->agent->link, buffer, (gsize)count);
        copying_progress(copying, (gsize)count, file->guest_path);
        /* Some of the answers to earlier files may come while this one is being sent. */
        if (!copying_drain(copying, G_MAXUINT, error)) {
            return FALSE;
        }
    }
}

gboolean
copying_put(Copying *copying, const CopyingFile *file, GError **error)
{
    g_autoptr(GByteArray) request = copying_request(file->guest_path);
    agent_add_number(request, FIELD_FLAGS, copying->copy->sync ? PUT_SYNC : 0);
    if (file->mode >= 0) {
        agent_add_number(request, FIELD_MODE, (guint64)file->mode);
    }
    if (file->size > 0) {
        agent_add_number(request, FIELD_SIZE, file->size);
    }
    if (file->mtime_ns > 0) {
        agent_add_number(request, FIELD_MTIME, file->mtime_ns);
    }
    if (file->uid >= 0) {
        agent_add_number(request, FIELD_UID, (guint64)file->uid);
        agent_add_number(request, FIELD_GID, (guint64)file->gid);
    }
    if (!copying_send(copying, FRAME_PUT, request, error)) {
        return FALSE;
    }
    if (!send_content(copying, file, error)) {
        copying->agent->is_over = TRUE; /* half a file is under way: hanging up takes it back */
        return FALSE;
    }
    copying->copy->out_files++;
    return TRUE;
}

gboolean
lodge_agent_put_fd(LodgeAgent *agent, int fd, const char *guest_path, int mode,
                   LodgeAgentCopy *copy, GError **error)
{
    Copying copying;
    CopyingFile file = {.fd = fd, .guest_path = guest_path, .mode = mode, .uid = -1, .gid = -1};
    copying_begin(&copying, agent, copy);
    return (copying_put(&copying, &file, error) && copying_drain(&copying, 0, error)) ||
           lodge_error_prefix(error, "Copying into the guest");
}

static gboolean
write_out(int fd, const guint8 *bytes, gsize length, gint64 deadline, GError **error)
{
    while (length > 0) {
        if (!lodge_wait_fd(fd, POLLOUT, deadline, error)) {
            return FALSE;
        }
        gssize count = write(fd, bytes, MIN(length, 4096));
        if (count < 0 && errno != EINTR && errno != EAGAIN) {
            return lodge_error_errno(error, errno, "Writing what was copied");
        }
        bytes += MAX(count, 0);
        length -= (gsize)MAX(count, 0);
    }
    return TRUE;
}

static gboolean
get(Copying *copying, const char *guest_path, int fd, GError **error)
{
    AgentFrame frame = {0};
    g_autoptr(GByteArray) request = copying_request(guest_path);
    if (!agent_request(copying->agent, FRAME_GET, request, error)) {
        return FALSE;
    }
    while (frame.type != FRAME_RESULT) {
        if (!agent_receive(copying->agent, copying_deadline(copying), &frame, error) ||
            !agent_check(&frame, error)) {
            return FALSE;
        }
        if (frame.type == FRAME_DATA) {
            if (!write_out(fd, frame.payload, frame.length, copying_deadline(copying), error)) {
                copying->agent->is_over = TRUE;
                return FALSE;
            }
            copying_progress(copying, frame.length, guest_path);
        } else if (frame.type != FRAME_ITEM && frame.type != FRAME_DATA_END &&
                   frame.type != FRAME_RESULT) {
            return agent_malformed(copying->agent, error);
        }
    }
    copying->copy->out_files = 1;
    return TRUE;
}

gboolean
lodge_agent_get_fd(LodgeAgent *agent, const char *guest_path, int fd, LodgeAgentCopy *copy,
                   GError **error)
{
    Copying copying;
    copying_begin(&copying, agent, copy);
    return get(&copying, guest_path, fd, error) ||
           lodge_error_prefix(error, "Copying out of the guest");
}
