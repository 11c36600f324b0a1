#include "config.h"

#include <stdarg.h>

#include "base/base.h"
#include "qmp/qmp-private.h"

enum {
    QUEUE_LOOK_MS = 20,
};

typedef struct {
    gboolean done;
    json_t *result;
    GError *error;
} Answer;

/* A QEMU that hangs lets few connections wait, and those of clients that gave up count too: that
 * its queue has room again is reported by nobody. */
static int
connect_until(const char *path, gint64 deadline, GError **error)
{
    for (;;) {
        g_autoptr(GError) problem = NULL;
        int fd = lodge_unix_connect(path, &problem);
        if (fd >= 0) {
            return fd;
        }
        if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return -1;
        }
        if (lodge_deadline_passed(deadline)) {
            lodge_error_set(error, LODGE_ERROR_TIMEOUT, "%s: QEMU takes no connections", path);
            return -1;
        }
        if (!lodge_wait_for(QUEUE_LOOK_MS, error)) {
            return -1;
        }
    }
}

LodgeQmp *
lodge_qmp_connect(const char *socket_path, gint64 deadline, GError **error)
{
    int fd = connect_until(socket_path, deadline, error);
    if (fd < 0) {
        return NULL;
    }
    g_autoptr(LodgeQmp) qmp = lodge_qmp_new(fd);
    if (!lodge_qmp_handshake(qmp, deadline, error)) {
        lodge_error_prefix(error, "%s", socket_path);
        return NULL;
    }
    return g_steal_pointer(&qmp);
}

gboolean
lodge_qmp_handshake(LodgeQmp *qmp, gint64 deadline, GError **error)
{
    g_autoptr(GError) problem = NULL;
    while (!lodge_qmp_is_ready(qmp) && lodge_qmp_step(qmp, deadline, &problem)) {
    }
    lodge_qmp_settle(qmp);
    if (problem == NULL) {
        return TRUE;
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
        return lodge_error_set(
            error, LODGE_ERROR_TIMEOUT,
            "QEMU did not greet in time (does another program hold its monitor?)");
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

static void
on_answer(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    (void)qmp;
    Answer *answer = data;
    answer->done = TRUE;
    answer->result = json_incref((json_t *)result);
    answer->error = error != NULL ? g_error_copy(error) : NULL;
}

json_t *
lodge_qmp_call_fd(LodgeQmp *qmp, const char *command, json_t *arguments, int fd, gint64 deadline,
                  GError **error)
{
    Answer answer = {0};
    guint64 id = lodge_qmp_send(qmp, command, arguments, fd, on_answer, &answer, error);
    if (id == 0) {
        return NULL;
    }
    g_autoptr(GError) problem = NULL;
    while (!answer.done && lodge_qmp_step(qmp, deadline, &problem)) {
    }
    lodge_qmp_forget(qmp, id);
    lodge_qmp_settle(qmp);
    if (!answer.done) {
        g_propagate_prefixed_error(error, g_steal_pointer(&problem), "%s: ", command);
        return NULL;
    }
    if (answer.error != NULL) {
        g_propagate_error(error, answer.error);
    }
    return answer.result;
}

json_t *
lodge_qmp_call(LodgeQmp *qmp, const char *command, json_t *arguments, gint64 deadline,
               GError **error)
{
    return lodge_qmp_call_fd(qmp, command, arguments, -1, deadline, error);
}

static json_t *
call_packed(LodgeQmp *qmp, gint64 deadline, GError **error, const char *command, const char *format,
            va_list values)
{
    json_t *arguments = NULL;
    if (format != NULL) {
        json_error_t where;
        arguments = json_vpack_ex(&where, 0, format, values);
        if (arguments == NULL) {
            lodge_error_set(error, LODGE_ERROR_INVALID, "%s: arguments: %s", command, where.text);
            return NULL;
        }
    }
    return lodge_qmp_call(qmp, command, arguments, deadline, error);
}

json_t *
lodge_qmp_ask(LodgeQmp *qmp, gint64 deadline, GError **error, const char *command,
              const char *format, ...)
{
    va_list values;
    va_start(values, format);
    json_t *result = call_packed(qmp, deadline, error, command, format, values);
    va_end(values);
    return result;
}

gboolean
lodge_qmp_run(LodgeQmp *qmp, gint64 deadline, GError **error, const char *command,
              const char *format, ...)
{
    va_list values;
    va_start(values, format);
    g_autoptr(json_t) result = call_packed(qmp, deadline, error, command, format, values);
    va_end(values);
    return result != NULL;
}

json_t *
lodge_qmp_wait_event(LodgeQmp *qmp, const char *name, LodgeQmpMatchFunc match, gpointer data,
                     gint64 deadline, GError **error)
{
    guint64 seen = 0;
    json_t *event;
    do {
        event = lodge_event_queue_take_matching(&qmp->events, name, match, data, &seen);
    } while (event == NULL && lodge_qmp_step(qmp, deadline, error));
    lodge_qmp_settle(qmp);
    if (event == NULL && name != NULL) {
        lodge_error_prefix(error, "Waiting for %s", name);
    }
    return event;
}

json_t *
lodge_qmp_next_event(LodgeQmp *qmp, gint64 deadline, GError **error)
{
    return lodge_qmp_wait_event(qmp, NULL, NULL, NULL, deadline, error);
}
