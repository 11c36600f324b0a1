/* The frames of agent/protocol.h over a socket, as the host sees them: a hostile peer, bounded
 * buffers, nothing that waits. Private to this layer. */
#pragma once

#include <glib.h>

#include "agent/protocol.h"

typedef struct {
    int fd;
    GByteArray *input;
    gsize start; /* where the first byte not taken yet is */
    GByteArray *output;
    gsize sent;
    guint8 nonce[NONCE_BYTES];
    gboolean is_greeted;    /* our hello was answered: frames are this conversation's */
    gboolean expects_hello; /* MAGIC was there, what follows must be one */
    gboolean at_end;        /* QEMU closed the port */
} AgentLink;

typedef struct {
    guint8 type;
    const guint8 *payload; /* until the next read */
    gsize length;
} AgentFrame;

typedef enum {
    AGENT_LINK_NOTHING, /* read more */
    AGENT_LINK_FRAME,   /* of this conversation; FRAME_HELLO is the answer to our hello */
    AGENT_LINK_ANEW,    /* another agent spoke, or the conversation was cut: greet again */
    AGENT_LINK_GARBAGE, /* what came is no protocol: greet again */
} AgentLinkNext;

/* Take the connected socket, which is made not to block. */
void agent_link_init(AgentLink *link, int fd);
void agent_link_clear(AgentLink *link);

/* Forget what is unsent, and queue a hello with a nonce of its own. */
void agent_link_greet(AgentLink *link);

/* Queue a frame. FALSE if it is too long or holds MAGIC, which only data may. */
gboolean agent_link_send(AgentLink *link, guint8 type, const void *payload, gsize length);
/* Queue FRAME_DATA of any length, as many frames as it needs. */
void agent_link_send_data(AgentLink *link, const void *bytes, gsize length);
gsize agent_link_unsent(const AgentLink *link);

/* Send what the socket takes, and read once what is there. Never waits. */
void agent_link_flush(AgentLink *link);
void agent_link_read(AgentLink *link);
short agent_link_events(const AgentLink *link);

AgentLinkNext agent_link_next(AgentLink *link, AgentFrame *out_frame);
