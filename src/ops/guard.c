/* Theory of operation
 *
 * QEMU does not close the host's end of a port when the guest closes its own, so a conversation
 * with an agent that was killed looks like one with an agent that is silent. But QEMU tells the
 * keeper, which publishes it. A port that was seen open, and then closed at some looks in a row,
 * has nobody behind it; at one look it may be a new agent that opens it again, and says so itself.
 * Only who waits looks, once a second, and reads a file. */
#include "config.h"

#include "ops/guard.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include "base/base.h"

enum {
    LOOK_S = 1,
    LOOKS = 3, /* in a row: the keeper may be behind, QEMU tells once a second */
};

struct Guard {
    LodgeAgentGuard agent_guard;
    const LodgeStore *store;
    const char *name;
    LodgeAgent *agent;
    int timer;
    gboolean was_open;
    guint closed_looks;
};

static gboolean
is_port_open(const Guard *guard, const LodgeGuestState *state)
{
    return (state->ports & 1U << lodge_agent_port(guard->agent)) != 0;
}

static gboolean
look(gpointer data, GError **error)
{
    Guard *guard = data;
    guint64 times;
    if (read(guard->timer, &times, sizeof times) < 0) {
        return TRUE;
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(guard->store, guard->name);
    gboolean is_open = is_port_open(guard, state);
    guard->was_open |= is_open;
    guard->closed_looks = is_open ? 0 : guard->closed_looks + 1;
    if (state->has_qemu && state->state == LODGE_STATE_PAUSED && state->reason != NULL) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "the guest stands still: %s",
                               state->reason);
    }
    return !guard->was_open || guard->closed_looks < LOOKS ||
           lodge_error_set(error, LODGE_ERROR_FAILED,
                           "lodge-agent has ended in the guest (`lodge agent install %s` brings it "
                           "back)",
                           guard->name);
}

static gboolean
stands(gpointer data)
{
    const Guard *guard = data;
    g_autoptr(LodgeGuestState) state = lodge_store_state(guard->store, guard->name);
    return state->state == LODGE_STATE_PAUSED;
}

Guard *
guard_new(const LodgeStore *store, const char *name, LodgeAgent *agent)
{
    Guard *guard = g_new0(Guard, 1);
    const struct itimerspec often = {{.tv_sec = LOOK_S}, {.tv_sec = LOOK_S}};
    guard->store = store;
    guard->name = name;
    guard->agent = agent;
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
    guard->was_open = is_port_open(guard, state);
    guard->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    timerfd_settime(guard->timer, 0, &often, NULL);
    guard->agent_guard = (LodgeAgentGuard){guard->timer, look, stands, guard};
    lodge_agent_guard(agent, &guard->agent_guard);
    return guard;
}

void
guard_free(Guard *guard)
{
    if (guard != NULL) {
        lodge_agent_guard(guard->agent, NULL);
        lodge_fd_clear(&guard->timer);
        g_free(guard);
    }
}
