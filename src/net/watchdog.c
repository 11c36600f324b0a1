#include "config.h"

#include "net/watchdog.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "net/bridge.h"

enum {
    PENDING_LIMIT_BYTES = 16 << 20,
    COMMAND_TIMEOUT_MS = 40000,
    LOOK_AGAIN_MS = 20,
};

/* No signal short of SIGKILL ends the process: SIGTERM only makes it look whether there is still
 * something to watch, as it comes from a confirmation, but also from whoever ends all of a session.
 */
static void
keep_signals(sigset_t *out_term)
{
    static const int ignored[] = {SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};
    for (gsize i = 0; i < G_N_ELEMENTS(ignored); i++) {
        signal(ignored[i], SIG_IGN);
    }
    sigemptyset(out_term);
    sigaddset(out_term, SIGTERM);
    sigprocmask(SIG_BLOCK, out_term, NULL);
}

/* Does the change that we watch still wait? Another may have come after it. */
static gboolean
is_waiting(const char *pending_path, gint64 deadline)
{
    g_autoptr(json_t) pending = lodge_json_read(pending_path, PENDING_LIMIT_BYTES, NULL);
    return pending != NULL && lodge_json_int(pending, "deadline", 0) == deadline;
}

/* A command that is still at work, making the change or confirming it, is let finish, for a while:
 * two who move the same addresses at once would leave neither's work. -1 is as good as a lock then.
 */
static int
await_command(const LodgeStore *store, const char *pending_path, gint64 deadline)
{
    g_autofree char *path = lodge_bridge_command_path(store);
    gint64 patience = lodge_deadline_in(COMMAND_TIMEOUT_MS);
    while (is_waiting(pending_path, deadline) && !lodge_deadline_passed(patience)) {
        int lock = lodge_lock_take(path, NULL);
        if (lock >= 0) {
            return lock;
        }
        lodge_wait_for(LOOK_AGAIN_MS, NULL);
    }
    return -1;
}

gboolean
lodge_watch_bridge(const LodgeStore *store, int *report_fd, GError **error)
{
    g_autofree char *lock_path = lodge_bridge_watchdog_path(store);
    g_autofree char *pending_path = lodge_bridge_pending_path(store);
    /* The last one may be just ending. */
    lodge_autofd lock = lodge_lock_take_within(lock_path, 2000, error);
    g_autoptr(json_t)
        pending = lock >= 0 ? lodge_json_read(pending_path, PENDING_LIMIT_BYTES, error) : NULL;
    if (pending == NULL || !lodge_lock_write_pid(lock, 0, error)) {
        return FALSE;
    }
    gint64 deadline = lodge_json_int(pending, "deadline", 0);
    sigset_t term;
    keep_signals(&term);
    /* Opened now: undoing must not fail for want of anything. */
    g_autoptr(LodgeNet) net = lodge_net_open(store, error);
    if (net == NULL) {
        return FALSE;
    }
    lodge_detached_report(report_fd, NULL);
    for (gint64 left_us; (left_us = deadline - g_get_monotonic_time()) > 0;) {
        struct timespec left = {left_us / G_USEC_PER_SEC, left_us % G_USEC_PER_SEC * 1000};
        if (sigtimedwait(&term, NULL, &left) == SIGTERM && !is_waiting(pending_path, deadline)) {
            return TRUE;
        }
    }
    lodge_autofd command = await_command(store, pending_path, deadline);
    (void)command;
    if (!is_waiting(pending_path, deadline)) {
        return TRUE;
    }
    return lodge_bridge_undo(net, error);
}
