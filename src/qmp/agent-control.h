/* The keeper's end of the agent's control port: never waits, for a main loop.
 *
 * The keeper connects as soon as QEMU listens, and stays. What it says first waits in the port
 * until an agent comes; whenever one does, after a reboot too, it tells that it is ready. */
#pragma once

#include <glib.h>

#include "qmp/agent-system.h"

typedef struct LodgeAgentControl LodgeAgentControl;

typedef enum {
    LODGE_AGENT_READY,     /* an agent is there: info */
    LODGE_AGENT_ADDRESSES, /* nics: behind READY, and at each change */
    LODGE_AGENT_INFO,      /* the answer to lodge_agent_control_ask_info(): info */
    LODGE_AGENT_GONE,      /* the agent began anew; READY will follow */
} LodgeAgentEventKind;

typedef struct {
    LodgeAgentEventKind kind;
    LodgeAgentInfo *info; /* or NULL */
    GPtrArray *nics;      /* of LodgeAgentNic, or NULL */
} LodgeAgentEvent;

void lodge_agent_event_free(LodgeAgentEvent *event);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeAgentEvent, lodge_agent_event_free)

/* Take the connected socket @fd, and greet when it can be written. */
LodgeAgentControl *lodge_agent_control_new(int fd);
void lodge_agent_control_free(LodgeAgentControl *control);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeAgentControl, lodge_agent_control_free)

/* The descriptor, and the events (G_IO_…) to watch it for now; they change. */
int lodge_agent_control_fd(const LodgeAgentControl *control);
GIOCondition lodge_agent_control_fd_events(const LodgeAgentControl *control);

/* Send and read what can be, in bounded time. FALSE once QEMU has closed the port. What is no
 * protocol is dropped, and greeted anew. */
gboolean lodge_agent_control_pump(LodgeAgentControl *control);

/* The next event, or NULL. To be freed. At most some wait; the guest can't fill memory with them.
 */
LodgeAgentEvent *lodge_agent_control_take(LodgeAgentControl *control);

/* Ask for INFO, if an agent is there and has answered the last question. */
void lodge_agent_control_ask_info(LodgeAgentControl *control);
