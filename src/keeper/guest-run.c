/* Theory of operation: the keeper's life.
 *
 *   keeper_begin ── qemu.lock held? ── yes ──> adopt: connect to events.qmp, ask query-status
 *                         │no
 *                         └──> plan, take qemu.lock, spawn (QEMU inherits the lock), wait for QMP
 *   keeper_run: one main loop with two sources, the events connection and QEMU's pid descriptor.
 *   Each event changes fields and publishes state.json. When QEMU ends, on-crash decides whether to
 *   begin anew; else the sockets are removed and the loop ends.
 *
 * Whether QEMU lives is never guessed: it inherited qemu.lock, and the kernel lets go of it when
 * the last copy of that descriptor is closed. The keeper closes its own copy right after the fork.
 * A keeper that is killed leaves a QEMU that runs on, its event socket waiting for the next keeper.
 */
#include "config.h"

#include "keeper/guest-run.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "keeper/group.h"
#include "keeper/boot-once.h"
#include "keeper/nics.h"
#include "keeper/plan.h"
#include "keeper/rotate.h"
#include "keeper/watch.h"
#include "keeper/usb-plug.h"
#include "qemu/spawn.h"
#include "qmp/qmp.h"

enum {
    QMP_TIMEOUT_MS = 30000,
    RECONNECT_MS = 1000,
    LOG_LIMIT_BYTES = 1 << 20,
    ENDING_MS = 5000, /* how long a QEMU that ends may take to let go of its lock */
    ENDING_LOOK_MS = 10,
    CONSOLE_LIMIT_BYTES = 8 << 20,
    CONSOLE_LOOK_S = 10,
    RESTARTS_AT_MOST = 5, /* within RESTART_SPAN_US; then it is a loop that nobody is helped by */
};
#define RESTART_SPAN_US (G_GINT64_CONSTANT(600) * G_USEC_PER_SEC)

struct Keeper {
    LodgeStore *store;
    char *name;
    char *run_folder;
    GMainLoop *loop;
    int report_fd;
    int keeper_lock;
    int port_reservation;

    LodgeOnCrash on_crash;
    pid_t qemu_pid;
    int qemu_pid_fd;
    gboolean is_child; /* else it was adopted, and its exit status is its own affair */
    guint exit_source;
    LodgeQmp *qmp;
    guint qmp_source;
    Watch *watch;

    LodgeState state;
    char *reason;
    gboolean agent;
    gboolean kvm;
    guint ssh_port;
    char *ssh_host; /* NULL: 127.0.0.1 */
    gint64 started_ms;
    gboolean ended_by_request; /* a SHUTDOWN event that is not a panic's came */
    gint64 restarts[RESTARTS_AT_MOST];
    guint restart_count;
};

static char *
run_path(const Keeper *keeper, const char *file)
{
    return g_build_filename(keeper->run_folder, file, NULL);
}

static void
publish(Keeper *keeper)
{
    g_autofree char *path = run_path(keeper, "state.json");
    g_autoptr(json_t) value = json_pack(
        "{s:s, s:o, s:i, s:I, s:b, s:b, s:i, s:o}", "state", lodge_state_word(keeper->state),
        "reason", lodge_json_string_or_null(keeper->reason), "pid", (int)keeper->qemu_pid,
        "started_ms", (json_int_t)keeper->started_ms, "agent", keeper->agent, "kvm", keeper->kvm,
        "ssh_port", (int)keeper->ssh_port, "ssh_host", lodge_json_string_or_null(keeper->ssh_host));
    lodge_json_publish(path, value, NULL);
}

/* Enter a state, say why (NULL: nothing to say), publish both and log the event. */
static void
enter(Keeper *keeper, LodgeState state, const char *event, const char *reason)
{
    keeper->state = state;
    g_free(keeper->reason);
    keeper->reason = g_strdup(reason);
    publish(keeper);
    lodge_event_append(keeper->store, keeper->name, event,
                       reason != NULL ? json_pack("{s:s}", "reason", reason) : NULL);
}

static void
set_agent(Keeper *keeper, gboolean open)
{
    if (keeper->agent != open) {
        keeper->agent = open;
        publish(keeper);
        lodge_event_append(keeper->store, keeper->name, open ? "agent-up" : "agent-down", NULL);
    }
}

static void
report(Keeper *keeper, const GError *error)
{
    lodge_detached_report(&keeper->report_fd, error);
}

static void watch_qmp(Keeper *keeper);

/* Something is to be written on the events connection. */
static void
on_sent(gpointer data)
{
    Keeper *keeper = data;
    if (keeper->qmp_source != 0) {
        watch_qmp(keeper);
    }
}

Keeper *
keeper_new(LodgeStore *store, const char *guest, int report_fd, GError **error)
{
    g_autoptr(Keeper) keeper = g_new0(Keeper, 1);
    keeper->store = store;
    keeper->name = g_strdup(guest);
    keeper->run_folder = lodge_store_run_path(store, guest, NULL);
    keeper->loop = g_main_loop_new(NULL, FALSE);
    keeper->report_fd = report_fd;
    keeper->port_reservation = -1;
    keeper->qemu_pid_fd = -1;
    keeper->keeper_lock = -1;
    g_autofree char *lock_path = run_path(keeper, "keeper.lock");
    if (!lodge_dir_make(keeper->run_folder, 0755, error)) {
        report(keeper, *error);
        return NULL;
    }
    keeper->keeper_lock = lodge_lock_take(lock_path, error);
    if (keeper->keeper_lock < 0 || !lodge_lock_write_pid(keeper->keeper_lock, 0, error)) {
        lodge_error_prefix(error, "it has a keeper already");
        report(keeper, *error);
        return NULL;
    }
    keeper->watch = watch_new(store, guest, on_sent, keeper);
    return g_steal_pointer(&keeper);
}

static void
drop_qmp(Keeper *keeper)
{
    if (keeper->qmp_source != 0) {
        g_source_remove(keeper->qmp_source);
        keeper->qmp_source = 0;
    }
    watch_use(keeper->watch, NULL);
    g_clear_pointer(&keeper->qmp, lodge_qmp_free);
}

void
keeper_free(Keeper *keeper)
{
    if (keeper == NULL) {
        return;
    }
    /* First: commands wait for it, and the kernel takes its time over closing an inotify. */
    lodge_fd_clear(&keeper->keeper_lock);
    if (keeper->watch != NULL) {
        drop_qmp(keeper);
    }
    watch_free(keeper->watch);
    lodge_fd_clear(&keeper->report_fd);
    lodge_fd_clear(&keeper->qemu_pid_fd);
    lodge_fd_clear(&keeper->port_reservation);
    g_clear_pointer(&keeper->loop, g_main_loop_unref);
    g_free(keeper->run_folder);
    g_free(keeper->reason);
    g_free(keeper->ssh_host);
    g_free(keeper->name);
    g_free(keeper);
}

/* --- Starting and adopting ------------------------------------------------------------------ */

/* QEMU's last words, for the error that says why it did not start. */
static char *
last_words(const Keeper *keeper)
{
    g_autofree char *path = run_path(keeper, "qemu.log");
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

static gboolean
spawn(Keeper *keeper, const LodgeGuest *guest, const LodgePlan *plan, GError **error)
{
    g_autofree char *lock_path = run_path(keeper, "qemu.lock");
    g_autofree char *log_path = run_path(keeper, "qemu.log");
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
    };
    if (!lodge_qemu_spawn(plan->command, &how, &keeper->qemu_pid, &keeper->qemu_pid_fd, error)) {
        return FALSE;
    }
    keeper->is_child = TRUE;
    limit(keeper, guest);
    return lodge_lock_write_pid(qemu_lock, keeper->qemu_pid, error);
}

static void
reap(Keeper *keeper, int *out_status)
{
    *out_status = 0;
    if (keeper->is_child) {
        while (waitpid(keeper->qemu_pid, out_status, 0) < 0 && errno == EINTR) {
        }
    }
    keeper->is_child = FALSE;
    lodge_fd_clear(&keeper->qemu_pid_fd);
}

/* Wait for QMP's greeting. If QEMU ended instead, the error is what it said. */
static gboolean
greet(Keeper *keeper, GError **error)
{
    g_autofree char *path = run_path(keeper, "events.qmp");
    keeper->qmp = lodge_qmp_connect(path, lodge_deadline_in(QMP_TIMEOUT_MS), error);
    if (keeper->qmp != NULL) {
        return TRUE;
    }
    /* It may live and be silent; it may be ending, having closed its sockets. */
    struct pollfd ending = {.fd = keeper->qemu_pid_fd, .events = POLLIN};
    gboolean lives = poll(&ending, 1, 1000) <= 0;
    if (lives) {
        lodge_pid_fd_signal(keeper->qemu_pid_fd, SIGKILL, NULL);
    }
    int status = 0;
    reap(keeper, &status);
    g_autofree char *words = last_words(keeper);
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

/* What is read again when it matters, because it may be set while the guest runs. */
static void
read_policy(Keeper *keeper, const LodgeGuest *guest)
{
    if (guest != NULL) {
        keeper->on_crash = (LodgeOnCrash)guest->on_crash;
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

static gboolean
start(Keeper *keeper, gboolean paused, GError **error)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(keeper->store, keeper->name, error);
    if (guest == NULL) {
        return FALSE;
    }
    read_policy(keeper, guest);
    watch_begin(keeper->watch, guest);
    g_autoptr(json_t) boot_order = boot_once_take(keeper->store, guest);
    lodge_fd_clear(&keeper->port_reservation);
    g_autoptr(LodgePlan) plan = lodge_plan_make(keeper->store, guest, paused, error);
    if (plan == NULL) {
        return FALSE;
    }
    keeper->kvm = plan->kvm;
    keeper->ssh_port = plan->ssh_port;
    g_free(keeper->ssh_host);
    keeper->ssh_host = g_steal_pointer(&plan->ssh_host);
    keeper->port_reservation = lodge_fd_steal(&plan->port_reservation);
    keeper->agent = FALSE;
    keeper->ended_by_request = FALSE;
    keeper->started_ms = g_get_real_time() / 1000;
    keeper->state = LODGE_STATE_STARTING;
    g_clear_pointer(&keeper->reason, g_free);
    publish(keeper);
    if (!spawn(keeper, guest, plan, error) || !greet(keeper, error)) {
        return FALSE;
    }
    boot_once_restore(keeper->qmp, g_steal_pointer(&boot_order));
    usb_plug_all(keeper->qmp, keeper->store, guest);
    record_definition(keeper);
    enter(keeper, paused ? LODGE_STATE_PAUSED : LODGE_STATE_RUNNING, "started", NULL);
    return TRUE;
}

static void
on_status(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    (void)qmp;
    Keeper *keeper = data;
    if (error != NULL) {
        return;
    }
    gboolean runs = lodge_json_bool(result, "running", FALSE);
    LodgeState state = runs ? LODGE_STATE_RUNNING : LODGE_STATE_PAUSED;
    if (state != keeper->state) {
        keeper->state = state;
        publish(keeper);
    }
}

/* Whether the guest has its agent's port open may have changed while nobody listened. */
static void
on_chardevs(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    (void)qmp;
    Keeper *keeper = data;
    gsize index;
    json_t *device;
    json_array_foreach (error == NULL ? result : NULL, index, device) {
        if (g_str_equal(lodge_json_string(device, "label", ""), "agent")) {
            set_agent(keeper, lodge_json_bool(device, "frontend-open", keeper->agent));
        }
    }
}

/* Connect without waiting: an adopted QEMU may be stopped, or busy for long. */
static gboolean
connect_events(Keeper *keeper, GError **error)
{
    g_autofree char *path = run_path(keeper, "events.qmp");
    int fd = lodge_unix_connect(path, error);
    if (fd < 0) {
        return FALSE;
    }
    keeper->qmp = lodge_qmp_new(fd);
    return lodge_qmp_send(keeper->qmp, "query-status", NULL, -1, on_status, keeper, error) != 0 &&
           lodge_qmp_send(keeper->qmp, "query-chardev", NULL, -1, on_chardevs, keeper, error) != 0;
}

static gboolean
adopt(Keeper *keeper, GError **error)
{
    g_autofree char *lock_path = run_path(keeper, "qemu.lock");
    g_autofree char *state_path = run_path(keeper, "state.json");
    /* A definition that was damaged meanwhile leaves the guest without a keeper no longer. */
    g_autoptr(LodgeGuest) guest = lodge_store_guest(keeper->store, keeper->name, NULL);
    keeper->on_crash = LODGE_CRASH_STOP;
    read_policy(keeper, guest);
    if (guest != NULL) {
        watch_begin(keeper->watch, guest);
    }
    keeper->qemu_pid_fd = lodge_lock_open_holder(lock_path, &keeper->qemu_pid);
    if (keeper->qemu_pid_fd < 0) {
        return lodge_error_set(error, LODGE_ERROR_BUSY, "its QEMU is ending just now");
    }
    g_autoptr(json_t) last = lodge_json_read(state_path, LOG_LIMIT_BYTES, NULL);
    keeper->agent = lodge_json_bool(last, "agent", FALSE);
    keeper->kvm = lodge_json_bool(last, "kvm", FALSE);
    keeper->ssh_port = (guint)lodge_json_int(last, "ssh_port", 0);
    keeper->ssh_host = g_strdup(lodge_json_string(last, "ssh_host", NULL));
    keeper->started_ms = lodge_json_int(last, "started_ms", 0);
    keeper->state = LODGE_STATE_RUNNING;
    lodge_state_from_word(lodge_json_string(last, "state", ""), &keeper->state);
    keeper->reason = g_strdup(lodge_json_string(last, "reason", NULL));
    if (!connect_events(keeper, error)) {
        return FALSE;
    }
    enter(keeper, keeper->state, "adopted", keeper->reason);
    return TRUE;
}

static void
tidy_up(const Keeper *keeper)
{
    watch_end(keeper->watch);
    lodge_limits_remove(keeper->store, keeper->name);
    lodge_taps_forget(keeper->store, keeper->name);
    static const char *const names[] = {"events.qmp",   "jobs.qmp",  "view.qmp", "agent.sock",
                                        "console.sock", "qemu.lock", "killed",   "started.conf"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = run_path(keeper, names[i]);
        unlink(path);
    }
}

/* Is there a QEMU to adopt? One that was just killed holds its lock for a moment more: the moment
 * is waited for, so that nobody is told that a dying QEMU is in the way. */
static gboolean
has_qemu(const Keeper *keeper)
{
    g_autofree char *lock_path = run_path(keeper, "qemu.lock");
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

gboolean
keeper_begin(Keeper *keeper, KeeperTask task, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gboolean adopts = has_qemu(keeper);
    if (!adopts && task == KEEPER_ADOPT) {
        lodge_error_set(&problem, LODGE_ERROR_NOT_FOUND, "its QEMU has ended");
        report(keeper, problem);
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    gboolean fine = adopts ? adopt(keeper, &problem)
                           : start(keeper, task == KEEPER_START_PAUSED, &problem);
    if (!fine) {
        if (!adopts) {
            tidy_up(keeper);
            enter(keeper, LODGE_STATE_STOPPED, "start-failed", problem->message);
        }
        report(keeper, problem);
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    report(keeper, NULL);
    return TRUE;
}

/* --- Events ---------------------------------------------------------------------------------- */

static void
on_shutdown(Keeper *keeper, const json_t *data)
{
    const char *cause = lodge_json_string(data, "reason", "");
    if (g_str_equal(cause, "guest-panic")) {
        return; /* GUEST_PANICKED said it already */
    }
    keeper->ended_by_request = TRUE;
    enter(keeper, LODGE_STATE_STOPPING, "stopping", NULL);
}

static void
on_panic(Keeper *keeper)
{
    static const char reason[] = "the guest's kernel panicked (`lodge log` shows its console)";
    enter(keeper, LODGE_STATE_PAUSED, "panicked", reason);
    if (keeper->on_crash == LODGE_CRASH_RESTART) {
        lodge_qmp_send(keeper->qmp, "system_reset", NULL, -1, NULL, NULL, NULL);
        lodge_qmp_send(keeper->qmp, "cont", NULL, -1, NULL, NULL, NULL);
    }
}

static void
on_io_error(Keeper *keeper, const json_t *data)
{
    if (!g_str_equal(lodge_json_string(data, "action", ""), "stop")) {
        return;
    }
    g_autofree char *device = lodge_text_printable(lodge_json_string(data, "device", "?"));
    g_autofree char *reason =
        lodge_json_bool(data, "nospace", FALSE)
            ? g_strdup_printf("no space is left for disk %s; free some, then `lodge resume`",
                              device)
            : g_strdup_printf("disk %s: %s", device,
                              lodge_json_string(data, "reason", "I/O error"));
    enter(keeper, LODGE_STATE_PAUSED, "io-error", reason);
}

static void
on_event(Keeper *keeper, const json_t *event)
{
    const char *name = lodge_qmp_event_name(event);
    const json_t *data = lodge_qmp_event_data(event);
    if (g_str_equal(name, "SHUTDOWN")) {
        on_shutdown(keeper, data);
    } else if (g_str_equal(name, "STOP")) {
        /* The reason, if there is one, came just before. */
        if (keeper->state != LODGE_STATE_PAUSED && keeper->state != LODGE_STATE_STOPPING) {
            enter(keeper, LODGE_STATE_PAUSED, "paused", NULL);
        }
    } else if (g_str_equal(name, "RESUME")) {
        enter(keeper, LODGE_STATE_RUNNING, "resumed", NULL);
    } else if (g_str_equal(name, "RESET")) {
        lodge_event_append(keeper->store, keeper->name, "reset", NULL);
    } else if (g_str_equal(name, "POWERDOWN") && keeper->state != LODGE_STATE_STOPPING) {
        enter(keeper, LODGE_STATE_STOPPING, "asked-to-stop", NULL);
    } else if (g_str_equal(name, "GUEST_PANICKED")) {
        on_panic(keeper);
    } else if (g_str_equal(name, "BLOCK_IO_ERROR")) {
        on_io_error(keeper, data);
    } else if (g_str_equal(name, "VSERPORT_CHANGE") &&
               g_str_equal(lodge_json_string(data, "id", ""), "agent")) {
        set_agent(keeper, lodge_json_bool(data, "open", FALSE));
    }
}

static gboolean on_qmp(gint fd, GIOCondition condition, gpointer data);

static void
watch_qmp(Keeper *keeper)
{
    if (keeper->qmp_source != 0) {
        g_source_remove(keeper->qmp_source);
    }
    keeper->qmp_source = g_unix_fd_add(lodge_qmp_fd(keeper->qmp), lodge_qmp_fd_events(keeper->qmp),
                                       on_qmp, keeper);
}

static gboolean
on_reconnect(gpointer data)
{
    Keeper *keeper = data;
    if (keeper->qmp != NULL || !connect_events(keeper, NULL)) {
        drop_qmp(keeper);
        return G_SOURCE_CONTINUE;
    }
    watch_qmp(keeper);
    watch_use(keeper->watch, keeper->qmp);
    return G_SOURCE_REMOVE;
}

static void
take_events(Keeper *keeper)
{
    for (;;) {
        g_autoptr(json_t) event = lodge_qmp_take_event(keeper->qmp);
        if (event == NULL) {
            return;
        }
        on_event(keeper, event);
    }
}

static gboolean
on_qmp(gint fd, GIOCondition condition, gpointer data)
{
    (void)fd;
    Keeper *keeper = data;
    guint source = keeper->qmp_source; /* replies may send, and have another put in its place */
    gboolean open = lodge_qmp_pump(keeper->qmp, NULL);
    take_events(keeper);
    if (!open) {
        if (keeper->qmp_source != source) {
            g_source_remove(keeper->qmp_source);
        }
        keeper->qmp_source = 0;
        watch_use(keeper->watch, NULL);
        g_clear_pointer(&keeper->qmp, lodge_qmp_free);
        /* If QEMU has ended, its pid descriptor says so before this comes round. */
        g_timeout_add(RECONNECT_MS, on_reconnect, keeper);
        return G_SOURCE_REMOVE;
    }
    if (keeper->qmp_source != source || lodge_qmp_fd_events(keeper->qmp) != condition) {
        keeper->qmp_source = keeper->qmp_source == source ? 0 : keeper->qmp_source;
        watch_qmp(keeper);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

/* --- The end --------------------------------------------------------------------------------- */

static char *
crash_reason(const Keeper *keeper, gboolean was_child, int status)
{
    if (keeper->reason != NULL) {
        return g_strdup(keeper->reason);
    }
    g_autofree char *words = last_words(keeper);
    const char *colon = *words != '\0' ? ": " : "";
    if (was_child && WIFSIGNALED(status)) {
        return g_strdup_printf("QEMU was ended by signal %d (%s)%s%s", WTERMSIG(status),
                               g_strsignal(WTERMSIG(status)), colon, words);
    }
    return g_strdup_printf("QEMU ended unasked%s%s", colon, words);
}

static gboolean
may_restart(Keeper *keeper)
{
    gint64 now = g_get_monotonic_time();
    gint64 *slot = &keeper->restarts[keeper->restart_count % RESTARTS_AT_MOST];
    gboolean too_many = keeper->restart_count >= RESTARTS_AT_MOST && now - *slot < RESTART_SPAN_US;
    *slot = now;
    keeper->restart_count++;
    return !too_many;
}

static void watch(Keeper *keeper);

static gboolean
on_qemu_end(gint fd, GIOCondition condition, gpointer data)
{
    (void)fd;
    (void)condition;
    Keeper *keeper = data;
    gboolean was_child = keeper->is_child;
    int status = 0;
    if (keeper->qmp != NULL) {
        lodge_qmp_pump(keeper->qmp, NULL);
        take_events(keeper);
    }
    drop_qmp(keeper);
    keeper->exit_source = 0;
    reap(keeper, &status);
    g_autoptr(LodgeGuest) guest = lodge_store_guest(keeper->store, keeper->name, NULL);
    read_policy(keeper, guest);
    g_autofree char *killed_path = run_path(keeper, "killed");
    gboolean wanted = keeper->ended_by_request || g_file_test(killed_path, G_FILE_TEST_EXISTS);
    g_autofree char *reason = wanted ? NULL : crash_reason(keeper, was_child, status);
    tidy_up(keeper);
    keeper->qemu_pid = 0;
    keeper->agent = FALSE;
    enter(keeper, wanted ? LODGE_STATE_STOPPED : LODGE_STATE_CRASHED,
          wanted ? "stopped" : "crashed", reason);
    if (!wanted && keeper->on_crash == LODGE_CRASH_RESTART && may_restart(keeper)) {
        g_autoptr(GError) error = NULL;
        if (keeper_begin(keeper, KEEPER_START, &error)) {
            watch(keeper);
            return G_SOURCE_REMOVE;
        }
    }
    g_main_loop_quit(keeper->loop);
    return G_SOURCE_REMOVE;
}

static void
watch(Keeper *keeper)
{
    keeper->exit_source = g_unix_fd_add(keeper->qemu_pid_fd, G_IO_IN, on_qemu_end, keeper);
    watch_qmp(keeper);
    watch_use(keeper->watch, keeper->qmp);
    take_events(keeper);
}

static gboolean
on_console_look(gpointer data)
{
    Keeper *keeper = data;
    g_autofree char *path = lodge_store_guest_path(keeper->store, keeper->name, "console.log");
    keeper_rotate_log(path, CONSOLE_LIMIT_BYTES);
    return G_SOURCE_CONTINUE;
}

void
keeper_run(Keeper *keeper)
{
    watch(keeper);
    g_timeout_add_seconds(CONSOLE_LOOK_S, on_console_look, keeper);
    g_main_loop_run(keeper->loop);
}
