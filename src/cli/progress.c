#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"

enum {
    WORDS_WIDTH = 44,
    TIME_WIDTH = 14, /* "  ✓ " before the words, a time and a free column behind them */
    USUAL_COLUMNS = 80,
    REDRAW_US = 100000,
};

typedef struct {
    LodgeProgress base;
    gboolean silent;
    gboolean colour;
    gboolean live;    /* a terminal, whose line can be written again */
    char *words;      /* the present stage's; NULL before the first and after one that failed */
    gboolean undoing; /* a stage failed: the failure is shown, what follows goes well */
    gint64 first_us;
    gint64 stage_us;
    gint64 drawn_us;
} Show;

static glong
terminal_columns(const Show *show)
{
    struct winsize size;
    gboolean is_known = show->live && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 &&
                        size.ws_col > 0;
    return is_known ? size.ws_col : USUAL_COLUMNS;
}

/* "  ✓ words       behind", times in a column. Free with g_free. */
static char *
format_line(const Show *show, const char *mark, const char *words, const char *behind)
{
    glong width = MIN(WORDS_WIDTH, terminal_columns(show) - TIME_WIDTH);
    glong gap = width - g_utf8_strlen(words, -1);
    g_autofree char *padding = g_strnfill((gsize)MAX(gap, 1), ' ');
    return g_strdup_printf("  %s %s%s%s", mark, words, padding, behind);
}

/* What shall be written over must fit into one row: the cursor comes back to the last one only. */
static void
draw(Show *show, const char *behind)
{
    if (!show->live || show->silent) {
        return;
    }
    g_autofree char *line = format_line(show, "·", show->words, behind);
    glong room = MAX(terminal_columns(show) - 1, 1);
    glong length = g_utf8_strlen(line, -1);
    gboolean is_long = length > room;
    g_autofree char *cut = g_utf8_substring(line, 0, is_long ? room - 1 : length);
    fprintf(stderr, "\r%s%s\033[K", cut, is_long ? "…" : "");
    fflush(stderr);
}

static void
finish_stage(Show *show, gboolean fine)
{
    if (show->words == NULL || show->silent) {
        return;
    }
    g_autofree char *time = lodge_duration_human((g_get_monotonic_time() - show->stage_us) / 1000);
    g_autofree char *padded = g_strdup_printf("%9s", time);
    g_autofree char *behind = fine ? lodge_colour(show->colour, "dim", padded)
                                   : lodge_colour(show->colour, "red", "   failed");
    g_autofree char *mark = lodge_colour(show->colour, fine ? "green" : "red", fine ? "✓" : "✗");
    g_autofree char *line = format_line(show, mark, show->words, behind);
    fprintf(stderr, "%s%s%s\n", show->live ? "\r" : "", line, show->live ? "\033[K" : "");
}

static void
on_stage(LodgeProgress *progress, const char *words)
{
    Show *show = (Show *)progress;
    finish_stage(show, TRUE);
    g_free(show->words);
    show->words = g_strdup(words);
    show->stage_us = g_get_monotonic_time();
    draw(show, "");
}

static void
on_part(LodgeProgress *progress, double fraction, const char *words)
{
    Show *show = (Show *)progress;
    gint64 now = g_get_monotonic_time();
    if (show->words == NULL || now - show->drawn_us < REDRAW_US) {
        return;
    }
    show->drawn_us = now;
    g_autofree char *percent = fraction >= 0 ? g_strdup_printf("%3.0f %%", fraction * 100)
                                             : g_strdup("");
    g_autofree char *behind = g_strdup_printf("%s%s%s", percent, words != NULL ? "  " : "",
                                              words != NULL ? words : "");
    draw(show, behind);
}

static void
on_failed(LodgeProgress *progress)
{
    Show *show = (Show *)progress;
    finish_stage(show, FALSE);
    g_clear_pointer(&show->words, g_free);
    show->undoing = TRUE;
}

LodgeProgress *
lodge_cli_progress_new(const LodgeCli *cli)
{
    Show *show = g_new0(Show, 1);
    show->base.stage = on_stage;
    show->base.part = on_part;
    show->base.failed = on_failed;
    show->silent = cli->quiet || cli->json;
    show->colour = cli->colour_errors;
    show->live = isatty(STDERR_FILENO) && g_strcmp0(g_getenv("TERM"), "dumb") != 0;
    show->first_us = g_get_monotonic_time();
    return &show->base;
}

gint64
lodge_cli_progress_end(LodgeProgress *progress, gboolean fine)
{
    Show *show = (Show *)progress;
    finish_stage(show, fine || show->undoing);
    gint64 time_ms = (g_get_monotonic_time() - show->first_us) / 1000;
    g_free(show->words);
    g_free(show);
    return time_ms;
}
