/* Theory of operation: one writes, all watch.
 *
 * The writer has QEMU's console socket and what comes from it. Watchers read console.log, to which
 * QEMU writes the same. The writer's output goes to its terminal as it is: the guest draws there
 * with escape sequences, as on any serial line. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/screen-view.h"
#include "cli/terminal.h"
#include "ops/console.h"
#include "ops/view.h"

enum {
    LEAVE_KEY = 0x1d, /* Ctrl-], as telnet and virsh have it */
    BACK_BYTES = 2048,
    SILENCE_MS = 1000,
    QUEUE_BYTES = 4096,
};

static gboolean option_watch, option_log, option_screen;
static char *option_timeout;

const GOptionEntry lodge_options_console[] = {
    {"watch", 'w', 0, G_OPTION_ARG_NONE, &option_watch, "Only look on, as many may", NULL},
    {"screen", 's', 0, G_OPTION_ARG_NONE, &option_screen,
     "Not the serial console, but the text screen and keyboard", NULL},
    {"log", 0, 0, G_OPTION_ARG_NONE, &option_log, "Print what it said so far, as `lodge log` does",
     NULL},
    {"timeout", 0, 0, G_OPTION_ARG_STRING, &option_timeout,
     "When standard input has ended, show answers for so long (default: until a second of silence)",
     "TIME"},
    {NULL},
};

typedef struct {
    const LodgeCli *cli;
    const char *name;
    int console_fd; /* -1: only watching */
    int lock_fd;
    int qemu_fd;
    LodgeConsoleLog *log; /* NULL: writing */
    gboolean interactive;
    gboolean input_ended;
    gint64 timeout_ms;       /* 0: until silence */
    gint64 ends;             /* after the input has */
    char queue[QUEUE_BYTES]; /* read, and not taken by the guest yet */
    gsize queued;
} Console;

static void
console_clear(Console *console)
{
    lodge_fd_clear(&console->console_fd);
    lodge_fd_clear(&console->lock_fd);
    lodge_fd_clear(&console->qemu_fd);
    g_clear_pointer(&console->log, lodge_console_log_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Console, console_clear)

/* A terminal in raw mode wants its own carriage return. */
static void
say_line(const Console *console, const char *text)
{
    lodge_say(console->cli, "%s%s%s", console->interactive ? "\r" : "", text,
              console->interactive ? "\r" : "");
}

/* Watching goes to the log, and starts with what is to be seen there now. */
static gboolean
watch(Console *console, GError **error)
{
    g_autoptr(LodgeGuestState) state = lodge_view_check(console->cli->store, console->name, error);
    if (state == NULL) {
        return FALSE;
    }
    console->log = lodge_console_log_open(console->cli->store, console->name, BACK_BYTES, error);
    return console->log != NULL;
}

static gboolean
open_console(Console *console, GError **error)
{
    pid_t writer = 0;
    g_autoptr(GError) problem = NULL;
    if (option_watch) {
        return watch(console, error);
    }
    console->console_fd = lodge_console_open(console->cli->store, console->name, &console->lock_fd,
                                             &writer, &problem);
    if (console->console_fd >= 0) {
        return TRUE;
    }
    /* A script must know that nothing was written; a person may like to see who does. */
    if (writer == 0 || !console->interactive) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    lodge_say(console->cli, "Process %d writes to %s's console; you look on.", (int)writer,
              console->name);
    return watch(console, error);
}

/* What the screen would show: the last lines of the log. Where they are a prompt, one sees that the
 * guest waits. */
static void
show_past(const Console *console)
{
    char buffer[BACK_BYTES];
    g_autoptr(LodgeConsoleLog)
        log = lodge_console_log_open(console->cli->store, console->name, BACK_BYTES, NULL);
    gsize got = log != NULL ? lodge_console_log_read(log, buffer, sizeof buffer) : 0;
    lodge_terminal_write(STDOUT_FILENO, buffer, got);
}

/* Read keys or a script. FALSE: it was said to leave. */
static gboolean
take_input(Console *console)
{
    char *at = console->queue + console->queued;
    gssize got = read(STDIN_FILENO, at, sizeof console->queue - console->queued);
    if (got <= 0) {
        console->input_ended = TRUE;
        console->ends = lodge_deadline_in(console->timeout_ms != 0 ? console->timeout_ms
                                                                   : SILENCE_MS);
        return !console->interactive; /* the terminal is gone */
    }
    const char *leave = console->interactive ? memchr(at, LEAVE_KEY, (gsize)got) : NULL;
    got = leave != NULL ? leave - at : got;
    for (gssize i = 0; !console->interactive && i < got; i++) {
        at[i] = at[i] == '\n' ? '\r' : at[i]; /* the Enter key's character */
    }
    console->queued += console->console_fd >= 0 ? (gsize)got : 0;
    return leave == NULL;
}

static void
give_input(Console *console)
{
    gssize sent = send(console->console_fd, console->queue, console->queued,
                       MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
        console->queued -= (gsize)sent;
        memmove(console->queue, console->queue + sent, console->queued);
    }
}

/* FALSE: the guest has ended, or nobody reads what we print. */
static gboolean
show_output(Console *console, gboolean *out_shown)
{
    char buffer[65536];
    gssize got = console->log != NULL
                     ? (gssize)lodge_console_log_read(console->log, buffer, sizeof buffer)
                     : recv(console->console_fd, buffer, sizeof buffer, MSG_DONTWAIT);
    *out_shown = got > 0;
    if (got > 0 && console->input_ended && console->timeout_ms == 0 && !option_watch) {
        console->ends = lodge_deadline_in(SILENCE_MS);
    }
    if (console->console_fd >= 0 && got == 0) {
        return FALSE;
    }
    return got <= 0 || lodge_terminal_write(STDOUT_FILENO, buffer, (gsize)got);
}

typedef enum { STEP_ON, STEP_LEFT, STEP_ENDED } Step;

static Step
step(Console *console, GError **error)
{
    gboolean reads = !console->input_ended && console->queued < sizeof console->queue;
    gboolean writes = console->log == NULL;
    struct pollfd polls[] = {
        {.fd = reads ? STDIN_FILENO : -1, .events = POLLIN},
        {.fd = writes ? console->console_fd : lodge_console_log_fd(console->log),
         .events = (short)(POLLIN | (console->queued > 0 ? POLLOUT : 0))},
        {.fd = console->qemu_fd, .events = POLLIN},
    };
    gint64 deadline = console->input_ended && console->queued == 0 ? console->ends
                                                                   : LODGE_NO_DEADLINE;
    g_autoptr(GError) problem = NULL;
    gboolean shown = FALSE;
    if (!lodge_wait_polls(polls, G_N_ELEMENTS(polls), deadline, &problem)) {
        if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
            return STEP_LEFT;
        }
        g_propagate_error(error, g_steal_pointer(&problem));
        return STEP_ENDED;
    }
    if (polls[0].revents != 0 && !take_input(console)) {
        return STEP_LEFT;
    }
    if (polls[1].revents & POLLOUT) {
        give_input(console);
    }
    if (polls[1].revents & ~POLLOUT && !show_output(console, &shown)) {
        return STEP_ENDED;
    }
    if (polls[2].revents != 0 && !shown) {
        /* Its last words first. */
        show_output(console, &shown);
        return shown ? STEP_ON : STEP_ENDED;
    }
    return STEP_ON;
}

static gboolean
run(Console *console, GError **error)
{
    g_autoptr(GError) problem = NULL;
    Step last = STEP_ON;
    char buffer[BACK_BYTES];
    for (gsize got; console->log != NULL &&
                    (got = lodge_console_log_read(console->log, buffer, sizeof buffer)) > 0;) {
        lodge_terminal_write(STDOUT_FILENO, buffer, got);
    }
    while (last == STEP_ON) {
        last = step(console, &problem);
    }
    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (last == STEP_ENDED) {
        g_autofree char *words = g_strdup_printf("\nguest %s has ended", console->name);
        say_line(console, words);
    }
    return TRUE;
}

gboolean
lodge_cmd_console(LodgeCli *cli, int argc, char **argv, GError **error)
{
    if (option_log) {
        return lodge_cmd_log(cli, argc, argv, error);
    }
    if (option_screen) {
        return lodge_screen_view(cli, argv[1], error);
    }
    g_auto(Console) console = {.cli = cli,
                               .name = argv[1],
                               .console_fd = -1,
                               .lock_fd = -1,
                               .interactive = isatty(STDIN_FILENO)};
    g_autofree char *lock = lodge_store_run_path(cli->store, argv[1], "qemu.lock");
    if (option_timeout != NULL &&
        !lodge_duration_parse(option_timeout, &console.timeout_ms, error)) {
        return lodge_error_prefix(error, "--timeout");
    }
    /* One who watches from a script has nothing to say: its input does not end the watching. */
    console.input_ended = option_watch && !console.interactive;
    console.ends = option_timeout != NULL ? lodge_deadline_in(console.timeout_ms)
                                          : LODGE_NO_DEADLINE;
    console.qemu_fd = -1;
    if (!open_console(&console, error)) {
        return FALSE;
    }
    console.qemu_fd = lodge_lock_open_holder(lock, NULL);
    if (console.interactive) {
        lodge_say(cli, "%s's console; Ctrl-] leaves it.", argv[1]);
    }
    g_autoptr(LodgeTerminal) terminal = lodge_terminal_raw();
    if (console.interactive && console.log == NULL) {
        show_past(&console);
    }
    gboolean fine = run(&console, error);
    g_clear_pointer(&terminal, lodge_terminal_restore);
    if (console.interactive) {
        lodge_say(cli, "%s", "");
    }
    return fine;
}
