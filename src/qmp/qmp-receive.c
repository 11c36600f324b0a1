/* The theory of operation stands in qmp.c. */
#include "config.h"

#include "base/base.h"
#include "qmp/qmp-private.h"

#define CLOSED_TEXT "QEMU closed the connection"

enum {
    PUMP_READS = 32,
    VERSION_LIMIT = 99,
};

static void
answer_pending(LodgeQmp *qmp, LodgeQmpPending *pending, const json_t *result, const GError *error)
{
    if (pending->reply != NULL) {
        pending->reply(qmp, result, error, pending->data);
    }
}

/* Takes @problem. Those who wait for a reply learn of it now, as none will come. */
static void
close_for_good(LodgeQmp *qmp, GError *problem)
{
    if (qmp->closed != NULL) {
        g_error_free(problem);
        return;
    }
    qmp->closed = problem;
    lodge_wire_drop_unsent(qmp->wire);
    LodgeQmpPending *next;
    while ((next = g_queue_pop_head(&qmp->pending)) != NULL) {
        g_autoptr(LodgeQmpPending) pending = next;
        g_autoptr(GError) error = g_error_copy(qmp->closed);
        g_prefix_error(&error, "%s: ", pending->command);
        answer_pending(qmp, pending, NULL, error);
    }
}

static gboolean
malformed(GError **error, const char *what)
{
    return lodge_error_set(error, LODGE_ERROR_INVALID, "QEMU sent a malformed %s", what);
}

static gboolean
on_event(LodgeQmp *qmp, json_t *message, gsize size_bytes, GError **error)
{
    json_t *data = json_object_get(message, "data");
    if (!json_is_string(json_object_get(message, "event")) ||
        (data != NULL && !json_is_object(data))) {
        return malformed(error, "event");
    }
    if (data == NULL) {
        json_object_set_new(message, "data", json_object());
    }
    lodge_event_queue_push(&qmp->events, message, size_bytes);
    return TRUE;
}

static gboolean
parse_version(const json_t *greeting, int *out_version)
{
    int parts[3] = {0};
    if (json_unpack((json_t *)greeting, "{s:{s:{s:i, s:i, s:i}}}", "version", "qemu", "major",
                    &parts[0], "minor", &parts[1], "micro", &parts[2]) < 0) {
        return FALSE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (parts[i] < 0 || parts[i] > VERSION_LIMIT) {
            return FALSE;
        }
    }
    *out_version = parts[0] * 10000 + parts[1] * 100 + parts[2];
    return TRUE;
}

static void
on_capabilities(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    (void)result;
    (void)data;
    if (error != NULL) {
        close_for_good(qmp, g_error_copy(error));
        return;
    }
    qmp->state = LODGE_QMP_READY;
}

static gboolean
on_greeting(LodgeQmp *qmp, const json_t *greeting, GError **error)
{
    if (qmp->state != LODGE_QMP_GREETING || !parse_version(greeting, &qmp->version)) {
        return malformed(error, "greeting");
    }
    g_autoptr(LodgeQmpPending)
        pending = lodge_qmp_pending_new(qmp, "qmp_capabilities", NULL, -1, error);
    if (pending == NULL || !lodge_qmp_transmit(qmp, pending, error)) {
        return FALSE;
    }
    pending->reply = on_capabilities;
    qmp->state = LODGE_QMP_NEGOTIATING;
    g_queue_push_head(&qmp->pending, g_steal_pointer(&pending));
    for (GList *link = qmp->pending.head->next; link != NULL; link = link->next) {
        if (!lodge_qmp_transmit(qmp, link->data, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
on_reply(LodgeQmp *qmp, const json_t *message, GError **error)
{
    const json_t *id = json_object_get(message, "id");
    const json_t *problem = json_object_get(message, "error");
    LodgeQmpPending *found = NULL;
    if (json_is_integer(id)) {
        found = lodge_qmp_pending_find(qmp, (guint64)json_integer_value(id));
    } else if (id == NULL && problem != NULL) {
        found = g_queue_peek_head(&qmp->pending);
    }
    if (found == NULL || found->held != NULL) {
        /* Somebody gave up on it, or QEMU answers what it was not asked. */
        return TRUE;
    }
    g_autoptr(LodgeQmpPending) pending = found;
    g_queue_remove(&qmp->pending, pending);
    qmp->error_class = NULL;
    g_autoptr(GError) refusal = NULL;
    if (problem != NULL) {
        qmp->error_class = lodge_wire_reply_error(problem, pending->command, &refusal);
    }
    const json_t *result = problem == NULL ? json_object_get(message, "return") : NULL;
    answer_pending(qmp, pending, result, refusal);
    if (g_error_matches(refusal, LODGE_ERROR, LODGE_ERROR_INVALID)) {
        return malformed(error, "reply");
    }
    return TRUE;
}

static gboolean
dispatch(LodgeQmp *qmp, const char *line, gsize length, GError **error)
{
    if (length == 0 || (length == 1 && *line == '\r')) {
        return TRUE;
    }
    g_autoptr(json_t) message = lodge_wire_parse(qmp->wire, line, length, error);
    if (message == NULL) {
        return FALSE;
    }
    if (json_object_get(message, "event") != NULL) {
        return on_event(qmp, message, length, error);
    }
    if (json_object_get(message, "QMP") != NULL) {
        return on_greeting(qmp, json_object_get(message, "QMP"), error);
    }
    if (json_object_get(message, "return") != NULL || json_object_get(message, "error") != NULL) {
        return on_reply(qmp, message, error);
    }
    return malformed(error, "message");
}

/* Dispatch the whole lines that were read. Stops, TRUE, if a callback closed the connection. */
static gboolean
dispatch_lines(LodgeQmp *qmp, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gsize length = 0;
    const char *line;
    while (qmp->closed == NULL && (line = lodge_wire_line(qmp->wire, &length, &problem)) != NULL) {
        if (!dispatch(qmp, line, length, &problem)) {
            break;
        }
    }
    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    return TRUE;
}

static gboolean
pump(LodgeQmp *qmp, GError **error)
{
    for (guint i = 0; i < PUMP_READS; i++) {
        if (!dispatch_lines(qmp, error) || !lodge_wire_flush(qmp->wire, error)) {
            return FALSE;
        }
        if (qmp->closed != NULL) {
            return TRUE;
        }
        if (lodge_wire_at_end(qmp->wire)) {
            return lodge_error_set(error, LODGE_ERROR_FAILED, CLOSED_TEXT);
        }
        gssize count = lodge_wire_read(qmp->wire, error);
        if (count < 0) {
            return FALSE;
        }
        if (count == 0 && !lodge_wire_at_end(qmp->wire)) {
            return TRUE;
        }
    }
    return dispatch_lines(qmp, error) && lodge_wire_flush(qmp->wire, error);
}

gboolean
lodge_qmp_pump(LodgeQmp *qmp, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (qmp->closed == NULL && !pump(qmp, &problem)) {
        close_for_good(qmp, g_steal_pointer(&problem));
    }
    return lodge_qmp_is_open(qmp, error);
}

static const char *
wait_line(LodgeQmp *qmp, gsize *out_length, gint64 deadline, GError **error)
{
    for (;;) {
        /* A peer that never falls silent must not keep us from looking at the clock. */
        if (!lodge_interrupt_check(error)) {
            return NULL;
        }
        if (lodge_deadline_passed(deadline)) {
            lodge_error_set(error, LODGE_ERROR_TIMEOUT, "no answer in time");
            return NULL;
        }
        g_autoptr(GError) problem = NULL;
        const char *line = lodge_wire_line(qmp->wire, out_length, &problem);
        if (line == NULL && problem == NULL && lodge_wire_at_end(qmp->wire)) {
            lodge_error_set(&problem, LODGE_ERROR_FAILED, CLOSED_TEXT);
        }
        if (problem != NULL) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return NULL;
        }
        if (line != NULL) {
            return line;
        }
        if (!lodge_wire_wait(qmp->wire, deadline, error)) {
            return NULL;
        }
    }
}

gboolean
lodge_qmp_step(LodgeQmp *qmp, gint64 deadline, GError **error)
{
    if (!lodge_qmp_is_open(qmp, error)) {
        return FALSE;
    }
    g_autoptr(GError) problem = NULL;
    gsize length = 0;
    const char *line = wait_line(qmp, &length, deadline, &problem);
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT) ||
        g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INTERRUPTED)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (line == NULL || !dispatch(qmp, line, length, &problem)) {
        close_for_good(qmp, g_steal_pointer(&problem));
    }
    return lodge_qmp_is_open(qmp, error);
}

void
lodge_qmp_settle(LodgeQmp *qmp)
{
    g_autoptr(GError) problem = NULL;
    if (!dispatch_lines(qmp, &problem)) {
        close_for_good(qmp, g_steal_pointer(&problem));
    }
}
