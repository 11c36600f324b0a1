#include "config.h"

#include "image/tests/common.h"
#include "image/tests/http.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int port;

static char *
sum_of(const char *relative, GChecksumType type)
{
    gsize length = 0;
    g_autofree char *path = test_path(relative);
    g_autofree char *bytes = lodge_file_read(path, 64 << 20, &length, NULL);
    return g_compute_checksum_for_data(type, (const guchar *)bytes, length);
}

/* What was asked of the server since the last look; free with g_free. */
static char *
requests(void)
{
    g_autofree char *path = test_path("www/.requests");
    char *text = lodge_file_read(path, 1 << 20, NULL, NULL);
    unlink(path);
    return text != NULL ? text : g_strdup("");
}

static void
forget_requests(void)
{
    g_free(requests());
}

static gboolean
fetch(const char *url_path, const char *file, const char *sha256, GError **error)
{
    g_autofree char *url = g_strdup_printf("http://127.0.0.1:%d/%s", port, url_path);
    g_autofree char *path = test_path(file);
    const char *const with[] = {"lodge-fetch", "--sha256", sha256, url, path, NULL};
    const char *const without[] = {"lodge-fetch", url, path, NULL};
    forget_requests();
    return lodge_image_run_helper(sha256 != NULL ? with : without, NULL, NULL, error);
}

static void
assert_fetched(const char *url_path, const char *sha256)
{
    g_autoptr(GError) error = NULL;
    fetch(url_path, "got", sha256, &error);
    g_assert_no_error(error);
    test_run("cmp got www/blob; rm got");
}

static void
test_fetch_good(void)
{
    g_autofree char *sum = sum_of("www/blob", G_CHECKSUM_SHA256);
    assert_fetched("files/blob", sum);
    assert_fetched("files/blob", NULL);
    assert_fetched("plain/blob", sum);
    assert_fetched("moved/blob", sum);
    assert_fetched("busy/blob", sum);
    /* Breaks again and again: each attempt brings half of the rest. */
    assert_fetched("cutonce/blob", sum);
    assert_fetched("cutonce/blob", NULL);
    g_autofree char *seen = requests();
    g_assert_cmpstr(seen, ==, "cutonce/blob 0\ncutonce/blob 150000\n");
}

static void
assert_fetch_fails(const char *url_path, const char *sha256, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(fetch(url_path, "got", sha256, &error));
    test_assert_error(&error, LODGE_ERROR_FAILED, words);
    g_assert_false(test_exists("got"));
}

static void
test_fetch_failures(void)
{
    static const char wrong[] = "0000000000000000000000000000000000000000000000000000000000000000";
    assert_fetch_fails("files/absent", NULL, "404 Not Found");
    assert_fetch_fails("files/blob", wrong, "wrong checksum");
    assert_fetch_fails("outward/blob", NULL, "ftp");
    assert_fetch_fails("round/blob", NULL, "redirected more than");
    g_autoptr(GError) error = NULL;
    g_autofree char *path = test_path("got");
    const char *const limited[] = {"lodge-fetch", "--limit", "1K", "http://x.invalid/", path, NULL};
    g_assert_false(lodge_image_run_helper(limited, NULL, NULL, &error));
    test_assert_error(&error, LODGE_ERROR_FAILED, "resolved");
    const char *const odd[] = {"lodge-fetch", "gopher://x/", path, NULL};
    g_assert_false(lodge_image_run_helper(odd, NULL, NULL, &error));
    test_assert_error(&error, LODGE_ERROR_FAILED, "only http");
    g_assert_false(test_exists("got"));
}

static void
test_fetch_limit(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *url = g_strdup_printf("http://127.0.0.1:%d/files/blob", port);
    g_autofree char *path = test_path("got");
    const char *const argv[] = {"lodge-fetch", "--limit", "1K", url, path, NULL};
    g_assert_false(lodge_image_run_helper(argv, NULL, NULL, &error));
    test_assert_error(&error, LODGE_ERROR_FAILED, "larger than");
    g_assert_false(test_exists("got"));
}

/* What an earlier run left is taken up if it fits, and thrown away if not. */
static void
test_fetch_resume(void)
{
    g_autofree char *sum = sum_of("www/blob", G_CHECKSUM_SHA256);
    test_run("head -c 100000 www/blob >got");
    assert_fetched("files/blob", sum);
    g_autofree char *seen = requests();
    g_assert_cmpstr(seen, ==, "files/blob 100000\n");
    test_run("head -c 100000 /dev/zero >got");
    assert_fetched("files/blob", sum);
    g_autofree char *again = requests();
    g_assert_cmpstr(again, ==, "files/blob 100000\nfiles/blob 0\n");
    test_run("cp www/blob got; echo more >>got");
    assert_fetched("files/blob", sum);
    test_run("cp www/blob got");
    assert_fetched("files/blob", sum);
    g_autofree char *none = requests();
    g_assert_cmpstr(none, ==, "");
    test_run("head -c 100000 www/blob >got");
    assert_fetched("plain/blob", sum);
    test_run("head -c 100000 www/blob >got");
    assert_fetched("bogus/blob", sum);
}

static void
test_fetch_proxy(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *proxy = g_strdup_printf("127.0.0.1:%d", port);
    g_autofree char *path = test_path("got");
    const char *const argv[] = {"lodge-fetch", "http://nowhere.invalid/files/blob", path, NULL};
    g_setenv("http_proxy", proxy, TRUE);
    /* Asked as a proxy, the little server sees "GET http://…", which it takes for nothing. */
    forget_requests();
    g_assert_false(lodge_image_run_helper(argv, NULL, NULL, &error));
    g_autofree char *seen = requests();
    g_assert_cmpstr(seen, !=, "");
    g_clear_error(&error);
    g_setenv("no_proxy", "localhost,.invalid", TRUE);
    g_assert_false(lodge_image_run_helper(argv, NULL, NULL, &error));
    test_assert_error(&error, LODGE_ERROR_FAILED, "resolved");
    g_unsetenv("http_proxy");
    g_unsetenv("no_proxy");
}

static void
write_entry(const char *name, const char *how, const char *file, const char *sums)
{
    g_autofree char *text = g_strdup_printf("[image]\nprovision=nocloud\nuser=me\nsize=8M\n[pull]\n"
                                            "url=http://127.0.0.1:%d/%s/%s\n"
                                            "checksums=http://127.0.0.1:%d/files/%s\n"
                                            "checksum-kind=sha256\n",
                                            port, how, file, port, sums);
    test_entry(name, text);
}

static gboolean
has_cache(void)
{
    g_autofree char *folder = test_path("cache");
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    return names[0] != NULL;
}

static void
assert_pulled(const char *name)
{
    g_autoptr(GError) error = NULL;
    lodge_image_pull(test_store, name, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LodgeImage) image = lodge_store_image(test_store, name, &error);
    g_assert_no_error(error);
    g_autofree char *disk = lodge_store_image_path(test_store, name, image->disk);
    g_autofree char *script = g_strdup_printf("qemu-img compare -q www/d.qcow2 %s", disk);
    test_run(script);
    g_assert_cmpuint(image->size_bytes, ==, 8 << 20);
    g_assert_true(g_str_has_prefix(image->origin, "http://127.0.0.1"));
    g_assert_false(has_cache());
    g_assert_false(test_has_litter());
}

static void
test_pull_good(void)
{
    write_entry("qcow", "files", "d.qcow2", "SUMS");
    write_entry("packed", "files", "d.qcow2.xz", "SUMS");
    write_entry("packed-raw", "files", "d.raw.xz", "BSD");
    write_entry("broken-line", "cutonce", "d.qcow2", "SUMS");
    assert_pulled("qcow");
    assert_pulled("packed");
    assert_pulled("packed-raw");
    assert_pulled("broken-line");
}

static void
assert_pull_fails(const char *name, int code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(lodge_image_pull(test_store, name, NULL, &error));
    test_assert_error(&error, code, words);
    g_assert_false(test_has_litter());
}

static void
test_pull_failures(void)
{
    write_entry("absent", "files", "absent.qcow2", "SUMS");
    assert_pull_fails("absent", LODGE_ERROR_INVALID, "no SHA256 checksum of absent.qcow2");
    write_entry("no-sums", "files", "d.qcow2", "NOSUMS");
    assert_pull_fails("no-sums", LODGE_ERROR_FAILED, "404");
    write_entry("not-there", "files", "gone.qcow2", "WRONG");
    assert_pull_fails("not-there", LODGE_ERROR_FAILED, "404");
    write_entry("wrong", "files", "d.qcow2", "WRONG");
    assert_pull_fails("wrong", LODGE_ERROR_FAILED, "wrong checksum");
    write_entry("hostile", "files", "shadow.qcow2", "SUMS");
    assert_pull_fails("hostile", LODGE_ERROR_INVALID, "/etc/shadow");
    write_entry("text", "files", "text", "SUMS");
    assert_pull_fails("text", LODGE_ERROR_INVALID, "known format");
    test_entry("bare", "[pull]\nurl=http://127.0.0.1/x\n");
    assert_pull_fails("bare", LODGE_ERROR_INVALID, "neither checksums nor https");
    test_entry("half", "[pull]\nurl=http://127.0.0.1/x\nchecksums=http://127.0.0.1/y\n");
    assert_pull_fails("half", LODGE_ERROR_INVALID, "both");
    test_entry("built", "[build]\nrecipe=x\n");
    assert_pull_fails("built", LODGE_ERROR_UNSUPPORTED, "no URL");
    g_assert_false(has_cache());
}

/* A line that keeps breaking: what came is kept, and the next pull takes it up. */
static void
test_pull_resumed(void)
{
    g_autofree char *sum = sum_of("www/d.qcow2", G_CHECKSUM_SHA256);
    g_autofree char *part = g_strdup_printf("cache/pull-later=%.16s", sum);
    g_autofree char *script = g_strdup_printf("head -c 100000 www/d.qcow2 >%s;"
                                              "echo old >cache/pull-later=0123456789abcdef",
                                              part);
    test_run(script);
    write_entry("later", "files", "d.qcow2", "SUMS");
    forget_requests();
    assert_pulled("later");
    g_autofree char *seen = requests();
    g_assert_cmpstr(seen, ==, "files/SUMS 0\nfiles/d.qcow2 100000\n");
}

static void
test_fetch_keeps(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *sum = sum_of("www/tail", G_CHECKSUM_SHA256);
    /* Half, half of the half …: in the end attempts bring nothing any more. */
    g_assert_false(fetch("cut/tail", "got", sum, &error));
    test_assert_error(&error, LODGE_ERROR_FAILED, "ended before");
    g_assert_true(test_exists("got"));
    test_run("test $(stat -c %s got) = 1; rm got");
}

/* Interrupted by its user, a pull leaves nothing, and soon. */
static void
test_pull_interrupted(void)
{
    g_autoptr(GError) error = NULL;
    write_entry("slow", "slow", "d.qcow2", "SUMS");
    lodge_interrupt_install();
    pid_t other = fork();
    if (other == 0) {
        while (!has_cache()) {
            lodge_wait_for(10, NULL);
        }
        kill(getppid(), SIGINT);
        _exit(0);
    }
    gint64 start = g_get_monotonic_time();
    g_assert_false(lodge_image_pull(test_store, "slow", NULL, &error));
    waitpid(other, NULL, 0);
    lodge_interrupt_forget();
    test_assert_error(&error, LODGE_ERROR_INTERRUPTED, "interrupted");
    g_assert_cmpint(g_get_monotonic_time() - start, <, 20 * G_USEC_PER_SEC);
    g_assert_false(has_cache());
    g_assert_false(test_has_litter());
}

/* A disk that both a recipe and a URL could give: pulled, it has cloud-init and no agent of ours.
 */
static void
test_pull_instead_of_build(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = g_strdup_printf(
        "[image]\nprovision=lodge\nagent=yes\n[build]\nrecipe=nobody-has-it\n[pull]\n"
        "url=http://127.0.0.1:%d/files/d.qcow2\nchecksums=http://127.0.0.1:%d/files/SUMS\n"
        "checksum-kind=sha256\n",
        port, port);
    test_entry("either", text);
    lodge_image_ensure(test_store, "either", NULL, &error);
    g_assert_no_error(error);
    g_autoptr(LodgeImage) image = lodge_store_image(test_store, "either", &error);
    g_assert_cmpint(image->provision, ==, LODGE_PROVISION_NOCLOUD);
    g_assert_false(image->agent);
}

int
main(int argc, char **argv)
{
    test_begin(&argc, &argv);
    g_unsetenv("http_proxy");
    g_unsetenv("all_proxy");
    test_run(
        "mkdir www cache; cd www; head -c 300000 /dev/urandom >blob; printf ab >tail;"
        "head -c 700000 /dev/urandom >part; truncate -s 2M part;"
        "printf '\\125\\252' | dd of=part bs=1 seek=510 conv=notrunc status=none;"
        "qemu-img convert -f raw -O qcow2 part d.qcow2; mv part d.raw; xz -k d.qcow2 d.raw;"
        "qemu-img create -q -u -f qcow2 -F raw -b /etc/shadow shadow.qcow2 2M; echo hi >text;"
        "sha256sum * >SUMS; for f in d.*; do echo \"SHA256 ($f) = $(sha256sum <$f | cut -c1-64)\";"
        "done >BSD; sed s/^..../0000/ SUMS >WRONG; echo \"$(echo | sha256sum | cut -c1-64)"
        "  gone.qcow2\" >>WRONG");
    g_autofree char *www = test_path("www");
    port = test_http_start(www);
    g_test_add_func("/image/fetch/good", test_fetch_good);
    g_test_add_func("/image/fetch/failures", test_fetch_failures);
    g_test_add_func("/image/fetch/limit", test_fetch_limit);
    g_test_add_func("/image/fetch/resume", test_fetch_resume);
    g_test_add_func("/image/fetch/proxy", test_fetch_proxy);
    g_test_add_func("/image/fetch/keeps", test_fetch_keeps);
    g_test_add_func("/image/pull/good", test_pull_good);
    g_test_add_func("/image/pull/failures", test_pull_failures);
    g_test_add_func("/image/pull/resumed", test_pull_resumed);
    g_test_add_func("/image/pull/interrupted", test_pull_interrupted);
    g_test_add_func("/image/pull/instead-of-build", test_pull_instead_of_build);
    int status = test_finish();
    test_http_stop();
    return status;
}
