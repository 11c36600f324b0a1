/* Starting keepers, for the commands. */
#pragma once

#include <glib.h>

#include "store/store.h"

typedef enum {
    LODGE_KEEPER_START = 0,
    LODGE_KEEPER_PAUSED = 1 << 0,   /* start QEMU without running the guest's CPUs */
    LODGE_KEEPER_INCOMING = 1 << 2, /* QEMU waits for its guest's memory; with PAUSED */
    LODGE_KEEPER_ADOPT = 1 << 1,    /* QEMU runs already; take over from a keeper that died */
} LodgeKeeperFlags;

/* Start a keeper, by systemd where it manages this host, else detached; return when QEMU's monitor
 * has answered, or with the reason why it did not. The caller holds the guest's job lock. */
gboolean lodge_keeper_start(const LodgeStore *store, const char *guest, LodgeKeeperFlags flags,
                            GError **error);

/* The same, with QEMU's memory a copy of what @memory_file holds, waiting for its devices' state.
 */
gboolean lodge_keeper_start_from(const LodgeStore *store, const char *guest,
                                 const char *memory_file, GError **error);

/* Word of that for the keeper, which takes it: a file in the run folder. */
#define LODGE_KEEPER_MEMORY "memory-file"

/* A file in the run folder: what QEMU is to read has its own user-mode network in it, so that must
 * be what the guest has, not passt. */
#define LODGE_KEEPER_OWN_NETWORK "own-network"

/* Before it is started for memory to come: where the QEMU that had it had its devices
 * (LodgeMachine.layout); NULL: nowhere else. */
gboolean lodge_keeper_tell_layout(const LodgeStore *store, const char *guest, const char *layout,
                                  GError **error);

/* Word of that for the keeper, which takes it, too. */
#define LODGE_KEEPER_LAYOUT "layout"

/* The memory may be a file without a name: then @memory_file is /proc/PID/fd/N of who holds it
 * until the keeper does, and it has these seals. */
#define LODGE_KEEPER_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

/* If QEMU runs without a keeper, start one that adopts it. */
gboolean lodge_keeper_ensure(const LodgeStore *store, const char *guest, GError **error);
