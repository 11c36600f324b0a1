/* Random numbers that no two processes share, one a copy of the other or not. */
#pragma once

#include <glib.h>

/* Fill @bytes with the kernel's. */
void lodge_random(gpointer bytes, gsize length);

/* A random UUID (version 4). Free with g_free. */
char *lodge_uuid_random(void);
