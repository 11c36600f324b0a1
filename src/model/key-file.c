#include "config.h"

#include "model/key-file.h"

#include <string.h>

#include "base/base.h"

/* Replace \s \n \t \r \\ in place, as g_key_file_get_string() does. */
static gboolean
unescape(char *value)
{
    char *put = strchr(value, '\\');
    if (put == NULL) {
        return TRUE;
    }
    static const char letters[] = "sntr\\";
    static const char meanings[] = " \n\t\r\\";
    for (const char *c = put; *c != '\0'; c++) {
        if (*c == '\\') {
            c++;
            const char *letter = *c != '\0' ? strchr(letters, *c) : NULL;
            if (letter == NULL) {
                return FALSE;
            }
            *put++ = meanings[letter - letters];
        } else {
            *put++ = *c;
        }
    }
    *put = '\0';
    return TRUE;
}

static char *
skip_space(char *text)
{
    while (g_ascii_isspace(*text)) {
        text++;
    }
    return text;
}

static void
cut_space(const char *begin, char *end)
{
    while (end > begin && g_ascii_isspace(end[-1])) {
        end--;
    }
    *end = '\0';
}

/* "[name]": the name, or NULL. */
static const char *
read_group(char *line)
{
    char *end = strchr(line, ']');
    if (end == NULL || end == line + 1 || *skip_space(end + 1) != '\0') {
        return NULL;
    }
    *end = '\0';
    return line + 1;
}

/* "key=value" into @entry; the words say what is wrong, NULL: nothing. */
static const char *
read_pair(char *line, LodgeEntry *entry)
{
    char *equals = strchr(line, '=');
    if (equals == NULL || equals == line) {
        return "neither a comment, [section] nor key=value";
    }
    if (entry->group == NULL) {
        return "a key before the first [section]";
    }
    char *value = skip_space(equals + 1);
    cut_space(line, equals);
    entry->key = line;
    entry->value = value;
    return unescape(value) ? NULL : "an escape other than \\s, \\n, \\t, \\r and \\\\";
}

static gsize
count_lines(const char *text)
{
    gsize count = 1;
    while ((text = strchr(text, '\n')) != NULL) {
        text++;
        count++;
    }
    return count;
}

LodgeKeyFile *
lodge_key_file_parse(const char *what, const char *text, gsize length, GError **error)
{
    if (memchr(text, '\0', length) != NULL || !g_utf8_validate(text, (gssize)length, NULL)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: not a text file", what);
        return NULL;
    }
    g_autoptr(LodgeKeyFile) file = g_new0(LodgeKeyFile, 1);
    file->what = g_strdup(what);
    file->text = g_strndup(text, length);
    file->entries = g_new(LodgeEntry, count_lines(file->text));
    LodgeEntry entry = {0};
    for (char *next = file->text; next != NULL;) {
        char *line = next;
        char *end = strchrnul(line, '\n');
        next = *end != '\0' ? end + 1 : NULL;
        entry.line++;
        entry.key = entry.value = NULL;
        *end = '\0';
        if (end > line && end[-1] == '\r') {
            end[-1] = '\0';
        }
        line = skip_space(line);
        if (*line == '\0' || *line == '#') {
            continue;
        }
        const char *group = *line == '[' ? read_group(line) : NULL;
        entry.group = group != NULL ? group : entry.group;
        const char *problem = group == NULL ? read_pair(line, &entry) : NULL;
        if (problem != NULL) {
            lodge_error_set(error, LODGE_ERROR_INVALID, "%s: line %u: %s", what, entry.line,
                            problem);
            return NULL;
        }
        file->entries[file->count++] = entry;
    }
    return g_steal_pointer(&file);
}

void
lodge_key_file_free(LodgeKeyFile *file)
{
    if (file != NULL) {
        g_free(file->what);
        g_free(file->text);
        g_free(file->entries);
        g_free(file);
    }
}

const char *
lodge_key_file_value(const LodgeKeyFile *file, const char *group, const char *key)
{
    for (gsize i = file->count; i > 0; i--) {
        const LodgeEntry *entry = &file->entries[i - 1];
        if (entry->key != NULL && g_str_equal(entry->key, key) &&
            g_str_equal(entry->group, group)) {
            return entry->value;
        }
    }
    return NULL;
}

/* Where @lines end but for empty ones. */
static guint
end_of_lines(const GPtrArray *lines)
{
    guint end = lines->len;
    while (end > 0 && *(const char *)lines->pdata[end - 1] == '\0') {
        end--;
    }
    return end;
}

char *
lodge_key_file_text(GKeyFile *file, const char *before)
{
    g_autoptr(LodgeKeyFile) old = lodge_key_file_parse("", before, strlen(before), NULL);
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    g_autoptr(LodgeKeyFile) fresh = lodge_key_file_parse("", text, strlen(text), NULL);
    g_auto(GStrv) parts = g_strsplit(text, "\n", -1);
    g_autoptr(GPtrArray) lines = g_ptr_array_new();
    if (old == NULL || fresh == NULL) {
        return g_steal_pointer(&text);
    }
    gboolean moved = FALSE; /* so GLib ends the group with another empty line */
    for (gsize i = 0, at = 0; parts[i] != NULL; i++) {
        const LodgeEntry *entry = at < fresh->count && fresh->entries[at].line == i + 1
                                      ? &fresh->entries[at++]
                                      : NULL;
        gboolean came = entry != NULL && entry->key != NULL &&
                        lodge_key_file_value(old, entry->group, entry->key) == NULL;
        guint end = end_of_lines(lines);
        if (moved && *parts[i] == '\0' && end < lines->len) {
            continue;
        }
        moved = (moved && entry == NULL) || (came && end < lines->len);
        g_ptr_array_insert(lines, came ? (int)end : -1, parts[i]);
    }
    g_ptr_array_add(lines, NULL);
    return g_strjoinv("\n", (char **)lines->pdata);
}
