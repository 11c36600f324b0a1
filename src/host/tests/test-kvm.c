#include "config.h"

#include "host/kvm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"

static char *folder;

enum {
    BOUND_US = 150000,
    BUSY_BOUND_US = 1000000, /* for each one, however busy the machine */
};

static void
test_real_probe_is_bounded_and_honest(void)
{
    gint64 best_us = G_MAXINT64;
    for (int i = 0; i < 5; i++) {
        LodgeKvmVerdict verdict;
        g_autoptr(GError) error = NULL;
        gint64 start_us = g_get_monotonic_time();
        gboolean fine = lodge_kvm_verdict(NULL, TRUE, &verdict, &error);
        gint64 took_us = g_get_monotonic_time() - start_us;
        g_assert_no_error(error);
        g_assert_true(fine);
        g_assert_false(verdict.cached);
        best_us = MIN(best_us, took_us);
        g_assert_cmpint(took_us, <, BUSY_BOUND_US);
        g_assert_cmpint(verdict.state == LODGE_KVM_HARDWARE, ==,
                        verdict.long_mips >= LODGE_KVM_LEAST_MIPS);
        g_assert_cmpint(verdict.state == LODGE_KVM_HARDWARE, ==, *verdict.reason == '\0');
        g_test_message("%s: real %.2f, long %.2f MIPS in %.1f ms: %s",
                       lodge_kvm_state_word(verdict.state), verdict.real_mips, verdict.long_mips,
                       (double)took_us / 1000, verdict.reason);
    }
    g_assert_cmpint(best_us, <, BOUND_US);
}

static gboolean
run_micro_guest(const char *device, gint64 timeout_ms, LodgeMicroGuest *out)
{
    g_autoptr(LodgeMicroRun) run = lodge_micro_run_start(device, timeout_ms, NULL);
    return run != NULL && lodge_micro_run_finish(run, out, NULL);
}

static void
test_stuck_guest_is_killed(void)
{
    LodgeMicroGuest guest;
    gint64 start_us = g_get_monotonic_time();
    g_assert_true(run_micro_guest("/dev/kvm", 1, &guest));
    g_assert_cmpint(g_get_monotonic_time() - start_us, <, BUSY_BOUND_US);
    LodgeKvmVerdict verdict;
    lodge_kvm_judge(&guest, &verdict);
    g_assert_cmpint(verdict.state, ==, LODGE_KVM_ABSENT);
}

static void
test_no_device(void)
{
    LodgeMicroGuest guest;
    g_assert_true(run_micro_guest("/nowhere/kvm", 1000, &guest));
    g_assert_false(guest.timed_out);
    g_assert_cmpint(guest.stage, ==, LODGE_MICRO_STARTED);
    g_assert_cmpint(guest.saved_errno, ==, ENOENT);
}

static void
test_not_a_kvm_device(void)
{
    LodgeMicroGuest guest;
    LodgeKvmVerdict verdict;
    g_assert_true(run_micro_guest("/dev/null", 1000, &guest));
    g_assert_cmpint(guest.stage, ==, LODGE_MICRO_OPENED);
    lodge_kvm_judge(&guest, &verdict);
    g_assert_cmpint(verdict.state, ==, LODGE_KVM_ABSENT);
    g_assert_nonnull(strstr(verdict.reason, "creating a virtual machine"));
}

static void
test_judge(void)
{
    static const struct {
        LodgeMicroGuest guest;
        LodgeKvmState state;
        const char *word;
    } cases[] = {
        {{LODGE_MICRO_LONG_DONE, .real_mips = 9000, .long_mips = 9000}, LODGE_KVM_HARDWARE, ""},
        {{LODGE_MICRO_LONG_DONE, .real_mips = 2, .long_mips = 9000}, LODGE_KVM_HARDWARE, ""},
        {{LODGE_MICRO_LONG_DONE, .real_mips = 9000, .long_mips = 49}, LODGE_KVM_EMULATED, "49.0"},
        {{LODGE_MICRO_OPENED, .saved_errno = EBUSY}, LODGE_KVM_ABSENT, "VirtualBox"},
        {{LODGE_MICRO_OPENED, .saved_errno = ENOMEM}, LODGE_KVM_ABSENT, "memory"},
        {{LODGE_MICRO_CREATED, .exit_reason = KVM_EXIT_SHUTDOWN}, LODGE_KVM_ABSENT, "exit 8"},
        {{LODGE_MICRO_REAL_DONE, .timed_out = TRUE}, LODGE_KVM_ABSENT, "long mode"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        LodgeKvmVerdict verdict;
        lodge_kvm_judge(&cases[i].guest, &verdict);
        g_assert_cmpint(verdict.state, ==, cases[i].state);
        g_assert_nonnull(strstr(verdict.reason, cases[i].word));
    }
}

/* The verdict that stands in @folder, with members replaced by @changes. */
static void
spoil_cache(const char *path, json_t *changes)
{
    g_autoptr(json_t) saved = lodge_json_read(path, 4096, NULL);
    g_autoptr(json_t) owned = changes;
    g_assert_nonnull(saved);
    json_object_update(saved, owned);
    g_assert_true(lodge_json_publish(path, saved, NULL));
}

static LodgeKvmVerdict
ask(gboolean fresh)
{
    LodgeKvmVerdict verdict;
    g_autoptr(GError) error = NULL;
    lodge_kvm_verdict(folder, fresh, &verdict, &error);
    g_assert_no_error(error);
    return verdict;
}

static void
test_cache(void)
{
    g_autofree char *path = g_build_filename(folder, "kvm.json", NULL);
    g_assert_false(ask(FALSE).cached);
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_test_skip("/dev/kvm can't be opened here, so nothing is kept");
        return;
    }
    LodgeKvmVerdict first = ask(FALSE);
    LodgeKvmVerdict second = ask(FALSE);
    g_assert_true(first.cached && second.cached);
    g_assert_cmpint(first.state, ==, second.state);
    g_assert_cmpfloat(first.long_mips, ==, second.long_mips);
    g_assert_cmpstr(first.reason, ==, second.reason);
    g_assert_cmpint(MIN(first.took_us, second.took_us), <, 2000);
    g_test_message("cached: %d us", (int)MIN(first.took_us, second.took_us));
    g_assert_false(ask(TRUE).cached);

    spoil_cache(path, json_pack("{s:s}", "key", "another boot"));
    g_assert_false(ask(FALSE).cached);
    g_assert_true(ask(FALSE).cached);
    spoil_cache(path, json_pack("{s:s, s:f}", "state", "hardware", "long-mips", 1.0));
    g_assert_false(ask(FALSE).cached);
    spoil_cache(path, json_pack("{s:s, s:f}", "state", "emulated", "long-mips", 5000.0));
    g_assert_false(ask(FALSE).cached);
    spoil_cache(path, json_pack("{s:i}", "state", 7));
    g_assert_false(ask(FALSE).cached);
    static const char *const garbage[] = {"", "{", "[]", "null", "\"key\"", "\xff\xfe"};
    for (gsize i = 0; i < G_N_ELEMENTS(garbage); i++) {
        g_assert_true(lodge_file_write(path, garbage[i], strlen(garbage[i]), 0644,
                                       LODGE_WRITE_NO_SYNC, NULL));
        g_assert_false(ask(FALSE).cached);
    }
    g_assert_true(ask(FALSE).cached);
}

static void
test_cache_folder_absent(void)
{
    LodgeKvmVerdict verdict;
    g_autoptr(GError) error = NULL;
    g_assert_true(lodge_kvm_verdict("/nowhere/at/all", FALSE, &verdict, &error));
    g_assert_no_error(error);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("lodge-test-XXXXXX", NULL);
    g_test_add_func("/host/kvm/real-probe", test_real_probe_is_bounded_and_honest);
    g_test_add_func("/host/kvm/stuck", test_stuck_guest_is_killed);
    g_test_add_func("/host/kvm/no-device", test_no_device);
    g_test_add_func("/host/kvm/not-kvm", test_not_a_kvm_device);
    g_test_add_func("/host/kvm/judge", test_judge);
    g_test_add_func("/host/kvm/cache", test_cache);
    g_test_add_func("/host/kvm/cache-folder-absent", test_cache_folder_absent);
    int status = g_test_run();
    lodge_tree_remove(folder, NULL);
    g_free(folder);
    return status;
}
