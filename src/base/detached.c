#include "config.h"

#include "base/detached.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/wait.h"

enum {
    REPORT_LIMIT_BYTES = 4096,
    LOWEST_PRIORITY = 19,
    BEGIN_TIMEOUT_MS = 10000,
};

#define BEGUN "\n"

enum {
    IOPRIO_WHO_PROCESS = 1, /* ioprio_set(2): no header has them */
    IOPRIO_IDLE = 3 << 13,
};

/* Signals as a fresh login has them: what the command blocks or ignores is its own affair. */
static void
reset_signals(void)
{
    sigset_t none;
    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL); /* those that have no other are refused */
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Between fork and exec: become a stranger to the command's terminal, session, descriptors, signals
 * and umask. Descriptors may be its caller's too, who waits for the end of a pipe or holds a lock.
 */
static void
be_program(char *const *argv, int report_fd, int null_fd)
{
    if (setsid() < 0) {
        _exit(127);
    }
    pid_t second = fork();
    if (second != 0) {
        _exit(second < 0 ? 127 : 0);
    }
    if (dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(null_fd, 2) < 0 ||
        (report_fd < 0                  ? 0
         : report_fd == LODGE_REPORT_FD ? fcntl(LODGE_REPORT_FD, F_SETFD, 0)
                                        : dup2(report_fd, LODGE_REPORT_FD)) < 0 ||
        syscall(SYS_close_range, LODGE_REPORT_FD + 1, ~0U, 0) < 0 || chdir("/") < 0) {
        _exit(127);
    }
    reset_signals();
    umask(022);
    if (report_fd < 0) {
        setpriority(PRIO_PROCESS, 0, LOWEST_PRIORITY);
        syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
    }
    execv(argv[0], argv);
    if (report_fd < 0) {
        _exit(127);
    }
    static const char failed[] = "0 it could not be executed (is Lodge installed whole?)";
    if (write(LODGE_REPORT_FD, failed, sizeof failed - 1) < 0) {
        _exit(126);
    }
    _exit(127);
}

/* Who is interrupted before a program has begun would find nothing to end, and it begins later. */
static void
await_begin(int fd, gint64 deadline)
{
    lodge_interrupt_hold();
    lodge_wait_fd(fd, POLLIN, MIN(deadline, lodge_deadline_in(BEGIN_TIMEOUT_MS)), NULL);
    lodge_interrupt_release();
}

static gboolean
read_report(int fd, const char *program, gint64 timeout_ms, GError **error)
{
    char text[REPORT_LIMIT_BYTES];
    gsize length = 0;
    gint64 deadline = lodge_deadline_in(timeout_ms);
    await_begin(fd, deadline);
    for (;;) {
        if (!lodge_wait_fd(fd, POLLIN, deadline, error)) {
            return lodge_error_prefix(error, "waiting for %s", program);
        }
        gssize got = read(fd, text + length, sizeof text - 1 - length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0 || length + (gsize)got == sizeof text - 1) {
            break;
        }
        length += (gsize)got;
    }
    text[length] = '\0';
    const char *word = text + strspn(text, BEGUN);
    if (g_str_equal(word, "ready")) {
        return TRUE;
    }
    if (*word == '\0') {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "%s was killed", program);
    }
    char *message = NULL;
    LodgeError code = (LodgeError)g_ascii_strtoull(word, &message, 10);
    return lodge_error_set(error, code, "%s", *message == ' ' ? message + 1 : message);
}

gboolean
lodge_detached_start(const char *const *argv, gint64 timeout_ms, GError **error)
{
    g_autofree char *program = g_path_get_basename(argv[0]);
    int pipe_fds[2];
    lodge_autofd null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0) {
        return lodge_error_errno(error, errno, "Starting %s", program);
    }
    lodge_autofd read_end = pipe_fds[0];
    lodge_autofd write_end = pipe_fds[1];
    pid_t pid = fork();
    if (pid < 0) {
        return lodge_error_errno(error, errno, "Starting %s", program);
    }
    if (pid == 0) {
        be_program((char *const *)argv, write_end, null_fd);
    }
    lodge_fd_clear(&write_end);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return read_report(read_end, program, timeout_ms, error);
}

gboolean
lodge_detached_leave(const char *const *argv, GError **error)
{
    lodge_autofd null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t pid = null_fd >= 0 ? fork() : -1;
    if (pid < 0) {
        return lodge_error_errno(error, errno, "Starting %s", argv[0]);
    }
    if (pid == 0) {
        be_program((char *const *)argv, -1, null_fd);
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return TRUE;
}

void
lodge_detached_begun(int report_fd)
{
    if (report_fd >= 0 && write(report_fd, BEGUN, strlen(BEGUN)) < 0) {
        /* The command that started us is gone: nobody to tell. */
    }
}

void
lodge_detached_report(int *report_fd, const GError *error)
{
    if (*report_fd < 0) {
        return;
    }
    int code = error != NULL && error->domain == LODGE_ERROR ? error->code : LODGE_ERROR_FAILED;
    g_autofree char *text = error != NULL ? g_strdup_printf("%d %s", code, error->message)
                                          : g_strdup("ready");
    if (write(*report_fd, text, strlen(text)) < 0) {
        /* The command that started us is gone: nobody to tell. */
    }
    if (error != NULL) {
        /* Left open until we end: who reads it to its end then knows that nothing of us is left. */
        *report_fd = -1;
    }
    lodge_fd_clear(report_fd);
}
