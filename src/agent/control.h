/* The control port: the keeper's. Greets, tells when the guest is ready and how it can be reached,
 * answers questions about memory. Runs in the main process, and never waits. */
#pragma once

#include "agent/link.h"

typedef struct {
    Link link; /* fd -1: no port, or in tests nobody connected */
    bool is_greeted;
    bool addresses_changed; /* since they were told last */
    char told_name[65];     /* the host name that was told last */
} Control;

bool control_init(Control *control);

/* Serve @fd from now on (-1: nothing). */
void control_use(Control *control, int fd);

/* Read, answer and tell all there is. False if the host has hung up. */
bool control_work(Control *control);
