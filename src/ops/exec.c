#include "config.h"

#include "base/base.h"
#include "keeper/keeper.h"
#include "ops/ops.h"

enum {
    /* A guest that hangs, or panicked, must not hold us up for as long as the command may take. */
    SYNC_TIMEOUT_MS = 30000,
};

static gboolean
check_reachable(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, name, error);
    if (guest == NULL || !lodge_keeper_ensure(store, name, error)) {
        return FALSE;
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
    if (!state->has_qemu || state->state == LODGE_STATE_PAUSED) {
        return lodge_error_set(error, LODGE_ERROR_BUSY, "guest %s is %s", name,
                               lodge_state_word(state->state));
    }
    return state->agent ||
           lodge_error_set(
               error, LODGE_ERROR_BUSY,
               "guest %s: no agent has its port open (is qemu-guest-agent installed and "
               "running in it? `lodge ssh %s` needs none)",
               name, name);
}

gboolean
lodge_exec(const LodgeStore *store, const char *name, const LodgeGuestExec *exec, gint64 timeout_ms,
           LodgeGuestExecResult *out_result, GError **error)
{
    g_autofree char *lock_path = lodge_store_run_path(store, name, "agent.lock");
    g_autofree char *path = lodge_store_run_path(store, name, "agent.sock");
    gint64 deadline = lodge_deadline_in(timeout_ms);
    if (!check_reachable(store, name, error)) {
        return FALSE;
    }
    /* QEMU's socket serves one client. */
    lodge_autofd lock = lodge_lock_take_within(lock_path, timeout_ms, error);
    gint64 sync_deadline = lodge_deadline_in(MIN(SYNC_TIMEOUT_MS, timeout_ms));
    g_autoptr(LodgeGuestAgent)
        agent = lock >= 0 ? lodge_guest_agent_connect(path, sync_deadline, error) : NULL;
    return (agent != NULL && lodge_guest_agent_exec(agent, exec, deadline, out_result, error)) ||
           lodge_error_prefix(error, "guest %s: agent", name);
}
