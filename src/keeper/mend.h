/* A guest that a command on its snapshots left standing still. Private to the keeper. */
#pragma once

#include <glib.h>

#include "store/store.h"

typedef struct Mend Mend;

/* For the guest; @store and @guest are borrowed. */
Mend *mend_new(const LodgeStore *store, const char *guest);
void mend_free(Mend *mend);

/* The guest stands still. If a command is at work on it, wait for that one's end; when there is
 * none and one has left snapshots unfinished, have `lodge check GUEST --repair` finish or undo that
 * and let the guest go on. Returns at once; may be called at any time and as often as one likes. */
void mend_look(Mend *mend);
