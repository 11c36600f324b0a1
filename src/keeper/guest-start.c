/* Starting a guest's QEMU, and adopting one that runs: see guest-run.c. */
#include "config.h"

#include "keeper/guest-private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/boot-once.h"
#include "keeper/group.h"
#include "keeper/pcis.h"
#include "keeper/pin.h"
#include "keeper/plan.h"
#include "keeper/usb-plug.h"
#include "qemu/spawn.h"

enum {
    QMP_TIMEOUT_MS = 30000,
    LOG_LIMIT_BYTES = 1 << 20,
    ENDING_MS = 5000, /* how long a QEMU that ends may take to let go of its lock */
    ENDING_LOOK_MS = 10,
};

char *
keeper_last_words(const Keeper *keeper)
{
    g_autofree char *path = keeper_run_path(keeper, "qemu.log");
    g_autofree char *text = lodge_file_read(path, LOG_LIMIT_BYTES, NULL, NULL);
    return lodge_text_last_line(text != NULL ? text : "");
}

/* Limits that can't hold keep no guest from running; that they don't is told. */
static void
limit(const Keeper *keeper, const LodgeGuest *guest)
{
    g_autoptr(GError) error = NULL;
    if (!lodge_limits_place(keeper->store, guest, keeper->qemu_pid, &error) &&
        lodge_limits_asked(guest)) {
        lodge_event_append(keeper->store, keeper->name, "not-limited",
                           json_pack("{s:s}", "reason", error->message));
    }
}

/* A QEMU that nobody could find again must not run on. */
static void
end_child(Keeper *keeper)
{
    int status = 0;
    lodge_pid_fd_signal(keeper->qemu_pid_fd, SIGKILL, NULL);
    keeper_reap(keeper, &status);
}

static gboolean
spawn(Keeper *keeper, const LodgeGuest *guest, const LodgePlan *plan, GError **error)
{
    g_autofree char *lock_path = keeper_run_path(keeper, "qemu.lock");
    g_autofree char *log_path = keeper_run_path(keeper, "qemu.log");
    g_autofree char *folder = lodge_store_guest_path(keeper->store, keeper->name, NULL);
    unlink(log_path);
    lodge_autofd qemu_lock = lodge_lock_take(lock_path, error);
    if (qemu_lock < 0) {
        return FALSE;
    }
    LodgeSpawn how = {
        .log_path = log_path,
        .lock_fd = qemu_lock,
        .drop = geteuid() == 0,
        .uid = lodge_qemu_uid(folder),
        .locked_bytes = lodge_pcis_locked_bytes(guest),
    };
    if (!lodge_pcis_take(keeper->store, guest, NULL, how.uid, error)) {
        return FALSE;
    }
    if (!lodge_qemu_spawn(plan->command, &how, &keeper->qemu_pid, &keeper->qemu_pid_fd, error)) {
        return FALSE;
    }
    keeper->is_child = TRUE;
    lodge_fd_clear(&keeper->tpm.socket); /* QEMU's only: its end is swtpm's */
    limit(keeper, guest);
    if (!lodge_lock_write_pid(qemu_lock, keeper->qemu_pid, error)) {
        end_child(keeper);
        return FALSE;
    }
    return TRUE;
}

static gboolean
complete_memory(Keeper *keeper, GError **error)
{
    if (!keeper_memory_complete(keeper->store, keeper->name, &keeper->memory, error)) {
        end_child(keeper);
        return FALSE;
    }
    return TRUE;
}

void
keeper_reap(Keeper *keeper, int *out_status)
{
    *out_status = 0;
    if (keeper->is_child) {
        while (waitpid(keeper->qemu_pid, out_status, 0) < 0 && errno == EINTR) {
        }
    }
    keeper->is_child = FALSE;
    lodge_fd_clear(&keeper->qemu_pid_fd);
}

/* Wait for QEMU's first answer: it greets while it still looks at its command line, and answers
 * when the machine is made. If it ended instead, the error is what it said. */
static gboolean
greet(Keeper *keeper, GError **error)
{
    g_autofree char *path = keeper_run_path(keeper, "events.qmp");
    gint64 deadline = lodge_deadline_in(QMP_TIMEOUT_MS);
    keeper->qmp = lodge_qmp_connect(path, deadline, error);
    if (keeper->qmp != NULL && lodge_qmp_run(keeper->qmp, deadline, error, "query-status", NULL)) {
        return TRUE;
    }
    g_clear_pointer(&keeper->qmp, lodge_qmp_free);
    /* It may live and be silent; it may be ending, having closed its sockets. */
    struct pollfd ending = {.fd = keeper->qemu_pid_fd, .events = POLLIN};
    gboolean lives = poll(&ending, 1, 1000) <= 0;
    if (lives) {
        lodge_pid_fd_signal(keeper->qemu_pid_fd, SIGKILL, NULL);
    }
    int status = 0;
    keeper_reap(keeper, &status);
    g_autofree char *words = keeper_last_words(keeper);
    if (*words != '\0') {
        g_clear_error(error);
        return lodge_error_set(error, LODGE_ERROR_FAILED, "QEMU: %s", words);
    }
    if (!lives) {
        g_clear_error(error);
        return WIFSIGNALED(status)
                   ? lodge_error_set(error, LODGE_ERROR_FAILED, "QEMU was ended by signal %d (%s)",
                                     WTERMSIG(status), g_strsignal(WTERMSIG(status)))
                   : lodge_error_set(error, LODGE_ERROR_FAILED,
                                     "QEMU ended at once, without a word, with exit status %d",
                                     WEXITSTATUS(status));
    }
    return FALSE;
}

void
keeper_read_policy(Keeper *keeper, const LodgeGuest *guest)
{
    if (guest != NULL) {
        keeper->on_crash = (LodgeOnCrash)guest->on_crash;
        schedule_set(keeper->schedule, guest->snapshots);
    }
}

/* Keep what QEMU was started with: `lodge set` compares with it. */
static void
record_definition(const Keeper *keeper)
{
    g_autofree char *text = NULL;
    g_autoptr(GKeyFile) file = lodge_store_guest_file(keeper->store, keeper->name, &text, NULL);
    if (file != NULL) {
        lodge_store_guest_write_started(keeper->store, keeper->name, text, NULL);
    }
}

/* A guest that starts cold waits for nobody's memory any more. */
static void
forget_loading(const Keeper *keeper)
{
    g_autofree char *path = lodge_store_guest_path(keeper->store, keeper->name,
                                                   "snapshots/.loading");
    unlink(path);
}

static LodgeBegin
begin_of(KeeperTask task)
{
    switch (task) {
    case KEEPER_START_PAUSED:
        return LODGE_BEGIN_PAUSED;
    case KEEPER_START_INCOMING:
        return LODGE_BEGIN_INCOMING;
    case KEEPER_START:
    case KEEPER_ADOPT:
        break;
    }
    return LODGE_BEGIN_RUNNING;
}

/* Like limits: what can't hold keeps no guest from running. */
static void
on_cpus(LodgeQmp *qmp, const json_t *result, const GError *problem, gpointer data)
{
    (void)qmp;
    Keeper *keeper = data;
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeGuest) guest = lodge_store_guest(keeper->store, keeper->name, NULL);
    if (problem != NULL || (guest != NULL && !lodge_pin_apply(guest, result, &error))) {
        lodge_event_append(
            keeper->store, keeper->name, "not-pinned",
            json_pack("{s:s}", "reason", problem != NULL ? problem->message : error->message));
    }
}

/* One that begins with a file of memory waits for the rest of what it was. */
static gboolean
begins_with_memory(const Keeper *keeper)
{
    g_autofree char *path = keeper_run_path(keeper, LODGE_KEEPER_MEMORY);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static gboolean
start(Keeper *keeper, LodgeBegin begin, GError **error)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(keeper->store, keeper->name, error);
    if (guest == NULL) {
        return FALSE;
    }
    keeper_read_policy(keeper, guest);
    watch_begin(keeper->watch, guest);
    begin = begins_with_memory(keeper) ? LODGE_BEGIN_INCOMING : begin;
    keeper->incoming = begin == LODGE_BEGIN_INCOMING;
    if (!keeper->incoming) {
        forget_loading(keeper);
    }
    g_autoptr(json_t) boot_order = boot_once_take(keeper->store, guest);
    lodge_fd_clear(&keeper->port_reservation);
    if (!tpm_begin(&keeper->tpm, keeper->store, guest, error)) {
        return FALSE;
    }
    g_autoptr(LodgePlan) plan = lodge_plan_make(keeper->store, guest, begin, keeper->tpm.socket,
                                                keeper->passts, error);
    if (plan == NULL) {
        return FALSE;
    }
    keeper->kvm = plan->kvm;
    keeper->ssh_port = plan->ssh_port;
    g_free(keeper->ssh_host);
    keeper->ssh_host = g_steal_pointer(&plan->ssh_host);
    keeper->port_reservation = lodge_fd_steal(&plan->port_reservation);
    keeper_memory_clear(&keeper->memory);
    keeper->memory = plan->memory;
    plan->memory = KEEPER_MEMORY_NONE;
    keeper->agent = FALSE;
    keeper->ports = 0;
    keeper->ended_by_request = FALSE;
    keeper->started_ms = g_get_real_time() / 1000;
    keeper->state = LODGE_STATE_STARTING;
    g_clear_pointer(&keeper->reason, g_free);
    keeper_publish(keeper);
    if (!spawn(keeper, guest, plan, error) || !complete_memory(keeper, error) ||
        !greet(keeper, error)) {
        return FALSE;
    }
    boot_once_restore(keeper->qmp, g_steal_pointer(&boot_order));
    if (!keeper->incoming) {
        usb_plug_all(keeper->qmp, keeper->store, guest);
    }
    if (guest->pin != NULL) {
        lodge_qmp_send(keeper->qmp, "query-cpus-fast", NULL, -1, on_cpus, keeper, NULL);
    }
    record_definition(keeper);
    inside_begin(keeper->inside, NULL);
    keeper_enter(keeper, begin != LODGE_BEGIN_RUNNING ? LODGE_STATE_PAUSED : LODGE_STATE_RUNNING,
                 "started", NULL);
    return TRUE;
}

static gboolean
adopt(Keeper *keeper, GError **error)
{
    g_autofree char *lock_path = keeper_run_path(keeper, "qemu.lock");
    g_autofree char *state_path = keeper_run_path(keeper, "state.json");
    /* A definition that was damaged meanwhile leaves the guest without a keeper no longer. */
    g_autoptr(LodgeGuest) guest = lodge_store_guest(keeper->store, keeper->name, NULL);
    keeper->on_crash = LODGE_CRASH_STOP;
    keeper_read_policy(keeper, guest);
    if (guest != NULL) {
        watch_begin(keeper->watch, guest);
    }
    keeper->qemu_pid_fd = lodge_lock_open_holder(lock_path, &keeper->qemu_pid);
    if (keeper->qemu_pid_fd < 0) {
        return lodge_error_set(error, LODGE_ERROR_BUSY, "its QEMU is ending just now");
    }
    g_autoptr(json_t) last = lodge_json_read(state_path, LOG_LIMIT_BYTES, NULL);
    keeper->agent = lodge_json_bool(last, "agent", FALSE);
    keeper->ports = (guint)lodge_json_int(last, "ports", 0);
    keeper->kvm = lodge_json_bool(last, "kvm", FALSE);
    keeper->ssh_port = (guint)lodge_json_int(last, "ssh_port", 0);
    keeper->ssh_host = g_strdup(lodge_json_string(last, "ssh_host", NULL));
    keeper->started_ms = lodge_json_int(last, "started_ms", 0);
    keeper->state = LODGE_STATE_RUNNING;
    lodge_state_from_word(lodge_json_string(last, "state", ""), &keeper->state);
    keeper->reason = g_strdup(lodge_json_string(last, "reason", NULL));
    if (!keeper_connect_patiently(keeper, error)) {
        return FALSE;
    }
    if (guest != NULL) {
        passts_adopt(keeper->passts, guest, keeper->ssh_port);
    }
    inside_begin(keeper->inside, json_object_get(last, "inside"));
    keeper_enter(keeper, keeper->state, "adopted", keeper->reason);
    return TRUE;
}

/* Is there a QEMU to adopt? One that was just killed holds its lock for a moment more: the moment
 * is waited for, so that nobody is told that a dying QEMU is in the way. */
static gboolean
has_qemu(const Keeper *keeper)
{
    g_autofree char *lock_path = keeper_run_path(keeper, "qemu.lock");
    gint64 deadline = lodge_deadline_in(ENDING_MS);
    while (lodge_lock_is_held(lock_path)) {
        lodge_autofd fd = lodge_lock_open_holder(lock_path, NULL);
        struct pollfd ended = {.fd = fd, .events = POLLIN};
        gboolean lives = fd >= 0 && poll(&ended, 1, 0) == 0;
        if (lives || lodge_deadline_passed(deadline) || !lodge_wait_for(ENDING_LOOK_MS, NULL)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Deleted between the command that wanted it started, which was killed, and now. */
static gboolean
is_deleted(const Keeper *keeper)
{
    g_autofree char *folder = lodge_store_guest_path(keeper->store, keeper->name, NULL);
    return !g_file_test(folder, G_FILE_TEST_EXISTS);
}

gboolean
keeper_begin(Keeper *keeper, KeeperTask task, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gboolean adopts = has_qemu(keeper);
    if (!adopts && task == KEEPER_ADOPT) {
        lodge_error_set(&problem, LODGE_ERROR_NOT_FOUND, "its QEMU has ended");
        keeper_report(keeper, problem);
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    gboolean fine = adopts ? adopt(keeper, &problem) : start(keeper, begin_of(task), &problem);
    if (!fine) {
        if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND) && is_deleted(keeper)) {
            lodge_job_sweep(keeper->store);
        } else if (!adopts) {
            tpm_end(&keeper->tpm);
            passts_end(keeper->passts);
            keeper_tidy_up(keeper);
            keeper_enter(keeper, LODGE_STATE_STOPPED, "start-failed", problem->message);
        }
        keeper_report(keeper, problem);
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    keeper_report(keeper, NULL);
    return TRUE;
}
