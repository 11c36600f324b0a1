#include "config.h"

#include "agent/control.h"

#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/info.h"
#include "agent/message.h"
#include "agent/nic.h"
#include "agent/session.h"

bool
control_init(Control *control)
{
    control->is_greeted = control->addresses_changed = false;
    info_fill_system(message_begin()); /* read now, while nobody waits */
    return link_init(&control->link, -1, settings.port_dir == NULL);
}

void
control_use(Control *control, int fd)
{
    Link *link = &control->link;
    link->fd = fd;
    link->state = LINK_IDLE;
    link->input_start = link->input_length = 0;
    link->output_start = link->output_length = 0;
    control->is_greeted = false;
}

static void
tell_info(Control *control, uint8_t type)
{
    Message *message = message_begin();
    gethostname(control->told_name, sizeof control->told_name - 1);
    message_text(message, FIELD_VERSION, AGENT_VERSION);
    if (type == FRAME_READY) {
        info_fill_system(message);
    } else {
        info_fill(message);
    }
    link_send(&control->link, type, message->bytes, message->length);
}

static void
tell_addresses(Control *control)
{
    Message *message = message_begin();
    if (nic_fill_addresses(message)) {
        link_send(&control->link, FRAME_ADDRESSES_NOW, message->bytes, message->length);
    }
    control->addresses_changed = false;
}

/* A guest that gets an identity gets addresses too: that is when its name may be another. */
static void
tell_name(Control *control)
{
    char name[sizeof control->told_name] = "";
    gethostname(name, sizeof name - 1);
    if (strcmp(name, control->told_name) != 0) {
        tell_info(control, FRAME_READY);
    }
}

/* One question; only when all before has been sent, so that sending never waits. */
static void
answer(Control *control, const Frame *frame)
{
    if (frame->type == FRAME_INFO) {
        tell_info(control, FRAME_INFO_NOW);
    } else if (frame->type == FRAME_ADDRESSES) {
        control->addresses_changed = true;
    } else {
        link_fail(&control->link, PROBLEM_UNSUPPORTED, "the control port has no such request");
    }
}

static void
tell(Control *control)
{
    Link *link = &control->link;
    Frame frame;
    if (link->state == LINK_GREETED && link_greet(link, AGENT_VERSION)) {
        control->is_greeted = control->addresses_changed = true;
        tell_info(control, FRAME_READY);
    }
    while (!link_has_unsent(link) && link_frame(link, &frame)) {
        answer(control, &frame);
        link_pop(link);
    }
    if (control->is_greeted && control->addresses_changed && link->state == LINK_OPEN &&
        !link_has_unsent(link)) {
        tell_name(control);
        tell_addresses(control);
    }
}

bool
control_work(Control *control)
{
    Link *link = &control->link;
    if (link->fd < 0) {
        return true;
    }
    size_t before;
    link_flush(link);
    do { /* until nothing more comes: the port says only once that it has something */
        before = link->input_length;
        link_read(link);
        tell(control);
    } while (link->state != LINK_CLOSED && link->input_length != before);
    return link->state != LINK_CLOSED;
}
