/* Theory of operation: a copy of this process does one thing, and says how it went.
 *
 * The child writes to a pipe: lines "+STAGE", then "ready" or "!CODE MESSAGE", which is the last it
 * says. It leaves by _exit(): nothing that the parent's exit would do is done twice. It has copies
 * of our descriptors, so a lock that we hold lives as long as it does. */
#include "config.h"

#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/random.h"
#include "base/wait.h"

struct LodgeChild {
    pid_t pid; /* 0: reaped */
    int fd;
    GString *text; /* what it said and was not looked at */
};

enum { SAID_LIMIT_BYTES = 1 << 16 };

typedef struct {
    LodgeProgress base;
    int fd;
} Teller;

/* --- The child -------------------------------------------------------------------------------- */

static void
tell(int fd, const char *text)
{
    for (gsize left = strlen(text); left > 0;) {
        gssize put = write(fd, text, left);
        if (put < 0 && errno != EINTR) {
            return; /* nobody listens any more */
        }
        text += put > 0 ? put : 0;
        left -= put > 0 ? (gsize)put : 0;
    }
}

static void
on_stage(LodgeProgress *progress, const char *words)
{
    g_autofree char *line = g_strdup_printf("+%s\n", words);
    g_strdelimit(line, "\r\n", ' ');
    line[strlen(line) - 1] = '\n';
    tell(((Teller *)progress)->fd, line);
}

static void
on_part(LodgeProgress *progress, double fraction, const char *words)
{
    (void)progress;
    (void)fraction;
    (void)words;
}

static void
on_failed(LodgeProgress *progress)
{
    (void)progress;
}

static void G_GNUC_NORETURN
be_child(LodgeChildWork work, gpointer data, int fd, pid_t parent)
{
    Teller teller = {{on_stage, on_part, on_failed}, fd};
    g_autoptr(GError) error = NULL;
    lodge_interrupt_renew();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        _exit(1); /* it died before it could be told of */
    }
    guint32 seed = 0;
    lodge_random(&seed, sizeof seed);
    g_random_set_seed(seed);
    gboolean fine = work(data, &teller.base, &error);
    int code = error != NULL && error->domain == LODGE_ERROR ? error->code : LODGE_ERROR_FAILED;
    g_autofree char *words = fine ? g_strdup("ready")
                                  : g_strdup_printf("!%d %s", code,
                                                    error != NULL ? error->message : "");
    tell(fd, words);
    _exit(fine ? 0 : 1);
}

/* --- The parent ------------------------------------------------------------------------------- */

LodgeChild *
lodge_child_begin(LodgeChildWork work, gpointer data, GError **error)
{
    int pipe_fds[2];
    pid_t parent = getpid();
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        lodge_error_errno(error, errno, "a pipe");
        return NULL;
    }
    lodge_autofd read_end = pipe_fds[0];
    lodge_autofd write_end = pipe_fds[1];
    pid_t pid = fork();
    if (pid < 0) {
        lodge_error_errno(error, errno, "another process");
        return NULL;
    }
    if (pid == 0) {
        close(lodge_fd_steal(&read_end));
        be_child(work, data, write_end, parent);
    }
    LodgeChild *child = g_new0(LodgeChild, 1);
    child->pid = pid;
    child->fd = lodge_fd_steal(&read_end);
    child->text = g_string_new(NULL);
    fcntl(child->fd, F_SETFL, O_NONBLOCK);
    return child;
}

int
lodge_child_fd(const LodgeChild *child)
{
    return child->fd;
}

static void
give_stages(LodgeChild *child, LodgeProgress *progress)
{
    for (char *end; child->text->str[0] == '+' && (end = strchr(child->text->str, '\n')) != NULL;) {
        *end = '\0';
        lodge_progress_stage(progress, "%s", child->text->str + 1);
        g_string_erase(child->text, 0, end + 1 - child->text->str);
    }
}

gboolean
lodge_child_hear(LodgeChild *child, LodgeProgress *progress)
{
    char buffer[4096];
    gssize got = child->fd >= 0 ? read(child->fd, buffer, sizeof buffer) : 0;
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return FALSE;
    }
    if (got > 0 && child->text->len < SAID_LIMIT_BYTES) {
        g_string_append_len(child->text, buffer, got);
        give_stages(child, progress);
    }
    if (got <= 0) {
        lodge_fd_clear(&child->fd);
    }
    return child->fd < 0;
}

void
lodge_child_interrupt(const LodgeChild *child)
{
    if (child->pid != 0) {
        kill(child->pid, SIGTERM);
    }
}

static void
reap(LodgeChild *child)
{
    while (child->pid != 0 && waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    child->pid = 0;
}

gboolean
lodge_child_end(LodgeChild *child, GError **error)
{
    while (!lodge_child_hear(child, NULL)) {
        struct pollfd said = {.fd = child->fd, .events = POLLIN};
        poll(&said, 1, -1);
    }
    reap(child);
    const char *text = child->text->str;
    if (g_str_equal(text, "ready")) {
        return TRUE;
    }
    if (*text != '!') {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "the process that did it was killed");
    }
    char *message = NULL;
    LodgeError code = (LodgeError)g_ascii_strtoull(text + 1, &message, 10);
    return lodge_error_set(error, code, "%s", *message == ' ' ? message + 1 : message);
}

void
lodge_child_free(LodgeChild *child)
{
    if (child != NULL) {
        if (child->pid != 0) {
            kill(child->pid, SIGKILL);
        }
        reap(child);
        lodge_fd_clear(&child->fd);
        g_string_free(child->text, TRUE);
        g_free(child);
    }
}
