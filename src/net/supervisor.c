/* lodge-network NAME: keeps the programs that serve one network.
 *
 * Theory of operation: a program that lives already, as its keeper was killed, is adopted. One that
 * ends is started again, at once the first time, then after a pause that doubles up to a second.
 * SIGTERM ends programs and keeper; SIGKILL ends the keeper alone, and the next command that needs
 * the network starts another. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "net/delegation-keep.h"
#include "net/foreign-watch.h"
#include "net/net-private.h"
#include "net/resolv-watch.h"
#include "net/services.h"
#include "net/watchdog.h"

enum {
    READY_TIMEOUT_MS = 5000,
    END_TIMEOUT_MS = 2000,
    FIRST_PAUSE_MS = 10,
    LONGEST_PAUSE_MS = 800,
    STEADY_AFTER_MS = 10000,
};

typedef struct {
    LodgeStore *store;
    const char *network;
    GMainLoop *loop;
} Supervisor;

typedef struct {
    Supervisor *supervisor;
    LodgeService *service;
    pid_t pid; /* of a child; 0: it was adopted */
    int process;
    guint pause_ms;
    gint64 started;
    char *log_path;
} Program;

/* The program writes its process id itself: should the keeper be killed now, it is known. */
static void
be_service(const Program *program, int process_fd, int log_fd)
{
    sigset_t none;
    char digits[16];
    int length = snprintf(digits, sizeof digits, "%d", (int)getpid());
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (write(process_fd, digits, (gsize)length) == length && null_fd >= 0 &&
        dup2(null_fd, 0) == 0 && dup2(log_fd, 1) == 1 && dup2(log_fd, 2) == 2) {
        execv(program->service->argv[0], program->service->argv);
    }
    _exit(127);
}

static gboolean
spawn(Program *program, GError **error)
{
    const LodgeService *service = program->service;
    const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    lodge_autofd process_fd = open(service->process_path, flags, 0644);
    lodge_autofd log_fd = open(program->log_path, flags, 0644);
    if (process_fd < 0 || log_fd < 0) {
        return lodge_error_errno(error, errno, "%s", program->log_path);
    }
    if (!g_file_test(service->argv[0], G_FILE_TEST_IS_EXECUTABLE)) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "program %s is not installed (`lodge check` names the package)",
                               service->name);
    }
    if (service->ready_path != NULL) {
        unlink(service->ready_path);
    }
    pid_t pid = fork();
    if (pid < 0) {
        return lodge_error_errno(error, errno, "Starting %s", service->name);
    }
    if (pid == 0) {
        be_service(program, process_fd, log_fd);
    }
    program->pid = pid;
    program->process = (int)syscall(SYS_pidfd_open, pid, 0);
    program->started = g_get_monotonic_time();
    return TRUE;
}

/* Its last words say why it did not start. */
static gboolean
explain_end(const Program *program, GError **error)
{
    g_autofree char *text = lodge_file_read(program->log_path, 1 << 20, NULL, NULL);
    g_autofree char *words = lodge_text_last_line(text != NULL ? text : "");
    return lodge_error_set(error, LODGE_ERROR_FAILED, "%s: %s", program->service->name,
                           *words != '\0' ? words : "it ended at once");
}

static gboolean
await_ready(const Program *program, GError **error)
{
    const char *path = program->service->ready_path;
    gint64 deadline = lodge_deadline_in(READY_TIMEOUT_MS);
    g_autofree char *folder = path != NULL ? g_path_get_dirname(path) : NULL;
    lodge_autofd watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (path == NULL) {
        return TRUE;
    }
    if (watch < 0 || inotify_add_watch(watch, folder, IN_CLOSE_WRITE | IN_MOVED_TO) < 0) {
        return lodge_error_errno(error, errno, "Watching %s", folder);
    }
    while (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        struct pollfd polls[] = {{.fd = watch, .events = POLLIN},
                                 {.fd = program->process, .events = POLLIN}};
        if (!lodge_wait_polls(polls, G_N_ELEMENTS(polls), deadline, error)) {
            return lodge_error_prefix(error, "%s", program->service->name);
        }
        if (polls[1].revents != 0) {
            return explain_end(program, error);
        }
        char events[4096];
        if (read(watch, events, sizeof events) < 0 && errno != EAGAIN) {
            return lodge_error_errno(error, errno, "Watching %s", folder);
        }
    }
    return TRUE;
}

static gboolean on_end(gint fd, GIOCondition condition, gpointer data);

static gboolean
on_pause_over(gpointer data)
{
    Program *program = data;
    g_autoptr(GError) error = NULL;
    if (spawn(program, &error)) {
        g_unix_fd_add(program->process, G_IO_IN, on_end, program);
        return G_SOURCE_REMOVE;
    }
    g_autofree char *reason = g_strdup(error->message);
    lodge_event_append(program->supervisor->store, NULL, "network-service-failed",
                       json_pack("{s:s, s:s, s:s}", "network", program->supervisor->network,
                                 "service", program->service->name, "reason", reason));
    g_timeout_add(LONGEST_PAUSE_MS, on_pause_over, program);
    return G_SOURCE_REMOVE;
}

static gboolean
on_end(gint fd, GIOCondition condition, gpointer data)
{
    (void)fd;
    (void)condition;
    Program *program = data;
    if (program->pid != 0) {
        waitpid(program->pid, NULL, 0);
    }
    lodge_fd_clear(&program->process);
    program->pid = 0;
    gint64 lived_ms = (g_get_monotonic_time() - program->started) / 1000;
    program->pause_ms = lived_ms > STEADY_AFTER_MS
                            ? FIRST_PAUSE_MS
                            : MIN(program->pause_ms * 2, (guint)LONGEST_PAUSE_MS);
    lodge_event_append(program->supervisor->store, NULL, "network-service-ended",
                       json_pack("{s:s, s:s}", "network", program->supervisor->network, "service",
                                 program->service->name));
    g_timeout_add(program->pause_ms, on_pause_over, program);
    return G_SOURCE_REMOVE;
}

static gboolean
begin(Program *program, GError **error)
{
    program->process = lodge_service_open(program->service);
    if (program->process < 0 && (!spawn(program, error) || !await_ready(program, error))) {
        return FALSE;
    }
    g_unix_fd_add(program->process, G_IO_IN, on_end, program);
    return TRUE;
}

static void
end(Program *program)
{
    if (program->process >= 0) {
        /* Whoever waits for us to end wants its address, too: we end when it has. Being told twice
         * to end must not cut the waiting short. */
        static const int signals[] = {SIGTERM, SIGKILL};
        for (gsize i = 0; i < G_N_ELEMENTS(signals); i++) {
            lodge_pid_fd_signal(program->process, signals[i], NULL);
            if (lodge_pid_fd_await(program->process, END_TIMEOUT_MS)) {
                break;
            }
        }
    }
    lodge_fd_clear(&program->process);
}

static void
program_free(gpointer data)
{
    Program *program = data;
    lodge_fd_clear(&program->process);
    g_free(program->log_path);
    g_free(program);
}

static gboolean
on_terminate(gpointer data)
{
    g_main_loop_quit(data);
    return G_SOURCE_CONTINUE;
}

static gboolean
keep(Supervisor *supervisor, GPtrArray *services, int *report_fd, GError **error)
{
    g_autoptr(GPtrArray) programs = g_ptr_array_new_with_free_func(program_free);
    gboolean fine = TRUE;
    for (guint i = 0; fine && i < services->len; i++) {
        Program *program = g_new0(Program, 1);
        LodgeService *service = services->pdata[i];
        g_autofree char *log_name = g_strconcat(service->name, ".log", NULL);
        program->supervisor = supervisor;
        program->service = service;
        program->process = -1;
        program->pause_ms = FIRST_PAUSE_MS / 2;
        program->log_path = lodge_store_network_run_path(supervisor->store, supervisor->network,
                                                         log_name);
        g_ptr_array_add(programs, program);
        fine = begin(program, error);
    }
    if (fine) {
        lodge_detached_report(report_fd, NULL);
        g_main_loop_run(supervisor->loop);
    }
    for (guint i = programs->len; i > 0; i--) {
        end(programs->pdata[i - 1]);
    }
    return fine;
}

static gboolean
run(const char *name, int *report_fd, GError **error)
{
    g_autoptr(LodgeStore) store = lodge_store_open(error);
    if (store == NULL || !lodge_name_check("network", name, error)) {
        return FALSE;
    }
    g_autofree char *lock_path = lodge_store_network_run_path(store, name, "keeper.lock");
    g_autoptr(LodgeNetwork) network = lodge_net_running(store, name);
    if (network == NULL) {
        return lodge_error_set(error, LODGE_ERROR_BUSY, "it is stopped");
    }
    lodge_autofd lock = lodge_lock_take(lock_path, error);
    if (lock < 0) {
        return lodge_error_prefix(error, "it has a keeper already");
    }
    if (!lodge_lock_write_pid(lock, 0, error)) {
        return FALSE;
    }
    lodge_detached_begun(*report_fd);
    g_autoptr(GPtrArray) services = lodge_net_services(store, network);
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_unix_signal_add(SIGTERM, on_terminate, loop);
    g_unix_signal_add(SIGINT, on_terminate, loop);
    lodge_resolv_watch(store, network);
    LodgeDelegationKeep *delegation = lodge_delegation_keep(store, network);
    lodge_foreign_watch(store, network);
    Supervisor supervisor = {store, name, loop};
    gboolean fine = keep(&supervisor, services, report_fd, error);
    /* Who ends for another reason than that the network does is followed by another keeper. */
    g_autofree char *marker = lodge_store_network_run_path(store, name, "stopping");
    if (g_file_test(marker, G_FILE_TEST_EXISTS)) {
        lodge_delegation_give_back(delegation);
    }
    return fine;
}

/* Where systemd ends a login's session with all its processes, SIGKILL included, being in no
 * session's control group is what saves us and what we keep. Where there is no systemd, or it
 * started us as a unit, nothing is to be done. */
static void
leave_session(void)
{
    static const char *const groups[] = {"/sys/fs/cgroup/systemd/cgroup.procs",
                                         "/sys/fs/cgroup/cgroup.procs"};
    g_autofree char *own = NULL;
    if (!g_file_get_contents("/proc/self/cgroup", &own, NULL, NULL) ||
        strstr(own, "/user.slice/") == NULL) {
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(groups); i++) {
        lodge_autofd fd = open(groups[i], O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && write(fd, "0", 1) == 1) {
            return;
        }
    }
}

int
main(int argc, char **argv)
{
    int report_fd = -1;
    gboolean watch_bridge = FALSE;
    const GOptionEntry entries[] = {
        {"watch-bridge", 0, 0, G_OPTION_ARG_NONE, &watch_bridge,
         "Undo an unconfirmed change of the host's network in time", NULL},
        {"report-fd", 0, 0, G_OPTION_ARG_INT, &report_fd, "Say there how starting went", "FD"},
        {NULL},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("NETWORK");
    g_option_context_add_main_entries(context, entries, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc != (watch_bridge ? 1 : 2)) {
        fprintf(stderr, "lodge-network: %s\n",
                error != NULL ? error->message : "one network's name is needed");
        return 2;
    }
    if (report_fd >= 0) {
        fcntl(report_fd, F_SETFD, FD_CLOEXEC);
    }
    leave_session();
    g_autoptr(LodgeStore) store = watch_bridge ? lodge_store_open(&error) : NULL;
    gboolean fine = watch_bridge ? store != NULL && lodge_watch_bridge(store, &report_fd, &error)
                                 : run(argv[1], &report_fd, &error);
    if (fine) {
        return EXIT_SUCCESS;
    }
    lodge_detached_report(&report_fd, error);
    fprintf(stderr, "lodge-network: %s\n", error->message);
    return lodge_error_exit_status(error);
}
