/* Theory of operation
 *
 * Input: one growing buffer. `start` is where the first line not taken yet begins, `scanned` how
 * far we looked for its end; bytes are looked at once, however small the pieces they come in.
 * Before a read the consumed bytes in front are cut off; as a read only happens when no whole line
 * is left, what is moved is a part of the last read, never a long line again and again.
 *
 * Output: a queue of messages, each with at most one descriptor, which goes with the first byte.
 *
 * The other end may be hostile. A line has a maximal length; and because a parsed JSON value takes
 * up to a hundred times the memory of its text ("{},{},{}"), the number of values in it has a limit
 * too, counted before parsing.
 */
#include "config.h"

#include "qmp/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/text.h"
#include "base/wait.h"

enum {
    READ_BYTES = 64 * 1024,
    KEEP_BYTES = 1024 * 1024,
    VALUES_LIMIT = 256 * 1024,
    TEXT_LIMIT_BYTES = 600,
};

typedef struct {
    char *text;
    gsize length;
    gsize sent;
    int fd;
} Message;

struct LodgeWire {
    int fd;
    char *peer;
    gsize limit_bytes;
    GByteArray *input;
    gsize start;
    gsize scanned;
    gboolean at_end;
    GQueue output;
};

static void
message_free(gpointer pointer)
{
    Message *message = pointer;
    lodge_fd_clear(&message->fd);
    g_free(message->text);
    g_free(message);
}

LodgeWire *
lodge_wire_new(int fd, const char *peer, gsize limit_bytes)
{
    LodgeWire *wire = g_new0(LodgeWire, 1);
    wire->fd = fd;
    wire->peer = g_strdup(peer);
    wire->limit_bytes = limit_bytes;
    wire->input = g_byte_array_new();
    g_queue_init(&wire->output);
    return wire;
}

void
lodge_wire_free(LodgeWire *wire)
{
    if (wire == NULL) {
        return;
    }
    lodge_wire_drop_unsent(wire);
    lodge_fd_clear(&wire->fd);
    g_byte_array_unref(wire->input);
    g_free(wire->peer);
    g_free(wire);
}

int
lodge_wire_fd(const LodgeWire *wire)
{
    return wire->fd;
}

gboolean
lodge_wire_send(LodgeWire *wire, const char *text, int passed_fd, GError **error)
{
    lodge_autofd copy = -1;
    if (passed_fd >= 0) {
        copy = fcntl(passed_fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0) {
            return lodge_error_errno(error, errno, "Passing a descriptor to %s", wire->peer);
        }
    }
    Message *message = g_new0(Message, 1);
    message->text = g_strdup(text);
    message->length = strlen(text);
    message->fd = lodge_fd_steal(&copy);
    g_queue_push_tail(&wire->output, message);
    return TRUE;
}

gboolean
lodge_wire_send_json(LodgeWire *wire, const char *mark, const json_t *message, int passed_fd,
                     GError **error)
{
    char *text = json_dumps(message, JSON_COMPACT);
    if (text == NULL) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "arguments without a JSON form");
    }
    g_autofree char *line = g_strconcat(mark, text, "\n", NULL);
    free(text);
    return lodge_wire_send(wire, line, passed_fd, error);
}

static gssize
send_some(int fd, Message *message)
{
    struct iovec part = {message->text + message->sent, message->length - message->sent};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    if (message->fd >= 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &message->fd, sizeof(int));
    }
    return sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

gboolean
lodge_wire_flush(LodgeWire *wire, GError **error)
{
    while (lodge_wire_has_unsent(wire)) {
        Message *message = g_queue_peek_head(&wire->output);
        gssize count = send_some(wire->fd, message);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0 && errno == EAGAIN) {
            return TRUE;
        }
        if (count < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)) {
            /* What it said before it went is still to be read, and ends with the end. */
            lodge_wire_drop_unsent(wire);
            return TRUE;
        }
        if (count < 0) {
            return lodge_error_errno(error, errno, "Writing to %s", wire->peer);
        }
        lodge_fd_clear(&message->fd);
        message->sent += count;
        if (message->sent == message->length) {
            message_free(g_queue_pop_head(&wire->output));
        }
    }
    return TRUE;
}

gboolean
lodge_wire_has_unsent(const LodgeWire *wire)
{
    return wire->output.length > 0;
}

void
lodge_wire_drop_unsent(LodgeWire *wire)
{
    g_queue_clear_full(&wire->output, message_free);
}

static void
cut_consumed(LodgeWire *wire)
{
    if (wire->start == 0) {
        return;
    }
    gsize left = wire->input->len - wire->start;
    if (wire->input->len > KEEP_BYTES) {
        /* GByteArray never gives memory back: one long line would be kept for good. */
        GByteArray *fresh = g_byte_array_new();
        g_byte_array_append(fresh, wire->input->data + wire->start, left);
        g_byte_array_unref(wire->input);
        wire->input = fresh;
    } else {
        g_byte_array_remove_range(wire->input, 0, wire->start);
    }
    wire->scanned -= wire->start;
    wire->start = 0;
}

gssize
lodge_wire_read(LodgeWire *wire, GError **error)
{
    cut_consumed(wire);
    guint before = wire->input->len;
    g_byte_array_set_size(wire->input, before + READ_BYTES);
    gssize count = recv(wire->fd, wire->input->data + before, READ_BYTES, MSG_DONTWAIT);
    int saved_errno = errno;
    g_byte_array_set_size(wire->input, before + MAX(count, 0));
    if (count > 0) {
        return count;
    }
    if (count == 0 || saved_errno == ECONNRESET || saved_errno == ENOTCONN) {
        wire->at_end = TRUE;
        return 0;
    }
    if (saved_errno == EAGAIN || saved_errno == EINTR) {
        return 0;
    }
    lodge_error_errno(error, saved_errno, "Reading from %s", wire->peer);
    return -1;
}

gboolean
lodge_wire_at_end(const LodgeWire *wire)
{
    return wire->at_end;
}

gboolean
lodge_wire_wait(LodgeWire *wire, gint64 deadline, GError **error)
{
    for (;;) {
        if (lodge_deadline_passed(deadline)) {
            return lodge_error_set(error, LODGE_ERROR_TIMEOUT, "no answer in time");
        }
        if (!lodge_wire_flush(wire, error)) {
            return FALSE;
        }
        short events = lodge_wire_has_unsent(wire) ? POLLIN | POLLOUT : POLLIN;
        if (!lodge_wait_fd(wire->fd, events, deadline, error)) {
            return FALSE;
        }
        gssize count = lodge_wire_read(wire, error);
        if (count != 0 || wire->at_end) {
            return count >= 0;
        }
    }
}

gboolean
lodge_wire_has_unread(const LodgeWire *wire)
{
    return wire->input->len > wire->start;
}

const char *
lodge_wire_line(LodgeWire *wire, gsize *out_length, GError **error)
{
    GByteArray *input = wire->input;
    if (wire->scanned == input->len) {
        return NULL;
    }
    guint8 *end = memchr(input->data + wire->scanned, '\n', input->len - wire->scanned);
    gsize line_end = end != NULL ? (gsize)(end - input->data) : input->len;
    gsize length = line_end - wire->start;
    if (length > wire->limit_bytes) {
        g_byte_array_set_size(input, 0);
        wire->start = wire->scanned = 0;
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s sent a message of more than %zu bytes",
                        wire->peer, wire->limit_bytes);
        return NULL;
    }
    wire->scanned = line_end;
    if (end == NULL) {
        return NULL;
    }
    const char *line = (const char *)input->data + wire->start;
    wire->start = wire->scanned = line_end + 1;
    *out_length = length;
    return line;
}

static gboolean
has_too_many_values(const char *line, gsize length)
{
    gsize count = 0;
    for (gsize i = 0; i < length; i++) {
        count += line[i] == ',' || line[i] == '[' || line[i] == '{';
    }
    return count > VALUES_LIMIT;
}

json_t *
lodge_wire_parse(const LodgeWire *wire, const char *line, gsize length, GError **error)
{
    if (has_too_many_values(line, length)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s sent a message of more than %d values",
                        wire->peer, VALUES_LIMIT);
        return NULL;
    }
    json_error_t where;
    g_autoptr(json_t) message = json_loadb(line, length, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(message)) {
        /* jansson's own text may quote raw bytes of the peer: not for a terminal. */
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s sent what is not a JSON object",
                        wire->peer);
        return NULL;
    }
    return g_steal_pointer(&message);
}

const char *
lodge_wire_reply_error(const json_t *problem, const char *command, GError **error)
{
    static const struct {
        const char *name;
        LodgeError code;
    } classes[] = {
        {"GenericError", LODGE_ERROR_FAILED},       {"CommandNotFound", LODGE_ERROR_UNSUPPORTED},
        {"DeviceNotFound", LODGE_ERROR_NOT_FOUND},  {"DeviceNotActive", LODGE_ERROR_BUSY},
        {"KVMMissingCap", LODGE_ERROR_UNSUPPORTED},
    };
    const char *class = lodge_json_string(problem, "class", NULL);
    const char *description = lodge_json_string(problem, "desc", NULL);
    if (class == NULL || description == NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: the answer is malformed", command);
        return classes[0].name;
    }
    gsize found = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(classes); i++) {
        if (strcmp(class, classes[i].name) == 0) {
            found = i;
        }
    }
    g_autofree char *text = lodge_wire_printable(description);
    lodge_error_set(error, classes[found].code, "%s: %s", command, text);
    return classes[found].name;
}

char *
lodge_wire_printable(const char *text)
{
    if (strlen(text) <= TEXT_LIMIT_BYTES) {
        return lodge_text_printable(text);
    }
    const char *end = g_utf8_find_prev_char(text, text + TEXT_LIMIT_BYTES);
    g_autofree char *head = g_strndup(text, end != NULL ? (gsize)(end - text) : TEXT_LIMIT_BYTES);
    g_autofree char *shown = lodge_text_printable(head);
    return g_strconcat(shown, "…", NULL);
}
