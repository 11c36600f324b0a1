#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

struct LodgeTable {
    guint columns;
    char **titles;
    gboolean *right;
    gsize *widths;
    GPtrArray *rows; /* GStrv */
};

LodgeTable *
lodge_table_new(const char *const *titles)
{
    LodgeTable *table = g_new0(LodgeTable, 1);
    table->titles = g_strdupv((char **)titles);
    table->columns = g_strv_length(table->titles);
    table->right = g_new0(gboolean, table->columns);
    table->widths = g_new0(gsize, table->columns);
    table->rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    for (guint i = 0; i < table->columns; i++) {
        table->right[i] = g_str_has_suffix(table->titles[i], ">");
        if (table->right[i]) {
            table->titles[i][strlen(table->titles[i]) - 1] = '\0';
        }
        table->widths[i] = (gsize)g_utf8_strlen(table->titles[i], -1);
    }
    return table;
}

void
lodge_table_free(LodgeTable *table)
{
    if (table != NULL) {
        g_strfreev(table->titles);
        g_free(table->right);
        g_free(table->widths);
        g_ptr_array_unref(table->rows);
        g_free(table);
    }
}

void
lodge_table_add(LodgeTable *table, const char *const *cells)
{
    char **row = g_new0(char *, table->columns + 1);
    for (guint i = 0; i < table->columns; i++) {
        row[i] = lodge_text_printable(cells[i]);
        table->widths[i] = MAX(table->widths[i], (gsize)g_utf8_strlen(row[i], -1));
    }
    g_ptr_array_add(table->rows, row);
}

static void
print_row(const LodgeTable *table, char *const *cells)
{
    g_autoptr(GString) line = g_string_new(NULL);
    for (guint i = 0; i < table->columns; i++) {
        gsize gap = table->widths[i] - (gsize)g_utf8_strlen(cells[i], -1);
        g_autofree char *padding = g_strnfill(gap, ' ');
        gboolean last = i + 1 == table->columns;
        g_string_append(line, table->right[i] ? padding : "");
        g_string_append(line, cells[i]);
        g_string_append(line, table->right[i] || last ? "" : padding);
        g_string_append(line, last ? "" : "  ");
    }
    /* Empty cells at the end are no reason for spaces there. */
    g_strchomp(line->str);
    puts(line->str);
}

void
lodge_table_print(LodgeTable *table, const LodgeCli *cli)
{
    if (cli->colour_out) {
        fputs("\033[1m", stdout);
    }
    print_row(table, table->titles);
    if (cli->colour_out) {
        fputs("\033[0m", stdout);
    }
    for (guint i = 0; i < table->rows->len; i++) {
        print_row(table, table->rows->pdata[i]);
    }
}

char *
lodge_time_shown(const char *iso)
{
    g_autoptr(GDateTime) time = iso != NULL ? g_date_time_new_from_iso8601(iso, NULL) : NULL;
    g_autoptr(GDateTime) local = time != NULL ? g_date_time_to_local(time) : NULL;
    return local != NULL ? g_date_time_format(local, "%Y-%m-%d %H:%M:%S") : g_strdup("–");
}

char *
lodge_tree_stem(guint depth, const gboolean *more)
{
    GString *text = g_string_new(NULL);
    for (guint level = 1; level <= depth; level++) {
        g_string_append(text, more[level] ? "│  " : "   ");
    }
    return g_string_free(text, FALSE);
}

char *
lodge_tree_lead(guint depth, gboolean is_last, gboolean *more)
{
    g_autofree char *stem = lodge_tree_stem(depth > 0 ? depth - 1 : 0, more);
    more[depth] = !is_last;
    return g_strconcat(stem, depth == 0 ? "" : is_last ? "└─ " : "├─ ", NULL);
}

void
lodge_print_json(json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2));
    puts(text != NULL ? text : "null");
    free(text);
    json_decref(value);
}

char *
lodge_colour(gboolean enabled, const char *colour, const char *text)
{
    static const struct {
        const char *name;
        int code;
    } codes[] = {{"red", 31}, {"green", 32}, {"yellow", 33}, {"bold", 1}, {"dim", 2}};
    for (gsize i = 0; enabled && i < G_N_ELEMENTS(codes); i++) {
        if (g_str_equal(colour, codes[i].name)) {
            return g_strdup_printf("\033[%dm%s\033[0m", codes[i].code, text);
        }
    }
    return g_strdup(text);
}

void
lodge_say(const LodgeCli *cli, const char *format, ...)
{
    if (cli->quiet) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

gboolean
lodge_ask(const char *question, GError **error)
{
    if (!isatty(STDIN_FILENO)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "nobody to ask here; say --yes if that is what you want");
    }
    fprintf(stderr, "%s [y/N] ", question);
    fflush(stderr);
    if (!lodge_wait_fd(STDIN_FILENO, POLLIN, LODGE_NO_DEADLINE, error)) {
        fputc('\n', stderr);
        return FALSE;
    }
    char answer[16];
    gssize length = read(STDIN_FILENO, answer, sizeof answer);
    if (length > 0 && (answer[0] == 'y' || answer[0] == 'Y')) {
        return TRUE;
    }
    return lodge_error_set(error, LODGE_ERROR_INTERRUPTED, "nothing was done");
}
