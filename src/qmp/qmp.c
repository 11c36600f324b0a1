/* Theory of operation
 *
 * One connection is one LodgeQmp, in one of these states:
 *
 *   GREETING     until QEMU's greeting, which comes when it has started and serves this client
 *   NEGOTIATING  qmp_capabilities is sent, until its reply; commands follow it without waiting, as
 *                QEMU takes one after the other
 *   READY
 *   closed       `closed` is set: QEMU went, or sent what is not QMP; for good
 *
 * Everything that QEMU sends goes through dispatch() in qmp-receive.c, one line at a time, whoever
 * reads it. It turns a line into one step: the next state, an event in the queue, or the callback
 * of a command in flight. So there is one code path for both uses: lodge_qmp_pump() dispatches what
 * is there, and a synchronous call sends a command with a callback that fills in an Answer, and
 * then dispatches, waiting, until that has happened.
 *
 * A command in flight is a Pending, found by its id. Who stops waiting removes it, and a reply to
 * an unknown id is dropped: that is all that late answers need. Ids start at a random number, as
 * QEMU may send to a new client the reply to a command of the one before. Commands sent before
 * the greeting are held in their Pending. An error without an id means that QEMU could not parse
 * what we sent: it goes to the oldest command, which is the one that QEMU is at.
 *
 * Callbacks run last in dispatch(), which holds nothing then, so that they may call us.
 */
#include "config.h"

#include "qmp/qmp.h"

#include <fcntl.h>

#include "base/base.h"
#include "qmp/qmp-private.h"

void
lodge_qmp_pending_free(gpointer pointer)
{
    LodgeQmpPending *pending = pointer;
    json_decref(pending->held);
    lodge_fd_clear(&pending->held_fd);
    g_free(pending->command);
    g_free(pending);
}
LodgeQmp *
lodge_qmp_new(int fd)
{
    LodgeQmp *qmp = g_new0(LodgeQmp, 1);
    qmp->wire = lodge_wire_new(fd, "QEMU", LODGE_QMP_MESSAGE_LIMIT_BYTES);
    qmp->next_id = (guint64)g_random_int() << 20 | 1;
    g_queue_init(&qmp->pending);
    lodge_event_queue_init(&qmp->events);
    return qmp;
}

void
lodge_qmp_free(LodgeQmp *qmp)
{
    if (qmp == NULL) {
        return;
    }
    g_queue_clear_full(&qmp->pending, lodge_qmp_pending_free);
    lodge_event_queue_clear(&qmp->events);
    lodge_wire_free(qmp->wire);
    g_clear_error(&qmp->closed);
    g_free(qmp);
}

gboolean
lodge_qmp_is_ready(const LodgeQmp *qmp)
{
    return qmp->state != LODGE_QMP_GREETING && qmp->closed == NULL;
}

gboolean
lodge_qmp_is_closed(const LodgeQmp *qmp)
{
    return qmp->closed != NULL;
}

int
lodge_qmp_version(const LodgeQmp *qmp)
{
    return qmp->version;
}

const char *
lodge_qmp_error_class(const LodgeQmp *qmp)
{
    return qmp->error_class;
}

guint64
lodge_qmp_dropped_events(const LodgeQmp *qmp)
{
    return qmp->events.count_dropped;
}

int
lodge_qmp_fd(const LodgeQmp *qmp)
{
    return lodge_wire_fd(qmp->wire);
}

GIOCondition
lodge_qmp_fd_events(const LodgeQmp *qmp)
{
    return lodge_wire_has_unsent(qmp->wire) ? G_IO_IN | G_IO_OUT : G_IO_IN;
}

const char *
lodge_qmp_event_name(const json_t *event)
{
    return lodge_json_string(event, "event", "");
}

const json_t *
lodge_qmp_event_data(const json_t *event)
{
    return json_object_get(event, "data");
}

gboolean
lodge_qmp_transmit(LodgeQmp *qmp, LodgeQmpPending *pending, GError **error)
{
    g_autoptr(json_t) message = g_steal_pointer(&pending->held);
    lodge_autofd fd = lodge_fd_steal(&pending->held_fd);
    return lodge_wire_send_json(qmp->wire, "", message, fd, error) &&
           lodge_wire_flush(qmp->wire, error);
}

LodgeQmpPending *
lodge_qmp_pending_new(LodgeQmp *qmp, const char *command, json_t *arguments, int fd, GError **error)
{
    g_autoptr(LodgeQmpPending) pending = g_new0(LodgeQmpPending, 1);
    pending->id = qmp->next_id++;
    pending->command = g_strdup(command);
    pending->held_fd = -1;
    pending->held = json_pack("{s:s, s:O*, s:I}", "execute", command, "arguments", arguments, "id",
                              pending->id);
    if (pending->held == NULL || (arguments != NULL && !json_is_object(arguments))) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "arguments that are not an object");
        return NULL;
    }
    if (fd >= 0) {
        pending->held_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (pending->held_fd < 0) {
            lodge_error_errno(error, errno, "Passing a descriptor to QEMU");
            return NULL;
        }
    }
    return g_steal_pointer(&pending);
}

gboolean
lodge_qmp_is_open(const LodgeQmp *qmp, GError **error)
{
    if (qmp->closed == NULL) {
        return TRUE;
    }
    if (error != NULL) {
        *error = g_error_copy(qmp->closed);
    }
    return FALSE;
}

guint64
lodge_qmp_send(LodgeQmp *qmp, const char *command, json_t *arguments, int fd,
               LodgeQmpReplyFunc reply, gpointer data, GError **error)
{
    g_autoptr(json_t) owned = arguments;
    g_autoptr(LodgeQmpPending) pending = NULL;
    if (lodge_qmp_is_open(qmp, error)) {
        pending = lodge_qmp_pending_new(qmp, command, owned, fd, error);
    }
    if (pending == NULL ||
        (qmp->state != LODGE_QMP_GREETING && !lodge_qmp_transmit(qmp, pending, error))) {
        lodge_error_prefix(error, "%s", command);
        return 0;
    }
    pending->reply = reply;
    pending->data = data;
    guint64 id = pending->id;
    g_queue_push_tail(&qmp->pending, g_steal_pointer(&pending));
    return id;
}

LodgeQmpPending *
lodge_qmp_pending_find(LodgeQmp *qmp, guint64 id)
{
    for (GList *link = qmp->pending.head; link != NULL; link = link->next) {
        LodgeQmpPending *pending = link->data;
        if (pending->id == id) {
            return pending;
        }
    }
    return NULL;
}

void
lodge_qmp_forget(LodgeQmp *qmp, guint64 id)
{
    g_autoptr(LodgeQmpPending) pending = lodge_qmp_pending_find(qmp, id);
    g_queue_remove(&qmp->pending, pending);
}

json_t *
lodge_qmp_take_event(LodgeQmp *qmp)
{
    return lodge_event_queue_take(&qmp->events);
}
