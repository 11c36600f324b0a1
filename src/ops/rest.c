#include "config.h"

#include "ops/rest.h"

#include "base/base.h"

enum {
    AGENT_TIMEOUT_MS = 10000,
    /* Should this host hang meanwhile, the guest goes on: long enough for all that is done. */
    HOLD_MS = 60000,
};

void
rest_clear(Rest *rest)
{
    g_clear_pointer(&rest->lodge, lodge_agent_free);
    g_clear_pointer(&rest->qemu, lodge_guest_agent_free);
}

static gboolean
by_lodge_agent(Rest *rest, const Session *session, GError **error)
{
    g_autofree char *folder = lodge_store_run_path(session->store, session->guest->name, NULL);
    gint64 deadline = lodge_deadline_in(AGENT_TIMEOUT_MS);
    rest->lodge = lodge_agent_connect(folder, deadline, error);
    if (rest->lodge != NULL && lodge_agent_freeze(rest->lodge, HOLD_MS, deadline, NULL, error)) {
        return TRUE;
    }
    rest_clear(rest);
    return FALSE;
}

static gboolean
by_qemu_agent(Rest *rest, const Session *session, GError **error)
{
    g_autofree char *path = lodge_store_run_path(session->store, session->guest->name,
                                                 "agent.sock");
    gint64 deadline = lodge_deadline_in(AGENT_TIMEOUT_MS);
    rest->qemu = lodge_guest_agent_connect(path, deadline, error);
    if (rest->qemu != NULL && lodge_guest_agent_freeze(rest->qemu, deadline, NULL, error)) {
        return TRUE;
    }
    if (rest->qemu != NULL) {
        /* Some may be at rest. */
        lodge_guest_agent_thaw(rest->qemu, lodge_deadline_in(AGENT_TIMEOUT_MS), NULL, NULL);
    }
    rest_clear(rest);
    return FALSE;
}

/* lodge-agent says UNSUPPORTED where there is none that could be at rest; QEMU's may know of hooks
 * that are to be run all the same. */
gboolean
rest_begin(Rest *rest, const Session *session, GError **error)
{
    const LodgeGuestState *state = session->state;
    g_autoptr(GError) problem = NULL;
    if (state->state == LODGE_STATE_PAUSED) {
        return lodge_error_set(error, LODGE_ERROR_BUSY, "the guest is paused");
    }
    if (state->inside != NULL && by_lodge_agent(rest, session, &problem)) {
        return TRUE;
    }
    if (state->agent) {
        return by_qemu_agent(rest, session, error);
    }
    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "no agent answers");
}

gboolean
rest_end(Rest *rest, GError **error)
{
    gint64 deadline = lodge_deadline_in(AGENT_TIMEOUT_MS);
    gboolean fine = TRUE;
    if (rest->lodge != NULL) {
        fine = lodge_agent_thaw(rest->lodge, deadline, error);
    } else if (rest->qemu != NULL) {
        fine = lodge_guest_agent_thaw(rest->qemu, deadline, NULL, error);
    }
    rest_clear(rest);
    return fine;
}
