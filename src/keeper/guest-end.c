/* The end of a guest's QEMU, and whether it begins anew: see guest-run.c. */
#include "config.h"

#include "keeper/guest-private.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/protocol.h"
#include "base/base.h"
#include "host/check.h"
#include "keeper/group.h"
#include "keeper/keeper.h"
#include "keeper/nics.h"
#include "keeper/pcis.h"

#define RESTART_SPAN_US (G_GINT64_CONSTANT(600) * G_USEC_PER_SEC)

void
keeper_tidy_up(const Keeper *keeper)
{
    watch_end(keeper->watch);
    lodge_limits_remove(keeper->store, keeper->name);
    lodge_pcis_give_back(keeper->store, keeper->name, NULL);
    lodge_taps_forget(keeper->store, keeper->name);
    static const char *const names[] = {
        "events.qmp", "jobs.qmp", "view.qmp",     "agent.sock",  "console.sock",
        "qemu.lock",  "killed",   "started.conf", "memory.json", LODGE_KEEPER_OWN_NETWORK};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = keeper_run_path(keeper, names[i]);
        unlink(path);
    }
    for (guint i = 0; i < PORT_COUNT; i++) {
        g_autofree char *name = g_strdup_printf(PORT_SOCKET, i);
        g_autofree char *path = keeper_run_path(keeper, name);
        unlink(path);
    }
}

/* Before 8.2 ("softmmu: Use async_run_on_cpu in tcg_commit") an emulated CPU could see another's
 * change of the machine's map too early, and its access went to another device. */
static const char *
known_fault(const Keeper *keeper, const LodgeGuest *guest)
{
    g_autofree char *program = lodge_program_find("qemu-system-x86_64");
    g_autofree char *version = program != NULL ? lodge_qemu_version(program, keeper->store->run)
                                               : NULL;
    return !keeper->kvm && guest != NULL && guest->cpus > 1 && version != NULL &&
                   !lodge_qemu_is_at_least(version, "8.2")
               ? " (QEMU before 8.2 does so now and then when it emulates several CPUs: start it "
                 "again; cpus=1 avoids it)"
               : "";
}

static char *
crash_reason(const Keeper *keeper, const LodgeGuest *guest, gboolean was_child, int status)
{
    if (keeper->reason != NULL) {
        return g_strdup(keeper->reason);
    }
    g_autofree char *words = keeper_last_words(keeper);
    const char *colon = *words != '\0' ? ": " : "";
    if (was_child && WIFSIGNALED(status)) {
        gboolean aborted = WTERMSIG(status) == SIGABRT || WTERMSIG(status) == SIGSEGV;
        return g_strdup_printf("QEMU was ended by signal %d (%s)%s%s%s", WTERMSIG(status),
                               g_strsignal(WTERMSIG(status)), colon, words,
                               aborted ? known_fault(keeper, guest) : "");
    }
    return g_strdup_printf("QEMU ended unasked%s%s", colon, words);
}

gboolean
keeper_may_restart(Keeper *keeper)
{
    gint64 now = g_get_monotonic_time();
    gint64 *slot = &keeper->restarts[keeper->restart_count % KEEPER_RESTARTS_AT_MOST];
    gboolean too_many = keeper->restart_count >= KEEPER_RESTARTS_AT_MOST &&
                        now - *slot < RESTART_SPAN_US;
    *slot = now;
    keeper->restart_count++;
    return !too_many;
}

gboolean
keeper_on_qemu_end(gint fd, GIOCondition condition, gpointer data)
{
    (void)fd;
    (void)condition;
    Keeper *keeper = data;
    gboolean was_child = keeper->is_child;
    int status = 0;
    if (keeper->qmp != NULL) {
        lodge_qmp_pump(keeper->qmp, NULL);
        keeper_take_events(keeper);
    }
    keeper_drop_qmp(keeper);
    keeper->exit_source = 0;
    keeper_reap(keeper, &status);
    g_autoptr(LodgeGuest) guest = lodge_store_guest(keeper->store, keeper->name, NULL);
    keeper_read_policy(keeper, guest);
    g_autofree char *killed_path = keeper_run_path(keeper, "killed");
    gboolean wanted = keeper->ended_by_request || g_file_test(killed_path, G_FILE_TEST_EXISTS);
    g_autofree char *reason = wanted ? NULL : crash_reason(keeper, guest, was_child, status);
    tpm_end(&keeper->tpm);
    passts_end(keeper->passts);
    keeper_tidy_up(keeper);
    keeper->qemu_pid = 0;
    keeper->agent = FALSE;
    keeper->ports = 0;
    inside_end(keeper->inside);
    keeper_enter(keeper, wanted ? LODGE_STATE_STOPPED : LODGE_STATE_CRASHED,
                 wanted ? "stopped" : "crashed", reason);
    if (!wanted && !keeper->incoming && keeper->on_crash == LODGE_CRASH_RESTART &&
        keeper_may_restart(keeper)) {
        g_autoptr(GError) error = NULL;
        if (keeper_begin(keeper, KEEPER_START, &error)) {
            keeper_watch(keeper);
            return G_SOURCE_REMOVE;
        }
    }
    g_main_loop_quit(keeper->loop);
    return G_SOURCE_REMOVE;
}
