/* SETTLING: a copy was told who it is, and answered; now for what it had put off. Starting a
 * program costs an emulated guest more than all of its identity, so nothing is started here:
 * systemd starts its journal again when it ends. */
#include "agent/settle.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"

#define ASLEEP SETTLE_FOLDER "/asleep"
#define JOURNAL "/system.slice/systemd-journald.service/"

enum {
    ASLEEP_BYTES = 4096,
};

static void
thaw(const char *place)
{
    char path[AGENT_PATH_LIMIT];
    int fd = rooted_path(path, place) ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        write_all(fd, "0", 1);
        close(fd);
    }
}

static void
end_journal(int signal)
{
    static const char *const places[] = {"/sys/fs/cgroup" JOURNAL "cgroup.procs",
                                         "/sys/fs/cgroup/systemd" JOURNAL "cgroup.procs"};
    char text[32];
    for (size_t i = 0; !settings.dry && i < COUNT(places); i++) {
        if (read_text(places[i], text, sizeof text) > 0 && atoi(text) > 1) {
            kill(atoi(text), signal);
            return;
        }
    }
}

/* A journal that sleeps is killed in its sleep: what waits for it is its follower's to write. */
static void
wake(char *text)
{
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (strstr(line, JOURNAL) != NULL) {
            end_journal(SIGKILL);
        }
        if (*line != '\0') {
            thaw(line);
        }
    }
}

void
settle(void)
{
    char text[ASLEEP_BYTES], path[AGENT_PATH_LIMIT];
    if (read_text(ASLEEP, text, sizeof text) < 0) {
        end_journal(SIGTERM);
    } else if (rooted_path(path, ASLEEP) && unlink(path) == 0) {
        wake(text);
    }
}

void
settle_begin(void)
{
    char path[AGENT_PATH_LIMIT];
    if (rooted_path(path, SETTLE_FOLDER)) {
        mkdir(path, 0755);
    }
    if (rooted_path(path, ASLEEP) && access(path, F_OK) == 0) {
        settle();
    }
}

void
settle_ask(void)
{
    pid_t agent = getppid();
    if (!settings.dry && agent > 1) { /* else it ended, and its follower has settled */
        kill(agent, SIGUSR1);
    }
}
