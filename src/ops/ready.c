/* Theory of operation: readiness that is seen.
 *
 * A guest answers when its SSH server shows a banner. Where its agent is known to be there, the
 * agent comes first: images of Lodge's start it only once sshd listens, so one connection is
 * enough, and a booting guest is not burdened with attempts. For others, one attempt at a time: it
 * lasts until the guest refuses it, or for some seconds, because a connection that was begun before
 * the guest's network was up is retried by the user-mode stack too slowly. The last one before it
 * is kept: if the guest is slow, not deaf, a program has begun to answer there.
 *
 * The state's changes come by inotify, QEMU's end by its pid descriptor. Nothing is asked in a
 * loop. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/ops.h"

enum {
    ATTEMPT_MS =
        1500, /* the first; for a guest that is slow, not silent, twice as long each time */
    LONGEST_ATTEMPT_MS = 12000,
    PAUSE_MS = 25, /* the same, for one that refuses */
    LONGEST_PAUSE_MS = 200,
    AGENT_GRACE_MS = 30000, /* after that, SSH is tried without it: its user may have removed it */
    CONSOLE_LIMIT_BYTES = 16 << 20,
};

typedef struct {
    const LodgeStore *store;
    LodgeGuest *guest;
    gsize console_start; /* what its console said before that was in an earlier life */
    int inotify_fd;
    int qemu_fd;
    int attempt_fd;
    int earlier_fd; /* an attempt whose time is over */
    gint64 attempt_ms;
    gint64 attempt_ends;
    gint64 pause_ms;
    gint64 next_attempt;
    gint64 agent_grace_ends;
} Wait;

static void
wait_clear(Wait *wait)
{
    lodge_fd_clear(&wait->inotify_fd);
    lodge_fd_clear(&wait->qemu_fd);
    lodge_fd_clear(&wait->attempt_fd);
    lodge_fd_clear(&wait->earlier_fd);
    g_clear_pointer(&wait->guest, lodge_guest_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Wait, wait_clear)

static gboolean
wait_init(Wait *wait, const LodgeStore *store, const char *name, GError **error)
{
    g_autofree char *folder = lodge_store_run_path(store, name, NULL);
    g_autofree char *lock = lodge_store_run_path(store, name, "qemu.lock");
    wait->store = store;
    wait->guest = lodge_store_guest(store, name, error);
    if (wait->guest == NULL) {
        return FALSE;
    }
    wait->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (wait->inotify_fd < 0 || inotify_add_watch(wait->inotify_fd, folder, IN_MOVED_TO) < 0) {
        return lodge_error_errno(error, errno, "Watching %s", folder);
    }
    wait->qemu_fd = lodge_lock_open_holder(lock, NULL);
    wait->agent_grace_ends = lodge_deadline_in(AGENT_GRACE_MS);
    g_autofree char *console = lodge_store_guest_path(store, name, "console.log");
    struct stat about;
    wait->console_start = stat(console, &about) == 0 ? (gsize)about.st_size : 0;
    return TRUE;
}

static void
pause_attempts(Wait *wait)
{
    lodge_fd_clear(&wait->attempt_fd);
    wait->next_attempt = lodge_deadline_in(wait->pause_ms);
    wait->pause_ms = MIN(2 * wait->pause_ms, LONGEST_PAUSE_MS);
}

static void
begin_attempt(Wait *wait, const char *host, guint port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((guint16)port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 address6 = {.sin6_family = AF_INET6, .sin6_port = htons((guint16)port)};
    gboolean is_ipv6 = host != NULL && inet_pton(AF_INET6, host, &address6.sin6_addr) == 1;
    if (host != NULL && !is_ipv6) {
        inet_pton(AF_INET, host, &address.sin_addr);
    }
    const struct sockaddr *target = is_ipv6 ? (struct sockaddr *)&address6
                                            : (struct sockaddr *)&address;
    wait->attempt_fd = socket(target->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    wait->attempt_ends = lodge_deadline_in(wait->attempt_ms);
    if (connect(wait->attempt_fd, target, is_ipv6 ? sizeof address6 : sizeof address) < 0 &&
        errno != EINPROGRESS) {
        pause_attempts(wait);
    }
}

/* An SSH server's (RFC 4253, 4.2). */
static gboolean
has_banner(int fd)
{
    char banner[4];
    return recv(fd, banner, sizeof banner, 0) == sizeof banner &&
           memcmp(banner, "SSH-", sizeof banner) == 0;
}

static gboolean
judge_earlier(Wait *wait, short revents)
{
    if (revents == 0 || has_banner(wait->earlier_fd)) {
        return revents != 0;
    }
    lodge_fd_clear(&wait->earlier_fd);
    return FALSE;
}

/* Look at what the attempt brought. */
static gboolean
judge_attempt(Wait *wait, short revents)
{
    if (revents != 0 && has_banner(wait->attempt_fd)) {
        return TRUE;
    }
    if (revents != 0) {
        pause_attempts(wait);
    } else if (lodge_deadline_passed(wait->attempt_ends)) {
        wait->attempt_ms = MIN(2 * wait->attempt_ms, LONGEST_ATTEMPT_MS);
        lodge_fd_clear(&wait->earlier_fd);
        wait->earlier_fd = wait->attempt_fd;
        wait->attempt_fd = -1;
        pause_attempts(wait);
    }
    return FALSE;
}

static gboolean
check_alive(const Wait *wait, const LodgeGuestState *state, GError **error)
{
    const char *name = wait->guest->name;
    if (!state->has_qemu) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "guest %s ended before it answered%s%s",
                               name, state->reason != NULL ? ": " : "",
                               state->reason != NULL ? state->reason : "");
    }
    if (state->state == LODGE_STATE_PAUSED) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "guest %s is paused%s%s", name,
                               state->reason != NULL ? ": " : "",
                               state->reason != NULL ? state->reason : "");
    }
    return TRUE;
}

static gint64
next_moment(const Wait *wait, gboolean may_attempt, gint64 deadline)
{
    gint64 moment = deadline;
    if (wait->attempt_fd >= 0) {
        moment = MIN(moment, wait->attempt_ends);
    } else if (may_attempt) {
        moment = MIN(moment, wait->next_attempt);
    } else if (!lodge_deadline_passed(wait->agent_grace_ends)) {
        moment = MIN(moment, wait->agent_grace_ends);
    }
    return moment;
}

/* What the guest's console said last, for the error of one that never answers. */
static char *
console_tail(const Wait *wait)
{
    gsize length = 0;
    g_autofree char *path = lodge_store_guest_path(wait->store, wait->guest->name, "console.log");
    g_autofree char *text = lodge_file_read(path, CONSOLE_LIMIT_BYTES, &length, NULL);
    /* Shorter than it was: it was rotated meanwhile. */
    gsize start = wait->console_start <= length ? wait->console_start : 0;
    g_autofree char *last = lodge_text_last_line(text != NULL ? text + start : "");
    return *last != '\0' ? g_strdup_printf("; its console's last line: “%.200s”", last)
                         : g_strdup("; its console is silent so far");
}

/* One step. Sets @out_ready when the guest has answered. */
static gboolean
step(Wait *wait, gint64 deadline, gboolean *out_ready, GError **error)
{
    g_autoptr(LodgeGuestState) state = lodge_store_state(wait->store, wait->guest->name);
    if (!check_alive(wait, state, error)) {
        return FALSE;
    }
    gboolean has_agent = wait->guest->agent && !lodge_deadline_passed(wait->agent_grace_ends);
    if (state->ssh_port == 0) {
        *out_ready = state->agent || !wait->guest->agent;
        if (*out_ready) {
            return TRUE;
        }
    }
    gboolean may_attempt = state->ssh_port != 0 && (!has_agent || state->agent);
    if (may_attempt && wait->attempt_fd < 0 && lodge_deadline_passed(wait->next_attempt)) {
        begin_attempt(wait, state->ssh_host, state->ssh_port);
    }
    struct pollfd polls[] = {
        {.fd = wait->inotify_fd, .events = POLLIN},
        {.fd = wait->attempt_fd, .events = POLLIN},
        {.fd = wait->qemu_fd, .events = POLLIN},
        {.fd = wait->earlier_fd, .events = POLLIN},
    };
    g_autoptr(GError) problem = NULL;
    gint64 moment = next_moment(wait, may_attempt, deadline);
    if (!lodge_wait_polls(polls, G_N_ELEMENTS(polls), moment, &problem) &&
        (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT) ||
         lodge_deadline_passed(deadline))) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    char buffer[4096];
    while (polls[0].revents != 0 && read(wait->inotify_fd, buffer, sizeof buffer) > 0) {
    }
    if (polls[2].revents != 0) {
        /* The keeper's last word follows; without a keeper this is the end all the same. */
        lodge_fd_clear(&wait->qemu_fd);
    }
    *out_ready = judge_earlier(wait, polls[3].revents) ||
                 (wait->attempt_fd >= 0 && judge_attempt(wait, polls[1].revents));
    return TRUE;
}

gboolean
lodge_wait_ready(const LodgeStore *store, const char *name, gint64 timeout_ms,
                 LodgeProgress *progress, GError **error)
{
    g_auto(Wait) wait = {.inotify_fd = -1,
                         .qemu_fd = -1,
                         .attempt_fd = -1,
                         .earlier_fd = -1,
                         .attempt_ms = ATTEMPT_MS,
                         .pause_ms = PAUSE_MS};
    gint64 deadline = lodge_deadline_in(timeout_ms);
    if (!wait_init(&wait, store, name, error)) {
        return FALSE;
    }
    lodge_progress_stage(progress, "guest boots and answers");
    for (gboolean ready = FALSE; !ready;) {
        g_autoptr(GError) problem = NULL;
        if (step(&wait, deadline, &ready, &problem)) {
            continue;
        }
        if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
            g_autofree char *tail = console_tail(&wait);
            g_autofree char *time = lodge_duration_human(timeout_ms);
            return lodge_error_set(error, LODGE_ERROR_TIMEOUT,
                                   "guest %s did not answer within %s%s", name, time, tail);
        }
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    return TRUE;
}
