/* A guest that stands still because this host has no space left for its disks. Private to the
 * keeper. */
#pragma once

#include <glib.h>

#include "store/store.h"

typedef struct Space Space;

/* Ask QEMU to let the guest go on. */
typedef void (*SpaceContinueFunc)(gpointer data);

/* For the guest; @store, @guest and @data are borrowed. */
Space *space_new(const LodgeStore *store, const char *guest, SpaceContinueFunc go_on,
                 gpointer data);
void space_free(Space *space);

/* The guest stands still for want of space: look every few seconds whether there is enough again,
 * and then have it go on. Each time that was not enough for long, more is waited for. */
void space_wait(Space *space);

/* The guest runs again. */
void space_forget(Space *space);
