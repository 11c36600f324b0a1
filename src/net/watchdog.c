#include "config.h"

#include "net/watchdog.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/base.h"
#include "net/bridge.h"

enum {
    PENDING_LIMIT_BYTES = 16 << 20,
};

/* Confirmation ends the process by SIGTERM; nothing else short of SIGKILL does. */
static void
ignore_signals(void)
{
    static const int ignored[] = {SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};
    for (gsize i = 0; i < G_N_ELEMENTS(ignored); i++) {
        signal(ignored[i], SIG_IGN);
    }
    signal(SIGTERM, SIG_DFL);
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
    ignore_signals();
    /* Opened now: undoing must not fail for want of anything. */
    g_autoptr(LodgeNet) net = lodge_net_open(store, error);
    if (net == NULL) {
        return FALSE;
    }
    lodge_detached_report(report_fd, NULL);
    for (gint64 left_us; (left_us = deadline - g_get_monotonic_time()) > 0;) {
        poll(NULL, 0, (int)MIN(left_us / 1000 + 1, 60000));
    }
    return lodge_bridge_undo(net, error);
}
