#include "config.h"

#include "image/tests/common.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char entry[] = "[image]\ntitle=Fake\nprovision=lodge\nagent=yes\nsize=8M\n"
                            "[build]\nrecipe=fake\nsuite=bookworm\nspace=1M\n";

static const char good[] =
    "echo stage packages; echo noise; [ \"$LODGE_SUITE\" = bookworm ]\n"
    "[ \"$LODGE_IMAGE_SIZE\" = 8388608 ]; [ -x \"$LODGE_AGENT\" ]; mktemp >/dev/null\n"
    "[ \"${TMPDIR#*/images/.new-}\" != \"$TMPDIR\" ]\n"
    "echo stage disk; qemu-img create -q -f qcow2 \"$1/disk.qcow2\" 8M\n"
    "echo kernel >\"$1/kernel\"; echo initrd >\"$1/initrd\"\n"
    "printf '[boot]\\ncmdline=root=/dev/vda2 quiet\\n' >\"$1/recipe.conf\"";

static void
assert_build_fails(int code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_image_build(test_store, "fake", NULL, &error));
    test_assert_error(&error, code, words);
    g_assert_false(test_has_litter());
}

static void
test_success(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TestListener) listener = test_listener();
    test_entry("fake", entry);
    test_recipe("fake", good);
    lodge_image_build(test_store, "fake", &listener->progress, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(listener->stages->str, ==,
                    "building\nbuilding: packages\nbuilding: disk\nchecking the disk\n");
    g_autoptr(LodgeImage) image = lodge_store_image(test_store, "fake", &error);
    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(image->disk, "disk-"));
    g_assert_null(image->kernel);
    g_assert_cmpstr(image->origin, ==, "recipe fake bookworm");
    g_assert_nonnull(image->made);
    g_assert_cmpint(image->provision, ==, LODGE_PROVISION_LODGE);
    g_autofree char *folder = test_path("images/fake");
    g_auto(GStrv) files = lodge_dir_names(folder, &error);
    g_assert_cmpuint(g_strv_length(files), ==, 2);
    g_assert_false(test_has_litter());
}

static void
test_direct_boot(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = g_strconcat(entry, "direct-boot=yes\n", NULL);
    test_entry("direct", text);
    lodge_image_build(test_store, "direct", NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LodgeImage) image = lodge_store_image(test_store, "direct", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(image->kernel_arguments, ==, "root=/dev/vda2 quiet");
    g_autofree char *kernel = lodge_store_image_path(test_store, "direct", image->kernel);
    g_autofree char *initrd = lodge_store_image_path(test_store, "direct", image->initrd);
    g_assert_true(g_file_test(kernel, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_test(initrd, G_FILE_TEST_EXISTS));
}

static void
test_failures(void)
{
    g_autoptr(LodgeImage) before = lodge_store_image(test_store, "fake", NULL);
    test_recipe("fake", "echo first >&2; echo 'fake: no network: check the network' >&2; exit 1");
    assert_build_fails(LODGE_ERROR_FAILED, "no network: check the network (all it said: ");
    g_assert_true(test_exists("cache/build-fake.log"));
    test_recipe("fake", "exit 0");
    assert_build_fails(LODGE_ERROR_INVALID, "wrote no disk.qcow2");
    test_recipe("fake", "echo garbage >\"$1/disk.qcow2\"");
    assert_build_fails(LODGE_ERROR_INVALID, "not a qcow2");
    test_recipe("fake", "qemu-img create -q -u -f qcow2 -F raw -b /etc/shadow $1/disk.qcow2 8M");
    assert_build_fails(LODGE_ERROR_INVALID, "/etc/shadow");
    test_recipe("fake", "ln -s /etc/passwd \"$1/disk.qcow2\"");
    assert_build_fails(LODGE_ERROR_INVALID, "wrote no disk.qcow2");
    g_autoptr(LodgeImage) after = lodge_store_image(test_store, "fake", NULL);
    g_assert_cmpstr(before->disk, ==, after->disk);
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_image_build(test_store, "fakw", NULL, &error));
    test_assert_error(&error, LODGE_ERROR_NOT_FOUND, "did you mean “fake”");
    test_entry("lost", "[build]\nrecipe=lost\n");
    g_assert_false(lodge_image_build(test_store, "lost", NULL, &error));
    test_assert_error(&error, LODGE_ERROR_UNSUPPORTED, "not installed");
    test_entry("vast", "[build]\nrecipe=fake\nspace=4000000G\n");
    g_assert_false(lodge_image_build(test_store, "vast", NULL, &error));
    test_assert_error(&error, LODGE_ERROR_FAILED, "LODGE_DIR");
    g_assert_false(test_has_litter());
}

/* The signal that ends the command must end the recipe too, and leave nothing. */
static void
test_interrupt(void)
{
    g_autoptr(GError) error = NULL;
    test_recipe("fake", "touch \"$1/half\"; kill -INT $PPID; sleep 60");
    lodge_interrupt_install();
    gint64 start = g_get_monotonic_time();
    g_assert_false(lodge_image_build(test_store, "fake", NULL, &error));
    lodge_interrupt_forget();
    test_assert_error(&error, LODGE_ERROR_INTERRUPTED, "interrupted");
    g_assert_cmpint(g_get_monotonic_time() - start, <, 20 * G_USEC_PER_SEC);
    g_assert_false(test_has_litter());
}

/* After SIGKILL the recipe ends too, and the next build clears up. */
static void
test_kill(void)
{
    g_autofree char *pid_file = test_path("recipe.pid");
    g_autofree char *script = g_strdup_printf("echo $$ >%s.x; mv %s.x %s; exec sleep 60", pid_file,
                                              pid_file, pid_file);
    test_recipe("fake", script);
    pid_t child = fork();
    if (child == 0) {
        lodge_image_build(test_store, "fake", NULL, NULL);
        _exit(0);
    }
    while (!g_file_test(pid_file, G_FILE_TEST_EXISTS)) {
        g_assert_true(lodge_wait_for(20, NULL));
    }
    g_autofree char *text = lodge_file_read(pid_file, 100, NULL, NULL);
    pid_t recipe = (pid_t)g_ascii_strtoll(text, NULL, 10);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    g_assert_true(test_has_litter());
    for (int i = 0; kill(recipe, 0) == 0 && i < 250; i++) {
        g_assert_true(lodge_wait_for(20, NULL));
    }
    g_assert_cmpint(kill(recipe, 0), ==, -1);
    g_autoptr(GError) error = NULL;
    test_recipe("fake", good);
    lodge_image_build(test_store, "fake", NULL, &error);
    g_assert_no_error(error);
    g_assert_false(test_has_litter());
    g_assert_false(test_exists("cache/build-fake.log"));
}

static guint
count_disks(const char *image)
{
    guint count = 0;
    g_autofree char *folder = lodge_store_image_path(test_store, image, NULL);
    g_auto(GStrv) files = lodge_dir_names(folder, NULL);
    for (gsize i = 0; files[i] != NULL; i++) {
        count += g_str_has_prefix(files[i], "disk-");
    }
    return count;
}

static void
test_dependents(void)
{
    g_autoptr(GError) error = NULL;
    test_guest("web", "[guest]\nimage=fake\n[disk root]\nfile=root.qcow2\n");
    g_autofree char *root = test_path("guests/web/root.qcow2");
    g_autoptr(LodgeImage) image = lodge_image_overlay(test_store, "fake", root, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(image->size_bytes, ==, 8 << 20);
    lodge_image_build(test_store, "fake", NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(count_disks("fake"), ==, 2);
    g_autoptr(GPtrArray) chain = lodge_qcow2_chain(root, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(chain->len, ==, 2);
    g_assert_false(lodge_image_delete(test_store, "fake", &error));
    test_assert_error(&error, LODGE_ERROR_BUSY, "needed by web");
    g_assert_true(lodge_store_remove(test_store, LODGE_STORE_GUESTS, "web", NULL));
    lodge_image_build(test_store, "fake", NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(count_disks("fake"), ==, 1);
}

/* Stacked overlays, snapshots' layers, guests being made, kernels, broken definitions. */
static void
test_hidden_dependents(void)
{
    g_autoptr(GError) error = NULL;
    test_guest("snap", "[guest]\n");
    test_run("mkdir guests/snap/snapshots");
    g_autofree char *layer = test_path("guests/snap/snapshots/one.qcow2");
    g_autofree char *top = test_path("guests/snap/root.qcow2");
    g_autoptr(LodgeImage) used = lodge_image_overlay(test_store, "fake", layer, 0, &error);
    g_assert_nonnull(used);
    lodge_img_create_overlay(top, layer, "qcow2", 0, &error);
    g_assert_no_error(error);
    g_autoptr(LodgeStaging)
        staging = lodge_staging_begin(test_store, LODGE_STORE_GUESTS, "young", &error);
    g_autofree char *young = g_build_filename(lodge_staging_folder(staging), "r.qcow2", NULL);
    g_autoptr(LodgeImage) used_too = lodge_image_overlay(test_store, "fake", young, 0, &error);
    g_assert_nonnull(used_too);
    g_autoptr(LodgeImage) direct = lodge_store_image(test_store, "direct", &error);
    g_autofree char *kernel = lodge_store_image_path(test_store, "direct", direct->kernel);
    g_autofree char *text = g_strdup_printf("[guest]\nkernel=%s\n", kernel);
    test_guest("boots", text);
    g_auto(GStrv) of_fake = lodge_image_dependents(test_store, "fake", &error);
    g_autofree char *list = g_strjoinv(" ", of_fake);
    g_assert_cmpstr(list, ==, "snap young");
    g_auto(GStrv) of_direct = lodge_image_dependents(test_store, "direct", &error);
    g_assert_cmpstr(of_direct[0], ==, "boots");
    test_guest("broken", "[guest\n");
    g_assert_false(lodge_image_delete(test_store, "direct", &error));
    test_assert_error(&error, LODGE_ERROR_BUSY, "boots, broken");
    test_run("rm -r guests/boots guests/broken guests/snap");
    lodge_image_delete(test_store, "direct", &error);
    g_assert_no_error(error);
    g_assert_false(test_exists("images/direct"));
    g_assert_false(lodge_image_delete(test_store, "direct", &error));
    test_assert_error(&error, LODGE_ERROR_NOT_FOUND, "no image");
}

static void
test_overlay(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = test_path("guests/o/root.qcow2");
    test_guest("o", "[guest]\n");
    g_assert_null(lodge_image_overlay(test_store, "fake", path, 1 << 20, &error));
    test_assert_error(&error, LODGE_ERROR_USAGE, "too small");
    g_assert_null(lodge_image_overlay(test_store, "nothing", path, 0, &error));
    test_assert_error(&error, LODGE_ERROR_NOT_FOUND, "no image");
    g_autoptr(LodgeImage) image = lodge_image_overlay(test_store, "fake", path, 64 << 20, &error);
    g_assert_nonnull(image);
    g_autoptr(LodgeQcow2Header) header = lodge_qcow2_read_header(path, &error);
    g_assert_cmpuint(header->virtual_size_bytes, ==, 64 << 20);
    g_assert_false(test_has_litter());
}

static void
test_ensure(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *count = test_path("count");
    g_autofree char *slow = g_strdup_printf("echo x >>%s; sleep 2\n%s", count, good);
    test_entry("slow", entry);
    test_recipe("fake", slow);
    pid_t child = fork();
    if (child == 0) {
        _exit(lodge_image_ensure(test_store, "slow", NULL, NULL) ? 0 : 1);
    }
    while (!test_exists("count")) { /* its lock file is there before it is locked */
        g_assert_true(lodge_wait_for(10, NULL));
    }
    g_autoptr(TestListener) listener = test_listener();
    lodge_image_ensure(test_store, "slow", &listener->progress, &error);
    g_assert_no_error(error);
    g_assert_nonnull(strstr(listener->stages->str, "another command is making image slow"));
    int status = 0;
    waitpid(child, &status, 0);
    g_assert_cmpint(status, ==, 0);
    g_autofree char *text = lodge_file_read(count, 100, NULL, NULL);
    g_assert_cmpstr(text, ==, "x\n");
    lodge_image_ensure(test_store, "slow", NULL, &error);
    g_assert_no_error(error);
    test_entry("hopeless", "[build]\nrecipe=broken\n[pull]\nurl=http://127.0.0.1:1/x\n"
                           "checksums=http://127.0.0.1:1/s\nchecksum-kind=sha256\n");
    test_recipe("broken", "echo 'broken: no packages: get some' >&2; exit 1");
    g_assert_false(lodge_image_ensure(test_store, "hopeless", NULL, &error));
    g_assert_nonnull(strstr(error->message, "get some"));
    g_assert_nonnull(strstr(error->message, "127.0.0.1"));
    test_assert_error(&error, LODGE_ERROR_FAILED, "lodge image import hopeless");
    g_assert_false(lodge_image_ensure(test_store, "slwo", NULL, &error));
    test_assert_error(&error, LODGE_ERROR_NOT_FOUND, "did you mean “slow”");
    g_assert_false(lodge_image_ensure(test_store, "../etc", NULL, &error));
    test_assert_error(&error, LODGE_ERROR_USAGE, "name");
    g_assert_false(test_has_litter());
}

int
main(int argc, char **argv)
{
    test_begin(&argc, &argv);
    g_test_add_func("/image/build/success", test_success);
    g_test_add_func("/image/build/direct-boot", test_direct_boot);
    g_test_add_func("/image/build/failures", test_failures);
    g_test_add_func("/image/build/interrupt", test_interrupt);
    g_test_add_func("/image/build/kill", test_kill);
    g_test_add_func("/image/build/dependents", test_dependents);
    g_test_add_func("/image/build/hidden-dependents", test_hidden_dependents);
    g_test_add_func("/image/build/overlay", test_overlay);
    g_test_add_func("/image/build/ensure", test_ensure);
    return test_finish();
}
