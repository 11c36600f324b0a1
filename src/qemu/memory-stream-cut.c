/* Theory of operation: how long a device's section is only its device knows, but QEMU ends its
 * stream with a description of what it wrote, in JSON, and a section's footer repeats its number.
 * Where the description says nothing, that footer is looked for, and what may come behind it. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "qemu/memory-stream.h"

enum {
    SECTION_FULL = 4,
    SECTION_DESCRIPTION = 6,
    SECTION_FOOTER = 0x7e,
    FOOTER_BYTES = 5,
    NAME_AT = 6, /* after kind, number and the name's length */
};

static guint32
read_u32(const guint8 *bytes)
{
    guint32 word = 0;
    memcpy(&word, bytes, sizeof word);
    return GUINT32_FROM_BE(word);
}

/* The last thing in the stream; it holds no byte that could be its own beginning. */
static json_t *
find_description(const GByteArray *state)
{
    for (gsize at = state->len; at-- > 0;) {
        const guint8 *bytes = state->data + at;
        gsize left = state->len - at;
        if (*bytes == SECTION_DESCRIPTION && left > 5 && read_u32(bytes + 1) == left - 5) {
            return json_loadb((const char *)bytes + 5, left - 5, 0, NULL);
        }
    }
    return NULL;
}

static gsize
size_of(const json_t *device)
{
    gsize i = 0;
    gsize size = 0;
    const json_t *field = NULL;
    json_array_foreach (json_object_get(device, "fields"), i, field) {
        size += (gsize)MAX(lodge_json_int(field, "size", 0), 0);
    }
    return size;
}

/* From its kind to the end of its footer. The description is QEMU's word, which may be the
 * guest's. */
static gboolean
cut_section(GByteArray *state, const char *name, gsize size)
{
    gsize name_length = strlen(name);
    gsize head = NAME_AT + name_length + 8; /* instance and version */
    gsize whole = head + size + FOOTER_BYTES;
    if (size > state->len || whole > state->len) {
        return FALSE;
    }
    for (gsize at = 0; at <= state->len - whole; at++) {
        const guint8 *bytes = state->data + at;
        const guint8 *footer = bytes + head + size;
        if (*bytes == SECTION_FULL && bytes[NAME_AT - 1] == name_length &&
            memcmp(bytes + NAME_AT, name, name_length) == 0 && *footer == SECTION_FOOTER &&
            memcmp(footer + 1, bytes + 1, 4) == 0) {
            g_byte_array_remove_range(state, (guint)at, (guint)whole);
            return TRUE;
        }
    }
    return FALSE;
}

/* Is what comes at @at another section with a name, or the end? */
static gboolean
is_next(const GByteArray *state, gsize at)
{
    const guint8 *bytes = state->data + at;
    if (at >= state->len || *bytes != SECTION_FULL) {
        return at < state->len && *bytes == 0;
    }
    gsize length = at + NAME_AT <= state->len ? bytes[NAME_AT - 1] : 0;
    if (length == 0 || at + NAME_AT + length > state->len) {
        return FALSE;
    }
    for (gsize i = 0; i < length; i++) {
        if (!g_ascii_isprint(bytes[NAME_AT + i])) {
            return FALSE;
        }
    }
    return TRUE;
}

/* From its kind to the end of its footer, of a section whose length nobody tells. */
static gboolean
find_unknown(const GByteArray *state, const char *name, gsize *out_at, gsize *out_length)
{
    gsize name_length = strlen(name);
    gsize head = NAME_AT + name_length + 8;
    for (gsize at = 0; at + head + FOOTER_BYTES < state->len; at++) {
        const guint8 *bytes = state->data + at;
        if (*bytes != SECTION_FULL || bytes[NAME_AT - 1] != name_length ||
            memcmp(bytes + NAME_AT, name, name_length) != 0) {
            continue;
        }
        for (gsize end = at + head; end + FOOTER_BYTES < state->len; end++) {
            const guint8 *footer = state->data + end;
            if (*footer == SECTION_FOOTER && memcmp(footer + 1, bytes + 1, 4) == 0 &&
                is_next(state, end + FOOTER_BYTES)) {
                *out_at = at;
                *out_length = end + FOOTER_BYTES - at;
                return TRUE;
            }
        }
    }
    return FALSE;
}

/* Does it describe itself, but none of what is in it? */
static gboolean
is_silent(const json_t *description)
{
    return description != NULL && json_object_get(description, "devices") == NULL;
}

gboolean
lodge_memory_stream_has(const GByteArray *tail, const char *name)
{
    gsize i = 0;
    const json_t *device = NULL;
    g_autoptr(json_t) description = find_description(tail);
    gsize at = 0;
    gsize length = 0;
    if (is_silent(description)) {
        return find_unknown(tail, name, &at, &length);
    }
    json_array_foreach (json_object_get(description, "devices"), i, device) {
        if (g_str_equal(lodge_json_string(device, "name", ""), name)) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean
lodge_memory_stream_cut(GByteArray *state, const char *name)
{
    gsize i = 0;
    gboolean found = FALSE;
    const json_t *device = NULL;
    g_autoptr(json_t) description = find_description(state);
    gsize at = 0;
    gsize length = 0;
    while (is_silent(description) && find_unknown(state, name, &at, &length)) {
        g_byte_array_remove_range(state, (guint)at, (guint)length);
        found = TRUE;
    }
    json_array_foreach (json_object_get(description, "devices"), i, device) {
        if (g_str_equal(lodge_json_string(device, "name", ""), name)) {
            found = cut_section(state, name, size_of(device)) || found;
        }
    }
    return found;
}
