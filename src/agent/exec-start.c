/* Between fork and exec: everything that makes a process the program that was asked for. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/exec.h"

/* The child's ends. For a terminal all three are its slave. */
typedef struct {
    int input_fd;
    int output_fd;
    int errors_fd;
    int failure_fd;
} ChildEnds;

static void
close_if_open(int fd)
{
    if (fd > STDERR_FILENO) {
        close(fd);
    }
}

static void
close_started(Started *started)
{
    close_if_open(started->input_fd);
    close_if_open(started->output_fd);
    close_if_open(started->errors_fd);
    close_if_open(started->failure_fd);
}

static void
close_ends(ChildEnds *ends)
{
    close_if_open(ends->input_fd);
    if (ends->output_fd != ends->input_fd) {
        close_if_open(ends->output_fd);
    }
    if (ends->errors_fd != ends->output_fd) {
        close_if_open(ends->errors_fd);
    }
    close_if_open(ends->failure_fd);
}

static bool
open_terminal(const Program *program, Started *started, ChildEnds *ends)
{
    char path[64];
    struct winsize size = {.ws_row = program->rows, .ws_col = program->columns};
    int master_fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master_fd < 0) {
        return false;
    }
    started->input_fd = started->output_fd = master_fd;
    if (grantpt(master_fd) < 0 || unlockpt(master_fd) < 0 ||
        ptsname_r(master_fd, path, sizeof path) != 0 ||
        (started->input_fd = fcntl(master_fd, F_DUPFD_CLOEXEC, 3)) < 0) {
        return false;
    }
    ends->input_fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    ends->output_fd = ends->errors_fd = ends->input_fd;
    ioctl(master_fd, TIOCSWINSZ, &size);
    return ends->input_fd >= 0;
}

static bool
make_pipe(int *out_read_fd, int *out_write_fd)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return false;
    }
    *out_read_fd = ends[0];
    *out_write_fd = ends[1];
    return true;
}

static bool
open_pipes(const Program *program, Started *started, ChildEnds *ends)
{
    if ((program->flags & EXEC_NO_INPUT) != 0) {
        ends->input_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (ends->input_fd < 0) {
            return false;
        }
    } else if (!make_pipe(&ends->input_fd, &started->input_fd)) {
        return false;
    }
    if (!make_pipe(&started->output_fd, &ends->output_fd)) {
        return false;
    }
    if ((program->flags & EXEC_MERGE) != 0) {
        ends->errors_fd = ends->output_fd;
        return true;
    }
    return make_pipe(&started->errors_fd, &ends->errors_fd);
}

static void
give_up(const ChildEnds *ends, char stage)
{
    StartFailure failure = {.error_number = errno, .stage = stage};
    write_all(ends->failure_fd, &failure, sizeof failure);
    _exit(127);
}

static void
reset_signals(void)
{
    sigset_t none;
    for (int number = 1; number < 32; number++) {
        signal(number, SIG_DFL);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool
become(const User *user)
{
    /* Who is that user already, as in tests, may not and need not change groups. */
    return (user->uid == geteuid() && geteuid() != 0) ||
           (setgroups((size_t)user->group_count, user->groups) == 0 && setgid(user->gid) == 0 &&
            setuid(user->uid) == 0);
}

static void
set_environment(const Program *program, const User *user)
{
    static char *none[] = {NULL};
    environ = none;
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    setenv("HOME", user->home, 1);
    setenv("USER", user->name, 1);
    setenv("LOGNAME", user->name, 1);
    setenv("SHELL", user->shell, 1);
    for (char **variable = program->variables; *variable != NULL; variable++) {
        putenv(*variable);
    }
}

static void
become_program(const Program *program, const User *user, const ChildEnds *ends)
{
    /* The agent's own protection from the out-of-memory killer is not for what it runs. */
    int oom_fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (oom_fd >= 0) {
        write_all(oom_fd, "0", 1);
        close(oom_fd);
    }
    setsid();
    umask(022);
    if ((program->flags & EXEC_TERMINAL) != 0 && ioctl(ends->input_fd, TIOCSCTTY, 0) < 0) {
        give_up(ends, 't');
    }
    if (dup2(ends->input_fd, STDIN_FILENO) < 0 || dup2(ends->output_fd, STDOUT_FILENO) < 0 ||
        dup2(ends->errors_fd, STDERR_FILENO) < 0) {
        give_up(ends, 'p');
    }
    reset_signals();
    if (!become(user)) {
        give_up(ends, 'u');
    }
    if (program->folder != NULL) {
        if (chdir(program->folder) < 0) {
            give_up(ends, 'f');
        }
    } else if (chdir(user->home) < 0 && chdir("/") < 0) {
        give_up(ends, 'f');
    }
    set_environment(program, user);
    execvp(program->argv[0], program->argv);
    give_up(ends, 'p');
}

bool
program_start(const Program *program, const User *user, Started *out_started)
{
    Started started = {.input_fd = -1, .output_fd = -1, .errors_fd = -1, .failure_fd = -1};
    ChildEnds ends = {-1, -1, -1, -1};
    bool is_terminal = (program->flags & EXEC_TERMINAL) != 0;
    bool fine = (is_terminal ? open_terminal : open_pipes)(program, &started, &ends) &&
                make_pipe(&started.failure_fd, &ends.failure_fd);
    started.pid = fine ? fork() : -1;
    if (started.pid == 0) {
        become_program(program, user, &ends);
    }
    int saved_errno = errno;
    close_ends(&ends);
    if (started.pid < 0) {
        close_started(&started);
        errno = saved_errno;
        return false;
    }
    int own[] = {started.input_fd, started.output_fd, started.errors_fd, started.failure_fd};
    for (size_t i = 0; i < COUNT(own); i++) {
        if (own[i] >= 0) {
            fcntl(own[i], F_SETFL, O_NONBLOCK);
        }
    }
    *out_started = started;
    return true;
}
