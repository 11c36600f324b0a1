/* Asking guests to end, one or all at once, and waiting until they have. */
#include "config.h"

#include "base/base.h"
#include "ops/ops.h"
#include "ops/session.h"
#include "qmp/agent.h"
#include "qmp/guest-agent.h"

enum {
    MONITOR_TIMEOUT_MS = 5000,
    AGENT_TIMEOUT_MS = 3000,
    PRESS_AGAIN_MS = 5000,
    ENDING_MS = 5000,
};

static gboolean
ask_lodge_agent(const Session *session, gint64 deadline)
{
    g_autofree char *folder = lodge_store_run_path(session->store, session->guest->name, NULL);
    g_autoptr(LodgeAgent)
        agent = session->state->inside != NULL ? lodge_agent_connect(folder, deadline, NULL) : NULL;
    return agent != NULL && lodge_agent_shutdown(agent, FALSE, deadline, NULL);
}

static gboolean
ask_qemu_agent(const Session *session, gint64 deadline)
{
    g_autofree char *path = lodge_store_run_path(session->store, session->guest->name,
                                                 "agent.sock");
    g_autoptr(LodgeGuestAgent)
        agent = session->state->agent ? lodge_guest_agent_connect(path, deadline, NULL) : NULL;
    return agent != NULL &&
           lodge_guest_agent_shutdown(agent, LODGE_GUEST_SHUTDOWN_POWERDOWN, deadline, NULL);
}

/* Ask by an agent that is there; FALSE, with no error, if none could be asked. */
static gboolean
ask_agent(const Session *session, gint64 timeout_ms)
{
    gint64 deadline = lodge_deadline_in(MIN(AGENT_TIMEOUT_MS, timeout_ms / 2));
    return ask_lodge_agent(session, deadline) || ask_qemu_agent(session, deadline);
}

static gboolean
run_monitor(const Session *session, const char *command, gint64 timeout_ms, GError **error)
{
    g_autoptr(LodgeQmp) qmp = session_monitor(session, timeout_ms, error);
    return qmp != NULL && lodge_qmp_run(qmp, lodge_deadline_in(timeout_ms), error, command, NULL);
}

/* A paused guest hears nothing: it is woken to be told. TIMEOUT, with the mend, if QEMU is deaf. */
static gboolean
ask(const Session *session, gint64 timeout_ms, GError **error)
{
    g_autoptr(GError) problem = NULL;
    const char *name = session->guest->name;
    gint64 monitor_ms = MIN(MONITOR_TIMEOUT_MS, timeout_ms);
    if ((session->state->state != LODGE_STATE_PAUSED ||
         run_monitor(session, "cont", monitor_ms, &problem)) &&
        (ask_agent(session, timeout_ms) ||
         run_monitor(session, "system_powerdown", monitor_ms, &problem))) {
        return TRUE;
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
        return lodge_error_set(error, LODGE_ERROR_TIMEOUT,
                               "guest %s: its QEMU does not answer: `lodge kill %s` pulls the plug",
                               name, name);
    }
    /* It may end of an agent that was asked and had no time to answer. */
    if (session_wait_end(session, lodge_deadline_in(ENDING_MS), NULL)) {
        return TRUE;
    }
    g_propagate_prefixed_error(error, g_steal_pointer(&problem), "guest %s: ", name);
    return FALSE;
}

/* Wait for the end of a guest that was asked. The power button is pressed again now and then: a
 * press that comes while the guest still boots, before anything in it listens, is lost. */
static gboolean
wait_pressing(const Session *session, gint64 deadline, GError **error)
{
    for (;;) {
        g_autoptr(GError) problem = NULL;
        gint64 next = MIN(deadline, lodge_deadline_in(PRESS_AGAIN_MS));
        if (session_wait_end(session, next, &problem)) {
            return TRUE;
        }
        if (next == deadline || !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        /* what fails here ends in the wait */
        run_monitor(session, "system_powerdown", MONITOR_TIMEOUT_MS, NULL);
    }
}

/* TIMEOUT says what to do next. */
static gboolean
await(const Session *session, gint64 timeout_ms, gint64 deadline, GError **error)
{
    const char *name = session->guest->name;
    g_autoptr(GError) problem = NULL;
    if (wait_pressing(session, deadline, &problem)) {
        return TRUE;
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
        g_autofree char *time = lodge_duration_human(timeout_ms);
        return lodge_error_set(
            error, LODGE_ERROR_TIMEOUT,
            "guest %s was asked to shut down and still runs after %s: `lodge log "
            "%s` shows what it does, `lodge kill %s` pulls the plug",
            name, time, name, name);
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

gboolean
session_stop(const Session *session, gint64 timeout_ms, LodgeProgress *progress, GError **error)
{
    gint64 deadline = lodge_deadline_in(timeout_ms);
    if (!session->state->has_qemu) {
        return TRUE;
    }
    lodge_progress_stage(progress, "guest shuts down");
    return ask(session, timeout_ms, error) && await(session, timeout_ms, deadline, error);
}

gboolean
lodge_stop(const LodgeStore *store, const char *name, gint64 timeout_ms, LodgeProgress *progress,
           GError **error)
{
    g_autoptr(Session) session = session_begin_any(store, name, "stop", error);
    return session != NULL &&
           session_stop(session, timeout_ms, lodge_job_progress(session->job, progress), error);
}

void
lodge_stop_many(const LodgeStore *store, const char *const *names, gint64 timeout_ms,
                LodgeStoppedFunc stopped, gpointer data)
{
    gint64 deadline = lodge_deadline_in(timeout_ms);
    g_autoptr(GPtrArray) asked = g_ptr_array_new_with_free_func((GDestroyNotify)session_end);
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autoptr(GError) problem = NULL;
        g_autoptr(Session) session = session_begin_any(store, names[i], "stop", &problem);
        if (session == NULL || (session->state->has_qemu && !ask(session, timeout_ms, &problem))) {
            stopped(names[i], problem, data);
        } else {
            g_ptr_array_add(asked, g_steal_pointer(&session));
        }
    }
    for (guint i = 0; i < asked->len; i++) {
        g_autoptr(GError) problem = NULL;
        const Session *session = asked->pdata[i];
        await(session, timeout_ms, deadline, &problem);
        stopped(session->guest->name, problem, data);
    }
}
