/* The memory of a guest that runs, read by us while QEMU does nothing. Private to this layer. */
#pragma once

#include <glib.h>

#include "base/child.h"
#include "ops/hotplug.h"

/* The guest's own memory is the first block; others are what its devices have, like the screen's.
 */
typedef struct MemoryReader {
    const Hotplug *hotplug;
    char *machine;
    GPtrArray *blocks; /* ReaderBlock * */
    LodgeChild *child;
    int news_fd; /* the child's first word: it has read all once */
    int go_fd;   /* ours: that the guest stands still */
    int state_fd;
} MemoryReader;

/* For a MemoryReader of no use yet. */
#define MEMORY_READER_NONE                                                                         \
    (MemoryReader)                                                                                 \
    {                                                                                              \
        .news_fd = -1, .go_fd = -1, .state_fd = -1                                                 \
    }

/* Find where QEMU has its memory; what is read of the guest's goes into @memory_fd, a file
 * of holes, which gets its size. UNSUPPORTED: it can't be read this way (then QEMU can write it).
 * Clear *@reader in any case. */
gboolean memory_reader_find(MemoryReader *reader, const Hotplug *hotplug, const Session *session,
                            int memory_fd, GError **error);

/* Read all of it once, while the guest runs. */
gboolean memory_reader_read(MemoryReader *reader, GError **error);

/* The guest stands still: read once more what has changed. Returns at once. */
gboolean memory_reader_read_rest(MemoryReader *reader, GError **error);

/* Have QEMU say its devices' state. The guest stands still. */
gboolean memory_reader_ask_devices(MemoryReader *reader, GError **error);

/* Wait until the rest was read. Then the guest may go on. */
gboolean memory_reader_await(MemoryReader *reader, GError **error);

/* Write it all to @fd as QEMU's migration would have: with the guest's own memory, or without. */
gboolean memory_reader_write(const MemoryReader *reader, int fd, gboolean with_memory,
                             GError **error);

void memory_reader_clear(MemoryReader *reader);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(MemoryReader, memory_reader_clear)
