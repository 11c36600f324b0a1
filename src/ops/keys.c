#include "config.h"

#include "ops/keys.h"

#include <string.h>

#include "base/base.h"

/* What each key types, without and with Shift. Letters and digits come besides. */
static const struct {
    char plain, shifted;
    const char *key;
} characters[] = {
    {'1', '!', "1"},
    {'2', '@', "2"},
    {'3', '#', "3"},
    {'4', '$', "4"},
    {'5', '%', "5"},
    {'6', '^', "6"},
    {'7', '&', "7"},
    {'8', '*', "8"},
    {'9', '(', "9"},
    {'0', ')', "0"},
    {'-', '_', "minus"},
    {'=', '+', "equal"},
    {'[', '{', "bracket_left"},
    {']', '}', "bracket_right"},
    {'\\', '|', "backslash"},
    {';', ':', "semicolon"},
    {'\'', '"', "apostrophe"},
    {'`', '~', "grave_accent"},
    {',', '<', "comma"},
    {'.', '>', "dot"},
    {'/', '?', "slash"},
    {' ', '\0', "spc"},
    {'\n', '\0', "ret"},
    {'\r', '\0', "ret"},
    {'\t', '\0', "tab"},
    {'\b', '\0', "backspace"},
    {0x1b, '\0', "esc"},
    {0x7f, '\0', "backspace"},
};

static const char letters[][2] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m",
                                  "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z"};

/* Names that QEMU knows, besides letters, digits and the table above. */
static const char *const names[] = {
    "shift",       "shift_r",     "ctrl",       "ctrl_r",     "alt",         "alt_r", "meta_l",
    "meta_r",      "menu",        "caps_lock",  "num_lock",   "scroll_lock", "f1",    "f2",
    "f3",          "f4",          "f5",         "f6",         "f7",          "f8",    "f9",
    "f10",         "f11",         "f12",        "insert",     "delete",      "home",  "end",
    "pgup",        "pgdn",        "up",         "down",       "left",        "right", "print",
    "sysrq",       "pause",       "less",       "kp_0",       "kp_1",        "kp_2",  "kp_3",
    "kp_4",        "kp_5",        "kp_6",       "kp_7",       "kp_8",        "kp_9",  "kp_add",
    "kp_subtract", "kp_multiply", "kp_divide",  "kp_decimal", "kp_enter",    "power", "sleep",
    "wake",        "volumeup",    "volumedown", "audiomute",
};

/* What people call them. */
static const struct {
    const char *name, *key;
} aliases[] = {
    {"control", "ctrl"}, {"del", "delete"},    {"ins", "insert"},         {"enter", "ret"},
    {"return", "ret"},   {"escape", "esc"},    {"space", "spc"},          {"win", "meta_l"},
    {"super", "meta_l"}, {"meta", "meta_l"},   {"cmd", "meta_l"},         {"altgr", "alt_r"},
    {"pageup", "pgup"},  {"pagedown", "pgdn"}, {"printscreen", "print"},  {"period", "dot"},
    {"plus", "kp_add"},  {"bs", "backspace"},  {"capslock", "caps_lock"}, {"numlock", "num_lock"},
};

gboolean
lodge_stroke_of(gunichar character, LodgeStroke *out_stroke)
{
    if (character == 0 || character > 0x7f) {
        return FALSE;
    }
    char wanted = (char)character;
    if (g_ascii_isalpha(wanted)) {
        *out_stroke = (LodgeStroke){letters[g_ascii_tolower(wanted) - 'a'],
                                    g_ascii_isupper(wanted)};
        return TRUE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(characters); i++) {
        if (wanted == characters[i].plain || wanted == characters[i].shifted) {
            *out_stroke = (LodgeStroke){characters[i].key, wanted == characters[i].shifted};
            return TRUE;
        }
    }
    return FALSE;
}

/* The static name of a key that people call @name; NULL if there is none. */
static const char *
find_key(const char *name)
{
    LodgeStroke stroke;
    if (strlen(name) == 1 && lodge_stroke_of((guchar)name[0], &stroke) && !stroke.shift) {
        return stroke.key;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(aliases); i++) {
        if (g_str_equal(aliases[i].name, name)) {
            return aliases[i].key;
        }
    }
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_str_equal(names[i], name)) {
            return names[i];
        }
    }
    for (gsize i = 0; i < G_N_ELEMENTS(characters); i++) {
        if (g_str_equal(characters[i].key, name)) {
            return characters[i].key;
        }
    }
    return NULL;
}

static gboolean
refuse_key(const char *chord, const char *name, GError **error)
{
    g_autoptr(GPtrArray) candidates = g_ptr_array_new();
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_ptr_array_add(candidates, (gpointer)names[i]);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(characters); i++) {
        g_ptr_array_add(candidates, (gpointer)characters[i].key);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(aliases); i++) {
        g_ptr_array_add(candidates, (gpointer)aliases[i].name);
    }
    g_ptr_array_add(candidates, NULL);
    g_autofree char *hint = lodge_text_suggestion(name, (const char *const *)candidates->pdata);
    return lodge_error_set(error, LODGE_ERROR_USAGE, "keys “%s”: no key “%s”%s", chord, name, hint);
}

GPtrArray *
lodge_chord_parse(const char *text, GError **error)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new();
    g_autofree char *lower = g_ascii_strdown(text, -1);
    g_auto(GStrv) parts = g_strsplit_set(lower, "-+", -1);
    for (gsize i = 0; parts[i] != NULL; i++) {
        const char *key = find_key(parts[i]);
        if (key == NULL) {
            refuse_key(text, parts[i], error);
            return NULL;
        }
        g_ptr_array_add(keys, (gpointer)key);
    }
    if (keys->len == 0) {
        refuse_key(text, "", error);
        return NULL;
    }
    return g_steal_pointer(&keys);
}

GArray *
lodge_strokes_of(const char *text, GError **error)
{
    g_autoptr(GArray) strokes = g_array_new(FALSE, FALSE, sizeof(LodgeStroke));
    guint line = 1, column = 1;
    if (!g_utf8_validate(text, -1, NULL)) {
        lodge_error_set(error, LODGE_ERROR_USAGE, "the text is not UTF-8");
        return NULL;
    }
    for (const char *at = text; *at != '\0'; at = g_utf8_next_char(at)) {
        LodgeStroke stroke;
        gunichar character = g_utf8_get_char(at);
        if (character == '\r' && at[1] == '\n') {
            continue;
        }
        if (!lodge_stroke_of(character, &stroke)) {
            g_autofree char *shown = g_strndup(at, (gsize)(g_utf8_next_char(at) - at));
            g_autofree char *printable = lodge_text_printable(shown);
            lodge_error_set(error, LODGE_ERROR_USAGE,
                            "line %u, column %u: no key of a US keyboard types “%s” (U+%04X)", line,
                            column, printable, character);
            return NULL;
        }
        g_array_append_val(strokes, stroke);
        line += character == '\n' ? 1 : 0;
        column = character == '\n' ? 1 : column + 1;
    }
    return g_steal_pointer(&strokes);
}
