#include "config.h"

#include "qmp/agent-control.h"

#include "qmp/agent-private.h"

enum {
    EVENTS_AT_MOST = 32, /* a guest that says more than the keeper takes loses the oldest */
    GREETINGS_AT_MOST = 16,
    READS_AT_MOST = 8,
};

struct LodgeAgentControl {
    AgentLink link;
    GQueue events;
    gboolean is_asked; /* an INFO is under way */
    guint greetings;   /* in this pump: a guest that keeps us greeting gets a rest */
};

void
lodge_agent_event_free(LodgeAgentEvent *event)
{
    if (event == NULL) {
        return;
    }
    lodge_agent_info_free(event->info);
    g_clear_pointer(&event->nics, g_ptr_array_unref);
    g_free(event);
}

LodgeAgentControl *
lodge_agent_control_new(int fd)
{
    LodgeAgentControl *control = g_new0(LodgeAgentControl, 1);
    agent_link_init(&control->link, fd);
    g_queue_init(&control->events);
    agent_link_greet(&control->link);
    return control;
}

void
lodge_agent_control_free(LodgeAgentControl *control)
{
    if (control == NULL) {
        return;
    }
    agent_link_clear(&control->link);
    g_queue_clear_full(&control->events, (GDestroyNotify)lodge_agent_event_free);
    g_free(control);
}

int
lodge_agent_control_fd(const LodgeAgentControl *control)
{
    return control->link.fd;
}

GIOCondition
lodge_agent_control_fd_events(const LodgeAgentControl *control)
{
    gboolean sends = agent_link_unsent(&control->link) > 0;
    return G_IO_IN | G_IO_HUP | G_IO_ERR | (sends ? G_IO_OUT : 0);
}

static void
push(LodgeAgentControl *control, LodgeAgentEventKind kind, LodgeAgentInfo *info, GPtrArray *nics)
{
    LodgeAgentEvent *event = g_new0(LodgeAgentEvent, 1);
    *event = (LodgeAgentEvent){kind, info, nics};
    g_queue_push_tail(&control->events, event);
    if (g_queue_get_length(&control->events) > EVENTS_AT_MOST) {
        lodge_agent_event_free(g_queue_pop_head(&control->events));
    }
}

static void
greet_again(LodgeAgentControl *control)
{
    control->is_asked = FALSE;
    if (++control->greetings <= GREETINGS_AT_MOST) {
        agent_link_greet(&control->link);
    }
}

static void
take_info(LodgeAgentControl *control, LodgeAgentEventKind kind, const AgentFrame *frame)
{
    FieldReader fields = {frame->payload, frame->length};
    LodgeAgentInfo *info = agent_parse_info(&fields, NULL);
    if (info != NULL) {
        push(control, kind, info, NULL);
    }
}

static void
take_frame(LodgeAgentControl *control, const AgentFrame *frame)
{
    FieldReader fields = {frame->payload, frame->length};
    if (frame->type == FRAME_READY) {
        take_info(control, LODGE_AGENT_READY, frame);
    } else if (frame->type == FRAME_INFO_NOW) {
        control->is_asked = FALSE;
        take_info(control, LODGE_AGENT_INFO, frame);
    } else if (frame->type == FRAME_FAILED) {
        control->is_asked = FALSE;
    } else if (frame->type == FRAME_ADDRESSES_NOW) {
        GPtrArray *nics = agent_parse_nics(&fields, NULL);
        if (nics != NULL) {
            push(control, LODGE_AGENT_ADDRESSES, NULL, nics);
        }
    }
}

/* Take what is there. */
static void
take_all(LodgeAgentControl *control)
{
    AgentFrame frame;
    for (;;) {
        gboolean was_greeted = control->link.is_greeted;
        switch (agent_link_next(&control->link, &frame)) {
        case AGENT_LINK_FRAME:
            take_frame(control, &frame);
            break;
        case AGENT_LINK_ANEW:
            if (was_greeted) {
                push(control, LODGE_AGENT_GONE, NULL, NULL);
            }
            greet_again(control);
            break;
        case AGENT_LINK_GARBAGE:
            greet_again(control);
            break;
        case AGENT_LINK_NOTHING:
            return;
        }
    }
}

gboolean
lodge_agent_control_pump(LodgeAgentControl *control)
{
    control->greetings = 0;
    agent_link_flush(&control->link);
    for (guint i = 0; i < READS_AT_MOST && !control->link.at_end; i++) {
        gsize before = control->link.input->len - control->link.start;
        agent_link_read(&control->link);
        gboolean came = control->link.input->len - control->link.start != before;
        take_all(control);
        if (!came) {
            break;
        }
    }
    agent_link_flush(&control->link);
    return !control->link.at_end;
}

LodgeAgentEvent *
lodge_agent_control_take(LodgeAgentControl *control)
{
    return g_queue_pop_head(&control->events);
}

void
lodge_agent_control_ask_info(LodgeAgentControl *control)
{
    if (!control->link.is_greeted || control->is_asked ||
        !agent_link_send(&control->link, FRAME_INFO, "", 0)) {
        return;
    }
    control->is_asked = TRUE;
    agent_link_flush(&control->link);
}
