/* Start the scripted peer on one end of a socket pair. */
#pragma once

#include <glib.h>

typedef struct {
    int fd; /* our end, to be handed to a client */
    GPid pid;
} Fake;

/* @script as fake-qemu.py describes it. */
Fake fake_start(const char *script);

/* Wait for its end and fail the test if it was not as its script says. The client must have closed
 * if the script reads on. */
void fake_end(Fake *fake);
