#include "config.h"

#include "qemu/memory-stream.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"

enum {
    PAGES = 16,
    PAGE_BYTES = 4096,
    ZERO = 0x02,
    BLOCKS = 0x04,
    PAGE = 0x08,
    END = 0x10,
    SAME = 0x20,
};

/* --- A stream as QEMU writes it --------------------------------------------------------------- */

static void
put(GByteArray *stream, guint64 value, guint bytes)
{
    for (guint i = bytes; i > 0; i--) {
        guint8 byte = (guint8)(value >> (8 * (i - 1)));
        g_byte_array_append(stream, &byte, 1);
    }
}

static void
put_name(GByteArray *stream, const char *name)
{
    put(stream, strlen(name), 1);
    g_byte_array_append(stream, (const guint8 *)name, (guint)strlen(name));
}

/* @block NULL: the same as before; @fill 0 is sent as a page of zeroes is. */
static void
put_page(GByteArray *stream, const char *block, guint64 page, guint8 fill)
{
    guint flags = (fill != 0 ? PAGE : ZERO) | (block == NULL ? SAME : 0);
    put(stream, page * PAGE_BYTES | flags, 8);
    if (block != NULL) {
        put_name(stream, block);
    }
    for (guint i = 0; i < (fill != 0 ? PAGE_BYTES : 1); i++) {
        put(stream, fill, 1);
    }
}

static void
put_section(GByteArray *stream, guint kind)
{
    put(stream, kind, 1);
    put(stream, 2, 4);
}

static void
put_section_end(GByteArray *stream)
{
    put(stream, END, 8);
    put(stream, 0x7e, 1);
    put(stream, 2, 4);
}

/* Up to memory's first part. */
static void
put_head(GByteArray *stream, guint64 memory_bytes)
{
    put(stream, 0x5145564d, 4);
    put(stream, 3, 4);
    put(stream, 7, 1);
    put(stream, 3, 4);
    g_byte_array_append(stream, (const guint8 *)"q35", 3);
    put_section(stream, 1);
    put_name(stream, "ram");
    put(stream, 0, 4);
    put(stream, 4, 4);
    put(stream, (memory_bytes + PAGE_BYTES) | BLOCKS, 8);
    put_name(stream, "ram");
    put(stream, memory_bytes, 8);
    put_name(stream, "pc.bios");
    put(stream, PAGE_BYTES, 8);
    put_section_end(stream);
}

static void
put_tail(GByteArray *stream)
{
    put_section(stream, 3);
    put_section_end(stream);
    g_byte_array_append(stream, (const guint8 *)"devices", 7);
}

/* --- Taking it apart -------------------------------------------------------------------------- */

typedef struct {
    int memory, state;
    GByteArray *stream;
} Case;

static Case
case_new(void)
{
    Case one = {.memory = memfd_create("memory", MFD_CLOEXEC),
                .state = memfd_create("state", MFD_CLOEXEC),
                .stream = g_byte_array_new()};
    g_assert_cmpint(ftruncate(one.memory, PAGES * PAGE_BYTES), ==, 0);
    return one;
}

static void
case_clear(Case *one)
{
    close(one->memory);
    close(one->state);
    g_byte_array_unref(one->stream);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Case, case_clear)

/* From a file, as what is in it comes at once or in parts. */
static gboolean
split(const Case *one, GError **error)
{
    lodge_autofd from = memfd_create("stream", MFD_CLOEXEC);
    const LodgeMemoryStream to = {one->memory, PAGES * PAGE_BYTES, one->state};
    g_assert_cmpint(write(from, one->stream->data, one->stream->len), ==, one->stream->len);
    lseek(from, 0, SEEK_SET);
    return lodge_memory_stream_split(from, &to, error);
}

static int
byte_of(const Case *one, guint page)
{
    guint8 bytes[2];
    g_assert_cmpint(pread(one->memory, bytes, 1, page * PAGE_BYTES), ==, 1);
    g_assert_cmpint(pread(one->memory, bytes + 1, 1, (page + 1) * PAGE_BYTES - 1), ==, 1);
    g_assert_cmpint(bytes[0], ==, bytes[1]);
    return bytes[0];
}

static void
test_last_word_counts(void)
{
    g_autoptr(GError) error = NULL;
    g_auto(Case) one = case_new();
    g_autoptr(GByteArray) left = g_byte_array_new();
    put_head(one.stream, PAGES * PAGE_BYTES);
    put_head(left, PAGES * PAGE_BYTES);
    put_section(one.stream, 2);
    put_section(left, 2);
    put_page(one.stream, "pc.bios", 0, 7);
    put_page(left, "pc.bios", 0, 7);
    put_page(one.stream, "ram", 3, 1);
    put_page(one.stream, NULL, 4, 2);
    put_page(one.stream, NULL, 5, 3);
    put_page(one.stream, NULL, 6, 0);
    put_section_end(one.stream);
    put_section_end(left);
    put_section(one.stream, 2);
    put_section(left, 2);
    put_page(one.stream, NULL, 4, 9);
    put_page(one.stream, NULL, 5, 0);
    put_page(one.stream, "pc.bios", 0, 8);
    put_page(left, "pc.bios", 0, 8);
    put_section_end(one.stream);
    put_section_end(left);
    put_tail(one.stream);
    put_tail(left);
    g_assert_true(split(&one, &error));
    g_assert_no_error(error);
    const int expected[] = {0, 0, 0, 1, 9, 0, 0};
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_assert_cmpint(byte_of(&one, i), ==, expected[i]);
    }
    g_assert_cmpint(lseek(one.memory, 0, SEEK_DATA), ==, 3 * PAGE_BYTES);
    g_assert_cmpint(lseek(one.memory, 6 * PAGE_BYTES, SEEK_DATA), ==, -1);
    g_autofree guint8 *state = g_malloc(left->len + 1);
    gssize length = pread(one.state, state, left->len + 1, 0);
    g_assert_cmpmem(state, length, left->data, left->len);
}

/* Whatever a stream is cut to, it is refused, and never believed. */
static void
test_refuses_what_ends_early(void)
{
    g_autoptr(GByteArray) whole = g_byte_array_new();
    put_head(whole, PAGES * PAGE_BYTES);
    put_section(whole, 2);
    put_page(whole, "ram", 3, 1);
    put_section_end(whole);
    guint end = whole->len;
    for (guint length = 0; length<end; length += length> 100 && length < end - 100 ? 97 : 1) {
        g_autoptr(GError) error = NULL;
        g_auto(Case) one = case_new();
        g_byte_array_append(one.stream, whole->data, length);
        g_assert_false(split(&one, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    }
}

static void
refuse(void (*spoil)(GByteArray *stream))
{
    g_autoptr(GError) error = NULL;
    g_auto(Case) one = case_new();
    spoil(one.stream);
    put_tail(one.stream);
    g_assert_false(split(&one, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
}

static void
put_page_outside(GByteArray *stream)
{
    put_head(stream, PAGES * PAGE_BYTES);
    put_section(stream, 2);
    put_page(stream, "ram", PAGES, 1);
    put_section_end(stream);
}

static void
put_page_far_outside(GByteArray *stream)
{
    put_head(stream, PAGES * PAGE_BYTES);
    put_section(stream, 2);
    put_page(stream, "ram", G_MAXUINT64 >> 12, 1);
    put_section_end(stream);
}

static void
put_other_size(GByteArray *stream)
{
    put_head(stream, 2 * PAGES * PAGE_BYTES);
}

static void
put_compressed(GByteArray *stream)
{
    put_head(stream, PAGES * PAGE_BYTES);
    put_section(stream, 2);
    put(stream, 0x100, 8);
}

static void
put_device_first(GByteArray *stream)
{
    put_head(stream, PAGES * PAGE_BYTES);
    put(stream, 4, 1);
}

static void
test_refuses_what_it_does_not_know(void)
{
    refuse(put_page_outside);
    refuse(put_page_far_outside);
    refuse(put_other_size);
    refuse(put_compressed);
    refuse(put_device_first);
}

/* --- Cutting a device out of the rest --------------------------------------------------------- */

static void
put_device(GByteArray *stream, const char *name, guint number, guint instance, guint size)
{
    put(stream, 4, 1);
    put(stream, number, 4);
    put_name(stream, name);
    put(stream, instance, 4);
    put(stream, 1, 4);
    for (guint i = 0; i < size; i++) {
        put(stream, 0x7e, 1);
    }
    put(stream, 0x7e, 1);
    put(stream, number, 4);
}

static const char description[] =
    "{\"devices\": [{\"name\": \"timer\", \"fields\": [{\"size\": 4}, {\"size\": 4}]},"
    " {\"name\": \"slirp\", \"instance_id\": 0, \"fields\": [{\"size\": 9}]},"
    " {\"name\": \"slirp\", \"instance_id\": 1, \"fields\": [{\"size\": 3}]}]}";

static void
put_description(GByteArray *stream, const char *text)
{
    put(stream, 0, 1);
    put(stream, 6, 1);
    put(stream, strlen(text), 4);
    g_byte_array_append(stream, (const guint8 *)text, (guint)strlen(text));
}

static void
test_devices_are_cut(void)
{
    g_autoptr(GByteArray) stream = g_byte_array_new();
    g_autoptr(GByteArray) wanted = g_byte_array_new();
    put_device(stream, "slirp", 5, 0, 9);
    put_device(stream, "timer", 6, 0, 8);
    put_device(stream, "slirp", 7, 1, 3);
    g_assert_false(lodge_memory_stream_cut(stream, "slirp")); /* nothing is described */
    g_assert_false(lodge_memory_stream_has(stream, "slirp"));
    put_description(stream, description);
    put_device(wanted, "timer", 6, 0, 8);
    put_description(wanted, description);
    g_assert_true(lodge_memory_stream_has(stream, "slirp"));
    g_assert_false(lodge_memory_stream_has(stream, "tpm"));
    g_assert_true(lodge_memory_stream_cut(stream, "slirp"));
    g_assert_cmpmem(stream->data, stream->len, wanted->data, wanted->len);
    g_assert_false(lodge_memory_stream_cut(stream, "slirp"));
}

/* Sizes that come to less than nothing. */
static void
test_lies_are_not_followed(void)
{
    static const char lie[] =
        "{\"devices\": [{\"name\": \"slirp\", \"fields\":"
        " [{\"size\": 9223372036854775807}, {\"size\": 9223372036854775786}]}]}";
    g_autoptr(GByteArray) stream = g_byte_array_new();
    put_device(stream, "slirp", 5, 0, 9);
    put_description(stream, lie);
    guint length = stream->len;
    g_assert_true(lodge_memory_stream_has(stream, "slirp"));
    g_assert_false(lodge_memory_stream_cut(stream, "slirp"));
    g_assert_cmpuint(stream->len, ==, length);
}

/* --- Put together ----------------------------------------------------------------------------- */

static void
put_bytes(GByteArray *stream, const char *text)
{
    g_byte_array_append(stream, (const guint8 *)text, (guint)strlen(text));
}

static int
make_block(void)
{
    guint8 data[PAGE_BYTES];
    int fd = memfd_create("block", MFD_CLOEXEC);
    g_assert_cmpint(ftruncate(fd, PAGES * PAGE_BYTES), ==, 0);
    for (guint page = 0; page < PAGES; page += 3) {
        memset(data, (int)page, sizeof data); /* the first is zeroes that are there */
        g_assert_cmpint(pwrite(fd, data, sizeof data, page * PAGE_BYTES), ==, PAGE_BYTES);
    }
    return fd;
}

static void
assert_same(int one, int other)
{
    guint8 a[PAGES * PAGE_BYTES], b[PAGES * PAGE_BYTES];
    g_assert_cmpint(pread(one, a, sizeof a, 0), ==, sizeof a);
    g_assert_cmpint(pread(other, b, sizeof b, 0), ==, sizeof b);
    g_assert_cmpmem(a, sizeof a, b, sizeof b);
}

/* What is put together is what comes apart, with QEMU's own configuration or without. */
static void
test_parts_make_a_stream(gconstpointer data)
{
    gboolean has_configuration = GPOINTER_TO_INT(data);
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) devices = g_byte_array_new();
    g_autoptr(GByteArray) wanted = g_byte_array_new();
    lodge_autofd ram = make_block();
    lodge_autofd screen = make_block();
    lodge_autofd whole = memfd_create("whole", MFD_CLOEXEC);
    lodge_autofd memory = memfd_create("memory", MFD_CLOEXEC);
    lodge_autofd state = memfd_create("state", MFD_CLOEXEC);
    g_assert_cmpint(ftruncate(memory, PAGES * PAGE_BYTES), ==, 0);
    put_bytes(devices, "QEVM");
    put(devices, 3, 4);
    if (has_configuration) {
        put(devices, 7, 1);
        put(devices, 5, 4);
        put_bytes(devices, "pc-1a");
    }
    put_device(wanted, "slirp", 5, 0, 9);
    put(wanted, 0, 1);
    g_byte_array_append(devices, wanted->data, wanted->len);
    put(wanted, 6, 1);
    put(wanted, 2, 4);
    put_bytes(wanted, "{}");
    const LodgeMemoryBlock blocks[] = {{"ram", ram, PAGES * PAGE_BYTES},
                                       {"a/vga.vram", screen, PAGES * PAGE_BYTES}};
    const LodgeMemoryParts parts = {"pc-1a", blocks, 2, devices->data, devices->len};
    lodge_memory_stream_write(whole, &parts, &error);
    g_assert_no_error(error);
    const LodgeMemoryStream to = {memory, PAGES * PAGE_BYTES, state};
    g_assert_cmpint(lseek(whole, 0, SEEK_SET), ==, 0);
    lodge_memory_stream_split(whole, &to, &error);
    g_assert_no_error(error);
    assert_same(memory, ram);
    g_autoptr(GByteArray) rest = g_byte_array_new();
    g_byte_array_set_size(rest, (guint)lseek(state, 0, SEEK_END));
    g_assert_cmpint(pread(state, rest->data, rest->len, 0), ==, rest->len);
    g_assert_cmpuint(rest->len, >, wanted->len);
    g_assert_cmpmem(rest->data + rest->len - wanted->len, wanted->len, wanted->data, wanted->len);
    g_assert_cmpmem(rest->data + 8, 10, "\7\0\0\0\5pc-1a", 10);
    /* What nobody described is cut by what surrounds it. */
    guint before = rest->len;
    g_assert_true(lodge_memory_stream_has(rest, "slirp"));
    g_assert_true(lodge_memory_stream_cut(rest, "slirp"));
    g_assert_false(lodge_memory_stream_has(rest, "slirp"));
    g_assert_cmpuint(rest->len, ==, before - (wanted->len - 8));
    g_assert_false(lodge_memory_stream_cut(rest, "slirp"));
}

static void
test_unknown_devices_are_refused(void)
{
    g_autoptr(GError) error = NULL;
    lodge_autofd whole = memfd_create("whole", MFD_CLOEXEC);
    const LodgeMemoryParts parts = {"pc-1a", NULL, 0, (const guint8 *)"QEVN....more", 12};
    g_assert_false(lodge_memory_stream_write(whole, &parts, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qemu/memory-stream/last-word-counts", test_last_word_counts);
    g_test_add_func("/qemu/memory-stream/ends-early", test_refuses_what_ends_early);
    g_test_add_func("/qemu/memory-stream/not-known", test_refuses_what_it_does_not_know);
    g_test_add_func("/qemu/memory-stream/cut", test_devices_are_cut);
    g_test_add_func("/qemu/memory-stream/lies", test_lies_are_not_followed);
    g_test_add_data_func("/qemu/memory-stream/parts/own-configuration", GINT_TO_POINTER(TRUE),
                         test_parts_make_a_stream);
    g_test_add_data_func("/qemu/memory-stream/parts/none", GINT_TO_POINTER(FALSE),
                         test_parts_make_a_stream);
    g_test_add_func("/qemu/memory-stream/parts/not-known", test_unknown_devices_are_refused);
    return g_test_run();
}
