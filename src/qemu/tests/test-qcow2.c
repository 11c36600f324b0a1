#include "config.h"

#include "base/base.h"
#include "qemu/img.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *folder;

static char *
in_folder(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

static void
run(const char *command)
{
    g_autoptr(GError) error = NULL;
    const char *const argv[] = {"sh", "-ec", command, NULL};
    lodge_process_run(&(LodgeProcess){.argv = argv, .folder = folder}, NULL, &error);
    g_assert_no_error(error);
}

static void
write_bytes(const char *name, const char *bytes, gsize length)
{
    g_autofree char *path = in_folder(name);
    g_assert_true(lodge_file_write(path, bytes, length, 0600, LODGE_WRITE_NO_SYNC, NULL));
}

static void
assert_chain_fails(const char *name, int code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_folder(name);
    g_autoptr(GPtrArray) layers = lodge_qcow2_chain(path, &error);
    g_assert_null(layers);
    g_assert_error(error, LODGE_ERROR, code);
    if (strstr(error->message, words) == NULL) {
        g_test_message("%s", error->message);
        g_assert_not_reached();
    }
}

static void
test_header(void)
{
    run("qemu-img create -q -f qcow2 base.qcow2 10M; qemu-img create -q -f qcow2 -F qcow2 -b "
        "base.qcow2 top.qcow2 20M; qemu-img create -q -f qcow2 -o compat=0.10 -F qcow2 -b "
        "base.qcow2 old.qcow2 10M; qemu-img create -q -f qcow2 -o cluster_size=2M,data_file=d.raw "
        "ext.qcow2 10M");
    g_autoptr(GError) error = NULL;
    g_autofree char *top = in_folder("top.qcow2");
    g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(top, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(header->version, ==, 3);
    g_assert_cmpuint(header->virtual_size_bytes, ==, 20 << 20);
    g_assert_cmpstr(header->backing_file, ==, "base.qcow2");
    g_assert_cmpstr(header->backing_format, ==, "qcow2");
    g_assert_false(header->dirty || header->corrupt || header->encrypted || header->has_data_file);
    g_autofree char *old = in_folder("old.qcow2");
    g_autoptr(LodgeQcow2Header) old_header = lodge_qcow2_read_header(old, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(old_header->version, ==, 2);
    g_assert_cmpstr(old_header->backing_format, ==, "qcow2");
    g_autofree char *ext = in_folder("ext.qcow2");
    g_autoptr(LodgeQcow2Header) ext_header = lodge_qcow2_read_header(ext, &error);
    g_assert_no_error(error);
    g_assert_true(ext_header->has_data_file);
    g_assert_cmpstr(ext_header->data_file, ==, "d.raw");
    g_assert_true(lodge_qcow2_is(ext));
}

static void
test_header_refusals(void)
{
    static const struct {
        gsize offset;
        guint8 byte;
        int code;
    } rows[] = {
        {3, 0, LODGE_ERROR_INVALID},      {7, 9, LODGE_ERROR_UNSUPPORTED}, /* magic, version */
        {23, 200, LODGE_ERROR_INVALID},   {23, 8, LODGE_ERROR_INVALID},    /* cluster bits */
        {24, 0xff, LODGE_ERROR_INVALID},  {8, 0xff, LODGE_ERROR_INVALID}, /* size, backing offset */
        {18, 0xff, LODGE_ERROR_INVALID},  {72, 1, LODGE_ERROR_UNSUPPORTED}, /* length, features */
        {103, 0, LODGE_ERROR_INVALID},    {101, 0xff, LODGE_ERROR_INVALID}, /* header length */
        {116, 0xff, LODGE_ERROR_INVALID},                                   /* extension length */
    };
    g_autofree char *good = in_folder("top.qcow2");
    g_autofree char *bad = in_folder("bad.qcow2");
    gsize length = 0;
    g_autofree char *bytes = lodge_file_read(good, 1 << 20, &length, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        char saved = bytes[rows[i].offset];
        bytes[rows[i].offset] = (char)rows[i].byte;
        write_bytes("bad.qcow2", bytes, length);
        bytes[rows[i].offset] = saved;
        g_assert_null(lodge_qcow2_read_header(bad, &error));
        g_test_message("byte %d: %s", (int)rows[i].offset, error->message);
        g_assert_error(error, LODGE_ERROR, rows[i].code);
    }
}

/* Whatever the bytes, no crash, no hang, and an error where there is no result. */
static void
test_header_mutations(void)
{
    static const guint8 values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    g_autofree char *good = in_folder("top.qcow2");
    g_autofree char *bad = in_folder("bad.qcow2");
    gsize length = 0;
    g_autofree char *bytes = lodge_file_read(good, 1 << 20, &length, NULL);
    length = MIN(length, 640);
    for (gsize i = 0; i < length * G_N_ELEMENTS(values); i++) {
        gsize offset = i / G_N_ELEMENTS(values);
        char saved = bytes[offset];
        bytes[offset] = (char)values[i % G_N_ELEMENTS(values)];
        write_bytes("bad.qcow2", bytes, i % 3 == 0 ? offset + 1 : length);
        bytes[offset] = saved;
        g_autoptr(GError) error = NULL;
        g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(bad, &error);
        g_assert_true((header == NULL) == (error != NULL));
        g_autoptr(GError) chain_error = NULL;
        g_autoptr(GPtrArray) layers = lodge_qcow2_chain(bad, &chain_error);
        g_assert_true((layers == NULL) == (chain_error != NULL));
    }
    for (gsize i = 0; i < 2000; i++) {
        for (gsize j = 4; j < length; j++) {
            bytes[j] = g_test_rand_int_range(0, 4) == 0 ? (char)g_test_rand_int() : '\0';
        }
        bytes[7] = 3;
        bytes[23] = 16;
        write_bytes("bad.qcow2", bytes, length);
        lodge_qcow2_header_free(lodge_qcow2_read_header(bad, NULL));
    }
}

static void
test_special_files(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *fifo = in_folder("fifo");
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    g_assert_null(lodge_qcow2_read_header(fifo, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    write_bytes("empty", "", 0);
    g_autofree char *empty = in_folder("empty");
    g_assert_null(lodge_qcow2_read_header(empty, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_null(lodge_qcow2_read_header("/nonexistent", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND);
}

static void
test_chain(void)
{
    run("mkdir -p a b; qemu-img create -q -f raw a/bottom.raw 5M;"
        "qemu-img create -q -f qcow2 -F raw -b bottom.raw a/middle.qcow2 6M;"
        "qemu-img create -q -f qcow2 -F qcow2 -b ../a/middle.qcow2 b/upper.qcow2 8M");
    g_autoptr(GError) error = NULL;
    g_autofree char *upper = in_folder("b/upper.qcow2");
    gint64 start = g_get_monotonic_time();
    g_autoptr(GPtrArray) layers = lodge_qcow2_chain(upper, &error);
    gint64 took_us = g_get_monotonic_time() - start;
    g_assert_no_error(error);
    g_test_message("%d us", (int)took_us);
    g_assert_cmpuint(layers->len, ==, 3);
    const LodgeLayer *middle = layers->pdata[1];
    const LodgeLayer *bottom = layers->pdata[2];
    g_autofree char *expected = in_folder("a/bottom.raw");
    g_assert_cmpstr(middle->format, ==, "qcow2");
    g_assert_cmpuint(middle->virtual_size_bytes, ==, 6 << 20);
    g_assert_cmpstr(bottom->format, ==, "raw");
    g_assert_cmpstr(bottom->path, ==, expected);
    g_assert_cmpuint(bottom->virtual_size_bytes, ==, 5 << 20);
}

static void
test_chain_refusals(void)
{
    run("qemu-img create -q -f qcow2 gone.qcow2 1M;"
        "qemu-img create -q -f qcow2 -F qcow2 -b gone.qcow2 orphan.qcow2; rm gone.qcow2;"
        "qemu-img create -q -f qcow2 ring1.qcow2 1M;"
        "qemu-img create -q -f qcow2 -F qcow2 -b ring1.qcow2 ring2.qcow2;"
        "qemu-img rebase -u -F qcow2 -b ring2.qcow2 ring1.qcow2;"
        "qemu-img create -q -u -f qcow2 -F qcow2 -b nbd:host:1 net.qcow2 1M;"
        "qemu-img create -q -u -f qcow2 -F vmdk -b base.qcow2 form.qcow2 1M;"
        "cp base.qcow2 luks.qcow2; printf '\\002' | dd of=luks.qcow2 bs=1 seek=35 conv=notrunc "
        "status=none;"
        "cp base.qcow2 corrupt.qcow2; printf '\\002' | dd of=corrupt.qcow2 bs=1 seek=79 "
        "conv=notrunc status=none; qemu-img create -q -u -f qcow2 -F qcow2 -b corrupt.qcow2 "
        "oncorrupt.qcow2 1M; i=0; qemu-img create -q -f qcow2 deep0 1M; while [ $i -lt 64 ]; do "
        "cp base.qcow2 deep$((i+1)); qemu-img rebase -u -F qcow2 -b deep$i deep$((i+1));"
        "i=$((i+1)); done");
    assert_chain_fails("orphan.qcow2", LODGE_ERROR_NOT_FOUND, "gone.qcow2, which is missing");
    assert_chain_fails("ring1.qcow2", LODGE_ERROR_INVALID, "loop");
    assert_chain_fails("net.qcow2", LODGE_ERROR_UNSUPPORTED, "nbd:host:1");
    assert_chain_fails("form.qcow2", LODGE_ERROR_INVALID, "vmdk");
    assert_chain_fails("luks.qcow2", LODGE_ERROR_UNSUPPORTED, "encrypted");
    assert_chain_fails("corrupt.qcow2", LODGE_ERROR_INVALID, "qemu-img check -r all");
    assert_chain_fails("oncorrupt.qcow2", LODGE_ERROR_INVALID, "layer 2 of");
    assert_chain_fails("deep64", LODGE_ERROR_INVALID, "more than 64");
    assert_chain_fails("ext.qcow2", LODGE_ERROR_UNSUPPORTED, "in another file");
    run("mkfifo pipe; for below in pipe /dev/zero .; do qemu-img create -q -u -f qcow2 -F raw "
        "-b $below on$(basename $below) 1M; done");
    assert_chain_fails("onpipe", LODGE_ERROR_INVALID, "neither a regular file");
    assert_chain_fails("onzero", LODGE_ERROR_INVALID, "neither a regular file");
    assert_chain_fails("on.", LODGE_ERROR_INVALID, "neither a regular file");
    assert_chain_fails("nowhere.qcow2", LODGE_ERROR_NOT_FOUND, "nowhere.qcow2");
}

static void
assert_places(const char *name, const char *guest, const char *images, gboolean right)
{
    g_autofree char *path = in_folder(name);
    g_autofree char *guest_folder = in_folder(guest);
    g_autofree char *images_folder = in_folder(images);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) chain = lodge_qcow2_chain(path, &error);
    g_assert_no_error(error);
    g_assert_cmpint(lodge_disk_chain_check(chain, guest_folder, images_folder, &error), ==, right);
    g_assert_cmpint(g_error_matches(error, LODGE_ERROR, LODGE_ERROR_INVALID), ==, !right);
}

/* A guest that took its QEMU over writes what its disk shall stand on. */
static void
test_chain_places(void)
{
    run("mkdir -p g/layers images/x images-not; qemu-img create -q -f qcow2 images/x/i 1M;"
        "qemu-img create -q -f qcow2 images-not/i 1M;"
        "qemu-img create -q -f qcow2 -F qcow2 -b ../images/x/i g/root;"
        "qemu-img create -q -f qcow2 -F qcow2 -b ../root g/layers/root-1;"
        "qemu-img create -q -f qcow2 -F qcow2 -b ../images-not/i g/near;"
        "qemu-img create -q -u -f qcow2 -F raw -b /etc/passwd g/out 1M;"
        "qemu-img create -q -f qcow2 -F qcow2 -b ../images/x/../../images-not/i g/dots;"
        "mkdir far; truncate -s 1M g/guest.conf g/base far/base.raw far/base.img far/secret;"
        "qemu-img create -q -f qcow2 -F raw -b guest.conf g/text;"
        "qemu-img create -q -f qcow2 -F raw -b base g/on;"
        "cd far; for i in base.raw base.img secret; do"
        " qemu-img create -q -f qcow2 -F raw -b $i on-$i; done;"
        "qemu-img create -q -f qcow2 -F qcow2 -b on-base.raw top");
    assert_places("g/root", "g", "images", TRUE);
    assert_places("g/layers/root-1", "g", "images", TRUE);
    assert_places("g/layers/root-1", "other", "images", FALSE);
    assert_places("g/near", "g", "images", FALSE);
    assert_places("g/out", "g", "images", FALSE);
    assert_places("g/dots", "g", "images", FALSE);
    assert_places("g/text", "g", "images", FALSE);
    assert_places("g/on", "g", "images", TRUE);
    assert_places("far/on-base.raw", "g", "images", TRUE);
    assert_places("far/on-base.img", "g", "images", TRUE);
    assert_places("far/top", "g", "images", TRUE);
    assert_places("far/on-secret", "g", "images", FALSE);
}

static void
test_resolve(void)
{
    static const char *const rows[][3] = {
        {"/a/b/top", "x.qcow2", "/a/b/x.qcow2"}, {"/a/b/top", "../i/x", "/a/i/x"},
        {"/a/b/top", "/abs/x", "/abs/x"},        {"/a/b/top", "nbd:1", NULL},
        {"/a/b/top", "json:{\"a\":1}", NULL},    {"/a/b/top", "./c:d", "/a/b/c:d"},
        {"/a/b/top", "file:/etc/shadow", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = lodge_qcow2_resolve(rows[i][0], rows[i][1]);
        g_assert_cmpstr(path, ==, rows[i][2]);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    g_test_add_func("/qemu/qcow2/header", test_header);
    g_test_add_func("/qemu/qcow2/refusals", test_header_refusals);
    g_test_add_func("/qemu/qcow2/mutations", test_header_mutations);
    g_test_add_func("/qemu/qcow2/special-files", test_special_files);
    g_test_add_func("/qemu/qcow2/chain", test_chain);
    g_test_add_func("/qemu/qcow2/chain-refusals", test_chain_refusals);
    g_test_add_func("/qemu/qcow2/chain-places", test_chain_places);
    g_test_add_func("/qemu/qcow2/resolve", test_resolve);
    int status = g_test_run();
    lodge_tree_remove(folder, NULL);
    g_free(folder);
    return status;
}
