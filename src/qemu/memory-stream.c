/* Theory of operation: a migration stream is sections, and only one kind of them is about memory.
 *
 *   magic, version ─ configuration ─ section "ram": start, parts, end ─ devices' sections ─ …
 *
 * A part is a list of pages, each with the name of its block (or "the same as before") and where it
 * is in it; a page may come several times, and counts as it came last. The guest's memory is the
 * block that the command line calls "ram"; others are firmware and video memory. Dropping the pages
 * of one block leaves a stream that is as valid: a block is named whenever it changes, and no page
 * must come. What follows "ram"'s end is devices' state, which can't be read without knowing each
 * device; it need not be. (QEMU: migration/savevm.c, migration/ram.c.) */
#include "config.h"

#include "qemu/memory-stream.h"

#include <errno.h>
#include <string.h>

#include "base/base.h"

enum {
    BUFFER_BYTES = 1 << 20,
    PAGE_BYTES = 4096,
    STREAM_VERSION = 3,
    RAM_VERSION = 4,
    NAME_SPACE = 256,
};
#define STREAM_MAGIC 0x5145564dU
#define STATE_LIMIT_BYTES (G_GUINT64_CONSTANT(1) << 30)

typedef enum {
    SECTION_START = 1,
    SECTION_PART = 2,
    SECTION_END = 3,
    SECTION_CONFIGURATION = 7,
    SECTION_COMMAND = 8,
    SECTION_FOOTER = 0x7e,
} Section;

/* In the low bits of a page's place. */
enum {
    FLAG_ZERO = 0x02,
    FLAG_BLOCKS = 0x04,
    FLAG_PAGE = 0x08,
    FLAG_END = 0x10,
    FLAG_SAME_BLOCK = 0x20,
    FLAG_FLUSH = 0x200,
    FLAGS = PAGE_BYTES - 1,
};

typedef struct {
    int from;
    const LodgeMemoryStream *to;
    guint8 *buffer; /* what was read, from `at` to `length` not looked at yet */
    gsize at, length;
    GByteArray *rest; /* of the stream, to be written */
    guint64 rest_bytes;
    guint8 *touched; /* a bit for each page that was written */
    guint32 ram;     /* the section's number */
    gboolean is_ram; /* the present block is the guest's memory */
} Split;

static void
split_clear(Split *split)
{
    g_free(split->buffer);
    g_free(split->touched);
    g_byte_array_unref(split->rest);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Split, split_clear)

/* --- In and out ------------------------------------------------------------------------------- */

/* Read more, if there is any: FALSE with no error at the end. */
static gboolean
fill(Split *split, GError **error)
{
    memmove(split->buffer, split->buffer + split->at, split->length - split->at);
    split->length -= split->at;
    split->at = 0;
    for (;;) {
        if (!lodge_wait_fd(split->from, POLLIN, LODGE_NO_DEADLINE, error)) {
            return FALSE;
        }
        gssize got = read(split->from, split->buffer + split->length, BUFFER_BYTES - split->length);
        if (got >= 0) {
            split->length += (gsize)got;
            return got > 0;
        }
        if (errno != EINTR && errno != EAGAIN) {
            return lodge_error_errno(error, errno, "QEMU's stream");
        }
    }
}

/* The next @count bytes (at most a page and a bit), which stay there until more are wanted. */
static const guint8 *
peek(Split *split, gsize count, GError **error)
{
    while (split->length - split->at < count) {
        g_autoptr(GError) problem = NULL;
        if (fill(split, &problem)) {
            continue;
        }
        if (problem == NULL) {
            lodge_error_set(error, LODGE_ERROR_INVALID, "QEMU's stream ends early");
        } else {
            g_propagate_error(error, g_steal_pointer(&problem));
        }
        return NULL;
    }
    return split->buffer + split->at;
}

static gboolean
write_rest(Split *split, GError **error)
{
    gsize done = 0;
    while (done < split->rest->len) {
        gssize put = write(split->to->state_fd, split->rest->data + done, split->rest->len - done);
        if (put < 0 && errno != EINTR) {
            return lodge_error_errno(error, errno, "devices' state");
        }
        done += put > 0 ? (gsize)put : 0;
    }
    g_byte_array_set_size(split->rest, 0);
    return TRUE;
}

static gboolean
keep(Split *split, const void *data, gsize count, GError **error)
{
    split->rest_bytes += count;
    if (split->rest_bytes > STATE_LIMIT_BYTES) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "QEMU's stream has no end");
    }
    g_byte_array_append(split->rest, data, (guint)count);
    return split->rest->len < BUFFER_BYTES || write_rest(split, error);
}

/* Keep the next @count bytes; a copy goes to @out (may be NULL). */
static gboolean
pass(Split *split, gsize count, void *out, GError **error)
{
    const guint8 *data = peek(split, count, error);
    if (data == NULL) {
        return FALSE;
    }
    if (out != NULL) {
        memcpy(out, data, count);
    }
    split->at += count;
    return keep(split, data, count, error);
}

static gboolean
pass_u32(Split *split, guint32 *out, GError **error)
{
    gboolean fine = pass(split, sizeof *out, out, error);
    *out = fine ? GUINT32_FROM_BE(*out) : 0;
    return fine;
}

static gboolean
pass_u64(Split *split, guint64 *out, GError **error)
{
    gboolean fine = pass(split, sizeof *out, out, error);
    *out = fine ? GUINT64_FROM_BE(*out) : 0;
    return fine;
}

/* A byte for the length, and so many. @name has NAME_SPACE bytes. */
static gboolean
pass_name(Split *split, char *name, GError **error)
{
    guint8 length = 0;
    if (!pass(split, 1, &length, error) || !pass(split, length, name, error)) {
        return FALSE;
    }
    name[length] = '\0';
    return TRUE;
}

static gboolean
pass_many(Split *split, guint64 count, GError **error)
{
    while (count > 0) {
        gsize some = (gsize)MIN(count, PAGE_BYTES);
        if (!pass(split, some, NULL, error)) {
            return FALSE;
        }
        count -= some;
    }
    return TRUE;
}

/* --- Memory ----------------------------------------------------------------------------------- */

/* Some machine types write the object's path, not its name. */
static gboolean
is_memory(const char *name)
{
    return g_str_equal(name, "ram") || g_str_equal(name, "/objects/ram");
}

static gboolean
pass_blocks(Split *split, guint64 total, GError **error)
{
    char name[NAME_SPACE];
    while (total > 0) {
        guint64 length = 0;
        if (!pass_name(split, name, error) || !pass_u64(split, &length, error)) {
            return FALSE;
        }
        if (length == 0 || length > total || (is_memory(name) && length != split->to->size_bytes)) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "QEMU's stream: a block of memory has another size");
        }
        total -= length;
    }
    return TRUE;
}

/* A page of zeroes that never was another one stays a hole. */
static gboolean
place(Split *split, guint64 offset, const guint8 *data, GError **error)
{
    static const guint8 zeroes[PAGE_BYTES];
    guint64 page = offset / PAGE_BYTES;
    guint8 bit = (guint8)(1U << (page % 8));
    if (offset > split->to->size_bytes - PAGE_BYTES) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "QEMU's stream: a page is outside of memory");
    }
    if (data == NULL && (split->touched[page / 8] & bit) == 0) {
        return TRUE;
    }
    split->touched[page / 8] |= bit;
    gssize put = pwrite(split->to->memory_fd, data != NULL ? data : zeroes, PAGE_BYTES,
                        (off_t)offset);
    return put == PAGE_BYTES || lodge_error_errno(error, put < 0 ? errno : ENOSPC, "memory");
}

static gboolean
is_zero(const guint8 *data)
{
    return data[0] == 0 && memcmp(data, data + 1, PAGE_BYTES - 1) == 0;
}

/* One page, whose place was looked at only: what is of the guest's memory is not kept. */
static gboolean
split_page(Split *split, guint64 place_word, GError **error)
{
    gsize head = sizeof place_word;
    gsize length = (place_word & FLAG_PAGE) != 0 ? PAGE_BYTES : 1;
    if ((place_word & FLAG_SAME_BLOCK) == 0) {
        char name[NAME_SPACE];
        const guint8 *data = peek(split, head + 1, error);
        gsize name_length = data != NULL ? data[head] : 0;
        data = data != NULL ? peek(split, head + 1 + name_length, error) : NULL;
        if (data == NULL) {
            return FALSE;
        }
        memcpy(name, data + head + 1, name_length);
        name[name_length] = '\0';
        split->is_ram = is_memory(name);
        head += 1 + name_length;
    }
    const guint8 *data = peek(split, head + length, error);
    if (data == NULL) {
        return FALSE;
    }
    if (!split->is_ram) {
        return pass(split, head + length, NULL, error);
    }
    if (length == 1 && data[head] != 0) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "QEMU's stream: a page is in a form that is not known");
    }
    gboolean is_empty = length == 1 || is_zero(data + head);
    split->at += head + length;
    return place(split, place_word & ~(guint64)FLAGS, is_empty ? NULL : data + head, error);
}

/* A section's pages, to its end. */
static gboolean
split_pages(Split *split, GError **error)
{
    for (;;) {
        guint64 word = 0;
        const guint8 *data = peek(split, sizeof word, error);
        if (data == NULL) {
            return FALSE;
        }
        memcpy(&word, data, sizeof word);
        word = GUINT64_FROM_BE(word);
        guint flags = (guint)(word & FLAGS);
        guint kind = flags & ~(guint)FLAG_SAME_BLOCK;
        if (kind == FLAG_PAGE || kind == FLAG_ZERO) {
            if (!split_page(split, word, error)) {
                return FALSE;
            }
        } else if (flags == FLAG_BLOCKS) {
            if (!pass(split, sizeof word, NULL, error) ||
                !pass_blocks(split, word & ~(guint64)FLAGS, error)) {
                return FALSE;
            }
        } else if (flags == FLAG_END || flags == FLAG_FLUSH) {
            if (!pass(split, sizeof word, NULL, error)) {
                return FALSE;
            }
            if (flags == FLAG_END) {
                return TRUE;
            }
        } else {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "QEMU's stream: pages of kind 0x%x are not known", flags);
        }
    }
}

/* --- Sections --------------------------------------------------------------------------------- */

static gboolean
begin_ram(Split *split, guint32 number, GError **error)
{
    char name[NAME_SPACE];
    guint32 instance = 0;
    guint32 version = 0;
    if (!pass_name(split, name, error) || !pass_u32(split, &instance, error) ||
        !pass_u32(split, &version, error)) {
        return FALSE;
    }
    split->ram = number;
    return (g_str_equal(name, "ram") && version == RAM_VERSION) ||
           lodge_error_set(error, LODGE_ERROR_INVALID,
                           "QEMU's stream: section “%.40s” %u before memory is not known", name,
                           version);
}

static gboolean
split_section(Split *split, Section kind, GError **error)
{
    guint32 number = 0;
    if (!pass_u32(split, &number, error) ||
        (kind == SECTION_START && !begin_ram(split, number, error))) {
        return FALSE;
    }
    if (number != split->ram) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "QEMU's stream: section %u is not known",
                               number);
    }
    const guint8 *next = split_pages(split, error) ? peek(split, 1, error) : NULL;
    return next != NULL && (*next != SECTION_FOOTER || pass(split, 1 + sizeof number, NULL, error));
}

static gboolean
pass_configuration(Split *split, GError **error)
{
    guint32 length = 0;
    return pass_u32(split, &length, error) && pass_many(split, length, error);
}

static gboolean
pass_command(Split *split, GError **error)
{
    guint16 words[2]; /* which, how long */
    return pass(split, sizeof words, words, error) &&
           pass_many(split, GUINT16_FROM_BE(words[1]), error);
}

static gboolean
split_to_end_of_memory(Split *split, GError **error)
{
    for (;;) {
        guint8 kind = 0;
        gboolean fine = pass(split, 1, &kind, error);
        if (fine && kind >= SECTION_START && kind <= SECTION_END) {
            fine = split_section(split, (Section)kind, error);
        } else if (fine && kind == SECTION_CONFIGURATION) {
            fine = pass_configuration(split, error);
        } else if (fine && kind == SECTION_COMMAND) {
            fine = pass_command(split, error);
        } else if (fine) {
            fine = lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "QEMU's stream: a section of kind %u is not known", kind);
        }
        if (!fine || kind == SECTION_END) {
            return fine;
        }
    }
}

static gboolean
pass_rest(Split *split, GError **error)
{
    g_autoptr(GError) problem = NULL;
    do {
        if (!keep(split, split->buffer + split->at, split->length - split->at, error)) {
            return FALSE;
        }
        split->at = split->length;
    } while (fill(split, &problem));
    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    return write_rest(split, error);
}

gboolean
lodge_memory_stream_split(int from, const LodgeMemoryStream *to, GError **error)
{
    g_auto(Split) split = {.from = from,
                           .to = to,
                           .buffer = g_malloc(BUFFER_BYTES),
                           .touched = g_malloc0(to->size_bytes / PAGE_BYTES / 8 + 1),
                           .rest = g_byte_array_new()};
    guint32 magic = 0;
    guint32 version = 0;
    if (!pass_u32(&split, &magic, error) || !pass_u32(&split, &version, error)) {
        return FALSE;
    }
    if (magic != STREAM_MAGIC || version != STREAM_VERSION) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "QEMU's stream: form %u is not known",
                               version);
    }
    return split_to_end_of_memory(&split, error) && pass_rest(&split, error);
}
