/* The memory file that a guest begins with. Private to the keeper.
 *
 * QEMU before 8.2 opens it for writing, and cuts out of it what a guest gives back by its balloon.
 * So it must not get that: one guest would change what others begin with, and what they have not
 * changed yet. They get a copy in memory that is sealed against writing, which the keepers of all
 * guests that begin alike share, as long as one of them lives. It is made while QEMU makes its
 * machine, which looks at none of that memory before it is told to go on. */
#pragma once

#include <glib.h>

#include "base/child.h"
#include "keeper/keeper.h"
#include "qemu/command.h"

typedef struct {
    char *file; /* NULL: it begins with none */
    int fd;     /* to be passed to QEMU */
    LodgeMemoryUse use;
    LodgeChild *copying; /* a child fills it; NULL: it is whole */
    int lock_fd;         /* meanwhile nobody else makes one */
} KeeperMemory;

#define KEEPER_MEMORY_NONE ((KeeperMemory){.fd = -1, .lock_fd = -1})

/* Open what the run folder names; @qemu is QEMU's version. */
gboolean keeper_memory_open(const LodgeStore *store, const char *guest, const char *qemu,
                            KeeperMemory *out_memory, GError **error);
/* Wait until it is whole, and share it from then on. */
gboolean keeper_memory_complete(const LodgeStore *store, const char *guest, KeeperMemory *memory,
                                GError **error);
void keeper_memory_clear(KeeperMemory *memory);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KeeperMemory, keeper_memory_clear)
