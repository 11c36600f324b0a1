#include "config.h"

#include "base/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

/* Signal handlers can reach nothing but statics. */
static int interrupt_pipe[2] = {-1, -1};
static volatile sig_atomic_t interrupt_number;
static guint holds;

static void
on_signal(int number)
{
    int saved_errno = errno;
    interrupt_number = number;
    if (write(interrupt_pipe[1], "", 1) < 0) {
        /* The pipe is full: then it wakes all the same. */
    }
    errno = saved_errno;
}

void
lodge_interrupt_install(void)
{
    if (interrupt_pipe[0] >= 0 || pipe2(interrupt_pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
        return;
    }
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

void
lodge_interrupt_renew(void)
{
    int fresh[2];
    if (interrupt_pipe[0] < 0 || pipe2(fresh, O_CLOEXEC | O_NONBLOCK) < 0) {
        return;
    }
    close(interrupt_pipe[0]);
    close(interrupt_pipe[1]);
    interrupt_pipe[1] = fresh[1];
    interrupt_pipe[0] = fresh[0];
}

int
lodge_interrupt_signal(void)
{
    return interrupt_number;
}

void
lodge_interrupt_forget(void)
{
    char buffer[64];
    interrupt_number = 0;
    while (interrupt_pipe[0] >= 0 && read(interrupt_pipe[0], buffer, sizeof buffer) > 0) {
    }
}

void
lodge_interrupt_hold(void)
{
    holds++;
}

void
lodge_interrupt_release(void)
{
    holds--;
}

gboolean
lodge_interrupt_check(GError **error)
{
    if (interrupt_number != 0 && holds == 0) {
        return lodge_error_set(error, LODGE_ERROR_INTERRUPTED, "interrupted");
    }
    return TRUE;
}

gint64
lodge_deadline_in(gint64 timeout_ms)
{
    gint64 now = g_get_monotonic_time();
    return timeout_ms < (LODGE_NO_DEADLINE - now) / 1000 ? now + timeout_ms * 1000
                                                         : LODGE_NO_DEADLINE;
}

gboolean
lodge_deadline_passed(gint64 deadline)
{
    return deadline != LODGE_NO_DEADLINE && g_get_monotonic_time() >= deadline;
}

static int
poll_timeout_ms(gint64 deadline)
{
    if (deadline == LODGE_NO_DEADLINE) {
        return -1;
    }
    gint64 left_us = deadline - g_get_monotonic_time();
    return left_us <= 0 ? 0 : (int)MIN((left_us + 999) / 1000, G_MAXINT);
}

gboolean
lodge_wait_polls(struct pollfd *polls, gsize count, gint64 deadline, GError **error)
{
    g_autofree struct pollfd *all = g_new0(struct pollfd, count + 1);
    if (count > 0) {
        memcpy(all, polls, count * sizeof *polls);
    }
    all[count] = (struct pollfd){.fd = holds == 0 ? interrupt_pipe[0] : -1, .events = POLLIN};
    for (;;) {
        if (!lodge_interrupt_check(error)) {
            return FALSE;
        }
        int ready = poll(all, count + 1, poll_timeout_ms(deadline));
        if (ready < 0 && errno != EINTR) {
            return lodge_error_errno(error, errno, "Waiting");
        }
        if (ready == 0) {
            return lodge_error_set(error, LODGE_ERROR_TIMEOUT, "no answer in time");
        }
        if (ready > 0 && all[count].revents == 0) {
            memcpy(polls, all, count * sizeof *polls); /* count > 0: one of them is ready */
            return TRUE;
        }
        if (ready > 0 && interrupt_number == 0) {
            lodge_interrupt_forget();
        }
    }
}

gboolean
lodge_wait_fd(int fd, short events, gint64 deadline, GError **error)
{
    struct pollfd one = {.fd = fd, .events = events};
    return lodge_wait_polls(&one, 1, deadline, error);
}

gboolean
lodge_wait_for(gint64 time_ms, GError **error)
{
    g_autoptr(GError) problem = NULL;
    lodge_wait_polls(NULL, 0, lodge_deadline_in(time_ms), &problem);
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

gboolean
lodge_pid_fd_signal(int pid_fd, int signal_number, GError **error)
{
    if (syscall(SYS_pidfd_send_signal, pid_fd, signal_number, NULL, 0) < 0 && errno != ESRCH) {
        return lodge_error_errno(error, errno, "Signalling a process");
    }
    return TRUE;
}

gboolean
lodge_pid_fd_await(int pid_fd, gint64 timeout_ms)
{
    gint64 deadline = lodge_deadline_in(timeout_ms);
    struct pollfd one = {.fd = pid_fd, .events = POLLIN};
    for (;;) {
        int ready = poll(&one, 1, poll_timeout_ms(deadline));
        if (ready >= 0 || errno != EINTR) {
            return ready > 0;
        }
    }
}
