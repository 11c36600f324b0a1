/* Theory of operation: a picture five times a second.
 *
 * A look takes some milliseconds, and QEMU has nobody to tell of changes. So the screen is read a
 * few times a second, at once after a key, and of its rows those are drawn that changed. Nothing is
 * held between two looks: others may look and type as well. */
#include "config.h"

#include "cli/screen-view.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/terminal-keys.h"
#include "cli/terminal.h"
#include "ops/screen.h"
#include "ops/view.h"

enum {
    LEAVE_KEY = 0x1d, /* Ctrl-] */
    LOOK_MS = 200,
    SOON_MS = 30,
};

typedef struct {
    LodgeCli *cli;
    const char *name;
    LodgeScreen *last; /* what is drawn; NULL: nothing that counts */
    struct winsize size;
    gboolean leaves;
} View;

static void
view_clear(View *view)
{
    g_clear_pointer(&view->last, lodge_screen_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(View, view_clear)

static void
add_colour(GString *out, const LodgeCell *cell)
{
    g_string_append_printf(out, "\033[%u;%um",
                           cell->front < 8 ? 30u + cell->front : 82u + cell->front,
                           cell->back < 8 ? 40u + cell->back : 92u + cell->back);
}

static void
add_row(GString *out, const LodgeScreen *screen, guint row, guint columns)
{
    const LodgeCell *cells = screen->cells + (gsize)row * screen->columns;
    const LodgeCell *coloured = NULL; /* the last that colours were set for */
    g_string_append_printf(out, "\033[%u;1H", row + 1);
    for (guint i = 0; i < MIN(columns, screen->columns); i++) {
        /* A blank has no colour of its own but its background. */
        if (coloured == NULL || cells[i].back != coloured->back ||
            (cells[i].character != ' ' && cells[i].front != coloured->front)) {
            coloured = &cells[i];
            add_colour(out, coloured);
        }
        g_string_append_unichar(out, cells[i].character);
    }
    g_string_append(out, "\033[0m\033[K");
}

static gboolean
same_row(const LodgeScreen *a, const LodgeScreen *b, guint row)
{
    gsize first = (gsize)row * a->columns;
    return memcmp(a->cells + first, b->cells + first, a->columns * sizeof *a->cells) == 0;
}

/* Draw what differs from the last time. @screen is taken. */
static void
draw(View *view, LodgeScreen *screen)
{
    g_autoptr(GString) out = g_string_new("\033[?25l");
    gboolean anew = view->last == NULL || view->last->columns != screen->columns ||
                    view->last->rows != screen->rows;
    g_string_append(out, anew ? "\033[0m\033[2J" : "");
    for (guint row = 0; row < MIN(screen->rows, view->size.ws_row); row++) {
        if (anew || !same_row(screen, view->last, row)) {
            add_row(out, screen, row, view->size.ws_col);
        }
    }
    if (screen->cursor_column < screen->columns) {
        g_string_append_printf(out, "\033[%u;%uH\033[?25h", screen->cursor_row + 1,
                               screen->cursor_column + 1);
    }
    lodge_terminal_write(STDOUT_FILENO, out->str, out->len);
    view_clear(view);
    view->last = screen;
}

static void
draw_notice(View *view)
{
    g_autofree char *text = g_strdup_printf("\033[0m\033[2J\033[H%s shows a picture, which a "
                                            "terminal can't: `lodge vnc %s` does. Ctrl-] leaves.",
                                            view->name, view->name);
    lodge_terminal_write(STDOUT_FILENO, text, strlen(text));
}

/* FALSE with an error if there is no more to be seen. */
static gboolean
look(View *view, GError **error)
{
    g_autoptr(GError) problem = NULL;
    struct winsize size = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    size.ws_row = size.ws_row != 0 ? size.ws_row : 25;
    size.ws_col = size.ws_col != 0 ? size.ws_col : 80;
    if (memcmp(&size, &view->size, sizeof size) != 0) {
        view->size = size;
        view_clear(view);
    }
    g_autoptr(LodgeScreen) screen = lodge_screen_of(view->cli->store, view->name, &problem);
    if (screen == NULL) {
        g_autoptr(LodgeGuestState) state = lodge_store_state(view->cli->store, view->name);
        if (state->has_qemu && g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
            return TRUE; /* somebody else looks; the next time */
        }
        if (!state->has_qemu) {
            return lodge_error_set(error, LODGE_ERROR_FAILED, "guest %s has ended", view->name);
        }
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (lodge_screen_is_graphic(screen)) {
        draw_notice(view);
        view_clear(view);
        return TRUE;
    }
    draw(view, g_steal_pointer(&screen));
    return TRUE;
}

/* Type what was typed here: characters in one go, other keys one by one. */
static gboolean
pass_keys(View *view, const char *bytes, gsize length, GError **error)
{
    g_autoptr(GString) pending = g_string_new(NULL);
    const char *name = view->name;
    while (length > 0) {
        g_autofree char *text = NULL, *chord = NULL;
        gsize taken = lodge_terminal_key(bytes, length, &text, &chord);
        bytes += taken;
        length -= taken;
        g_string_append(pending, text != NULL ? text : "");
        const char *const chords[] = {chord, NULL};
        if ((chord != NULL || length == 0) && pending->len > 0) {
            if (!lodge_type(view->cli->store, name, NULL, pending->str, FALSE, error)) {
                return FALSE;
            }
            g_string_truncate(pending, 0);
        }
        if (chord != NULL && !lodge_type(view->cli->store, name, chords, NULL, FALSE, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
take_keys(View *view, GError **error)
{
    char bytes[1024];
    gssize got = read(STDIN_FILENO, bytes, sizeof bytes);
    const char *leave = got > 0 ? memchr(bytes, LEAVE_KEY, (gsize)got) : NULL;
    view->leaves = got <= 0 || leave != NULL;
    g_autoptr(GError) problem = NULL;
    if (got > 0 &&
        !pass_keys(view, bytes, leave != NULL ? (gsize)(leave - bytes) : (gsize)got, &problem) &&
        !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    return TRUE;
}

static gboolean
run(View *view, GError **error)
{
    gint64 wait_ms = LOOK_MS;
    while (!view->leaves) {
        g_autoptr(GError) problem = NULL;
        if (!look(view, error)) {
            return FALSE;
        }
        gboolean key = lodge_wait_fd(STDIN_FILENO, POLLIN, lodge_deadline_in(wait_ms), &problem);
        if (!key && !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        if (key && !take_keys(view, error)) {
            return FALSE;
        }
        wait_ms = key ? SOON_MS : LOOK_MS;
    }
    return TRUE;
}

gboolean
lodge_screen_view(LodgeCli *cli, const char *name, GError **error)
{
    static const char begin[] = "\033[?1049h";
    g_auto(View) view = {.cli = cli, .name = name};
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "console --screen wants a terminal (`lodge screenshot %s --text` "
                               "prints what is on it)",
                               name);
    }
    /* Errors of the first look are better told on the ordinary screen. */
    g_autoptr(LodgeScreen) first = lodge_screen_of(cli->store, name, error);
    if (first == NULL) {
        return FALSE;
    }
    lodge_say(cli, "%s's screen; Ctrl-] leaves it.", name);
    LodgeTerminal *terminal = lodge_terminal_raw();
    lodge_terminal_write(STDOUT_FILENO, begin, sizeof begin - 1);
    gboolean fine = run(&view, error);
    lodge_terminal_restore(terminal);
    return fine;
}
