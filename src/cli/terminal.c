#include "config.h"

#include "cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/base.h"

struct LodgeTerminal {
    char unused;
};

/* An exit handler and a signal handler can reach nothing but statics. */
static struct termios saved;
static volatile sig_atomic_t is_raw;

/* Async-signal-safe. The colours and modes that a guest set are its own affair no longer. */
static void
give_back(void)
{
    static const char reset[] = "\033[0m\033[?25h\033[?1049l\033[?2004l\033[?1000l\033[?1006l\r";
    if (!is_raw) {
        return;
    }
    is_raw = 0;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
    if (isatty(STDOUT_FILENO) && write(STDOUT_FILENO, reset, sizeof reset - 1) < 0) {
        /* The terminal is gone: nothing to reset. */
    }
}

/* Signals that end the process with a core, or at once: the terminal first. */
static void
on_fatal(int number)
{
    give_back();
    signal(number, SIG_DFL);
    raise(number);
}

LodgeTerminal *
lodge_terminal_raw(void)
{
    static const int fatal[] = {SIGQUIT, SIGSEGV, SIGABRT, SIGBUS, SIGILL,
                                SIGFPE,  SIGALRM, SIGUSR1, SIGUSR2};
    signal(SIGPIPE, SIG_IGN);
    if (tcgetattr(STDIN_FILENO, &saved) < 0) {
        return g_new0(LodgeTerminal, 1);
    }
    struct termios raw = saved;
    cfmakeraw(&raw);
    for (gsize i = 0; i < G_N_ELEMENTS(fatal); i++) {
        signal(fatal[i], on_fatal);
    }
    atexit(give_back);
    is_raw = 1;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    return g_new0(LodgeTerminal, 1);
}

void
lodge_terminal_restore(LodgeTerminal *terminal)
{
    if (terminal != NULL) {
        give_back();
        g_free(terminal);
    }
}

gboolean
lodge_terminal_write(int fd, const char *data, gsize length)
{
    while (length > 0) {
        gssize written = write(fd, data, length);
        if (written < 0 && errno == EAGAIN) {
            if (!lodge_wait_fd(fd, POLLOUT, LODGE_NO_DEADLINE, NULL)) {
                return FALSE;
            }
            continue;
        }
        if (written < 0 && errno != EINTR) {
            return FALSE;
        }
        data += MAX(written, 0);
        length -= (gsize)MAX(written, 0);
    }
    return TRUE;
}
