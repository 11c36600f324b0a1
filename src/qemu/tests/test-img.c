#include "config.h"

#include "qemu/img.h"

#include <linux/landlock.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
test_relative(void)
{
    static const char *const rows[][3] = {
        {"/a/images/d/x", "/a/guests/web", "../../images/d/x"},
        {"/a/b/x", "/a/b", "x"},
        {"/a/b/x:y", "/a/b", "./x:y"},
        {"/x", "/a/b", "../../x"},
        {"/a/b", "/a/b", "../b"},
        {"/a/b/c/x", "/", "a/b/c/x"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = lodge_path_relative(rows[i][0], rows[i][1]);
        g_assert_cmpstr(path, ==, rows[i][2]);
    }
}

static void
test_overlay(void)
{
    run("mkdir -p images guests/.new-web; qemu-img create -q -f qcow2 images/base.qcow2 10M");
    g_autoptr(GError) error = NULL;
    g_autofree char *base = in_folder("images/base.qcow2");
    g_autofree char *path = in_folder("guests/.new-web/root.qcow2");
    lodge_img_create_overlay(path, base, "qcow2", 0, &error);
    g_assert_no_error(error);
    g_assert_false(lodge_img_create_overlay(path, base, "qcow2", 0, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_EXISTS);
    g_clear_error(&error);
    unlink(path);
    g_assert_false(lodge_img_create_overlay(path, base, "qcow2", 1 << 20, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
    g_clear_error(&error);
    lodge_img_create_overlay(path, base, "qcow2", 20 << 20, &error);
    g_assert_no_error(error);
    run("mv guests/.new-web guests/web");
    g_autofree char *final = in_folder("guests/web/root.qcow2");
    g_autoptr(GPtrArray) layers = lodge_qcow2_chain(final, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(layers->len, ==, 2);
    g_assert_cmpstr(((LodgeLayer *)layers->pdata[1])->path, ==, base);
    g_autoptr(LodgeImgInfo) info = lodge_img_info(final, "qcow2", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(info->backing_file, ==, "../../images/base.qcow2");
    g_assert_cmpuint(info->virtual_size_bytes, ==, 20 << 20);
    g_assert_false(lodge_img_create_overlay("/nonexistent/x", base, "qcow2", 0, &error));
    g_assert_nonnull(error);
}

static void
test_create_and_resize(void)
{
    g_autoptr(GError) error = NULL;
    static const char *const formats[] = {"qcow2", "raw"};
    for (int i = 0; i < 8; i++) {
        g_autofree char *name = g_strdup_printf("new-%d, with: signs=x", i);
        g_autofree char *path = in_folder(name);
        LodgePreallocation preallocation = (LodgePreallocation)(i / 2);
        gboolean made = lodge_img_create(path, formats[i % 2], 1 << 20, preallocation, &error);
        if (i % 2 == 1 && preallocation == LODGE_PREALLOCATION_METADATA) {
            g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
            g_clear_error(&error);
            continue;
        }
        g_assert_no_error(error);
        g_assert_true(made);
        lodge_img_resize(path, formats[i % 2], 4 << 20, &error);
        g_assert_no_error(error);
        g_autoptr(LodgeImgInfo) info = lodge_img_info(path, formats[i % 2], &error);
        g_assert_no_error(error);
        g_assert_cmpuint(info->virtual_size_bytes, ==, 4 << 20);
        g_assert_false(lodge_img_resize(path, formats[i % 2], 1 << 20, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
        g_clear_error(&error);
    }
}

typedef struct {
    LodgeProgress progress;
    double last;
} Listener;

static void
on_part(LodgeProgress *progress, double fraction, const char *words)
{
    (void)words;
    ((Listener *)progress)->last = fraction;
}

static void
test_convert(void)
{
    run("dd if=/dev/urandom of=data.raw bs=1M count=3 status=none;"
        "qemu-img create -q -f qcow2 -F raw -b data.raw over.qcow2");
    g_autoptr(GError) error = NULL;
    g_autofree char *over = in_folder("over.qcow2");
    g_autofree char *target = in_folder("flat.qcow2");
    Listener listener = {.progress = {.part = on_part}};
    LodgeImgConversion conversion = {.source = over, .source_format = "qcow2", .target = target};
    g_assert_false(lodge_img_convert(&conversion, NULL, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "data.raw"));
    g_clear_error(&error);
    g_assert_cmpint(access(target, F_OK), ==, -1);
    conversion.trusted = TRUE;
    conversion.compressed = TRUE;
    lodge_img_convert(&conversion, &listener.progress, &error);
    g_assert_no_error(error);
    g_assert_cmpfloat(listener.last, ==, 1.0);
    g_autoptr(LodgeImgInfo) info = lodge_img_info(target, NULL, &error);
    g_assert_no_error(error);
    g_assert_null(info->backing_file);
    run("qemu-img compare -q data.raw flat.qcow2");
    lodge_img_check(target, "qcow2", &error);
    g_assert_no_error(error);
}

static void
test_check_finds_damage(void)
{
    g_autoptr(GError) error = NULL;
    /* Reference counts that are all zero. */
    run("qemu-img convert -O qcow2 data.raw hurt.qcow2; dd if=/dev/zero of=hurt.qcow2 bs=64k "
        "seek=2 count=1 conv=notrunc status=none");
    g_autofree char *hurt = in_folder("hurt.qcow2");
    g_assert_false(lodge_img_check(hurt, "qcow2", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_assert_nonnull(strstr(error->message, "qemu-img check -r all"));
    g_clear_error(&error);
    g_assert_false(lodge_img_check("/nonexistent", "qcow2", &error));
    g_assert_nonnull(error);
}

static void
test_probe(void)
{
    static const char *const formats[] = {"qcow2", "vmdk", "vdi", "vhdx", "vpc"};
    g_autoptr(GError) error = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(formats); i++) {
        g_autofree char *command = g_strdup_printf("qemu-img create -q -f %s probe.%s 2M",
                                                   formats[i], formats[i]);
        g_autofree char *name = g_strconcat("probe.", formats[i], NULL);
        g_autofree char *path = in_folder(name);
        run(command);
        g_assert_cmpstr(lodge_img_probe(path, &error), ==, formats[i]);
        g_assert_no_error(error);
        lodge_img_check_foreign(path, formats[i], &error);
        g_assert_no_error(error);
    }
    run("qemu-img create -q -f vpc -o subformat=fixed fixed.vhd 2M; truncate -s 1M blank;"
        "truncate -s 1M boot; printf '\\125\\252' | dd of=boot bs=1 seek=510 conv=notrunc "
        "status=none");
    g_autofree char *fixed = in_folder("fixed.vhd");
    g_autofree char *boot = in_folder("boot");
    g_autofree char *blank = in_folder("blank");
    g_assert_cmpstr(lodge_img_probe(fixed, NULL), ==, "vpc");
    g_assert_cmpstr(lodge_img_probe(boot, NULL), ==, "raw");
    g_assert_null(lodge_img_probe(blank, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
}

static void
test_foreign(void)
{
    static const char *const hostile[][2] = {
        {"shadow.qcow2", "qcow2"}, {"outside.qcow2", "qcow2"}, {"child.vmdk", "vmdk"},
        {"flat.vmdk", "vmdk"},     {"huge.qcow2", "qcow2"},    {"probe.vdi", "vhdx"},
    };
    run("qemu-img create -q -u -f qcow2 -F raw -b /etc/shadow shadow.qcow2 1M;"
        "qemu-img create -q -f qcow2 -o data_file=\"$PWD/d.raw\" outside.qcow2 1M;"
        "qemu-img create -q -f vmdk -F vmdk -b probe.vmdk child.vmdk;"
        "qemu-img create -q -f vmdk -o subformat=monolithicFlat flat.vmdk 1M;"
        "qemu-img create -q -f qcow2 -o cluster_size=2M huge.qcow2 100T");
    for (gsize i = 0; i < G_N_ELEMENTS(hostile); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *path = in_folder(hostile[i][0]);
        g_assert_false(lodge_img_check_foreign(path, hostile[i][1], &error));
        g_test_message("%s", error->message);
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    }
}

/* A header that was changed has nothing else overwritten, not even through a file that is right. */
static void
test_commit(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *inside = in_folder("in");
    g_autofree char *base = in_folder("in/base.qcow2");
    g_autofree char *over = in_folder("in/over.qcow2");
    g_autofree char *other = in_folder("in/other.qcow2");
    run("mkdir in; cd in; qemu-img create -q -f qcow2 base.qcow2 1M; cp base.qcow2 other.qcow2;"
        "qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 over.qcow2;"
        "qemu-io -c 'write -P 7 0 64k' over.qcow2 >out");
    lodge_img_commit(over, base, inside, &error);
    g_assert_no_error(error);
    run("qemu-img compare -q in/base.qcow2 in/over.qcow2");
    g_assert_false(lodge_img_commit(over, other, inside, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    g_clear_error(&error);
    run("mv in/base.qcow2 elsewhere.qcow2; ln -s ../elsewhere.qcow2 in/base.qcow2");
    g_assert_false(lodge_img_commit(over, base, inside, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
}

/* An owner who changes a file after it was looked at gains nothing: qemu-img, which would follow
 * the new name, can't open it. The program stands for that moment, just before qemu-img opens it.
 */
static void
test_changed_since(void)
{
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 1) {
        g_test_skip("this kernel has no Landlock");
        return;
    }
    run("mkdir bin; head -c 1M </dev/urandom >secret;"
        "qemu-img create -q -f qcow2 -F raw -b secret good.qcow2;"
        "name=$(od -An -v -to1 -j8 -N12 good.qcow2 | tr -d '\\n' | sed 's/ /\\\\/g');"
        "dd if=/dev/zero of=good.qcow2 bs=1 seek=8 count=12 conv=notrunc status=none;"
        "printf '%s\\n' '#!/bin/sh' \"test \\$1 = convert && printf '$name' |"
        " dd of=$PWD/good.qcow2 bs=1 seek=8 conv=notrunc status=none\""
        " 'PATH=${PATH#*:} exec qemu-img \"$@\"' >bin/qemu-img; chmod +x bin/qemu-img");
    g_autofree char *programs = in_folder("bin");
    g_autofree char *source = in_folder("good.qcow2");
    g_autofree char *target = in_folder("stolen.qcow2");
    g_autofree char *old = g_strdup(g_getenv("PATH"));
    g_autofree char *path = g_strconcat(programs, ":", old, NULL);
    g_setenv("PATH", path, TRUE);
    g_autoptr(GError) error = NULL;
    LodgeImgConversion conversion = {.source = source, .source_format = "qcow2", .target = target};
    g_assert_false(lodge_img_convert(&conversion, NULL, &error));
    g_setenv("PATH", old, TRUE);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, "secret"));
    g_assert_cmpint(access(target, F_OK), ==, -1);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    g_test_add_func("/qemu/img/relative", test_relative);
    g_test_add_func("/qemu/img/overlay", test_overlay);
    g_test_add_func("/qemu/img/create", test_create_and_resize);
    g_test_add_func("/qemu/img/convert", test_convert);
    g_test_add_func("/qemu/img/check", test_check_finds_damage);
    g_test_add_func("/qemu/img/probe", test_probe);
    g_test_add_func("/qemu/img/foreign", test_foreign);
    g_test_add_func("/qemu/img/commit", test_commit);
    g_test_add_func("/qemu/img/changed-since", test_changed_since);
    int status = g_test_run();
    lodge_tree_remove(folder, NULL);
    g_free(folder);
    return status;
}
