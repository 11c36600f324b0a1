/* Theory of operation: a stream as QEMU's migration would write it, from parts.
 *
 *   magic, version ─ configuration ─ section "ram" ─ devices' sections, as QEMU gave them ─ end
 *
 * QEMU gives devices' sections behind a magic and version of their own, with or without the
 * configuration: older ones leave it out there, though they want it when they read. */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "qemu/memory-stream.h"

enum {
    PAGE_BYTES = 4096,
    BUFFER_BYTES = 1 << 20,
    HEAD_BYTES = 8,
    SECTION_START = 1,
    SECTION_END = 3,
    SECTION_DESCRIPTION = 6,
    SECTION_CONFIGURATION = 7,
    SECTION_FOOTER = 0x7e,
    FLAG_BLOCKS = 0x04,
    FLAG_PAGE = 0x08,
    FLAG_LAST = 0x10,
    FLAG_SAME_BLOCK = 0x20,
    RAM_VERSION = 4,
};
#define STREAM_MAGIC 0x5145564dU
#define RAM_SECTION 0x7fffffffU /* no device has so high a number */

typedef struct {
    int fd;
    GByteArray *bytes;
} Writer;

static gboolean
flush(Writer *writer, GError **error)
{
    for (gsize done = 0; done < writer->bytes->len;) {
        gssize put = write(writer->fd, writer->bytes->data + done, writer->bytes->len - done);
        if (put < 0 && errno != EINTR) {
            return lodge_error_errno(error, errno, "memory");
        }
        done += put > 0 ? (gsize)put : 0;
    }
    g_byte_array_set_size(writer->bytes, 0);
    return TRUE;
}

static void
put(Writer *writer, const void *data, gsize count)
{
    g_byte_array_append(writer->bytes, data, (guint)count);
}

static void
put_u8(Writer *writer, guint8 word)
{
    put(writer, &word, sizeof word);
}

static void
put_u32(Writer *writer, guint32 word)
{
    word = GUINT32_TO_BE(word);
    put(writer, &word, sizeof word);
}

static void
put_u64(Writer *writer, guint64 word)
{
    word = GUINT64_TO_BE(word);
    put(writer, &word, sizeof word);
}

static void
put_name(Writer *writer, const char *name)
{
    put_u8(writer, (guint8)strlen(name));
    put(writer, name, strlen(name));
}

static gboolean
is_zero(const guint8 *data)
{
    return data[0] == 0 && memcmp(data, data + 1, PAGE_BYTES - 1) == 0;
}

/* Memory is zeroes where no page comes. */
static gboolean
put_extent(Writer *writer, const LodgeMemoryBlock *block, const guint8 *memory, guint64 begin,
           guint64 end, gboolean *is_named, GError **error)
{
    for (guint64 at = begin; at < end; at += PAGE_BYTES) {
        if (is_zero(memory + at)) {
            continue;
        }
        put_u64(writer, at | FLAG_PAGE | (*is_named ? FLAG_SAME_BLOCK : 0));
        if (!*is_named) {
            put_name(writer, block->name);
        }
        *is_named = TRUE;
        put(writer, memory + at, PAGE_BYTES);
        if (writer->bytes->len >= BUFFER_BYTES &&
            (!lodge_interrupt_check(error) || !flush(writer, error))) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
put_block(Writer *writer, const LodgeMemoryBlock *block, GError **error)
{
    gboolean fine = TRUE;
    gboolean is_named = FALSE;
    guint8 *memory = mmap(NULL, block->size_bytes, PROT_READ, MAP_SHARED, block->fd, 0);
    if (memory == MAP_FAILED) {
        return lodge_error_errno(error, errno, "memory");
    }
    for (off_t at = 0; fine && at < (off_t)block->size_bytes;) {
        off_t begin = lseek(block->fd, at, SEEK_DATA);
        if (begin < 0) {
            fine = errno == ENXIO || lodge_error_errno(error, errno, "memory");
            break;
        }
        at = lseek(block->fd, begin, SEEK_HOLE);
        fine = put_extent(writer, block, memory, (guint64)begin,
                          MIN((guint64)at, block->size_bytes), &is_named, error);
    }
    munmap(memory, block->size_bytes);
    return fine;
}

static void
end_section(Writer *writer)
{
    put_u64(writer, FLAG_LAST);
    put_u8(writer, SECTION_FOOTER);
    put_u32(writer, RAM_SECTION);
}

static gboolean
put_memory(Writer *writer, const LodgeMemoryBlock *blocks, guint count, GError **error)
{
    guint64 total = 0;
    for (guint i = 0; i < count; i++) {
        total += blocks[i].size_bytes;
    }
    put_u8(writer, SECTION_START);
    put_u32(writer, RAM_SECTION);
    put_name(writer, "ram");
    put_u32(writer, 0);
    put_u32(writer, RAM_VERSION);
    put_u64(writer, total | FLAG_BLOCKS);
    for (guint i = 0; i < count; i++) {
        put_name(writer, blocks[i].name);
        put_u64(writer, blocks[i].size_bytes);
    }
    for (guint i = 0; i < count; i++) {
        if (!put_block(writer, &blocks[i], error)) {
            return FALSE;
        }
    }
    end_section(writer);
    put_u8(writer, SECTION_END);
    put_u32(writer, RAM_SECTION);
    end_section(writer);
    return TRUE;
}

/* What QEMU says of itself there already, else what it would say; how long that was. */
static gsize
put_configuration(Writer *writer, const LodgeMemoryParts *parts)
{
    guint32 length = 0;
    const guint8 *own = parts->devices + HEAD_BYTES;
    gsize left = parts->devices_bytes - HEAD_BYTES;
    if (left > 5 && *own == SECTION_CONFIGURATION) {
        memcpy(&length, own + 1, sizeof length);
        length = GUINT32_FROM_BE(length);
        if (length <= left - 5) {
            put(writer, own, 5 + (gsize)length);
            return 5 + (gsize)length;
        }
    }
    put_u8(writer, SECTION_CONFIGURATION);
    put_u32(writer, (guint32)strlen(parts->machine));
    put(writer, parts->machine, strlen(parts->machine));
    return 0;
}

gboolean
lodge_memory_stream_write(int to, const LodgeMemoryParts *parts, GError **error)
{
    static const char nothing[] = "{}";
    guint32 magic = 0;
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    Writer writer = {to, bytes};
    if (parts->devices_bytes > HEAD_BYTES) {
        memcpy(&magic, parts->devices, sizeof magic);
    }
    if (GUINT32_FROM_BE(magic) != STREAM_MAGIC) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "QEMU's state of devices is in a form that is not known");
    }
    put(&writer, parts->devices, HEAD_BYTES);
    gsize used = HEAD_BYTES + put_configuration(&writer, parts);
    if (!put_memory(&writer, parts->blocks, parts->block_count, error)) {
        return FALSE;
    }
    put(&writer, parts->devices + used, parts->devices_bytes - used);
    put_u8(&writer, SECTION_DESCRIPTION);
    put_u32(&writer, (guint32)strlen(nothing));
    put(&writer, nothing, strlen(nothing));
    return flush(&writer, error);
}
