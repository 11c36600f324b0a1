#include "config.h"

#include "base/text.h"

#include <string.h>

#include "base/error.h"

enum {
    NAME_LIMIT = 63,
    WORD_LIMIT = 64,
};

static gboolean
check_name(const char *what, const char *name, const char *inner, const char *allowed,
           GError **error)
{
    if (*name == '\0') {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "the %s's name can't be empty", what);
    }
    if (strlen(name) > NAME_LIMIT) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "%s name “%.20s…” is longer than %d", what,
                               name, NAME_LIMIT);
    }
    for (const char *c = name; *c != '\0'; c++) {
        gboolean plain = g_ascii_islower(*c) || g_ascii_isdigit(*c);
        gboolean edge = c == name || c[1] == '\0';
        if (!plain && (edge || strchr(inner, *c) == NULL)) {
            g_autofree char *shown = lodge_text_printable(name);
            return lodge_error_set(error, LODGE_ERROR_USAGE,
                                   "“%s” can't be the %s's name: use %s, with a letter or digit at "
                                   "both ends",
                                   shown, what, allowed);
        }
    }
    return TRUE;
}

gboolean
lodge_name_check(const char *what, const char *name, GError **error)
{
    return check_name(what, name, "-", "a-z, 0-9 and “-”", error);
}

gboolean
lodge_image_name_check(const char *name, GError **error)
{
    return check_name("image", name, "-._", "a-z, 0-9, “-”, “.” and “_”", error);
}

/* Damerau's distance, with neighbours swapped counting once. Words are short. */
static guint
distance(const char *a, const char *b)
{
    gsize m = strlen(a);
    gsize n = strlen(b);
    if (m > WORD_LIMIT || n > WORD_LIMIT) {
        return G_MAXUINT;
    }
    guint rows[3][WORD_LIMIT + 1];
    guint *before = rows[0];
    guint *last = rows[1];
    guint *row = rows[2];
    for (gsize j = 0; j <= n; j++) {
        last[j] = (guint)j;
    }
    for (gsize i = 1; i <= m; i++) {
        row[0] = (guint)i;
        for (gsize j = 1; j <= n; j++) {
            guint replace = last[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = MIN(replace, MIN(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = MIN(row[j], before[j - 2] + 1);
            }
        }
        guint *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[n];
}

const char *
lodge_text_nearest(const char *word, const char *const *candidates)
{
    const char *nearest = NULL;
    guint least = (guint)MIN(strlen(word) / 3 + 1, 3) + 1;
    for (gsize i = 0; candidates[i] != NULL; i++) {
        guint edits = distance(word, candidates[i]);
        if (edits < least && edits < strlen(candidates[i])) {
            least = edits;
            nearest = candidates[i];
        }
    }
    return nearest;
}

char *
lodge_text_suggestion(const char *word, const char *const *candidates)
{
    const char *nearest = lodge_text_nearest(word, candidates);
    return nearest != NULL ? g_strdup_printf(" (did you mean “%s”?)", nearest) : g_strdup("");
}

/* Free of C0, DEL and C1 (in UTF-8: 0xc2 and a byte below 0xa0): a terminal may obey any of them.
 */
static gboolean
is_printable(const char *text)
{
    gboolean ascii = TRUE;
    for (const guchar *c = (const guchar *)text; *c != '\0'; c++) {
        if (*c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0)) {
            return FALSE;
        }
        ascii = ascii && *c < 0x80;
    }
    return ascii || g_utf8_validate(text, -1, NULL);
}

char *
lodge_text_printable(const char *text)
{
    if (is_printable(text)) {
        return g_strdup(text);
    }
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *copy = g_string_sized_new(strlen(valid));
    for (const char *c = valid; *c != '\0'; c = g_utf8_next_char(c)) {
        gunichar character = g_utf8_get_char(c);
        gboolean controls = character < 0x20 || (character >= 0x7f && character <= 0x9f);
        g_string_append_unichar(copy, controls ? '?' : character);
    }
    return g_string_free(copy, FALSE);
}

char *
lodge_text_last_line(const char *text)
{
    g_auto(GStrv) lines = g_strsplit_set(text, "\r\n", -1);
    for (gsize i = g_strv_length(lines); i > 0; i--) {
        g_strstrip(lines[i - 1]);
        if (*lines[i - 1] != '\0') {
            return lodge_text_printable(lines[i - 1]);
        }
    }
    return g_strdup("");
}

char *
lodge_text_shell_quote(const char *text)
{
    static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789-_./,=:@+%";
    if (*text != '\0' && strspn(text, harmless) == strlen(text)) {
        return g_strdup(text);
    }
    return g_shell_quote(text);
}
