/* Theory of operation: one loop. It samples, draws, and waits for a key, a command's end or the
 * next sample, whichever comes first. What a key asks of a guest is done by `lodge` in a process of
 * its own, so that a guest that doesn't answer stops nothing here. */
#include "config.h"

#include "top/screen.h"

#include <curses.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "top/draw.h"
#include "top/sample.h"
#include "top/share.h"

enum {
    ESCAPE = 27,
    ESCAPE_DELAY_MS = 50,
    FASTEST_MS = 250,
    SLOWEST_MS = 60000,
    COMMANDS = 8,
    ANSWER_BYTES = 512,
};

/* A lodge that works for us; its standard error's last line is what is shown. */
typedef struct {
    int fd; /* -1: none */
    pid_t pid;
    char words[64];
    char answer[ANSWER_BYTES];
} Command;

typedef struct {
    const ScreenOptions *options;
    TopSample *sample;
    GPtrArray *shown;
    GHashTable *histories;
    Command commands[COMMANDS];
    char sort[16];
    gboolean reverse;
    char filter[64];
    char *selected; /* a name */
    gboolean page;  /* the selected guest's */
    gint64 interval_ms;
    char message[ANSWER_BYTES];
    gboolean done;
} Screen;

static void
remember(Screen *screen)
{
    for (guint i = 0; i < screen->sample->guests->len; i++) {
        const TopGuest *guest = screen->sample->guests->pdata[i];
        History *history = g_hash_table_lookup(screen->histories, guest->name);
        if (history == NULL) {
            history = g_new0(History, 1);
            g_hash_table_insert(screen->histories, g_strdup(guest->name), history);
        }
        if (history->count == HISTORY) {
            memmove(history->values, history->values + 1, sizeof(double) * (HISTORY - 1));
            history->count--;
        }
        history->values[history->count++] = MAX(guest->cpu_percent, 0);
    }
}

static void
choose(Screen *screen)
{
    g_ptr_array_set_size(screen->shown, 0);
    for (guint i = 0; i < screen->sample->guests->len; i++) {
        TopGuest *guest = screen->sample->guests->pdata[i];
        if (strstr(guest->name, screen->filter) != NULL) {
            g_ptr_array_add(screen->shown, guest);
        }
    }
    top_sort(screen->shown, screen->sort, screen->reverse);
}

static gboolean
take_sample(Screen *screen, GError **error)
{
    TopSample *now = top_sample(screen->options->store, screen->options->names, screen->sample,
                                error);
    if (now == NULL) {
        return FALSE;
    }
    top_sample_free(screen->sample);
    screen->sample = now;
    remember(screen);
    choose(screen);
    return TRUE;
}

/* The selected guest's place; where it is gone, the first. */
static guint
selected_index(const Screen *screen)
{
    for (guint i = 0; i < screen->shown->len; i++) {
        const TopGuest *guest = screen->shown->pdata[i];
        if (g_strcmp0(guest->name, screen->selected) == 0) {
            return i;
        }
    }
    return 0;
}

static const TopGuest *
selected_guest(const Screen *screen)
{
    return screen->shown->len > 0 ? screen->shown->pdata[selected_index(screen)] : NULL;
}

static void
draw(Screen *screen)
{
    View view = {
        .sample = screen->sample,
        .shown = screen->shown,
        .histories = screen->histories,
        .sort = screen->sort,
        .filter = screen->filter,
        .message = screen->message,
        .selected = selected_index(screen),
        .interval_s = (double)screen->interval_ms / 1000,
    };
    const TopGuest *guest = selected_guest(screen);
    if (!screen->page || guest == NULL) {
        screen->page = FALSE;
        draw_list(&view);
        return;
    }
    g_autofree char *folder = lodge_store_guest_path(screen->options->store, guest->name, NULL);
    draw_guest(&view, guest, guest->state->has_qemu ? top_share_bytes(guest->state->qemu_pid) : -1,
               folder);
}

/* --- Commands -------------------------------------------------------------------------------- */

static void
start_command(Screen *screen, const char *verb, const char *name)
{
    Command *free_one = NULL;
    for (gsize i = 0; i < COMMANDS; i++) {
        free_one = screen->commands[i].fd < 0 ? &screen->commands[i] : free_one;
    }
    if (free_one == NULL) {
        g_strlcpy(screen->message, "too much at once: wait for the others", ANSWER_BYTES);
        return;
    }
    char *argv[] = {(char *)screen->options->program, (char *)verb, (char *)name, NULL};
    g_autoptr(GError) error = NULL;
    if (!g_spawn_async_with_pipes(NULL, argv, NULL,
                                  G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL, NULL,
                                  NULL, &free_one->pid, NULL, NULL, &free_one->fd, &error)) {
        free_one->fd = -1;
        g_strlcpy(screen->message, error->message, ANSWER_BYTES);
        return;
    }
    free_one->answer[0] = '\0';
    g_snprintf(free_one->words, sizeof free_one->words, "%s %s", verb, name);
    g_snprintf(screen->message, ANSWER_BYTES, "%s …", free_one->words);
}

static void
read_command(Screen *screen, Command *command)
{
    char buffer[ANSWER_BYTES];
    gssize got = read(command->fd, buffer, sizeof buffer - 1);
    if (got > 0) {
        buffer[got] = '\0';
        g_autofree char *line = lodge_text_last_line(buffer);
        if (*line != '\0') {
            g_strlcpy(command->answer, line, ANSWER_BYTES);
        }
        return;
    }
    int status = 0;
    lodge_fd_clear(&command->fd);
    waitpid(command->pid, &status, 0);
    g_snprintf(screen->message, ANSWER_BYTES, "%s%s",
               *command->answer != '\0' ? command->answer : command->words,
               *command->answer != '\0' ? ""
               : status == 0            ? ": done"
                                        : ": failed");
}

/* Leave the screen to a console until its user comes back. */
static void
open_console(Screen *screen, const char *name)
{
    char *argv[] = {(char *)screen->options->program, (char *)"console", (char *)name, NULL};
    int status = 0;
    def_prog_mode();
    endwin();
    g_spawn_sync(NULL, argv, NULL, G_SPAWN_CHILD_INHERITS_STDIN, NULL, NULL, NULL, NULL, &status,
                 NULL);
    reset_prog_mode();
    if (status != 0) {
        g_snprintf(screen->message, ANSWER_BYTES, "console %s: it could not be opened", name);
    }
    clearok(stdscr, TRUE);
}

/* --- Keys ------------------------------------------------------------------------------------ */

static gboolean
confirm(const char *question, const char *name)
{
    g_autofree char *text = g_strdup_printf("%s %s? [y/N]", question, name);
    draw_prompt(text);
    timeout(-1);
    int key = getch();
    timeout(0);
    return key == 'y' || key == 'Y';
}

static void
ask_filter(Screen *screen)
{
    gsize length = 0;
    screen->filter[0] = '\0';
    timeout(-1);
    for (;;) {
        g_autofree char *text = g_strdup_printf("only names with: %s", screen->filter);
        draw_prompt(text);
        int key = getch();
        if (key == '\n' || key == KEY_ENTER || key == ERR) {
            break;
        }
        if (key == ESCAPE) {
            screen->filter[0] = '\0';
            break;
        }
        if ((key == KEY_BACKSPACE || key == 127 || key == '\b') && length > 0) {
            screen->filter[--length] = '\0';
        } else if (key > ' ' && key < 127 && length + 1 < sizeof screen->filter) {
            screen->filter[length++] = (char)key;
            screen->filter[length] = '\0';
        }
    }
    timeout(0);
    choose(screen);
}

static void
move_selection(Screen *screen, int by)
{
    if (screen->shown->len > 0) {
        int index = CLAMP((int)selected_index(screen) + by, 0, (int)screen->shown->len - 1);
        const TopGuest *guest = screen->shown->pdata[index];
        g_free(screen->selected);
        screen->selected = g_strdup(guest->name);
    }
}

/* As it is now, not as the last sample saw it. */
static gboolean
is_paused(const Screen *screen, const char *name)
{
    g_autoptr(LodgeGuestState) state = lodge_store_state(screen->options->store, name);
    return state->state == LODGE_STATE_PAUSED;
}

/* Keys that ask something of the selected guest. FALSE: it is none. */
static gboolean
act(Screen *screen, int key)
{
    const TopGuest *guest = selected_guest(screen);
    if (guest == NULL || key == 0 || strchr("CpSK\n", key) == NULL) {
        return FALSE;
    }
    /* The list may be in another order before the next key. */
    move_selection(screen, 0);
    switch (key) {
    case 'C':
        open_console(screen, guest->name);
        break;
    case 'p':
        start_command(screen, is_paused(screen, guest->name) ? "resume" : "pause", guest->name);
        break;
    case 'S':
        if (confirm("Ask to shut down", guest->name)) {
            start_command(screen, "stop", guest->name);
        }
        break;
    case 'K':
        if (confirm("Pull the plug of", guest->name)) {
            start_command(screen, "kill", guest->name);
        }
        break;
    default:
        screen->page = TRUE;
        break;
    }
    return TRUE;
}

static gboolean
change_sort(Screen *screen, int key)
{
    static const struct {
        int key;
        const char *sort;
    } sorts[] = {{'c', "cpu"},    {'m', "memory"}, {'d', "disk"}, {'n', "net"},
                 {'u', "uptime"}, {'s', "state"},  {'N', "name"}};
    for (gsize i = 0; i < G_N_ELEMENTS(sorts); i++) {
        if (sorts[i].key == key) {
            g_strlcpy(screen->sort, sorts[i].sort, sizeof screen->sort);
            choose(screen);
            return TRUE;
        }
    }
    return FALSE;
}

static void
show_help(void)
{
    draw_help();
    timeout(-1);
    getch();
    timeout(0);
}

static void
on_key(Screen *screen, int key)
{
    screen->message[0] = '\0';
    if (key == KEY_ENTER || key == '\r') {
        key = '\n';
    }
    if (act(screen, key < 256 ? key : 0) || change_sort(screen, key)) {
        return;
    }
    switch (key) {
    case 'q':
        screen->done = TRUE;
        break;
    case ESCAPE:
    case KEY_BACKSPACE:
        screen->page = FALSE;
        break;
    case KEY_UP:
        move_selection(screen, -1);
        break;
    case KEY_DOWN:
        move_selection(screen, 1);
        break;
    case KEY_PPAGE:
        move_selection(screen, -(LINES - 4));
        break;
    case KEY_NPAGE:
        move_selection(screen, LINES - 4);
        break;
    case '?':
    case 'h':
        show_help();
        break;
    case '/':
        ask_filter(screen);
        break;
    case 'r':
        screen->reverse = !screen->reverse;
        choose(screen);
        break;
    case '+':
        screen->interval_ms = MIN(screen->interval_ms * 2, SLOWEST_MS);
        break;
    case '-':
        screen->interval_ms = MAX(screen->interval_ms / 2, FASTEST_MS);
        break;
    }
}

/* Wait for a key, a command's word, or @deadline; handle what came. TRUE: a sample is due. */
static gboolean
wait_once(Screen *screen, gint64 deadline)
{
    struct pollfd polls[COMMANDS + 1] = {{.fd = STDIN_FILENO, .events = POLLIN}};
    for (gsize i = 0; i < COMMANDS; i++) {
        polls[i + 1] = (struct pollfd){.fd = screen->commands[i].fd, .events = POLLIN};
    }
    gint64 left_ms = (deadline - g_get_monotonic_time()) / 1000;
    int ready = left_ms > 0 ? poll(polls, G_N_ELEMENTS(polls), (int)left_ms) : 0;
    for (gsize i = 0; ready > 0 && i < COMMANDS; i++) {
        if (polls[i + 1].revents != 0) {
            read_command(screen, &screen->commands[i]);
        }
    }
    gboolean at_once = FALSE;
    /* Also after a signal: ncurses turns a change of size into a key. */
    for (int key = getch(); key != ERR && !screen->done; key = getch()) {
        on_key(screen, key);
        at_once = at_once || key == ' ';
    }
    screen->done = screen->done || (polls[0].revents & (POLLHUP | POLLERR)) != 0 ||
                   lodge_interrupt_signal() != 0;
    return at_once || g_get_monotonic_time() >= deadline;
}

static gboolean
loop(Screen *screen, GError **error)
{
    while (!screen->done) {
        if (!take_sample(screen, error)) {
            return FALSE;
        }
        gint64 deadline = g_get_monotonic_time() + screen->interval_ms * 1000;
        do {
            draw(screen);
        } while (!wait_once(screen, deadline) && !screen->done);
    }
    return TRUE;
}

gboolean
screen_run(const ScreenOptions *options, GError **error)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "top: there is no terminal here (--batch prints once)");
    }
    Screen screen = {.options = options, .interval_ms = options->interval_ms};
    g_strlcpy(screen.sort, options->sort, sizeof screen.sort);
    screen.shown = g_ptr_array_new();
    screen.histories = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (gsize i = 0; i < COMMANDS; i++) {
        screen.commands[i].fd = -1;
    }
    setlocale(LC_ALL, "");
    set_escdelay(ESCAPE_DELAY_MS);
    if (newterm(NULL, stdout, stdin) == NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "top: the terminal type “%s” is not known here (set TERM)",
                               g_getenv("TERM") != NULL ? g_getenv("TERM") : "");
    }
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    timeout(0);
    curs_set(0);
    gboolean fine = loop(&screen, error);
    endwin();
    for (gsize i = 0; i < COMMANDS; i++) {
        lodge_fd_clear(&screen.commands[i].fd); /* what was asked goes on by itself */
    }
    top_sample_free(screen.sample);
    g_ptr_array_unref(screen.shown);
    g_hash_table_unref(screen.histories);
    g_free(screen.selected);
    return fine;
}
