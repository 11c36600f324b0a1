#include "config.h"

#include "host/check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/base.h"
#include "host/kvm.h"

#define MACHINES LODGE_SOURCE_DIR "/src/host/tests/machines/"

enum { BOUND_US = 150000 };

static char *folder;

static const char *const machines[] = {
    "emulating-kvm",  "debian-intel",     "fedora-amd",
    "gentoo-modules", "alpine-container", "ubuntu-user",
};

static void
read_kvm(const char *sysroot, const char *release, const json_t *wish, LodgeKvmVerdict *out)
{
    g_autoptr(LodgeKernel) kernel = lodge_kernel_new(sysroot, release);
    int saved_errno = (int)lodge_json_int(wish, "open-errno", 0);
    if (saved_errno != 0) {
        struct stat device = {.st_gid = (gid_t)lodge_json_int(wish, "device-group", 0),
                              .st_mode = (mode_t)lodge_json_int(wish, "device-mode", 0)};
        lodge_kvm_explain_absent(sysroot, kernel, saved_errno, &device, out);
        return;
    }
    LodgeMicroGuest guest = {
        .stage = LODGE_MICRO_LONG_DONE,
        .real_mips = json_number_value(json_object_get(wish, "real-mips")),
        .long_mips = json_number_value(json_object_get(wish, "long-mips")),
    };
    lodge_kvm_judge(&guest, out);
}

static LodgeCheckReport *
examine(const char *machine)
{
    g_autofree char *sysroot = g_build_filename(MACHINES, machine, "root", NULL);
    g_autofree char *path = g_build_filename(MACHINES, machine, "machine.json", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(json_t) wish = lodge_json_read(path, 4096, &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) chains = g_ptr_array_new();
    const json_t *list = json_object_get(wish, "chains");
    for (gsize i = 0; i < json_array_size(list); i++) {
        g_ptr_array_add(chains, (gpointer)json_string_value(json_array_get(list, i)));
    }
    g_ptr_array_add(chains, NULL);
    LodgeHostFacts facts = {
        .chains = (const char *const *)chains->pdata,
        .release = lodge_json_string(wish, "release", NULL),
        .uid = (uid_t)lodge_json_int(wish, "uid", 0),
        .user = lodge_json_string(wish, "user", NULL),
        .disk_free_bytes = (guint64)lodge_json_int(wish, "disk-free", 0),
        .nftables_errno = (int)lodge_json_int(wish, "nftables-errno", 0),
    };
    read_kvm(sysroot, facts.release, json_object_get(wish, "kvm"), &facts.kvm);
    LodgeCheckOptions options = {.sysroot = sysroot, .store_root = "/var/lib/lodge"};
    return lodge_check_examine(&options, &facts);
}

static void
test_machine(gconstpointer data)
{
    const char *machine = data;
    g_autoptr(LodgeCheckReport) report = examine(machine);
    g_autoptr(json_t) value = lodge_check_json(report);
    g_assert_nonnull(value);
    char *text = json_dumps(value, JSON_INDENT(2));
    g_autofree char *seen = g_strconcat(text, "\n", NULL);
    free(text);
    g_autofree char *path = g_build_filename(MACHINES, machine, "expected.json", NULL);
    if (g_getenv("LODGE_TEST_REGENERATE") != NULL) {
        g_assert_true(lodge_file_write(path, seen, strlen(seen), 0644, LODGE_WRITE_NO_SYNC, NULL));
    }
    g_autofree char *expected = lodge_file_read(path, 1 << 20, NULL, NULL);
    g_assert_cmpstr(seen, ==, expected);
}

static const LodgeCheck *
find(const LodgeCheckReport *report, const char *id)
{
    for (guint i = 0; i < report->checks->len; i++) {
        const LodgeCheck *check = report->checks->pdata[i];
        if (strcmp(check->id, id) == 0) {
            return check;
        }
    }
    g_assert_not_reached();
}

/* What holds of every report. */
static void
test_sane(gconstpointer data)
{
    g_autoptr(LodgeCheckReport) report = examine(data);
    for (guint i = 0; i < report->checks->len; i++) {
        const LodgeCheck *check = report->checks->pdata[i];
        g_assert_nonnull(check->detail);
        g_assert_cmpint(check->state != LODGE_CHECK_OK, ==, check->cost != NULL);
        g_assert_true(check->state != LODGE_CHECK_OK || check->mend == NULL);
        g_assert_null(strstr(check->detail, MACHINES));
        g_assert_true(find(report, check->id) == check);
    }
}

static void
test_verdicts(void)
{
    g_autoptr(LodgeCheckReport) trap = examine("emulating-kvm");
    g_assert_true(trap->can_run);
    g_assert_nonnull(strstr(trap->summary, "emulation"));
    g_autoptr(LodgeCheckReport) fine = examine("debian-intel");
    g_assert_true(fine->can_run);
    for (guint i = 0; i < fine->checks->len; i++) {
        const LodgeCheck *check = fine->checks->pdata[i];
        g_assert_cmpint(check->state, ==, LODGE_CHECK_OK);
    }
    g_autoptr(LodgeCheckReport) container = examine("alpine-container");
    g_assert_false(container->can_run);
    g_assert_nonnull(strstr(container->summary, "QEMU"));
    g_autoptr(LodgeCheckReport) old = examine("ubuntu-user");
    g_assert_false(old->can_run);
}

static void
test_this_machine_in_time(void)
{
    LodgeCheckOptions options = {.cache_folder = folder, .store_root = folder};
    gint64 best_us = G_MAXINT64;
    for (int i = 0; i < 3; i++) {
        g_autoptr(GError) error = NULL;
        gint64 start_us = g_get_monotonic_time();
        g_autoptr(LodgeCheckReport) report = lodge_check_run(&options, &error);
        best_us = MIN(best_us, g_get_monotonic_time() - start_us);
        g_assert_no_error(error);
        g_assert_false(report->kvm.cached);
        g_autoptr(json_t) value = lodge_check_json(report);
        g_assert_nonnull(value);
    }
    g_test_message("%.1f ms", (double)best_us / 1000);
    g_assert_cmpint(best_us, <, BOUND_US);
}

static void
put_qemu(const char *path, const char *version, time_t when)
{
    g_autofree char *text = g_strdup_printf("#!/bin/sh\necho run >> \"$0.runs\"\n"
                                            "echo 'QEMU emulator version %s (x)'\n",
                                            version);
    g_assert_true(lodge_file_write(path, text, strlen(text), 0755, LODGE_WRITE_NO_SYNC, NULL));
    struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
    g_assert_cmpint(utimensat(AT_FDCWD, path, times, 0), ==, 0);
}

static void
test_qemu_is_asked_once(void)
{
    g_autofree char *path = g_build_filename(folder, "fake-qemu", NULL);
    g_autofree char *runs = g_build_filename(folder, "fake-qemu.runs", NULL);
    put_qemu(path, "7.2.1", 1000000);
    for (int i = 0; i < 3; i++) {
        g_autofree char *version = lodge_qemu_version(path, folder);
        g_assert_cmpstr(version, ==, "7.2.1");
    }
    g_autofree char *once = lodge_file_read(runs, 100, NULL, NULL);
    g_assert_cmpstr(once, ==, "run\n");
    put_qemu(path, "8.0.0", 2000000);
    g_autofree char *newer = lodge_qemu_version(path, folder);
    g_assert_cmpstr(newer, ==, "8.0.0");
    g_autofree char *cache = g_build_filename(folder, "qemu-version.json", NULL);
    g_assert_true(lodge_file_write(cache, "[1", 2, 0644, LODGE_WRITE_NO_SYNC, NULL));
    g_autofree char *again = lodge_qemu_version(path, folder);
    g_assert_cmpstr(again, ==, "8.0.0");
    g_assert_null(lodge_qemu_version("/nowhere/qemu", folder));
    put_qemu(path, "unknown", 3000000);
    g_assert_null(lodge_qemu_version(path, folder));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(machines); i++) {
        g_autofree char *golden = g_strconcat("/host/check/machine/", machines[i], NULL);
        g_autofree char *sane = g_strconcat("/host/check/sane/", machines[i], NULL);
        g_test_add_data_func(golden, machines[i], test_machine);
        g_test_add_data_func(sane, machines[i], test_sane);
    }
    g_test_add_func("/host/check/verdicts", test_verdicts);
    g_test_add_func("/host/check/this-machine", test_this_machine_in_time);
    g_test_add_func("/host/check/qemu-once", test_qemu_is_asked_once);
    int status = g_test_run();
    lodge_tree_remove(folder, NULL);
    g_free(folder);
    return status;
}
