/* Ending the guest: by the guest's own command where there is one, else by telling its init. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/message.h"
#include "agent/session.h"

/* systemd's SIGRTMIN is the kernel's plus the two that glibc takes; ours may be another. */
enum {
    SYSTEMD_SIGRTMIN = 34,
    SYSTEMD_POWEROFF = SYSTEMD_SIGRTMIN + 4,
    SYSTEMD_REBOOT = SYSTEMD_SIGRTMIN + 5,
    BUSYBOX_POWEROFF = SIGUSR2,
    BUSYBOX_REBOOT = SIGTERM,
};

static int
init_signal(ShutdownMode mode)
{
    struct stat about;
    bool is_systemd = lstat("/run/systemd/system", &about) == 0;
    if (mode == SHUTDOWN_REBOOT) {
        return is_systemd ? SYSTEMD_REBOOT : BUSYBOX_REBOOT;
    }
    return is_systemd ? SYSTEMD_POWEROFF : BUSYBOX_POWEROFF;
}

static void
run_command(const char *name)
{
    sigset_t none;
    int null_fd = open("/dev/null", O_RDWR);
    for (int fd = 0; fd <= STDERR_FILENO && null_fd >= 0; fd++) {
        dup2(null_fd, fd);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    execlp(name, name, (char *)NULL);
    _exit(127);
}

/* Runs apart from the session, which the host may end as soon as it has its answer. */
static void
end_guest(ShutdownMode mode)
{
    int status = 0;
    setsid();
    signal(SIGCHLD, SIG_DFL);
    pid_t pid = fork();
    if (pid == 0) {
        run_command(mode == SHUTDOWN_REBOOT ? "reboot" : "poweroff");
    }
    bool waited = pid > 0 && waitpid(pid, &status, 0) == pid;
    if (!waited || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        kill(1, init_signal(mode));
    }
    _exit(0);
}

void
shutdown_request(Session *session, FieldReader *fields)
{
    uint64_t mode = 0;
    Field field;
    while (field_next(fields, &field) > 0) {
        if (field.tag == FIELD_MODE) {
            field_number(&field, &mode);
        }
    }
    if (mode != SHUTDOWN_POWEROFF && mode != SHUTDOWN_REBOOT) {
        link_fail(&session->link, PROBLEM_INVALID, "neither power off nor reboot");
        return;
    }
    session_result(session); /* before, as there may be no after */
    pid_t pid = settings.dry ? 1 : fork();
    if (pid == 0) {
        close(session->link.fd);
        end_guest((ShutdownMode)mode);
    }
    if (pid < 0) {
        kill(1, init_signal((ShutdownMode)mode));
    }
}
