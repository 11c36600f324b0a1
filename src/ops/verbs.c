#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/base.h"
#include "keeper/keeper.h"
#include "keeper/group.h"
#include "keeper/pcis.h"
#include "net/net.h"
#include "ops/disk-tree.h"
#include "ops/ops.h"
#include "ops/session.h"

enum {
    MONITOR_TIMEOUT_MS = 5000,
    PUBLISH_TIMEOUT_MS = 1000,
};

guint64
lodge_memory_available(void)
{
    guint64 sum = 0;
    g_autofree char *text = lodge_file_read("/proc/meminfo", 65536, NULL, NULL);
    static const char *const fields[] = {"\nMemAvailable:", "\nSwapFree:"};
    for (gsize i = 0; text != NULL && i < G_N_ELEMENTS(fields); i++) {
        const char *found = strstr(text, fields[i]);
        if (found != NULL) {
            sum += g_ascii_strtoull(found + strlen(fields[i]), NULL, 10) * 1024;
        }
    }
    return text != NULL ? sum : G_MAXUINT64;
}

gboolean
session_check_memory(const Session *session, GError **error)
{
    const LodgeGuest *guest = session->guest;
    guint64 available = lodge_memory_available();
    if (guest->memory_bytes <= available) {
        return TRUE;
    }
    g_autofree char *wanted = lodge_size_human(guest->memory_bytes);
    g_autofree char *there = lodge_size_human(available);
    return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                           "guest %s wants %s of memory, and this host has %s to give (stop other "
                           "guests, or lower memory= in its definition)",
                           guest->name, wanted, there);
}

/* A guest whose limits can't hold runs all the same, but not silently. */
static void
say_unlimited(const Session *session, LodgeProgress *progress)
{
    if (lodge_limits_asked(session->guest)) {
        g_autofree char *why = NULL;
        g_autoptr(LodgeCgroup)
            cgroup = lodge_limits_cgroup(session->store, session->guest->name, &why);
        if (cgroup == NULL && why != NULL) {
            lodge_progress_stage(progress, "its limits don't hold: %s", why);
        }
    }
}

gboolean
session_start(const Session *session, gboolean paused, LodgeProgress *progress, GError **error)
{
    const char *name = session->guest->name;
    gboolean starts = FALSE;
    if (session->state->has_qemu) {
        return TRUE;
    }
    lodge_progress_stage(progress, "QEMU starts");
    /* The keeper of a guest that has just ended tidies up; one that restarts a crashed guest does
     * what is wanted. */
    if (session->state->has_keeper && !session_let_keeper(session, &starts, error)) {
        return FALSE;
    }
    if (starts) {
        return TRUE;
    }
    if (!session_check_memory(session, error) ||
        !lodge_keeper_start(session->store, name, paused ? LODGE_KEEPER_PAUSED : 0, error)) {
        return FALSE;
    }
    say_unlimited(session, progress);
    return TRUE;
}

/* Leave word for the keeper, who takes it. */
static gboolean
order_boot(const Session *session, const char *boot_once, GError **error)
{
    const LodgeGuest *guest = session->guest;
    if (boot_once == NULL) {
        return TRUE;
    }
    gboolean is_cdrom = g_str_equal(boot_once, "cdrom");
    if (!is_cdrom && !g_str_equal(boot_once, "disk") && !g_str_equal(boot_once, "net")) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "--boot-once: “%s” is none of disk, cdrom, net", boot_once);
    }
    if (session->state->has_qemu) {
        session_refuse_state(session, error);
        return lodge_error_prefix(error, "--boot-once is for a start");
    }
    if (is_cdrom && guest->cdroms->len == 0) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                               "guest %s has no CD drive (`lodge cdrom %s insert FILE` gives it "
                               "one)",
                               guest->name, guest->name);
    }
    g_autofree char *path = lodge_store_run_path(session->store, guest->name, "boot-once");
    return lodge_file_write(path, boot_once, strlen(boot_once), 0644, LODGE_WRITE_NO_SYNC, error);
}

gboolean
lodge_start(const LodgeStore *store, const char *name, gboolean paused, const char *boot_once,
            gint64 timeout_ms, LodgeProgress *progress, GError **error)
{
    g_autoptr(Session) session = session_begin(store, name, "start", error);
    if (session == NULL) {
        return FALSE;
    }
    progress = lodge_job_progress(session->job, progress);
    /* Finish what a killed `create` began: the guest is whole, so it is kept. */
    lodge_store_creating_end(store, name);
    if (paused && session->state->has_qemu && session->state->state != LODGE_STATE_PAUSED) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "guest %s is running already (`lodge pause %s` pauses it)", name,
                               name);
    }
    if (!order_boot(session, boot_once, error) ||
        !session_start(session, paused, progress, error)) {
        return FALSE;
    }
    return paused || timeout_ms == 0 || lodge_wait_ready(store, name, timeout_ms, progress, error);
}

gboolean
lodge_kill(const LodgeStore *store, const char *name, LodgeProgress *progress, GError **error)
{
    g_autoptr(Session) session = session_begin_any(store, name, "kill", error);
    if (session == NULL) {
        return FALSE;
    }
    progress = lodge_job_progress(session->job, progress);
    lodge_progress_stage(progress, "QEMU ends");
    return !session->state->has_qemu || session_kill(session, error);
}

gboolean
lodge_restart(const LodgeStore *store, const char *name, gboolean force, gint64 timeout_ms,
              LodgeProgress *progress, GError **error)
{
    g_autoptr(Session) session = session_begin(store, name, "restart", error);
    if (session == NULL) {
        return FALSE;
    }
    progress = lodge_job_progress(session->job, progress);
    if (session->state->has_qemu && force && !session_kill(session, error)) {
        return FALSE;
    }
    if (!force && !session_stop(session, timeout_ms, progress, error)) {
        return FALSE;
    }
    lodge_guest_state_free(session->state);
    session->state = lodge_store_state(store, name);
    return session_start(session, FALSE, progress, error) &&
           lodge_wait_ready(store, name, timeout_ms, progress, error);
}

/* A descriptor that says when the guest's keeper ends; -1: it has none. */
static int
open_keeper(const LodgeStore *store, const char *name)
{
    g_autofree char *path = lodge_store_run_path(store, name, "keeper.lock");
    return lodge_lock_open_holder(path, NULL);
}

/* A keeper that was just killed may have seemed to be there when the verb began: without another
 * the state would stay unknown. */
void
session_await_state(const Session *session, LodgeState wanted)
{
    const LodgeStore *store = session->store;
    const char *name = session->guest->name;
    g_autofree char *folder = lodge_store_run_path(store, name, NULL);
    lodge_autofd watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch_fd < 0 || inotify_add_watch(watch_fd, folder, IN_MOVED_TO) < 0) {
        return;
    }
    gint64 deadline = lodge_deadline_in(PUBLISH_TIMEOUT_MS);
    lodge_autofd keeper_fd = open_keeper(store, name);
    gboolean ensured = FALSE;
    for (;;) {
        g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
        struct pollfd polls[] = {{.fd = watch_fd, .events = POLLIN},
                                 {.fd = keeper_fd, .events = POLLIN}};
        /* One that was asked to stop goes on stopping when it is resumed. */
        if ((state->state == LODGE_STATE_PAUSED) == (wanted == LODGE_STATE_PAUSED)) {
            return;
        }
        if (!ensured && !state->has_keeper) {
            ensured = TRUE;
            lodge_keeper_ensure(store, name, NULL);
            deadline = lodge_deadline_in(PUBLISH_TIMEOUT_MS);
            continue;
        }
        if (!lodge_wait_polls(polls, G_N_ELEMENTS(polls), deadline, NULL)) {
            return;
        }
        if (polls[1].revents != 0) {
            lodge_fd_clear(&keeper_fd);
        }
        char buffer[4096];
        while (read(watch_fd, buffer, sizeof buffer) > 0) {
        }
    }
}

static gboolean
tell_monitor(const LodgeStore *store, const char *name, LodgeState wanted, GError **error)
{
    gboolean pauses = wanted == LODGE_STATE_PAUSED;
    g_autoptr(Session) session = session_begin_any(store, name, pauses ? "pause" : "resume", error);
    if (session == NULL) {
        return FALSE;
    }
    gint64 deadline = lodge_deadline_in(MONITOR_TIMEOUT_MS);
    if (!session->state->has_qemu) {
        return session_refuse_state(session, error);
    }
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    if (qmp == NULL || !lodge_qmp_run(qmp, deadline, error, pauses ? "stop" : "cont", NULL)) {
        return lodge_error_prefix(error, "guest %s", name);
    }
    session_await_state(session, wanted);
    return TRUE;
}

gboolean
lodge_pause(const LodgeStore *store, const char *name, GError **error)
{
    return tell_monitor(store, name, LODGE_STATE_PAUSED, error);
}

gboolean
lodge_resume(const LodgeStore *store, const char *name, GError **error)
{
    return tell_monitor(store, name, LODGE_STATE_RUNNING, error);
}

static gboolean
refuse_running(const LodgeGuestState *state, const char *name, gboolean force, GError **error)
{
    return !state->has_qemu || force ||
           lodge_error_set(error, LODGE_ERROR_BUSY,
                           "guest %s is %s: `lodge stop %s` first, or delete it with --force", name,
                           lodge_state_word(state->state), name);
}

gboolean
lodge_delete_check(const LodgeStore *store, const char *name, gboolean force, GError **error)
{
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
    return refuse_running(state, name, force, error) &&
           lodge_disk_refuse_needed(store, name, NULL, NULL, "deleted", error);
}

gboolean
session_delete(const Session *session, gboolean force, LodgeProgress *progress, GError **error)
{
    const char *name = session->guest->name;
    g_autoptr(LodgeGuestState) state = lodge_store_state(session->store, name);
    Session now = *session;
    now.state = state;
    if (!refuse_running(state, name, force, error)) {
        return FALSE;
    }
    lodge_progress_stage(progress, "files are removed");
    if (((state->has_qemu || state->has_keeper) && !session_kill(&now, error)) ||
        !lodge_store_remove(session->store, LODGE_STORE_GUESTS, name, error)) {
        return FALSE;
    }
    /* Whoever began to start it before may have come between: nobody can from now on. */
    g_autoptr(LodgeGuestState) late = lodge_store_state(session->store, name);
    now.state = late;
    if ((late->has_qemu || late->has_keeper) && !session_kill(&now, error)) {
        return FALSE;
    }
    lodge_limits_remove(session->store, name);
    lodge_pcis_give_back(session->store, name, NULL);
    lodge_net_release(session->store, name);
    lodge_event_append(session->store, name, "deleted", NULL);
    lodge_job_remove_run_folder(session->job, TRUE);
    return TRUE;
}

gboolean
lodge_delete(const LodgeStore *store, const char *name, gboolean force, LodgeProgress *progress,
             GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autoptr(Session) session = g_new0(Session, 1);
    session->store = store;
    session->guest = lodge_store_guest(store, name, &problem);
    if (session->guest == NULL) {
        /* A definition that can't be read must not keep its guest from being deleted. */
        if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INVALID)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        session->guest = lodge_guest_parse(name, "", 0, NULL);
    }
    session->job = lodge_job_begin(store, name, "delete", error);
    return session->job != NULL &&
           lodge_disk_refuse_needed(store, name, NULL, NULL, "deleted", error) &&
           session_delete(session, force, lodge_job_progress(session->job, progress), error);
}
