/* Theory of operation
 *
 * One loop moves bytes between the port and the program. Towards the program: DATA goes to its
 * standard input at once, what that does not take waits in `queue`, which holds WINDOW_BYTES, as
 * the host sends no more before we allow it. From the program: a pipe is only read when all that
 * was read before has been sent.
 *
 * The program has ended when it was waited for and its outputs have ended too. A process that it
 * left behind may hold them open: once they are empty, they are given LINGER_MS.
 *
 * If the conversation ends first, the process group is told to hang up, and killed GRACE_MS later.
 * Its leader is not waited for before that: until then its number can't be another's. */
#include "agent/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/message.h"
#include "agent/session.h"

enum {
    LINGER_MS = 100,
    GRACE_MS = 1000,
    SIGNAL_HIGHEST = 64,
};

typedef struct {
    Started process;
    uint64_t flags;
    uint8_t *queue;
    size_t queue_start;
    size_t queue_length;
    size_t consumed; /* since the last WINDOW */
    bool input_ended;
    bool ended;
    int status;
    int64_t linger_until_ms;
    bool failed;
    StartFailure failure;
    bool overrun;
    bool is_asked; /* a PING waits for its answer */
} Exec;

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static bool
find_user(const char *name, User *user)
{
    if (name != NULL) {
        return user_find(name, user);
    }
    char number[32];
    snprintf(number, sizeof number, "%u", (unsigned)geteuid());
    if (!user_find(number, user)) {
        *user = (User){.name = "root", .home = "/", .shell = "/bin/sh"};
        user->uid = geteuid();
        user->gid = getegid();
        user->groups[0] = user->gid;
        user->group_count = 1;
    }
    return true;
}

/* --- From the host --------------------------------------------------------------------------- */

static void
write_input(Exec *exec)
{
    while (exec->queue_length > 0 && exec->process.input_fd >= 0) {
        ssize_t count = write(exec->process.input_fd, exec->queue + exec->queue_start,
                              exec->queue_length);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (count < 0) {
            close_fd(&exec->process.input_fd); /* it reads no more: the host is allowed no more */
            return;
        }
        exec->queue_start += (size_t)count;
        exec->queue_length -= (size_t)count;
        exec->consumed += (size_t)count;
    }
    exec->queue_start = 0;
    if (exec->input_ended && exec->queue_length == 0) {
        close_fd(&exec->process.input_fd);
    }
}

static void
add_input(Exec *exec, const uint8_t *bytes, size_t length)
{
    if (exec->process.input_fd < 0 || exec->input_ended) {
        return;
    }
    if (length > WINDOW_BYTES - exec->queue_length) {
        exec->overrun = true;
        return;
    }
    memmove(exec->queue, exec->queue + exec->queue_start, exec->queue_length);
    exec->queue_start = 0;
    memcpy(exec->queue + exec->queue_length, bytes, length);
    exec->queue_length += length;
}

static void
end_input(Exec *exec)
{
    struct termios modes;
    if ((exec->flags & EXEC_TERMINAL) != 0 && !exec->input_ended &&
        exec->queue_length < WINDOW_BYTES && tcgetattr(exec->process.output_fd, &modes) == 0) {
        add_input(exec, &modes.c_cc[VEOF], 1);
        return; /* a terminal does not end before its program */
    }
    exec->input_ended = true;
}

static void
take_signal_frame(const Exec *exec, const Frame *frame)
{
    FieldReader fields = {frame->payload, frame->length};
    Field field;
    uint64_t number = 0;
    while (field_next(&fields, &field) > 0) {
        if (field.tag == FIELD_SIGNAL) {
            field_number(&field, &number);
        }
    }
    if (number > 0 && number <= SIGNAL_HIGHEST && !exec->ended) {
        kill(-exec->process.pid, (int)number);
    }
}

static void
take_resize(const Exec *exec, const Frame *frame)
{
    FieldReader fields = {frame->payload, frame->length};
    Field field;
    uint64_t rows = 0, columns = 0;
    while (field_next(&fields, &field) > 0) {
        if (field.tag == FIELD_ROWS) {
            field_number(&field, &rows);
        } else if (field.tag == FIELD_COLUMNS) {
            field_number(&field, &columns);
        }
    }
    if ((exec->flags & EXEC_TERMINAL) != 0 && rows <= UINT16_MAX && columns <= UINT16_MAX) {
        struct winsize size = {.ws_row = (uint16_t)rows, .ws_col = (uint16_t)columns};
        ioctl(exec->process.output_fd, TIOCSWINSZ, &size);
    }
}

/* False: the host asks something new before the end, or sends more than it may. */
static bool
take_frames(Exec *exec, Link *link)
{
    Frame frame;
    while (link_frame(link, &frame)) {
        switch (frame.type) {
        case FRAME_DATA:
            add_input(exec, frame.payload, frame.length);
            write_input(exec);
            break;
        case FRAME_DATA_END:
            end_input(exec);
            break;
        case FRAME_SIGNAL:
            take_signal_frame(exec, &frame);
            break;
        case FRAME_RESIZE:
            take_resize(exec, &frame);
            break;
        case FRAME_PING:
            exec->is_asked = true;
            break;
        default:
            return true; /* the next request: it waits its turn */
        }
        link_pop(link);
        if (exec->overrun) {
            return false;
        }
    }
    return true;
}

/* Where something is unsent, it tells the host as well that we live. */
static void
answer_ping(Exec *exec, Link *link)
{
    if (exec->is_asked && !link_has_unsent(link)) {
        exec->is_asked = false;
        link_send(link, FRAME_PONG, "", 0);
    }
}

static void
allow_more(Exec *exec, Link *link)
{
    if (exec->consumed < WINDOW_BYTES / 2 || link_has_unsent(link)) {
        return;
    }
    Message *message = message_begin();
    message_number(message, FIELD_SIZE, exec->consumed);
    link_send(link, FRAME_WINDOW, message->bytes, message->length);
    exec->consumed = 0;
}

/* --- From the program ------------------------------------------------------------------------ */

static void
pump_output(Link *link, int *fd, uint8_t type)
{
    uint8_t *room = link_room(link);
    if (*fd < 0 || room == NULL) {
        return;
    }
    ssize_t count = read(*fd, room, FRAME_LIMIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (count <= 0) {
        close_fd(fd);
        return;
    }
    link_commit(link, type, (size_t)count);
}

static void
take_failure(Exec *exec)
{
    ssize_t count = read(exec->process.failure_fd, &exec->failure, sizeof exec->failure);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    exec->failed = count == (ssize_t)sizeof exec->failure;
    close_fd(&exec->process.failure_fd);
}

/* The leader of the group is left to be waited for: see above. */
static bool
has_ended(const Exec *exec)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)exec->process.pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == exec->process.pid;
}

static void
reap(Exec *exec)
{
    while (waitpid(exec->process.pid, &exec->status, 0) < 0 && errno == EINTR) {
    }
    exec->ended = true;
}

/* End the group when the conversation has. */
static void
end_group(Exec *exec, Link *link)
{
    int64_t deadline_ms = now_ms() + GRACE_MS;
    close_fd(&exec->process.input_fd);
    close_fd(&exec->process.output_fd);
    close_fd(&exec->process.errors_fd);
    kill(-exec->process.pid, SIGHUP);
    kill(-exec->process.pid, SIGCONT);
    while (!has_ended(exec) && now_ms() < deadline_ms) {
        /* Of the signals, not the port: the next conversation may begin there meanwhile. */
        struct pollfd signals = {.fd = link->signal_fd, .events = POLLIN};
        poll(&signals, 1, (int)(deadline_ms - now_ms()));
        link_take_signals(link);
    }
    kill(-exec->process.pid, SIGKILL);
    reap(exec);
}

static bool
is_done(Exec *exec)
{
    if (!exec->ended || exec->process.failure_fd >= 0) {
        return false;
    }
    if (exec->process.output_fd < 0 && exec->process.errors_fd < 0) {
        return true;
    }
    return exec->linger_until_ms >= 0 && now_ms() >= exec->linger_until_ms;
}

static bool
pump(Exec *exec, Link *link)
{
    bool can_send = link_room(link) != NULL;
    struct pollfd polls[] = {
        {.fd = exec->queue_length > 0 ? exec->process.input_fd : -1, .events = POLLOUT},
        {.fd = can_send ? exec->process.output_fd : -1, .events = POLLIN},
        {.fd = can_send ? exec->process.errors_fd : -1, .events = POLLIN},
        {.fd = exec->process.failure_fd, .events = POLLIN},
    };
    /* After the end, the first look is only whether the pipes are empty. */
    bool looks = exec->ended && can_send && exec->linger_until_ms < 0;
    if (!link_wait(link, polls, COUNT(polls), looks ? 0 : exec->linger_until_ms)) {
        return false;
    }
    if (polls[3].revents != 0) {
        take_failure(exec);
    }
    if (polls[1].revents != 0) {
        pump_output(link, &exec->process.output_fd, FRAME_DATA);
    }
    if (polls[2].revents != 0) {
        pump_output(link, &exec->process.errors_fd, FRAME_ERROR_DATA);
    }
    if (looks && polls[1].revents == 0 && polls[2].revents == 0) {
        exec->linger_until_ms = now_ms() + LINGER_MS;
    }
    if (link->child_ended && !exec->ended) {
        link->child_ended = false;
        if (has_ended(exec)) {
            reap(exec);
        }
    }
    return true;
}

/* --- Together -------------------------------------------------------------------------------- */

static void
report(Exec *exec, Link *link, const Program *program)
{
    if (exec->failed) {
        const char *what = exec->failure.stage == 'u'   ? "changing to the user"
                           : exec->failure.stage == 't' ? "the terminal"
                           : exec->failure.stage == 'p' ? program->argv[0]
                           : program->folder != NULL    ? program->folder
                                                        : "/";
        link_fail_errno(link, exec->failure.error_number, what);
        return;
    }
    Message *message = message_begin();
    if (WIFSIGNALED(exec->status)) {
        message_number(message, FIELD_SIGNAL, (uint64_t)WTERMSIG(exec->status));
    } else {
        message_number(message, FIELD_STATUS, (uint64_t)WEXITSTATUS(exec->status));
    }
    link_send(link, FRAME_RESULT, message->bytes, message->length);
}

static void
run(Session *session, const Program *program, const User *user)
{
    Link *link = &session->link;
    Exec exec = {.flags = program->flags, .linger_until_ms = -1};
    exec.queue = malloc(WINDOW_BYTES);
    link->child_ended = false;
    if (exec.queue == NULL || !program_start(program, user, &exec.process)) {
        link_fail_errno(link, errno, program->argv[0]);
        free(exec.queue);
        return;
    }
    bool fine = true;
    while (fine && !is_done(&exec)) {
        fine = take_frames(&exec, link);
        write_input(&exec);
        allow_more(&exec, link);
        answer_ping(&exec, link);
        fine = fine && link->state == LINK_OPEN && pump(&exec, link);
    }
    if (!exec.ended) {
        end_group(&exec, link);
    }
    if (exec.overrun) {
        link_fail(link, PROBLEM_INVALID, "the host sent more input than it may");
    } else if (fine) {
        report(&exec, link, program);
    }
    close_fd(&exec.process.input_fd);
    close_fd(&exec.process.output_fd);
    close_fd(&exec.process.errors_fd);
    close_fd(&exec.process.failure_fd);
    free(exec.queue);
}

void
exec_request(Session *session, FieldReader *fields)
{
    Program program = {0};
    User user;
    if (!program_parse(fields, &program)) {
        link_fail(&session->link, PROBLEM_INVALID, "what to run is malformed");
    } else if (!find_user(program.user, &user)) {
        link_fail(&session->link, PROBLEM_NOT_FOUND, "there is no such user");
    } else {
        run(session, &program, &user);
    }
    program_clear(&program);
}
