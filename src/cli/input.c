#include "config.h"

#include "cli/input.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

enum {
    LINE_LIMIT_BYTES = 16 << 20,
};

struct LodgeInput {
    int fd;
    GString *buffer;
    gboolean at_end;
};

LodgeInput *
lodge_input_new(int fd)
{
    LodgeInput *input = g_new0(LodgeInput, 1);
    input->fd = fd;
    input->buffer = g_string_new(NULL);
    return input;
}

void
lodge_input_free(LodgeInput *input)
{
    if (input != NULL) {
        g_string_free(input->buffer, TRUE);
        g_free(input);
    }
}

void
lodge_input_read(LodgeInput *input)
{
    char buffer[65536];
    gssize got = read(input->fd, buffer, sizeof buffer);
    if (got > 0 && input->buffer->len < LINE_LIMIT_BYTES) {
        g_string_append_len(input->buffer, buffer, got);
    } else if (got >= 0 || (errno != EINTR && errno != EAGAIN)) {
        input->at_end = TRUE;
    }
}

gboolean
lodge_input_at_end(const LodgeInput *input)
{
    return input->at_end;
}

char *
lodge_input_ready_line(LodgeInput *input)
{
    const char *end = memchr(input->buffer->str, '\n', input->buffer->len);
    gsize length = end != NULL ? (gsize)(end - input->buffer->str) : input->buffer->len;
    if (end == NULL && (!input->at_end || length == 0)) {
        return NULL;
    }
    char *line = g_strndup(input->buffer->str, length);
    g_string_erase(input->buffer, 0, (gssize)(end != NULL ? length + 1 : length));
    return line;
}

char *
lodge_input_line(LodgeInput *input, GError **error)
{
    for (;;) {
        char *line = lodge_input_ready_line(input);
        if (line != NULL || input->at_end) {
            return line;
        }
        if (!lodge_wait_fd(input->fd, POLLIN, LODGE_NO_DEADLINE, error)) {
            return NULL;
        }
        lodge_input_read(input);
    }
}
