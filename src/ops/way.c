#include "config.h"

#include "ops/way.h"

#include "base/base.h"
#include "keeper/keeper.h"

enum {
    /* A guest that hangs, or panicked, must not hold us up for as long as the command may take. */
    HELLO_TIMEOUT_MS = 10000,
    SYNC_TIMEOUT_MS = 30000,
    /* What the keeper has not heard of: it may have been adopted just now. */
    LOOK_TIMEOUT_MS = 1000,
    /* A guest that has not run for longer may well be on its way still. */
    BOOT_MS = 2 * 60 * 1000,
};

void
way_clear(Way *way)
{
    g_clear_pointer(&way->lodge, lodge_agent_free);
    g_clear_pointer(&way->qemu, lodge_guest_agent_free);
    lodge_fd_clear(&way->lock_fd);
}

gboolean
way_needs_lodge_agent(const char *name, const char *what, GError **error)
{
    return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                           "guest %s: QEMU's agent, which it has, can't do %s (`lodge agent "
                           "install %s` puts in one that can)",
                           name, what, name);
}

static LodgeAgent *
connect_lodge(const LodgeStore *store, const char *name, gint64 timeout_ms, gint64 deadline,
              GError **error)
{
    g_autofree char *folder = lodge_store_run_path(store, name, NULL);
    gint64 soon = lodge_deadline_in(timeout_ms);
    return lodge_agent_connect(folder, deadline == LODGE_NO_DEADLINE ? soon : MIN(soon, deadline),
                               error);
}

static gboolean
connect_qemu(const LodgeStore *store, const char *name, gint64 deadline, Way *way, GError **error)
{
    g_autofree char *lock_path = lodge_store_run_path(store, name, "agent.lock");
    g_autofree char *path = lodge_store_run_path(store, name, "agent.sock");
    gint64 left_ms = deadline == LODGE_NO_DEADLINE
                         ? G_MAXINT
                         : MAX((deadline - g_get_monotonic_time()) / 1000, 0);
    way->lock_fd = lodge_lock_take_within(lock_path, left_ms, error);
    if (way->lock_fd < 0) {
        return FALSE;
    }
    gint64 soon = lodge_deadline_in(MIN(SYNC_TIMEOUT_MS, left_ms));
    way->qemu = lodge_guest_agent_connect(path, soon, error);
    return way->qemu != NULL;
}

static gboolean
tell_absent(const char *name, const LodgeGuestState *state, GError **error)
{
    gint64 age_ms = g_get_real_time() / 1000 - state->started_ms;
    if (state->started_ms > 0 && age_ms < BOOT_MS) {
        g_autofree char *age = lodge_duration_human(MAX(age_ms, 0));
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "guest %s: no agent has its port open, after %s of running (`lodge "
                               "start %s` waits until the guest answers)",
                               name, age, name);
    }
    return lodge_error_set(error, LODGE_ERROR_BUSY,
                           "guest %s: no agent has its port open (`lodge ssh %s` needs none; "
                           "`lodge agent install %s` puts one in)",
                           name, name, name);
}

gboolean
way_open(const LodgeStore *store, const char *name, gint64 deadline, Way *out_way, GError **error)
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
    if (state->inside != NULL) {
        out_way->lodge = connect_lodge(store, name, HELLO_TIMEOUT_MS, deadline, error);
        return out_way->lodge != NULL || lodge_error_prefix(error, "guest %s: lodge-agent", name);
    }
    if (state->agent) {
        return connect_qemu(store, name, deadline, out_way, error) ||
               lodge_error_prefix(error, "guest %s: agent", name);
    }
    out_way->lodge = connect_lodge(store, name, LOOK_TIMEOUT_MS, deadline, NULL);
    return out_way->lodge != NULL || tell_absent(name, state, error);
}
