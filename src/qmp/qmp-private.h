/* Between the parts of the QMP client: qmp.c holds the connection and sends, qmp-receive.c handles
 * what comes, qmp-call.c waits for it. */
#pragma once

#include "qmp/event-queue.h"
#include "qmp/qmp.h"
#include "qmp/wire.h"

typedef enum { LODGE_QMP_GREETING, LODGE_QMP_NEGOTIATING, LODGE_QMP_READY } LodgeQmpState;

typedef struct {
    guint64 id;
    char *command;
    LodgeQmpReplyFunc reply;
    gpointer data;
    json_t *held;
    int held_fd;
} LodgeQmpPending;

struct LodgeQmp {
    LodgeWire *wire;
    LodgeQmpState state;
    GError *closed;
    int version;
    guint64 next_id;
    GQueue pending;
    const char *error_class;
    LodgeEventQueue events;
};

/* A command without a place yet; its message is held. @arguments is borrowed. NULL on error. */
LodgeQmpPending *lodge_qmp_pending_new(LodgeQmp *qmp, const char *command, json_t *arguments,
                                       int fd, GError **error);
void lodge_qmp_pending_free(gpointer pointer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeQmpPending, lodge_qmp_pending_free)

/* Borrowed, or NULL. */
LodgeQmpPending *lodge_qmp_pending_find(LodgeQmp *qmp, guint64 id);

/* Send the message that it holds. */
gboolean lodge_qmp_transmit(LodgeQmp *qmp, LodgeQmpPending *pending, GError **error);

/* FALSE with what closed the connection. */
gboolean lodge_qmp_is_open(const LodgeQmp *qmp, GError **error);

/* Handle exactly one message of QEMU, waiting for it. FALSE: none came (TIMEOUT, INTERRUPTED), or
 * the connection is closed now. */
gboolean lodge_qmp_step(LodgeQmp *qmp, gint64 deadline, GError **error);

/* Handle the messages that were read already, so that the descriptor alone tells a main loop
 * whether there is more. */
void lodge_qmp_settle(LodgeQmp *qmp);
