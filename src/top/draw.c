#include "config.h"

#include "top/draw.h"

#include <curses.h>
#include <string.h>

#include "base/base.h"
#include "top/print.h"

enum {
    LIST_TOP = 3, /* lines above the list */
    SPARK_WIDTH = 16,
};

static char *
uptime_of(const TopGuest *guest)
{
    if (!guest->state->has_qemu || guest->state->started_ms == 0) {
        return g_strdup("–");
    }
    gint64 seconds = MAX(g_get_real_time() / G_USEC_PER_SEC - guest->state->started_ms / 1000, 0);
    return seconds < 3600
               ? g_strdup_printf("%d:%02d", (int)(seconds / 60), (int)(seconds % 60))
               : g_strdup_printf("%dh%02d", (int)(seconds / 3600), (int)(seconds / 60 % 60));
}

static char *
spark_of(const View *view, const TopGuest *guest, gsize width)
{
    const History *history = g_hash_table_lookup(view->histories, guest->name);
    double most = 100.0 * MAX(guest->cpus, 1);
    return history != NULL ? top_sparkline(history->values, history->count, width, most)
                           : g_strdup("");
}

/* Cells right-aligned, counted in characters. */
static void
append_cell(GString *line, const char *text, int width)
{
    int gap = width - (int)g_utf8_strlen(text, -1);
    g_string_append_printf(line, " %*s%s", MAX(gap, 0), "", text);
}

static char *
row_of(const View *view, const TopGuest *guest)
{
    GString *line = g_string_new(NULL);
    g_autofree char *words[] = {top_percent_words(guest->cpu_percent)};
    g_string_append_printf(line, "%-16.16s %-9s", guest->name,
                           lodge_state_word(guest->state->state));
    append_cell(line, words[0], 6);
    const double percents[] = {guest->throttled_percent, guest->waited_percent};
    for (gsize i = 0; i < G_N_ELEMENTS(percents); i++) {
        g_autofree char *text = top_percent_words(percents[i]);
        append_cell(line, text, 5);
    }
    const double sizes[] = {(double)guest->rss_bytes, (double)guest->guest_used_bytes,
                            guest->read_rate,         guest->write_rate,
                            guest->receive_rate,      guest->send_rate};
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *text = top_bytes_words(sizes[i]);
        append_cell(line, text, 6);
    }
    g_autofree char *uptime = uptime_of(guest);
    append_cell(line, uptime, 7);
    g_autofree char *spark = spark_of(view, guest, SPARK_WIDTH);
    g_string_append_printf(line, "  %s", spark);
    return g_string_free(line, FALSE);
}

/* A line, cut to the screen's width in characters. */
static void
put_line(int row, const char *text, attr_t attributes)
{
    if (row < 0 || row >= LINES) {
        return;
    }
    g_autofree char *cut = g_utf8_strlen(text, -1) > COLS ? g_utf8_substring(text, 0, COLS)
                                                          : g_strdup(text);
    attron(attributes);
    mvaddstr(row, 0, cut);
    attroff(attributes);
    clrtoeol();
}

static void
put_foot(const View *view)
{
    g_autofree char *foot = *view->message != '\0'
                                ? g_strdup(view->message)
                                : g_strdup("? help  Enter guest  / filter  c m d n sort  C console "
                                           " p pause  S stop  K kill  q quit");
    put_line(LINES - 1, foot, *view->message != '\0' ? A_BOLD : A_DIM);
}

void
draw_list(const View *view)
{
    g_autofree char *host = top_host_words(view->sample);
    g_autofree char *head = g_strdup_printf("lodge top: %s", host);
    g_autofree char *how = g_strdup_printf("by %s, every %.1f s%s%s", view->sort, view->interval_s,
                                           *view->filter != '\0' ? ", filter: " : "", view->filter);
    g_autofree char *titles = g_strdup_printf("%-16s %-9s %6s %5s %5s %6s %6s %6s %6s %6s %6s %7s  "
                                              "%s",
                                              "NAME", "STATE", "CPU%", "HELD%", "WAIT%", "MEM",
                                              "USED", "READ", "WRITE", "RECV", "SEND", "UP", "CPU");
    erase();
    put_line(0, head, A_BOLD);
    put_line(1, how, A_DIM);
    put_line(2, titles, A_REVERSE);
    int room = MAX(LINES - LIST_TOP - 1, 1);
    guint first = view->selected >= (guint)room ? view->selected - (guint)room + 1 : 0;
    for (guint i = first; i < view->shown->len && (int)(i - first) < room; i++) {
        const TopGuest *guest = view->shown->pdata[i];
        g_autofree char *row = row_of(view, guest);
        attr_t attributes = i == view->selected ? A_REVERSE : 0;
        attributes |= guest->state->has_qemu ? 0 : A_DIM;
        put_line(LIST_TOP + (int)(i - first), row, attributes);
    }
    if (view->shown->len == 0) {
        put_line(LIST_TOP, *view->filter != '\0' ? "No guest matches." : "No guests.", 0);
    }
    put_foot(view);
    refresh();
}

static void G_GNUC_PRINTF(3, 4) fact(int *row, const char *title, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *line = g_strdup_printf("  %-12s %s", title, text);
    put_line((*row)++, line, 0);
}

void
draw_guest(const View *view, const TopGuest *guest, gint64 pss_bytes, const char *folder)
{
    int row = 2;
    g_autofree char *uptime = uptime_of(guest);
    g_autofree char *cpu = top_percent_words(guest->cpu_percent);
    g_autofree char *held = top_percent_words(guest->throttled_percent);
    g_autofree char *waited = top_percent_words(guest->waited_percent);
    g_autofree char *memory = top_bytes_words((double)guest->memory_bytes);
    g_autofree char *rss = top_bytes_words((double)guest->rss_bytes);
    g_autofree char *pss = top_bytes_words((double)pss_bytes);
    g_autofree char *used = top_bytes_words((double)guest->guest_used_bytes);
    g_autofree char *balloon = top_bytes_words((double)guest->balloon_bytes);
    g_autofree char *read = top_bytes_words(guest->read_rate);
    g_autofree char *written = top_bytes_words(guest->write_rate);
    g_autofree char *received = top_bytes_words(guest->receive_rate);
    g_autofree char *sent = top_bytes_words(guest->send_rate);
    g_autofree char *spark = spark_of(view, guest, (gsize)CLAMP(COLS - 16, 1, HISTORY));
    erase();
    put_line(0, guest->name, A_BOLD | A_REVERSE);
    fact(&row, "state", "%s%s%s, up %s, process %d", lodge_state_word(guest->state->state),
         guest->state->job != NULL ? ", at work: " : "",
         guest->state->job != NULL ? guest->state->job : "", uptime, (int)guest->state->qemu_pid);
    if (guest->state->reason != NULL) {
        g_autofree char *reason = lodge_text_printable(guest->state->reason);
        fact(&row, "because", "%s", reason);
    }
    fact(&row, "CPU", "%s%% of %u; held back by its limit %s%%, waited for others %s%%", cpu,
         guest->cpus * 100, held, waited);
    fact(&row, "", "%s", spark);
    fact(&row, "memory", "%s of its own, balloon leaves %s, in use %s", memory, balloon, used);
    fact(&row, "on the host", "resident %s, its share of what is shared counted %s", rss, pss);
    fact(&row, "disks", "reads %s/s, writes %s/s (%s)", read, written,
         guest->is_guest_io ? "as the guest asks" : "as QEMU does");
    fact(&row, "network", "receives %s/s, sends %s/s%s%s", received, sent,
         guest->tap != NULL ? " on " : "", guest->tap != NULL ? guest->tap : "");
    fact(&row, "files", "%s", folder);
    put_foot(view);
    refresh();
}

void
draw_help(void)
{
    static const char *const lines[] = {
        "lodge top",
        "",
        "  Up, Down      choose a guest           Enter  its page; Esc leaves it",
        "  c m d n       sort by CPU, memory, disk, network",
        "  u s N         sort by time since its start, state, name     r  turn the order round",
        "  /             show only names that hold a word",
        "  C             its console              p  pause it, or let it go on",
        "  S             ask it to shut down      K  pull its plug",
        "  + -           slower, faster           Space  at once",
        "  q             quit",
        "",
        "  CPU%   of one CPU of the host; HELD% held back by its limit, summed over its CPUs;",
        "  WAIT%  it would have run, but others did: what the guest calls steal",
        "  MEM    of the host that its QEMU holds; USED what the guest itself says it uses",
        "  READ, WRITE, RECV, SEND  bytes a second; – is what nobody can tell",
        "",
        "  Any key goes back.",
    };
    erase();
    for (gsize i = 0; i < G_N_ELEMENTS(lines); i++) {
        put_line((int)i, lines[i], i == 0 ? A_BOLD : 0);
    }
    refresh();
}

void
draw_prompt(const char *text)
{
    put_line(LINES - 1, text, A_BOLD);
    refresh();
}
