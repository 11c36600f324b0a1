/* Theory of operation
 *
 * A process of its own, the guard, freezes and thaws. It opens the mount points, freezes them, says
 * how many, and then waits for its pipe to end or its deadline to pass, and thaws. The pipe ends
 * when the session asks for it, hangs up, or is killed: so nothing stays frozen. The guard touches
 * no file while it waits, and neither does the session. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/message.h"
#include "agent/session.h"

enum {
    MOUNTS_AT_MOST = 256,
    TIMEOUT_DEFAULT_MS = 60 * 1000,
    TIMEOUT_LONGEST_MS = 60 * 60 * 1000,
    STATUS_LATE = 1,
};

typedef struct {
    int fds[MOUNTS_AT_MOST]; /* one per file system, in the order of mounting */
    dev_t devices[MOUNTS_AT_MOST];
    unsigned count;
} Mounts;

typedef struct {
    int error_number;
    unsigned count;
} GuardReport;

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void
unescape(char *text)
{
    char *out = text;
    for (; *text != '\0'; out++) {
        if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
            text[2] <= '7' && text[3] >= '0' && text[3] <= '7') {
            *out = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 4;
        } else {
            *out = *text++;
        }
    }
    *out = '\0';
}

static void
add_mount(Mounts *mounts, char *line)
{
    unsigned major, minor;
    char path[AGENT_PATH_LIMIT], options[256];
    struct stat about;
    if (sscanf(line, "%*d %*d %u:%u %*s %4095s %255s", &major, &minor, path, options) != 4 ||
        mounts->count == MOUNTS_AT_MOST) {
        return;
    }
    /* Major 0 has no block device behind it; but btrfs, which says so too, has. */
    const char *type = strstr(line, " - ");
    bool is_btrfs = type != NULL && strncmp(type + 3, "btrfs ", 6) == 0;
    bool is_read_only = strcmp(options, "ro") == 0 || strncmp(options, "ro,", 3) == 0;
    if ((major == 0 && !is_btrfs) || is_read_only) {
        return;
    }
    unescape(path);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) < 0) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    for (unsigned i = 0; i < mounts->count; i++) {
        if (mounts->devices[i] == about.st_dev) {
            close(fd);
            return;
        }
    }
    mounts->devices[mounts->count] = about.st_dev;
    mounts->fds[mounts->count++] = fd;
}

static void
find_mounts(Mounts *mounts)
{
    static char line[2 * AGENT_PATH_LIMIT];
    FILE *file = fopen("/proc/self/mountinfo", "re");
    mounts->count = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        add_mount(mounts, line);
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void
close_mounts(Mounts *mounts)
{
    for (unsigned i = 0; i < mounts->count; i++) {
        close(mounts->fds[i]);
    }
}

/* The first @count were not frozen by us: somebody else's freezing is not ours to end. */
static void
forget_mounts(Mounts *mounts, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        close(mounts->fds[i]);
        mounts->fds[i] = -1;
    }
}

/* Those mounted last first: they may lie in files of the others. */
static void
freeze_mounts(Mounts *mounts, GuardReport *report)
{
    unsigned frozen = 0;
    for (unsigned i = mounts->count; i-- > 0;) {
        if (settings.dry || ioctl(mounts->fds[i], FIFREEZE, 0) == 0) {
            frozen++;
            continue;
        }
        int saved_errno = errno;
        close(mounts->fds[i]);
        mounts->fds[i] = -1; /* not ours to thaw: it can't be frozen, or somebody else did */
        if (saved_errno != EOPNOTSUPP && saved_errno != EBUSY && saved_errno != EINVAL &&
            saved_errno != ENOTTY) {
            report->error_number = saved_errno;
            forget_mounts(mounts, i);
            break;
        }
    }
    report->count = frozen;
    if (frozen == 0 && report->error_number == 0) {
        report->error_number = EOPNOTSUPP;
    }
}

static void
thaw_mounts(const Mounts *mounts)
{
    for (unsigned i = 0; i < mounts->count; i++) {
        if (mounts->fds[i] >= 0 && !settings.dry) {
            ioctl(mounts->fds[i], FITHAW, 0);
        }
    }
}

static void
guard(int pipe_fd, int report_fd, int64_t deadline_ms)
{
    static Mounts mounts;
    GuardReport report = {0};
    struct pollfd session = {.fd = pipe_fd, .events = POLLIN};
    find_mounts(&mounts);
    freeze_mounts(&mounts, &report);
    if (report.error_number != 0) {
        thaw_mounts(&mounts);
        write_all(report_fd, &report, sizeof report);
        _exit(0);
    }
    int ready = 0;
    if (write_all(report_fd, &report, sizeof report)) {
        int64_t left_ms;
        while (ready == 0 && (left_ms = deadline_ms - now_ms()) > 0) {
            ready = poll(&session, 1, (int)left_ms);
        }
    }
    thaw_mounts(&mounts);
    _exit(ready == 0 ? STATUS_LATE : 0);
}

/* Wait for the guard's report, and notice if the conversation ends meanwhile: syncing takes time.
 */
static bool
await_report(Session *session, int report_fd, GuardReport *report)
{
    struct pollfd other = {.fd = report_fd, .events = POLLIN};
    while (other.revents == 0) {
        if (!link_wait(&session->link, &other, 1, -1)) {
            return false;
        }
    }
    return read(report_fd, report, sizeof *report) == (ssize_t)sizeof *report;
}

static bool
start_guard(Session *session, int64_t timeout_ms, int *out_report_fd)
{
    int hold[2], report[2];
    if (pipe2(hold, O_CLOEXEC) < 0) {
        return false;
    }
    if (pipe2(report, O_CLOEXEC) < 0) {
        close(hold[0]);
        close(hold[1]);
        return false;
    }
    session->guard_pid = fork();
    if (session->guard_pid == 0) {
        signal(SIGPIPE, SIG_IGN);
        close(hold[1]);
        close(report[0]);
        close(session->link.fd);
        guard(hold[0], report[1], now_ms() + timeout_ms);
    }
    close(hold[0]);
    close(report[1]);
    session->guard_fd = hold[1];
    *out_report_fd = report[0];
    return session->guard_pid > 0;
}

static int
end_guard(Session *session)
{
    int status = 0;
    close(session->guard_fd);
    session->guard_fd = -1;
    while (session->guard_pid > 0 && waitpid(session->guard_pid, &status, 0) < 0 &&
           errno == EINTR) {
    }
    session->guard_pid = 0;
    return status;
}

void
session_thaw(Session *session)
{
    if (session->guard_fd >= 0) {
        end_guard(session);
    }
}

void
freeze_request(Session *session, FieldReader *fields)
{
    uint64_t timeout_ms = TIMEOUT_DEFAULT_MS;
    GuardReport report = {0};
    Field field;
    int report_fd = -1;
    while (field_next(fields, &field) > 0) {
        if (field.tag == FIELD_TIMEOUT_MS) {
            field_number(&field, &timeout_ms);
        }
    }
    if (session->guard_fd >= 0) {
        link_fail(&session->link, PROBLEM_BUSY, "they are frozen already");
        return;
    }
    if (timeout_ms > TIMEOUT_LONGEST_MS) {
        timeout_ms = TIMEOUT_LONGEST_MS;
    }
    if (!start_guard(session, (int64_t)timeout_ms, &report_fd)) {
        link_fail_errno(&session->link, errno, "freezing");
        session_thaw(session);
        return;
    }
    bool fine = await_report(session, report_fd, &report);
    close(report_fd);
    if (!fine || report.error_number != 0) {
        session_thaw(session);
        link_fail_errno(&session->link, fine ? report.error_number : EIO, "freezing");
        return;
    }
    Message *message = message_begin();
    message_number(message, FIELD_COUNT, report.count);
    link_send(&session->link, FRAME_RESULT, message->bytes, message->length);
}

void
thaw_request(Session *session, FieldReader *fields)
{
    (void)fields;
    if (session->guard_fd < 0) {
        link_fail(&session->link, PROBLEM_NOT_FOUND, "this conversation froze nothing");
        return;
    }
    int status = end_guard(session);
    if (!WIFEXITED(status) || WEXITSTATUS(status) == STATUS_LATE) {
        link_fail(&session->link, PROBLEM_TIMEOUT, "they thawed before, at the deadline");
        return;
    }
    session_result(session);
}

void
trim_request(Session *session, FieldReader *fields)
{
    static Mounts mounts;
    uint64_t bytes = 0;
    unsigned count = 0;
    int problem = EOPNOTSUPP;
    (void)fields;
    find_mounts(&mounts);
    for (unsigned i = 0; i < mounts.count && !settings.dry; i++) {
        struct fstrim_range range = {.len = UINT64_MAX};
        if (ioctl(mounts.fds[i], FITRIM, &range) == 0) {
            bytes += range.len;
            count++;
        } else if (errno != EOPNOTSUPP && errno != ENOTTY) {
            problem = errno;
        }
    }
    close_mounts(&mounts);
    if (count == 0) {
        link_fail_errno(&session->link, problem, "no file system can be trimmed");
        return;
    }
    Message *message = message_begin();
    message_number(message, FIELD_COUNT, count);
    message_number(message, FIELD_SIZE, bytes);
    link_send(&session->link, FRAME_RESULT, message->bytes, message->length);
}
