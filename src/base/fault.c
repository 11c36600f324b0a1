#include "config.h"

#include "base/fault.h"

#ifdef LODGE_FAULTS
#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

enum {
    END_MS = 10000,
};

void
lodge_fault(const char *step)
{
    const char *wanted = g_getenv("LODGE_TEST_FAULT");
    gsize length = strlen(step);
    if (wanted == NULL || strncmp(wanted, step, length) != 0) {
        return;
    }
    if (wanted[length] == '\0') {
        kill(getpid(), SIGKILL);
    }
    if (g_str_equal(wanted + length, ":INT")) {
        g_unsetenv("LODGE_TEST_FAULT"); /* what tidies up may come by again */
        raise(SIGINT);
        return;
    }
    if (g_str_equal(wanted + length, ":STOP")) {
        g_unsetenv("LODGE_TEST_FAULT");
        raise(SIGSTOP);
        return;
    }
    pid_t pid = wanted[length] == ':' ? (pid_t)g_ascii_strtoll(wanted + length + 1, NULL, 10) : 0;
    lodge_autofd fd = pid > 1 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (fd >= 0) {
        struct pollfd ended = {.fd = fd, .events = POLLIN};
        kill(pid, SIGKILL);
        poll(&ended, 1, END_MS);
    }
}
#else
void
lodge_fault(const char *step)
{
    (void)step;
}
#endif
