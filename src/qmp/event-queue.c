#include "config.h"

#include "qmp/event-queue.h"

#include <string.h>

typedef struct {
    json_t *message;
    gsize size_bytes;
    guint64 number;
} Event;

static void
event_free(gpointer pointer)
{
    Event *event = pointer;
    json_decref(event->message);
    g_free(event);
}

void
lodge_event_queue_init(LodgeEventQueue *events)
{
    *events = (LodgeEventQueue){0};
    g_queue_init(&events->queue);
}

void
lodge_event_queue_clear(LodgeEventQueue *events)
{
    g_queue_clear_full(&events->queue, event_free);
    events->size_bytes = 0;
}

static json_t *
take_link(LodgeEventQueue *events, GList *link)
{
    Event *event = link->data;
    json_t *message = json_incref(event->message);
    events->size_bytes -= event->size_bytes;
    event_free(event);
    g_queue_delete_link(&events->queue, link);
    return message;
}

void
lodge_event_queue_push(LodgeEventQueue *events, json_t *event, gsize size_bytes)
{
    Event *entry = g_new0(Event, 1);
    entry->message = json_incref(event);
    entry->size_bytes = size_bytes;
    entry->number = events->count_pushed++;
    g_queue_push_tail(&events->queue, entry);
    events->size_bytes += size_bytes;
    while (events->queue.length > LODGE_QMP_EVENTS_LIMIT ||
           events->size_bytes > LODGE_QMP_EVENTS_LIMIT_BYTES) {
        json_decref(take_link(events, events->queue.head));
        events->count_dropped++;
    }
}

json_t *
lodge_event_queue_take(LodgeEventQueue *events)
{
    return events->queue.head != NULL ? take_link(events, events->queue.head) : NULL;
}

json_t *
lodge_event_queue_take_matching(LodgeEventQueue *events, const char *name, LodgeQmpMatchFunc match,
                                gpointer data, guint64 *inout_seen)
{
    GList *found = NULL;
    /* From the tail: what was seen already is not walked over again at each new event. */
    for (GList *link = events->queue.tail; link != NULL; link = link->prev) {
        const Event *event = link->data;
        if (event->number < *inout_seen) {
            break;
        }
        if ((name == NULL || strcmp(lodge_qmp_event_name(event->message), name) == 0) &&
            (match == NULL || match(event->message, data))) {
            found = link;
        }
    }
    *inout_seen = events->count_pushed;
    return found != NULL ? take_link(events, found) : NULL;
}
