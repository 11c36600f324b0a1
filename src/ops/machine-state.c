#include "config.h"

#include "ops/machine-state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "qemu/memory-stream.h"

/* A guest that goes on must not keep it: its next snapshot would be of another form. */
static gboolean
ignore_shared(LodgeQmp *qmp, gboolean ignores, gint64 deadline, GError **error)
{
    return lodge_qmp_run(qmp, deadline, error, "migrate-set-capabilities",
                         "{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities", "capability", "events",
                         "state", 1, "capability", "x-ignore-shared", "state", ignores);
}

static gboolean
prepare(LodgeQmp *qmp, const char *path, int flags, gint64 deadline, GError **error)
{
    lodge_autofd fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    if (!ignore_shared(qmp, TRUE, deadline, error)) {
        return FALSE;
    }
    g_autoptr(json_t) done = lodge_qmp_call_fd(qmp, "getfd", json_pack("{s:s}", "fdname", "state"),
                                               fd, deadline, error);
    return done != NULL;
}

static gboolean
await_end(LodgeQmp *qmp, gint64 deadline, GError **error)
{
    for (;;) {
        g_autoptr(json_t)
            event = lodge_qmp_wait_event(qmp, "MIGRATION", NULL, NULL, deadline, error);
        const char *status = event != NULL
                                 ? lodge_json_string(lodge_qmp_event_data(event), "status", "")
                                 : "";
        if (event == NULL || g_str_equal(status, "completed")) {
            return event != NULL;
        }
        if (g_str_equal(status, "failed") || g_str_equal(status, "cancelled")) {
            g_autoptr(json_t) report = lodge_qmp_ask(qmp, deadline, NULL, "query-migrate", NULL);
            g_autofree char *why = lodge_text_printable(
                lodge_json_string(report, "error-desc", "QEMU gives no reason"));
            return lodge_error_set(error, LODGE_ERROR_FAILED, "the machine's state: %s", why);
        }
    }
}

gboolean
machine_state_write(LodgeQmp *qmp, const char *path, gint64 deadline, GError **error)
{
    return prepare(qmp, path, O_WRONLY | O_CREAT | O_TRUNC, deadline, error) &&
           lodge_qmp_run(qmp, deadline, error, "migrate", "{s:s}", "uri", "fd:state") &&
           await_end(qmp, deadline, error);
}

gboolean
machine_state_cut_networks(int fd, GError **error)
{
    struct stat info;
    g_autoptr(GByteArray) state = g_byte_array_new();
    if (fstat(fd, &info) < 0) {
        return lodge_error_errno(error, errno, "its state");
    }
    g_byte_array_set_size(state, (guint)info.st_size);
    if (pread(fd, state->data, state->len, 0) != (gssize)state->len) {
        return lodge_error_errno(error, errno, "its state");
    }
    return !lodge_memory_stream_cut(state, "slirp") ||
           (pwrite(fd, state->data, state->len, 0) == (gssize)state->len &&
            ftruncate(fd, (off_t)state->len) == 0) ||
           lodge_error_errno(error, errno, "its state");
}

gboolean
machine_state_read(LodgeQmp *qmp, const char *path, gint64 deadline, GError **error)
{
    return prepare(qmp, path, O_RDONLY, deadline, error) &&
           lodge_qmp_run(qmp, deadline, error, "migrate-incoming", "{s:s}", "uri", "fd:state") &&
           await_end(qmp, deadline, error) && ignore_shared(qmp, FALSE, deadline, error);
}
