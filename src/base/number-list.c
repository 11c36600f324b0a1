#include "config.h"

#include "base/number-list.h"

#include "base/base.h"

enum { NUMBERS_AT_MOST = 1024 };

static gboolean
parse_number(const char **text, guint most, guint *out_number)
{
    char *end = NULL;
    if (!g_ascii_isdigit(**text)) {
        return FALSE;
    }
    guint64 number = g_ascii_strtoull(*text, &end, 10);
    *out_number = (guint)MIN(number, G_MAXUINT);
    *text = end;
    return number <= most;
}

static gboolean
parse_part(const char **text, guint most, GArray *numbers)
{
    guint first = 0;
    if (!parse_number(text, most, &first)) {
        return FALSE;
    }
    guint last = first;
    if (**text == '-') {
        (*text)++;
        if (!parse_number(text, most, &last) || last < first) {
            return FALSE;
        }
    }
    for (guint i = first; i <= last; i++) {
        if (numbers->len == NUMBERS_AT_MOST) {
            return FALSE;
        }
        g_array_append_val(numbers, i);
    }
    return TRUE;
}

GArray *
lodge_number_list_parse(const char *text, guint most, GError **error)
{
    g_autoptr(GArray) numbers = g_array_new(FALSE, FALSE, sizeof(guint));
    const char *next = text;
    gboolean fine = parse_part(&next, most, numbers);
    while (fine && *next == ',') {
        next++;
        fine = parse_part(&next, most, numbers);
    }
    if (!fine || *next != '\0') {
        lodge_error_set(error, LODGE_ERROR_INVALID,
                        "“%s” is no list of numbers like 0-3,8 (of at most %u)", text, most);
        return NULL;
    }
    return g_steal_pointer(&numbers);
}

char *
lodge_number_list_format(const GArray *numbers)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < numbers->len;) {
        guint first = g_array_index(numbers, guint, i);
        guint last = first;
        for (i++; i < numbers->len && g_array_index(numbers, guint, i) == last + 1; i++) {
            last++;
        }
        g_string_append_printf(text, last > first ? "%s%u-%u" : "%s%u", text->len > 0 ? "," : "",
                               first, last);
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

gboolean
lodge_number_list_has(const GArray *numbers, guint number)
{
    for (guint i = 0; i < numbers->len; i++) {
        if (g_array_index(numbers, guint, i) == number) {
            return TRUE;
        }
    }
    return FALSE;
}
