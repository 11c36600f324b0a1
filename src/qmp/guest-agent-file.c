#include "config.h"

#include <string.h>

#include "base/base.h"
#include "qmp/guest-agent-private.h"

#define OPEN "guest-file-open"
#define READ "guest-file-read"
#define WRITE "guest-file-write"
#define CLOSE "guest-file-close"

enum {
    CHUNK_BYTES = 512 * 1024,
};

static gboolean
open_file(LodgeGuestAgent *agent, const char *path, const char *mode, gint64 deadline,
          gint64 *out_handle, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autoptr(json_t) handle = lodge_guest_agent_ask(agent, deadline, &problem, OPEN, "{s:s, s:s}",
                                                     "path", path, "mode", mode);
    if (handle != NULL) {
        return lodge_guest_agent_integer(handle, 0, G_MAXINT64, out_handle, error) ||
               lodge_error_prefix(error, OPEN);
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_FAILED) &&
        strstr(problem->message, "No such file or directory") != NULL) {
        problem->code = LODGE_ERROR_NOT_FOUND;
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

static gboolean
close_file(LodgeGuestAgent *agent, gint64 handle, gint64 deadline, GError **error)
{
    g_autoptr(json_t) result = lodge_guest_agent_ask(agent, deadline, error, CLOSE, "{s:I}",
                                                     "handle", (json_int_t)handle);
    return result != NULL;
}

/* Read on to the end of the file, or one byte beyond the limit. */
static gboolean
read_all(LodgeGuestAgent *agent, gint64 handle, gsize limit_bytes, gint64 deadline,
         GByteArray *bytes, GError **error)
{
    for (;;) {
        gsize wanted = MIN(CHUNK_BYTES, limit_bytes - bytes->len + 1);
        g_autoptr(json_t)
            part = lodge_guest_agent_ask(agent, deadline, error, READ, "{s:I, s:I}", "handle",
                                         (json_int_t)handle, "count", (json_int_t)wanted);
        if (part == NULL) {
            return FALSE;
        }
        gsize length = 0;
        g_autofree char *data = lodge_guest_agent_decode(json_object_get(part, "buf-b64"), &length,
                                                         error);
        if (data == NULL) {
            return lodge_error_prefix(error, READ);
        }
        gboolean at_end = lodge_json_bool(part, "eof", FALSE);
        if (length > wanted || (length == 0 && !at_end)) {
            return lodge_guest_agent_malformed(error, READ);
        }
        g_byte_array_append(bytes, (const guint8 *)data, length);
        if (bytes->len > limit_bytes) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   READ ": the file has more than %zu bytes", limit_bytes);
        }
        if (at_end) {
            return TRUE;
        }
    }
}

char *
lodge_guest_agent_file_read(LodgeGuestAgent *agent, const char *path, gsize limit_bytes,
                            gint64 deadline, gsize *out_length, GError **error)
{
    gint64 handle = 0;
    limit_bytes = MIN(limit_bytes, G_MAXINT32);
    if (!open_file(agent, path, "r", deadline, &handle, error)) {
        return NULL;
    }
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    gboolean done = read_all(agent, handle, limit_bytes, deadline, bytes, error);
    /* What was read is right, whether the agent can close it or not. */
    close_file(agent, handle, deadline, NULL);
    if (!done) {
        return NULL;
    }
    *out_length = bytes->len;
    g_byte_array_append(bytes, (const guint8 *)"", 1);
    return (char *)g_byte_array_free(g_steal_pointer(&bytes), FALSE);
}

static gboolean
write_all(LodgeGuestAgent *agent, gint64 handle, const char *data, gsize length, gint64 deadline,
          GError **error)
{
    while (length > 0) {
        gsize offered = MIN(length, CHUNK_BYTES);
        g_autofree char *text = g_base64_encode((const guchar *)data, offered);
        g_autoptr(json_t)
            result = lodge_guest_agent_ask(agent, deadline, error, WRITE, "{s:I, s:s}", "handle",
                                           (json_int_t)handle, "buf-b64", text);
        gint64 count = 0;
        if (result == NULL) {
            return FALSE;
        }
        if (!lodge_guest_agent_integer(json_object_get(result, "count"), 1, (gint64)offered, &count,
                                       error)) {
            return lodge_error_prefix(error, WRITE);
        }
        data += count;
        length -= (gsize)count;
    }
    return TRUE;
}

gboolean
lodge_guest_agent_file_write(LodgeGuestAgent *agent, const char *path, const char *data,
                             gsize length, gint64 deadline, GError **error)
{
    gint64 handle = 0;
    if (!open_file(agent, path, "w", deadline, &handle, error)) {
        return FALSE;
    }
    if (!write_all(agent, handle, data, length, deadline, error)) {
        close_file(agent, handle, deadline, NULL);
        return FALSE;
    }
    /* Only closing says whether all of it reached the guest's kernel. */
    return close_file(agent, handle, deadline, error);
}
