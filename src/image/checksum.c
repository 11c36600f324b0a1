#include "config.h"

#include <string.h>

#include "image/internal.h"

typedef struct {
    const char *bsd_word; /* in front of BSD's form */
    gsize digits;
} Kind;

static const Kind kinds[] = {
    [LODGE_CHECKSUM_NONE] = {"", 0},
    [LODGE_CHECKSUM_SHA256] = {"SHA256", 64},
    [LODGE_CHECKSUM_SHA512] = {"SHA512", 128},
};

/* What one line says: digits, and the file they are of ("" if the line is digits only). */
typedef struct {
    char *digits;
    char *file;
} Line;

static void
line_clear(Line *line)
{
    g_free(line->digits);
    g_free(line->file);
    *line = (Line){0};
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Line, line_clear)

static gboolean
is_digits(const char *text, gsize count)
{
    gsize i = 0;
    while (i < count && g_ascii_isxdigit(text[i])) {
        i++;
    }
    return i == count && !g_ascii_isxdigit(text[count]);
}

/* SHA256 (file) = digits */
static gboolean
parse_bsd(const char *text, const Kind *kind, Line *line)
{
    gsize word = strlen(kind->bsd_word);
    const char *end = g_strrstr(text, ") = ");
    if (g_ascii_strncasecmp(text, kind->bsd_word, word) != 0 ||
        strncmp(text + word, " (", 2) != 0 || end == NULL || end < text + word + 2 ||
        !is_digits(end + 4, kind->digits)) {
        return FALSE;
    }
    line->file = g_strndup(text + word + 2, (gsize)(end - text) - word - 2);
    line->digits = g_ascii_strdown(end + 4, (gssize)kind->digits);
    return TRUE;
}

/* digits  file, digits *file, or digits alone */
static gboolean
parse_gnu(const char *text, const Kind *kind, Line *line)
{
    if (!is_digits(text, kind->digits)) {
        return FALSE;
    }
    const char *file = text + kind->digits;
    if (*file != '\0' && *file != ' ' && *file != '\t') {
        return FALSE;
    }
    file += strspn(file, " \t");
    line->file = g_strdup(*file == '*' ? file + 1 : file);
    line->digits = g_ascii_strdown(text, (gssize)kind->digits);
    return TRUE;
}

static gboolean
names(const Line *line, const char *file)
{
    g_autofree char *base = g_path_get_basename(line->file);
    return g_str_equal(base, file);
}

char *
lodge_checksum_find(const char *text, LodgeChecksumKind kind, const char *file, gboolean alone,
                    GError **error)
{
    const Kind *wanted = &kinds[kind];
    g_auto(GStrv) lines = g_strsplit_set(text, "\r\n", -1);
    g_autofree char *named = NULL;
    g_autofree char *only = NULL;
    guint count = 0;
    gboolean nameless = FALSE;
    for (gsize i = 0; wanted->digits > 0 && lines[i] != NULL; i++) {
        g_auto(Line) line = {0};
        g_strstrip(lines[i]);
        if (!parse_bsd(lines[i], wanted, &line) && !parse_gnu(lines[i], wanted, &line)) {
            continue;
        }
        if (names(&line, file) && named != NULL && !g_str_equal(named, line.digits)) {
            lodge_error_set(error, LODGE_ERROR_INVALID, "two different checksums of %s", file);
            return NULL;
        }
        if (names(&line, file)) {
            g_free(named);
            named = g_strdup(line.digits);
        }
        count++;
        nameless = nameless || *line.file == '\0';
        g_free(only);
        only = g_steal_pointer(&line.digits);
    }
    if (named != NULL) {
        return g_steal_pointer(&named);
    }
    if (count == 1 && (alone || nameless)) {
        return g_steal_pointer(&only);
    }
    lodge_error_set(error, LODGE_ERROR_INVALID, "no %s checksum of %s there", wanted->bsd_word,
                    file);
    return NULL;
}
