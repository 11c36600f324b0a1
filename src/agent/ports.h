/* The eight ports, wherever they come from: virtio-serial, or in tests Unix sockets. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "agent/protocol.h"

typedef struct {
    int fd; /* the port itself; in tests, the socket that listens in its place; -1: none yet */
    pid_t session; /* the process that has a conversation on it, 0: none */
} Port;

typedef enum {
    PORTS_ALL,
    PORTS_ABSENT, /* not all are there, which their devices' events will tell */
    PORTS_BUSY,   /* one is open elsewhere, of which no event tells */
} PortsState;

/* Open those that are there and not open yet. */
PortsState ports_open(Port ports[PORT_COUNT]);

/* A descriptor that becomes readable when devices come or change; -1: look again from time to time.
 */
int ports_watch(void);
/* Take what it has to say. True if it concerns ports. */
bool ports_watch_take(int fd);
