/* What QEMU writes when it migrates a guest, taken apart: memory into a file that can be mapped,
 * the rest as it came; and put together. */
#pragma once

#include <glib.h>

typedef struct {
    int memory_fd;      /* a file of @size_bytes, all holes */
    guint64 size_bytes; /* of the guest's memory */
    int state_fd;       /* a file, empty */
} LodgeMemoryStream;

/* Cut what the device @name (of each instance) said out of a stream's rest, @state: who reads it
 * leaves that device as it began. FALSE: it is not there, or the stream does not describe itself.
 */
gboolean lodge_memory_stream_cut(GByteArray *state, const char *name);

/* Does a stream's end, @tail, describe a device @name? FALSE too if the description is not whole.
 */
gboolean lodge_memory_stream_has(const GByteArray *tail, const char *name);

/* Read a migration stream from @from (a pipe) until it ends. What the guest has in memory goes into
 * @to->memory_fd, where it was last said; pages that it never touched stay holes. The stream
 * without it goes into @to->state_fd: a QEMU that maps the file as its memory, and then reads that,
 * is where the first one was. INVALID says what in the stream is not understood, or that it ended
 * early; INTERRUPTED. */
gboolean lodge_memory_stream_split(int from, const LodgeMemoryStream *to, GError **error);

/* A block of the machine's memory, as QEMU calls it: "ram", "0000:00:02.0/vga.vram". */
typedef struct {
    const char *name;
    int fd;             /* a file of what is in it; holes are zeroes */
    guint64 size_bytes; /* whole pages */
} LodgeMemoryBlock;

typedef struct {
    const char *machine; /* its type, "pc-q35-7.2" */
    const LodgeMemoryBlock *blocks;
    guint block_count;
    const guint8 *devices; /* what QEMU's xen-save-devices-state wrote */
    gsize devices_bytes;
} LodgeMemoryParts;

/* Write the stream that QEMU would have written of a machine with these parts to @to: who reads it
 * finds the blocks as they are here, and those that are not named as its machine made them. INVALID
 * if QEMU's state has another form; INTERRUPTED. */
gboolean lodge_memory_stream_write(int to, const LodgeMemoryParts *parts, GError **error);
