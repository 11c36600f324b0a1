/* Theory of operation
 *
 * QEMU listens on a socket, passt-N.sock, for NIC number N, and the keeper connects to it and gives
 * that end to passt. So nobody else has it: passt ends when QEMU does, however that is, and a
 * keeper that is killed leaves nothing behind. When passt ends first QEMU listens again, and the
 * keeper begins another; the guest loses its connections, not its network. In the same way forwards
 * change: passt has them from its start.
 *
 * passt reads what the guest sends. It runs as QEMU's user and confines itself; the last step of
 * that is a filter of system calls, by which we see that it is ready: it forwards then, or has
 * ended.
 *
 * passt-N.json says who it is (process id and when that process began: ids are used again) and
 * which forwards it has: for the keeper that comes after this one, and for commands that change
 * them. */
#include "config.h"

#include "keeper/passt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "host/passt.h"
#include "keeper/keeper.h"
#include "net/define.h"
#include "qemu/spawn.h"

enum {
    READY_TIMEOUT_MS = 5000,
    READY_LOOK_MS = 3,
    ENDING_MS = 2000,
    SOON_MS = 100,
    AGAIN_MS = 5000,
    PROC_LIMIT_BYTES = 8192,
    LOG_LIMIT_BYTES = 65536,
    LOG_LOOK_S = 10,
    START_FIELD = 20, /* of /proc/PID/stat, behind the name */
};

typedef struct {
    Passts *all;
    guint number; /* of its NIC */
    char *nic;
    guint ssh_port;
    char *forward;
    char *program;
    pid_t pid; /* 0: none runs */
    int pid_fd;
    gint64 started_us;
    gboolean has_failed; /* which was told */
    guint end_source;
    guint again_source;
} Passt;

struct Passts {
    const LodgeStore *store;
    const char *guest;
    GPtrArray *list; /* Passt * */
    PasstsFunc on_begun;
    gpointer data;
    guint log_source;
};

static char *
path_of(const Passt *passt, const char *suffix)
{
    g_autofree char *name = g_strdup_printf("passt-%u.%s", passt->number, suffix);
    return lodge_store_run_path(passt->all->store, passt->all->guest, name);
}

static void
stop_watching(Passt *passt)
{
    g_clear_handle_id(&passt->end_source, g_source_remove);
    g_clear_handle_id(&passt->again_source, g_source_remove);
    lodge_fd_clear(&passt->pid_fd);
}

static void
passt_free(Passt *passt)
{
    stop_watching(passt);
    g_free(passt->nic);
    g_free(passt->forward);
    g_free(passt->program);
    g_free(passt);
}

/* Take its exit status, if it is our child. */
static void
reap(Passt *passt)
{
    while (waitpid(passt->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    passt->pid = 0;
}

/* End it, if it runs. */
static void
passt_stop(Passt *passt)
{
    if (passt->pid != 0) {
        lodge_pid_fd_signal(passt->pid_fd, SIGTERM, NULL);
        if (!lodge_pid_fd_await(passt->pid_fd, ENDING_MS)) {
            lodge_pid_fd_signal(passt->pid_fd, SIGKILL, NULL);
            lodge_pid_fd_await(passt->pid_fd, ENDING_MS);
        }
        reap(passt);
    }
    stop_watching(passt);
}

static void
passt_remove(Passt *passt)
{
    static const char *const suffixes[] = {"sock", "json", "log"};
    passt_stop(passt);
    for (gsize i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *path = path_of(passt, suffixes[i]);
        unlink(path);
    }
    g_ptr_array_remove(passt->all->list, passt);
}

static void
report(const Passt *passt, const char *event, const char *reason)
{
    json_t *details = json_pack("{s:i, s:o}", "nic", (int)passt->number, "reason",
                                lodge_json_string_or_null(reason));
    lodge_event_append(passt->all->store, passt->all->guest, event, details);
}

/* How many filters of system calls a process has, in the text of /proc/PID/status. */
static gint64
filters_of(pid_t pid)
{
    static const char field[] = "\nSeccomp_filters:";
    g_autofree char *path = g_strdup_printf("/proc/%d/status", pid);
    g_autofree char *text = lodge_file_read(path, PROC_LIMIT_BYTES, NULL, NULL);
    const char *found = text != NULL ? strstr(text, field) : NULL;
    return found != NULL ? g_ascii_strtoll(found + sizeof field - 1, NULL, 10) : -1;
}

/* When a process began, in the kernel's ticks; 0: there is none. */
static gint64
began(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", pid);
    g_autofree char *text = lodge_file_read(path, PROC_LIMIT_BYTES, NULL, NULL);
    const char *rest = text != NULL ? strrchr(text, ')') : NULL;
    g_auto(GStrv) fields = rest != NULL ? g_strsplit(rest, " ", START_FIELD + 2) : NULL;
    return fields != NULL && g_strv_length(fields) > START_FIELD
               ? g_ascii_strtoll(fields[START_FIELD], NULL, 10)
               : 0;
}

static void
publish(const Passt *passt, const char *problem)
{
    g_autofree char *path = path_of(passt, "json");
    g_autoptr(json_t) value = json_pack("{s:i, s:I, s:s, s:o}", "pid", (int)passt->pid, "began",
                                        (json_int_t)began(passt->pid), "forward",
                                        passt->forward != NULL ? passt->forward : "", "problem",
                                        lodge_json_string_or_null(problem));
    lodge_json_publish(path, value, NULL);
}

static gboolean
await_ready(const Passt *passt, GError **error)
{
    gint64 own = filters_of(getpid());
    gint64 deadline = lodge_deadline_in(READY_TIMEOUT_MS);
    while (!lodge_pid_fd_await(passt->pid_fd, READY_LOOK_MS)) {
        if (filters_of(passt->pid) > own) {
            return TRUE;
        }
        if (lodge_deadline_passed(deadline)) {
            return lodge_error_set(error, LODGE_ERROR_TIMEOUT, "passt is not ready after %d s",
                                   READY_TIMEOUT_MS / 1000);
        }
    }
    g_autofree char *path = path_of(passt, "log");
    g_autofree char *text = lodge_file_read(path, LOG_LIMIT_BYTES, NULL, NULL);
    g_autofree char *words = lodge_text_last_line(text != NULL ? text : "");
    return lodge_error_set(error, LODGE_ERROR_FAILED, "passt: %s",
                           *words != '\0' ? words : "it ended without a word");
}

/* The first resolver of IPv4 that the host has; NULL: none. Free with g_free. */
static char *
find_resolver(void)
{
    g_autofree char *text = lodge_file_read("/etc/resolv.conf", LOG_LIMIT_BYTES, NULL, NULL);
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        struct in_addr address;
        char found[INET_ADDRSTRLEN];
        if (sscanf(lines[i], " nameserver %15[0-9.]", found) == 1 &&
            inet_pton(AF_INET, found, &address) == 1 && address.s_addr != INADDR_ANY) {
            return g_strdup(found);
        }
    }
    return NULL;
}

static gboolean on_end(gint fd, GIOCondition condition, gpointer data);

/* NOT_FOUND if no QEMU listens any more. */
static gboolean
passt_start(Passt *passt, GError **error)
{
    g_autofree char *folder = lodge_store_guest_path(passt->all->store, passt->all->guest, NULL);
    g_autofree char *socket_path = path_of(passt, "sock");
    g_autofree char *log = path_of(passt, "log");
    lodge_autofd socket = lodge_unix_connect(socket_path, error);
    g_autofree char *resolver = find_resolver();
    const LodgeNic nic = {.forward = passt->forward};
    const LodgeSpawn how = {
        .log_path = log, .lock_fd = -1, .drop = geteuid() == 0, .uid = lodge_qemu_uid(folder)};
    g_autoptr(LodgeCommand)
        command = socket >= 0 ? lodge_passt_command(passt->program, &nic, passt->ssh_port, resolver,
                                                    socket, error)
                              : NULL;
    if (command == NULL) {
        return FALSE;
    }
    unlink(log);
    if (!lodge_qemu_spawn(command, &how, &passt->pid, &passt->pid_fd, error)) {
        return FALSE;
    }
    passt->started_us = g_get_monotonic_time();
    if (!await_ready(passt, error)) {
        passt_stop(passt);
        return FALSE;
    }
    passt->end_source = g_unix_fd_add(passt->pid_fd, G_IO_IN, on_end, passt);
    passt->has_failed = FALSE;
    passt->all->on_begun(passt->nic, passt->all->data);
    publish(passt, NULL);
    return TRUE;
}

static gboolean
on_again(gpointer data)
{
    Passt *passt = data;
    g_autoptr(GError) problem = NULL;
    passt->again_source = 0;
    if (passt_start(passt, &problem)) {
        report(passt, "passt-restarted", NULL);
    } else if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        passt_remove(passt); /* with its QEMU, or its NIC went to another network */
    } else {
        if (!passt->has_failed) {
            report(passt, "passt-failed", problem->message);
        }
        passt->has_failed = TRUE;
        publish(passt, problem->message);
        passt->again_source = g_timeout_add(AGAIN_MS, on_again, passt);
    }
    return G_SOURCE_REMOVE;
}

/* A moment later QEMU may have ended too, which is why this one has. One that lived but a moment
 * waits longer: to begin it would be all that is done. */
static gboolean
on_end(gint fd, GIOCondition condition, gpointer data)
{
    (void)fd;
    (void)condition;
    Passt *passt = data;
    gint64 lived_ms = (g_get_monotonic_time() - passt->started_us) / 1000;
    passt->end_source = 0;
    reap(passt);
    stop_watching(passt);
    passt->again_source = g_timeout_add(lived_ms > AGAIN_MS ? SOON_MS : AGAIN_MS, on_again, passt);
    return G_SOURCE_REMOVE;
}

static gboolean
on_log_look(gpointer data)
{
    const Passts *passts = data;
    for (guint i = 0; i < passts->list->len; i++) {
        g_autofree char *path = path_of(passts->list->pdata[i], "log");
        struct stat info;
        if (stat(path, &info) == 0 && info.st_size > LOG_LIMIT_BYTES && truncate(path, 0) < 0) {
            unlink(path);
        }
    }
    return G_SOURCE_CONTINUE;
}

Passts *
passts_new(const LodgeStore *store, const char *guest, PasstsFunc on_begun, gpointer data)
{
    Passts *passts = g_new0(Passts, 1);
    passts->store = store;
    passts->guest = guest;
    passts->on_begun = on_begun;
    passts->data = data;
    passts->list = g_ptr_array_new_with_free_func((GDestroyNotify)passt_free);
    passts->log_source = g_timeout_add_seconds(LOG_LOOK_S, on_log_look, passts);
    return passts;
}

void
passts_free(Passts *passts)
{
    if (passts != NULL) {
        g_source_remove(passts->log_source);
        g_ptr_array_unref(passts->list);
        g_free(passts);
    }
}

static Passt *
passt_new(Passts *passts, const LodgeNic *nic, guint number, guint ssh_port, const char *program)
{
    Passt *passt = g_new0(Passt, 1);
    passt->all = passts;
    passt->number = number;
    passt->ssh_port = number == 0 ? ssh_port : 0;
    passt->nic = g_strdup(nic->name);
    passt->forward = g_strdup(nic->forward);
    passt->program = g_strdup(program);
    passt->pid_fd = -1;
    g_ptr_array_add(passts->list, passt);
    return passt;
}

static gboolean
is_user(const LodgeNic *nic)
{
    return g_strcmp0(nic->network, LODGE_NETWORK_USER) == 0;
}

void
passts_begin(Passts *passts, const LodgeGuest *guest, guint ssh_port, LodgeTap *taps)
{
    g_autofree char *program = NULL;
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        if (!is_user(nic) ||
            (program == NULL && (program = lodge_passt_find(passts->store->run)) == NULL)) {
            continue;
        }
        Passt *passt = passt_new(passts, nic, i, ssh_port, program);
        g_autoptr(GError) problem = NULL;
        g_autofree char *path = path_of(passt, "sock");
        lodge_autofd listener = lodge_unix_listen(path, 0600, &problem);
        if (listener >= 0 && passt_start(passt, &problem)) {
            taps[i].link = g_strdup("passt");
            taps[i].is_socket = TRUE;
            taps[i].fd = lodge_fd_steal(&listener);
        } else {
            report(passt, "passt-failed", problem->message);
            passt_remove(passt);
        }
    }
}

/* The one that passt-N.json tells of, if it lives. */
static void
find_running(Passt *passt)
{
    g_autofree char *path = path_of(passt, "json");
    g_autoptr(json_t) value = lodge_json_read(path, LOG_LIMIT_BYTES, NULL);
    pid_t pid = (pid_t)lodge_json_int(value, "pid", 0);
    gint64 time = lodge_json_int(value, "began", 0);
    lodge_autofd pid_fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (pid_fd < 0 || time == 0 || began(pid) != time) {
        return;
    }
    g_free(passt->forward);
    passt->forward = g_strdup(lodge_json_string(value, "forward", ""));
    passt->pid = pid;
    passt->pid_fd = lodge_fd_steal(&pid_fd);
    passt->end_source = g_unix_fd_add(passt->pid_fd, G_IO_IN, on_end, passt);
}

void
passts_adopt(Passts *passts, const LodgeGuest *guest, guint ssh_port)
{
    for (guint i = 0; i < guest->nics->len; i++) {
        g_autofree char *program = lodge_program_find("passt");
        Passt *passt = passt_new(passts, guest->nics->pdata[i], i, ssh_port, program);
        g_autofree char *path = path_of(passt, "sock");
        if (program == NULL || !g_file_test(path, G_FILE_TEST_EXISTS)) {
            g_ptr_array_remove(passts->list, passt);
            continue;
        }
        find_running(passt);
        if (passt->pid == 0) {
            on_again(passt);
        }
    }
    passts_follow(passts, guest);
}

/* With other forwards; if it can't have them, with those it had. */
static void
change_forward(Passt *passt, const char *forward)
{
    g_autofree char *old = passt->forward;
    g_autoptr(GError) problem = NULL;
    passt_stop(passt);
    passt->forward = g_strdup(forward);
    if (passt_start(passt, &problem)) {
        return;
    }
    g_free(passt->forward);
    passt->forward = g_steal_pointer(&old);
    if (passt_start(passt, NULL)) {
        publish(passt, problem->message);
    } else {
        on_again(passt);
    }
}

void
passts_follow(Passts *passts, const LodgeGuest *guest)
{
    for (guint i = passts->list->len; i-- > 0;) {
        Passt *passt = passts->list->pdata[i];
        const LodgeNic *nic = passt->number < guest->nics->len ? guest->nics->pdata[passt->number]
                                                               : NULL;
        if (nic == NULL || !is_user(nic)) {
            passt_remove(passt);
        } else if (g_strcmp0(nic->forward != NULL ? nic->forward : "",
                             passt->forward != NULL ? passt->forward : "") != 0) {
            change_forward(passt, nic->forward);
        }
    }
}

void
passts_end(Passts *passts)
{
    while (passts->list->len > 0) {
        passt_remove(passts->list->pdata[0]);
    }
}
