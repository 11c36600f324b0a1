/* QEMU's events until somebody takes them: a queue with a limit in number and in bytes. Private to
 * this layer. */
#pragma once

#include "qmp/qmp.h"

typedef struct {
    GQueue queue;
    gsize size_bytes;
    guint64 count_pushed;
    guint64 count_dropped;
} LodgeEventQueue;

void lodge_event_queue_init(LodgeEventQueue *events);
void lodge_event_queue_clear(LodgeEventQueue *events);

/* Add @event (a reference is taken) whose text had @size_bytes; drops the oldest beyond the limits.
 */
void lodge_event_queue_push(LodgeEventQueue *events, json_t *event, gsize size_bytes);

/* The oldest, or NULL. New reference. */
json_t *lodge_event_queue_take(LodgeEventQueue *events);

/* The oldest that has @name (NULL: any) and for which @match (NULL: any) says TRUE, looking only at
 * those pushed when *@inout_seen was `count_pushed` or later; 0 looks at all. New reference, or
 * NULL, with *@inout_seen moved on. */
json_t *lodge_event_queue_take_matching(LodgeEventQueue *events, const char *name,
                                        LodgeQmpMatchFunc match, gpointer data,
                                        guint64 *inout_seen);
