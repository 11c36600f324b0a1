/* Theory of operation: a command here that stands for one in the guest.
 *
 * Its streams are ours, and it hears the signals that we get: they come by a descriptor, which the
 * transfer looks at besides the streams. What would end us ends it, and we tell its end as our own.
 * A guest that hangs must not hold us for ever: after a third Ctrl-C, or some seconds behind a
 * SIGTERM, we go; the agent ends what belonged to a conversation that is over. */
#include "config.h"

#include "ops/exec-signals.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/base.h"

enum {
    PATIENCE = 3, /* so many times Ctrl-C */
    GRACE_S = 5,
};

static void
tell_size(LodgeAgent *agent)
{
    struct winsize size;
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
        lodge_agent_exec_resize(agent, size.ws_row, size.ws_col);
    }
}

/* From now on it is as if the signal had come to a command that forwards none. */
static void
give_up(int number)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
}

void
exec_signals_forward(LodgeAgent *agent, gpointer data)
{
    ExecSignals *signals = data;
    struct signalfd_siginfo info;
    while (read(signals->fd, &info, sizeof info) == (gssize)sizeof info) {
        int number = (int)info.ssi_signo;
        signals->interrupts += number == SIGINT;
        if (number == SIGWINCH) {
            tell_size(agent);
        } else if (number == SIGALRM) {
            give_up(SIGTERM);
        } else if (signals->interrupts >= PATIENCE) {
            give_up(SIGINT);
        } else {
            lodge_agent_exec_signal(agent, number);
        }
        if (number == SIGTERM || number == SIGHUP) {
            alarm(GRACE_S);
        }
    }
}

static void
fill(sigset_t *set)
{
    static const int numbers[] = {SIGINT,  SIGTERM, SIGHUP,   SIGQUIT,
                                  SIGUSR1, SIGUSR2, SIGWINCH, SIGALRM};
    sigemptyset(set);
    for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++) {
        sigaddset(set, numbers[i]);
    }
}

void
exec_signals_begin(ExecSignals *signals)
{
    sigset_t set;
    fill(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    *signals = (ExecSignals){.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)};
}

void
exec_signals_end(ExecSignals *signals)
{
    sigset_t set;
    alarm(0);
    lodge_fd_clear(&signals->fd);
    fill(&set);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}
