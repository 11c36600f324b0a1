#include "config.h"

#include "ops/session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "base/base.h"
#include "host/check.h"
#include "keeper/group.h"
#include "keeper/keeper.h"
#include "keeper/pcis.h"
#include "ops/forking.h"
#include "ops/snapshot-mend.h"
#include "qemu/disks.h"

enum {
    QUIT_TIMEOUT_MS = 3000,
    STAT_LIMIT_BYTES = 4096,
    END_TIMEOUT_MS = 10000,
    KEEPER_TIMEOUT_MS = 3000,
    LOOK_MS = 10,
};

/* What is added to a running QEMU is as what it was started with. */
static void
choose_aio(const Session *session)
{
    g_autofree char *program = session->state->has_qemu ? lodge_program_find("qemu-system-x86_64")
                                                        : NULL;
    if (program != NULL) {
        gboolean io_uring = lodge_qemu_does_io_uring(program, session->store->run, FALSE);
        lodge_disks_choose_aio(session->guest, io_uring);
    }
}

static Session *
begin(const LodgeStore *store, LodgeGuest *guest, const char *verb, GError **error)
{
    g_autoptr(Session) session = g_new0(Session, 1);
    session->store = store;
    session->guest = guest;
    if (guest == NULL) {
        return NULL;
    }
    const char *name = guest->name;
    session->job = lodge_job_begin(store, name, verb, error);
    if (session->job == NULL || !lodge_keeper_ensure(store, name, error)) {
        return NULL;
    }
    session->state = lodge_store_state(store, name);
    choose_aio(session);
    if (!session->state->has_qemu && !session->state->has_keeper) {
        lodge_limits_remove(store, name); /* of a keeper that was killed */
        lodge_pcis_give_back(store, name, NULL);
    }
    if (forking_is_unfinished(store, name) &&
        (!forking_end(session, error) || !session_refresh(session, error))) {
        return NULL;
    }
    /* What can't be mended now need not keep this verb from its work: the definition names whole
     * disks at any time. Verbs that build on it try again, and say why. */
    if (snapshot_needs_mending(store, name) && !lodge_store_is_backed_up(store, name)) {
        snapshot_mend(session, NULL);
        /* What was mended changed the definition, if not all could be, too. One that can't be read
         * was not mended. */
        session_refresh(session, NULL);
        if (!lodge_interrupt_check(error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&session);
}

gboolean
session_refresh(Session *session, GError **error)
{
    LodgeGuest *guest = lodge_store_guest(session->store, session->guest->name, error);
    if (guest == NULL) {
        return FALSE;
    }
    lodge_guest_state_free(session->state);
    session->state = lodge_store_state(session->store, guest->name);
    lodge_guest_free(session->guest);
    session->guest = guest;
    choose_aio(session);
    return TRUE;
}

Session *
session_begin(const LodgeStore *store, const char *name, const char *verb, GError **error)
{
    return begin(store, lodge_store_guest(store, name, error), verb, error);
}

Session *
session_begin_any(const LodgeStore *store, const char *name, const char *verb, GError **error)
{
    g_autoptr(GError) problem = NULL;
    LodgeGuest *guest = lodge_store_guest(store, name, &problem);
    if (guest == NULL && g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INVALID)) {
        guest = lodge_guest_parse(name, "", 0, NULL);
    } else if (guest == NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
    }
    return begin(store, guest, verb, error);
}

void
session_end(Session *session)
{
    if (session != NULL) {
        lodge_job_end(session->job);
        lodge_guest_free(session->guest);
        lodge_guest_state_free(session->state);
        g_free(session);
    }
}

gboolean
lodge_refuse_state(const char *name, const LodgeGuestState *state, GError **error)
{
    const char *word = lodge_state_word(state->state);
    if (state->has_qemu && state->state == LODGE_STATE_PAUSED) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "guest %s is %s (`lodge resume %s` lets it go on)", name, word,
                               name);
    }
    return state->has_qemu
               ? lodge_error_set(error, LODGE_ERROR_BUSY, "guest %s is %s", name, word)
               : lodge_error_set(error, LODGE_ERROR_BUSY,
                                 "guest %s is %s (`lodge start %s` starts it)", name, word, name);
}

LodgeQmp *
lodge_monitor_connect(const LodgeStore *store, const char *name, const char *socket,
                      gint64 timeout_ms, GError **error)
{
    g_autofree char *path = lodge_store_run_path(store, name, socket);
    g_autoptr(GError) problem = NULL;
    LodgeQmp *qmp = lodge_qmp_connect(path, lodge_deadline_in(timeout_ms), &problem);
    if (qmp == NULL && g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
        g_autofree char *time = lodge_duration_human(timeout_ms);
        lodge_error_set(error, LODGE_ERROR_TIMEOUT,
                        "its QEMU did not answer within %s: it hangs, or another program holds its "
                        "monitor (`lodge kill %s` pulls the plug)",
                        time, name);
    } else if (qmp == NULL) {
        g_propagate_prefixed_error(error, g_steal_pointer(&problem), "QEMU: ");
    }
    return qmp;
}

gboolean
session_refuse_state(const Session *session, GError **error)
{
    return lodge_refuse_state(session->guest->name, session->state, error);
}

LodgeQmp *
session_monitor(const Session *session, gint64 timeout_ms, GError **error)
{
    const char *name = session->guest->name;
    if (!session->state->has_qemu) {
        session_refuse_state(session, error);
        return NULL;
    }
    return lodge_monitor_connect(session->store, name, "jobs.qmp", timeout_ms, error);
}

/* Wait until the process that holds the lock has ended. */
static gboolean
wait_lock(const Session *session, const char *lock, gint64 deadline, GError **error)
{
    g_autofree char *path = lodge_store_run_path(session->store, session->guest->name, lock);
    lodge_autofd fd = lodge_lock_open_holder(path, NULL);
    return fd < 0 || lodge_wait_fd(fd, POLLIN, deadline, error);
}

gboolean
session_wait_end(const Session *session, gint64 deadline, GError **error)
{
    /* QEMU first: its end is what the keeper's waits for. */
    return wait_lock(session, "qemu.lock", deadline, error) &&
           wait_lock(session, "keeper.lock", deadline, error);
}

/* Tell the keeper that this end is no crash, whatever QEMU manages to say of it. */
static gboolean
mark_killed(const Session *session, GError **error)
{
    g_autofree char *marker = lodge_store_run_path(session->store, session->guest->name, "killed");
    lodge_autofd fd = open(marker, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    return fd >= 0 || lodge_error_errno(error, errno, "Writing %s", marker);
}

/* By SIGTERM QEMU does what `quit` on the monitor does, without a connection that it must first
 * greet; by SIGKILL it ends in any case. */
static gboolean
end_by(int pid_fd, int signal_number, gint64 timeout_ms, GError **error)
{
    return lodge_pid_fd_signal(pid_fd, signal_number, error) &&
           lodge_wait_fd(pid_fd, POLLIN, lodge_deadline_in(timeout_ms), error);
}

/* QEMU has ended. A keeper that does not notice is of no more use, and what it would have tidied up
 * the next start or deletion does. */
static gboolean
end_keeper(const Session *session, GError **error)
{
    if (wait_lock(session, "keeper.lock", lodge_deadline_in(KEEPER_TIMEOUT_MS), NULL)) {
        return TRUE;
    }
    g_autofree char *path = lodge_store_run_path(session->store, session->guest->name,
                                                 "keeper.lock");
    lodge_autofd fd = lodge_lock_open_holder(path, NULL);
    return (fd < 0 || lodge_pid_fd_signal(fd, SIGKILL, error)) &&
           wait_lock(session, "keeper.lock", lodge_deadline_in(END_TIMEOUT_MS), error);
}

gboolean
session_let_keeper(const Session *session, gboolean *out_starts, GError **error)
{
    const char *name = session->guest->name;
    g_autofree char *keeper = lodge_store_run_path(session->store, name, "keeper.lock");
    g_autofree char *qemu = lodge_store_run_path(session->store, name, "qemu.lock");
    gint64 deadline = lodge_deadline_in(END_TIMEOUT_MS);
    *out_starts = FALSE;
    while (lodge_lock_is_held(keeper) && !lodge_deadline_passed(deadline)) {
        lodge_autofd holder = lodge_lock_open_holder(qemu, NULL);
        if (holder >= 0) {
            *out_starts = TRUE;
            return TRUE;
        }
        if (!lodge_wait_for(LOOK_MS, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Stopped (SIGSTOP, a debugger): it would not hear a polite signal. */
static gboolean
is_stopped(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *text = lodge_file_read(path, STAT_LIMIT_BYTES, NULL, NULL);
    const char *name_end = text != NULL ? strrchr(text, ')') : NULL;
    return name_end != NULL &&
           (g_str_has_prefix(name_end, ") T") || g_str_has_prefix(name_end, ") t"));
}

gboolean
session_kill(const Session *session, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gboolean starts = FALSE;
    if (!session_let_keeper(session, &starts, error)) {
        return FALSE;
    }
    g_autofree char *lock = lodge_store_run_path(session->store, session->guest->name, "qemu.lock");
    pid_t pid = 0;
    lodge_autofd pid_fd = lodge_lock_open_holder(lock, &pid);
    if (pid_fd >= 0 && !mark_killed(session, error)) {
        return FALSE;
    }
    /* Without a holder it ended just now, or is ending. */
    gboolean ended = pid_fd < 0 ||
                     (!is_stopped(pid) && end_by(pid_fd, SIGTERM, QUIT_TIMEOUT_MS, &problem));
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INTERRUPTED)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    return (ended || end_by(pid_fd, SIGKILL, END_TIMEOUT_MS, error)) && end_keeper(session, error);
}
