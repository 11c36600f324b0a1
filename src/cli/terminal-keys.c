#include "config.h"

#include "cli/terminal-keys.h"

#include <string.h>

enum {
    ESCAPE = 0x1b,
};

/* Behind an escape, as xterm and the Linux console have it. */
static const struct {
    const char *sequence, *chord;
} sequences[] = {
    {"[A", "up"},   {"[B", "down"},  {"[C", "right"}, {"[D", "left"},    {"[H", "home"},
    {"[F", "end"},  {"OA", "up"},    {"OB", "down"},  {"OC", "right"},   {"OD", "left"},
    {"OH", "home"}, {"OF", "end"},   {"[1~", "home"}, {"[2~", "insert"}, {"[3~", "delete"},
    {"[4~", "end"}, {"[5~", "pgup"}, {"[6~", "pgdn"}, {"OP", "f1"},      {"OQ", "f2"},
    {"OR", "f3"},   {"OS", "f4"},    {"[[A", "f1"},   {"[[B", "f2"},     {"[[C", "f3"},
    {"[[D", "f4"},  {"[[E", "f5"},   {"[11~", "f1"},  {"[12~", "f2"},    {"[13~", "f3"},
    {"[14~", "f4"}, {"[15~", "f5"},  {"[17~", "f6"},  {"[18~", "f7"},    {"[19~", "f8"},
    {"[20~", "f9"}, {"[21~", "f10"}, {"[23~", "f11"}, {"[24~", "f12"},   {"[Z", "shift-tab"},
};

/* How long the control sequence at @bytes ("[" and what follows) is. */
static gsize
sequence_length(const char *bytes, gsize length)
{
    gsize at = 1;
    while (at < length && (bytes[at] < 0x40 || bytes[at] > 0x7e)) {
        at++;
    }
    return MIN(at + 1, length);
}

static gsize
escape_key(const char *bytes, gsize length, char **out_chord)
{
    for (gsize i = 0; i < G_N_ELEMENTS(sequences); i++) {
        gsize size = strlen(sequences[i].sequence);
        if (size < length && memcmp(bytes + 1, sequences[i].sequence, size) == 0) {
            *out_chord = g_strdup(sequences[i].chord);
            return size + 1;
        }
    }
    if (length > 2 && bytes[1] == '[') {
        return 1 + sequence_length(bytes + 1, length - 1);
    }
    /* Alt and a letter come so too. */
    if (length > 1 && g_ascii_isalnum(bytes[1])) {
        *out_chord = g_strdup_printf("alt-%c", bytes[1]);
        return 2;
    }
    *out_chord = g_strdup("esc");
    return 1;
}

gsize
lodge_terminal_key(const char *bytes, gsize length, char **out_text, char **out_chord)
{
    *out_text = NULL;
    *out_chord = NULL;
    if (length == 0) {
        return 0;
    }
    char first = bytes[0];
    if (first == ESCAPE) {
        return escape_key(bytes, length, out_chord);
    }
    if (first == '\r' || first == '\n' || first == '\t' || first == 0x7f || first == '\b' ||
        (first >= 0x20 && first < 0x7f)) {
        *out_text = g_strndup(bytes, 1);
    } else if (first >= 0x01 && first <= 0x1a) {
        *out_chord = g_strdup_printf("ctrl-%c", first + 'a' - 1);
    }
    return 1;
}
