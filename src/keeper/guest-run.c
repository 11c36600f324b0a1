/* Theory of operation: the keeper's life.
 *
 *   keeper_begin ── qemu.lock held? ── yes ──> adopt: connect to events.qmp, ask query-status
 *                         │no
 *                         └──> plan, take qemu.lock, spawn (QEMU inherits the lock), wait for QMP
 *   keeper_run: one main loop with three sources, the events connection, QEMU's pid descriptor, and
 *   the port of the guest's lodge-agent.
 *   Each event changes fields and publishes state.json. When QEMU ends, on-crash decides whether to
 *   begin anew; else the sockets are removed and the loop ends.
 *
 * Whether QEMU lives is never guessed: it inherited qemu.lock, and the kernel lets go of it when
 * the last copy of that descriptor is closed. The keeper closes its own copy right after the fork.
 * A keeper that is killed leaves a QEMU that runs on, its event socket waiting for the next keeper.
 */
#include "config.h"

#include "keeper/guest-run.h"

#include <glib-unix.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "keeper/guest-private.h"
#include "keeper/plan.h"
#include "keeper/ports.h"
#include "keeper/rotate.h"

enum {
    CONSOLE_LIMIT_BYTES = 8 << 20,
    QEMU_LOG_LIMIT_BYTES = 1 << 20,
    CONSOLE_LOOK_S = 10,
};

char *
keeper_run_path(const Keeper *keeper, const char *file)
{
    return g_build_filename(keeper->run_folder, file, NULL);
}

void
keeper_publish(Keeper *keeper)
{
    g_autofree char *path = keeper_run_path(keeper, "state.json");
    json_t *inside = inside_json(keeper->inside);
    g_autoptr(json_t) value = json_pack(
        "{s:s, s:o, s:i, s:I, s:b, s:i, s:b, s:i, s:o, s:o}", "state",
        lodge_state_word(keeper->state), "reason", lodge_json_string_or_null(keeper->reason), "pid",
        (int)keeper->qemu_pid, "started_ms", (json_int_t)keeper->started_ms, "agent", keeper->agent,
        "ports", (int)keeper->ports, "kvm", keeper->kvm, "ssh_port", (int)keeper->ssh_port,
        "ssh_host", lodge_json_string_or_null(keeper->ssh_host), "inside",
        inside != NULL ? json_incref(inside) : json_null());
    lodge_json_publish(path, value, NULL);
}

void
keeper_enter(Keeper *keeper, LodgeState state, const char *event, const char *reason)
{
    keeper->state = state;
    g_free(keeper->reason);
    keeper->reason = g_strdup(reason);
    keeper_publish(keeper);
    lodge_event_append(keeper->store, keeper->name, event,
                       reason != NULL ? json_pack("{s:s}", "reason", reason) : NULL);
}

/* Something is to be written on the events connection. */
static void
on_sent(gpointer data)
{
    Keeper *keeper = data;
    if (keeper->qmp_source != 0) {
        keeper_watch_qmp(keeper);
    }
}

void
keeper_report(Keeper *keeper, const GError *error)
{
    lodge_detached_report(&keeper->report_fd, error);
}

/* A descriptor that tells of SIGHUP, from now on: g_unix_signal_add() would start a thread for it.
 */
static int
take_hangups(void)
{
    sigset_t hangup;
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    sigprocmask(SIG_BLOCK, &hangup, NULL);
    return signalfd(-1, &hangup, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* One that stands still is what it was. */
static gboolean
may_snapshot(gpointer data)
{
    return ((const Keeper *)data)->state == LODGE_STATE_RUNNING;
}

/* QEMU names the guest's MAC for it, and again, as it may take a moment to see the connection. */
static void
on_passt(const char *nic, gpointer data)
{
    Keeper *keeper = data;
    if (keeper->qmp != NULL) {
        g_autofree char *id = g_strconcat("nic-", nic, NULL);
        lodge_qmp_send(keeper->qmp, "announce-self",
                       json_pack("{s:i, s:i, s:i, s:i, s:[s]}", "initial", 50, "max", 500, "rounds",
                                 4, "step", 150, "interfaces", id),
                       -1, NULL, NULL, NULL);
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
    keeper->memory = KEEPER_MEMORY_NONE;
    keeper->qemu_pid_fd = -1;
    keeper->tpm = TPM_NONE;
    keeper->hangup_fd = take_hangups();
    keeper->keeper_lock = -1;
    g_autofree char *lock_path = keeper_run_path(keeper, "keeper.lock");
    if (!lodge_dir_make(keeper->run_folder, 0755, error)) {
        keeper_report(keeper, *error);
        return NULL;
    }
    keeper->keeper_lock = lodge_lock_take(lock_path, error);
    if (keeper->keeper_lock < 0) {
        lodge_error_prefix(error, "it has a keeper already");
    }
    if (keeper->keeper_lock < 0 || !lodge_lock_write_pid(keeper->keeper_lock, 0, error)) {
        keeper_report(keeper, *error);
        return NULL;
    }
    lodge_detached_begun(keeper->report_fd);
    keeper->inside = inside_new(keeper->run_folder, keeper_on_inside, keeper);
    keeper->watch = watch_new(store, guest, on_sent, keeper);
    keeper->passts = passts_new(store, keeper->name, on_passt, keeper);
    keeper->mend = mend_new(store, keeper->name);
    keeper->space = space_new(store, keeper->name, keeper_continue, keeper);
    keeper->schedule = schedule_new(store, keeper->name, may_snapshot, keeper);
    return g_steal_pointer(&keeper);
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
        keeper_drop_qmp(keeper);
    }
    watch_free(keeper->watch);
    mend_free(keeper->mend);
    passts_free(keeper->passts);
    lodge_fd_clear(&keeper->tpm.pid_fd);
    space_free(keeper->space);
    schedule_free(keeper->schedule);
    inside_free(keeper->inside);
    lodge_fd_clear(&keeper->report_fd);
    lodge_fd_clear(&keeper->qemu_pid_fd);
    lodge_fd_clear(&keeper->port_reservation);
    keeper_memory_clear(&keeper->memory);
    lodge_fd_clear(&keeper->hangup_fd);
    g_clear_pointer(&keeper->loop, g_main_loop_unref);
    g_free(keeper->run_folder);
    g_free(keeper->reason);
    g_free(keeper->ssh_host);
    g_free(keeper->name);
    g_free(keeper);
}

void
keeper_watch(Keeper *keeper)
{
    keeper->exit_source = g_unix_fd_add(keeper->qemu_pid_fd, G_IO_IN, keeper_on_qemu_end, keeper);
    if (keeper->qmp != NULL) {
        keeper_watch_qmp(keeper);
        watch_use(keeper->watch, keeper->qmp);
        keeper_take_events(keeper);
    }
}

static gboolean
on_console_look(gpointer data)
{
    Keeper *keeper = data;
    g_autofree char *path = lodge_store_guest_path(keeper->store, keeper->name, "console.log");
    keeper_rotate_log(path, CONSOLE_LIMIT_BYTES);
    /* A guest can have QEMU complain at each page of a balloon. */
    g_autofree char *words = keeper_run_path(keeper, "qemu.log");
    keeper_rotate_log(words, QEMU_LOG_LIMIT_BYTES);
    return G_SOURCE_CONTINUE;
}

/* The first NIC has moved to the network `user`: SSH gets in by a port of the loopback address. */
static void
forward_ssh(Keeper *keeper, const LodgeNic *nic)
{
    g_autofree char *folder = lodge_store_guest_path(keeper->store, keeper->name, NULL);
    guint port = nic->ssh_port != 0 ? nic->ssh_port
                                    : lodge_port_choose(folder, &keeper->port_reservation, NULL);
    g_autofree char *line = g_strdup_printf("hostfwd_add n0 tcp:127.0.0.1:%u-:22", port);
    g_clear_pointer(&keeper->ssh_host, g_free);
    keeper->ssh_port = port;
    if (port != 0 && keeper->qmp != NULL) {
        lodge_qmp_send(keeper->qmp, "human-monitor-command",
                       json_pack("{s:s}", "command-line", line), -1, NULL, NULL, NULL);
    }
}

/* SIGHUP: the definition changed under the running guest. */
static gboolean
on_hangup(gint fd, GIOCondition condition, gpointer data)
{
    (void)condition;
    Keeper *keeper = data;
    struct signalfd_siginfo signals;
    while (read(fd, &signals, sizeof signals) > 0) {
    }
    g_autoptr(LodgeGuest) guest = lodge_store_guest(keeper->store, keeper->name, NULL);
    keeper_read_policy(keeper, guest);
    if (guest != NULL) {
        passts_follow(keeper->passts, guest);
    }
    if (guest != NULL &&
        lodge_plan_find_host(keeper->store, guest, &keeper->ssh_host, &keeper->ssh_port)) {
        lodge_fd_clear(&keeper->port_reservation);
        keeper_publish(keeper);
    } else if (guest != NULL && guest->nics->len > 0 && keeper->ssh_host != NULL) {
        forward_ssh(keeper, guest->nics->pdata[0]);
        keeper_publish(keeper);
    }
    return G_SOURCE_CONTINUE;
}

void
keeper_run(Keeper *keeper)
{
    g_unix_fd_add(keeper->hangup_fd, G_IO_IN, on_hangup, keeper);
    keeper_watch(keeper);
    g_timeout_add_seconds(CONSOLE_LOOK_S, on_console_look, keeper);
    g_main_loop_run(keeper->loop);
}
