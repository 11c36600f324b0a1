/* One guest's life as its keeper sees it. Private to lodge-keeper. */
#pragma once

#include <glib.h>

#include "store/store.h"

typedef struct Keeper Keeper;

/* Take the guest's keeper.lock. NULL with BUSY if it has a keeper already. @report_fd (taken; -1:
 * none) is told "ready", or "CODE MESSAGE" if starting fails. */
Keeper *keeper_new(LodgeStore *store, const char *guest, int report_fd, GError **error);
void keeper_free(Keeper *keeper);

typedef enum {
    KEEPER_START,          /* or adopt, if QEMU runs already */
    KEEPER_START_PAUSED,   /* the same, without running the guest's CPUs */
    KEEPER_START_INCOMING, /* paused, and waiting for its memory */
    KEEPER_ADOPT,          /* and start nothing: NOT_FOUND if QEMU has ended meanwhile */
} KeeperTask;

/* Start the guest's QEMU, or adopt the one that runs. On failure the reason is published too. */
gboolean keeper_begin(Keeper *keeper, KeeperTask task, GError **error);

/* Watch over it until it has ended for good. */
void keeper_run(Keeper *keeper);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Keeper, keeper_free)
