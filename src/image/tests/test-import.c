#include "config.h"

#include "image/tests/common.h"

#include <string.h>
#include <unistd.h>

static gboolean
import(const char *name, const char *file, const char *format, gboolean trusted, GError **error)
{
    g_autofree char *path = test_path(file);
    LodgeImageImport request = {.file = path, .format = format, .trusted = trusted};
    return lodge_image_import(test_store, name, &request, NULL, error);
}

/* The image's disk holds the same bytes as data.raw, and stands on nothing. */
static void
assert_same(const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeImage) image = lodge_store_image(test_store, name, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(image->size_bytes, ==, 2 << 20);
    g_autofree char *disk = lodge_store_image_path(test_store, name, image->disk);
    g_autofree char *script = g_strdup_printf("qemu-img compare -q data.raw %s", disk);
    test_run(script);
    g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(disk, &error);
    g_assert_no_error(error);
    g_assert_null(header->backing_file);
    g_autofree char *folder = lodge_store_image_path(test_store, name, NULL);
    g_auto(GStrv) files = lodge_dir_names(folder, NULL);
    g_assert_cmpuint(g_strv_length(files), ==, 2);
    g_assert_false(test_has_litter());
}

static void
test_formats(void)
{
    static const char *const files[][2] = {
        {"data.raw", "raw"},   {"data.raw", NULL},    {"d.qcow2", NULL},     {"d.qcow2", "qcow2"},
        {"d.vmdk", NULL},      {"stream.vmdk", NULL}, {"d.vdi", NULL},       {"d.vhdx", NULL},
        {"d.vhd", NULL},       {"data.raw.xz", NULL}, {"data.raw.gz", NULL}, {"d.qcow2.zst", NULL},
        {"d.qcow2.bz2", NULL}, {"box.ova", NULL},     {"box.ova.gz", NULL},
    };
    test_run("dd if=/dev/urandom of=data.raw bs=1M count=1 status=none; truncate -s 2M data.raw;"
             "printf '\\125\\252' | dd of=data.raw bs=1 seek=510 conv=notrunc status=none;"
             "c() { qemu-img convert -f raw -O $1 ${3:-} ${4:-} data.raw $2; };"
             "c qcow2 d.qcow2; c vmdk d.vmdk; c vmdk stream.vmdk -o subformat=streamOptimized;"
             "c vdi d.vdi; c vhdx d.vhdx; c vpc d.vhd -o force_size=on;"
             "xz -k data.raw; gzip -k data.raw; zstd -q d.qcow2; bzip2 -k d.qcow2;"
             "printf '<Envelope><References><File ovf:href=\"stream.vmdk\"/></References>"
             "</Envelope>' >box.ovf; tar cf box.ova box.ovf stream.vmdk; gzip -k box.ova");
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *name = g_strdup_printf("i%d", (int)i);
        g_test_message("%s", files[i][0]);
        import(name, files[i][0], files[i][1], FALSE, &error);
        g_assert_no_error(error);
        assert_same(name);
    }
}

/* All disks of an OVA, in its order. */
static void
test_several(void)
{
    g_autoptr(GError) error = NULL;
    test_run("truncate -s 3M two.raw; qemu-img convert -f raw -O vmdk two.raw two.vmdk;"
             "truncate -s 4M three.raw; qemu-img convert -f raw -O vmdk three.raw three.vmdk;"
             "gzip three.vmdk;"
             "{ echo '<Envelope><References>'; for file in stream.vmdk two.vmdk three.vmdk.gz; do "
             "echo \"<File ovf:href='$file'/>\"; done; echo '</References></Envelope>'; }"
             " >several.ovf; tar cf several.ova several.ovf stream.vmdk two.vmdk three.vmdk.gz");
    import("several", "several.ova", NULL, FALSE, &error);
    g_assert_no_error(error);
    g_autoptr(LodgeImage) image = lodge_store_image(test_store, "several", &error);
    g_auto(GStrv) more = lodge_image_more(image);
    g_assert_cmpint(g_strv_length(more), ==, 2);
    for (guint i = 0; i < 2; i++) {
        g_autofree char *path = lodge_store_image_path(test_store, "several", more[i]);
        g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(path, &error);
        g_assert_no_error(error);
        g_assert_cmpint(header->virtual_size_bytes, ==, (guint64)(3 + i) << 20);
    }
    g_auto(GStrv) unneeded = lodge_image_unneeded(test_store, "several", &error);
    g_assert_null(unneeded[0]);
}

static void
test_settings(void)
{
    g_autoptr(GError) error = NULL;
    static const char text[] = "[image]\nuser=me\nprovision=nocloud\nagent=yes\nsize=1M\n"
                               "disk=gone.qcow2\n";
    g_autoptr(LodgeImage) like = lodge_image_parse("like", text, strlen(text), &error);
    g_assert_no_error(error);
    g_autofree char *path = test_path("d.vdi");
    LodgeImageImport request = {.file = path, .like = like};
    g_autoptr(TestListener) listener = test_listener();
    lodge_image_import(test_store, "mine", &request, &listener->progress, &error);
    g_assert_no_error(error);
    g_autoptr(LodgeImage) image = lodge_store_image(test_store, "mine", &error);
    g_assert_cmpstr(image->user, ==, "me");
    g_assert_cmpint(image->provision, ==, LODGE_PROVISION_NOCLOUD);
    g_assert_true(g_str_has_prefix(image->origin, "file /"));
    g_assert_nonnull(strstr(listener->stages->str, "converting"));
    g_assert_false(lodge_image_import(test_store, "mine", &request, NULL, &error));
    test_assert_error(&error, LODGE_ERROR_EXISTS, "exists already");
}

static void
assert_refused(const char *file, const char *format, int code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(import("bad", file, format, FALSE, &error));
    test_assert_error(&error, code, words);
    g_assert_false(test_exists("images/bad"));
    g_assert_false(test_has_litter());
}

static void
test_hostile(void)
{
    test_run("qemu-img create -q -u -f qcow2 -F raw -b /etc/shadow shadow.qcow2 2M;"
             "qemu-img create -q -f qcow2 -o data_file=out.raw outside.qcow2 2M;"
             "qemu-img create -q -f vmdk -o subformat=monolithicFlat flat.vmdk 2M;"
             "printf '<Envelope><References><File href=\"shadow.qcow2\"/></References></Envelope>'"
             " >evil.ovf; tar cf evil.ova evil.ovf shadow.qcow2;"
             "printf '<Envelope><References><File href=\"../x.vmdk\"/></References></Envelope>'"
             " >up.ovf; tar cf up.ova up.ovf;"
             "printf '<Envelope><References><File href=\"link.vmdk\"/></References></Envelope>'"
             " >link.ovf; ln -s /etc/shadow link.vmdk; tar cf link.ova link.ovf link.vmdk;"
             "tar cf none.tar data.raw; head -c 3000 data.raw.xz >cut.raw.xz;"
             "head -c 600000 d.qcow2 >cut.qcow2; head -c 600000 d.vdi >cut.vdi;"
             "head -c 600000 d.vmdk >cut.vmdk; : >empty; printf 'hello world' >text;"
             "head -c 1000000 box.ova >cut.ova");
    assert_refused("shadow.qcow2", NULL, LODGE_ERROR_INVALID, "/etc/shadow");
    assert_refused("outside.qcow2", NULL, LODGE_ERROR_INVALID, "out.raw");
    assert_refused("flat.vmdk", NULL, LODGE_ERROR_INVALID, "known format");
    assert_refused("evil.ova", NULL, LODGE_ERROR_INVALID, "/etc/shadow");
    assert_refused("up.ova", NULL, LODGE_ERROR_INVALID, "no disk beside it");
    assert_refused("link.ova", NULL, LODGE_ERROR_FAILED, "link or device");
    assert_refused("none.tar", NULL, LODGE_ERROR_INVALID, "no .ovf");
    assert_refused("cut.raw.xz", NULL, LODGE_ERROR_FAILED, "cut.raw.xz");
    assert_refused("cut.qcow2", NULL, LODGE_ERROR_INVALID, "damaged in");
    assert_refused("cut.vdi", NULL, LODGE_ERROR_INVALID, "truncated");
    assert_refused("cut.vmdk", NULL, LODGE_ERROR_FAILED, "heck failed");
    assert_refused("cut.ova", NULL, LODGE_ERROR_FAILED, "runcated");
    assert_refused("empty", NULL, LODGE_ERROR_INVALID, "known format");
    assert_refused("text", NULL, LODGE_ERROR_INVALID, "--format raw");
    assert_refused("d.vdi", "qcow2", LODGE_ERROR_INVALID, "not in the format");
    assert_refused("absent", NULL, LODGE_ERROR_NOT_FOUND, "absent");
    assert_refused(".", NULL, LODGE_ERROR_FAILED, "");
}

static void
test_trusted(void)
{
    g_autoptr(GError) error = NULL;
    test_run("qemu-img create -q -f qcow2 -F raw -b data.raw over.qcow2");
    assert_refused("over.qcow2", NULL, LODGE_ERROR_INVALID, "--trust");
    import("trusted", "over.qcow2", NULL, TRUE, &error);
    g_assert_no_error(error);
    assert_same("trusted");
}

/* lodge-archive by itself, on archives made to do harm. */
static void
test_archive(void)
{
    static const char *const hostile[] = {"up.tar",   "absolute.tar", "symlink.tar", "hardlink.tar",
                                          "fifo.tar", "through.tar",  "twice.tar",   "up.zip"};
    static const char maker[] =
        "import io, tarfile, zipfile\n"
        "def tar(name, *members):\n"
        "    with tarfile.open(name, 'w') as t:\n"
        "        for path, kind, link in members:\n"
        "            info = tarfile.TarInfo(path); info.type = kind; info.linkname = link\n"
        "            info.size = 2 if kind == tarfile.REGTYPE else 0\n"
        "            t.addfile(info, io.BytesIO(b'hi'))\n"
        "R, S, L, F = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE\n"
        "tar('up.tar', ('a/../../escaped', R, ''))\n"
        "tar('absolute.tar', ('/tmp/lodge-escaped', R, ''))\n"
        "tar('symlink.tar', ('x', S, '/etc'))\n"
        "tar('hardlink.tar', ('x', L, '/etc/passwd'))\n"
        "tar('fifo.tar', ('x', F, ''))\n"
        "tar('through.tar', ('x', S, '..'), ('x/escaped', R, ''))\n"
        "tar('twice.tar', ('x', R, ''), ('x', R, ''))\n"
        "tar('good.tar', ('./a/b', R, ''), ('c', R, ''))\n"
        "zipfile.ZipFile('up.zip', 'w').writestr('../escaped', 'hi')\n"
        "zipfile.ZipFile('good.zip', 'w').writestr('a/b', 'hi')\n";
    g_autofree char *python = lodge_program_find("python3");
    if (python == NULL) {
        g_test_skip("no python3");
        return;
    }
    g_autoptr(GError) error = NULL;
    const char *const argv[] = {python, "-c", maker, NULL};
    lodge_process_run(&(LodgeProcess){.argv = argv, .folder = test_store->root}, NULL, &error);
    g_assert_no_error(error);
    g_autofree char *out = test_path("out");
    for (gsize i = 0; i < G_N_ELEMENTS(hostile); i++) {
        g_autofree char *path = test_path(hostile[i]);
        const char *const extract[] = {"lodge-archive", "extract", path, out, NULL};
        g_assert_false(lodge_image_run_helper(extract, NULL, NULL, &error));
        test_assert_error(&error, LODGE_ERROR_FAILED, "");
        g_assert_false(test_exists("escaped"));
        g_assert_false(g_file_test("/tmp/lodge-escaped", G_FILE_TEST_EXISTS));
        lodge_tree_remove(out, NULL);
    }
    static const char *const good[] = {"good.tar", "good.zip"};
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *path = test_path(good[i]);
        const char *const extract[] = {"lodge-archive", "extract", path, out, "a/b", NULL};
        lodge_image_run_helper(extract, NULL, NULL, &error);
        g_assert_no_error(error);
        g_assert_true(test_exists("out/a/b"));
        g_assert_false(test_exists("out/c"));
        lodge_tree_remove(out, NULL);
    }
}

static void
test_full_disk(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *packed = test_path("data.raw.xz");
    const char *const argv[] = {"sh",
                                "-c",
                                "ulimit -f 200; trap '' XFSZ; exec \"$@\"",
                                "sh",
                                LODGE_BUILD_DIR "/lodge-archive",
                                "unpack",
                                packed,
                                "small",
                                NULL};
    LodgeProcess process = {.argv = argv, .folder = test_store->root};
    g_assert_false(lodge_process_run(&process, NULL, &error));
    test_assert_error(&error, LODGE_ERROR_FAILED, "Writing small");
    g_assert_false(test_exists("small"));
}

int
main(int argc, char **argv)
{
    test_begin(&argc, &argv);
    g_test_add_func("/image/import/formats", test_formats);
    g_test_add_func("/image/import/several", test_several);
    g_test_add_func("/image/import/settings", test_settings);
    g_test_add_func("/image/import/hostile", test_hostile);
    g_test_add_func("/image/import/trusted", test_trusted);
    g_test_add_func("/image/import/archive", test_archive);
    g_test_add_func("/image/import/full-disk", test_full_disk);
    return test_finish();
}
