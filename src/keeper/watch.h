/* What the keeper does while somebody looks, or the host is short of memory: asks QEMU for its
 * counters and publishes them, minds the balloon, reviews page merging. Private to the keeper.
 *
 * Whoever wants a guest's counters touches the file `watch` in its run folder; for ten seconds from
 * then on they are published every two seconds in stats.json. Nobody looks: nothing is done.
 */
#pragma once

#include <glib.h>

#include "qmp/qmp.h"
#include "store/store.h"

typedef struct Watch Watch;

/* @sent (with @data) is called after commands were sent on the connection, which then has something
 * to write. */
Watch *watch_new(const LodgeStore *store, const char *guest, void (*sent)(gpointer data),
                 gpointer data);
void watch_free(Watch *watch);

/* The guest runs, as @guest defines it (its balloon, its memory). */
void watch_begin(Watch *watch, const LodgeGuest *guest);

/* Its connection is there, or (NULL) gone; it is borrowed until then. */
void watch_use(Watch *watch, LodgeQmp *qmp);

/* The guest has ended: what was published goes. */
void watch_end(Watch *watch);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Watch, watch_free)
