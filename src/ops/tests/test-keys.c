#include "config.h"

#include <string.h>

#include "base/base.h"
#include "ops/keys.h"

/* Every printable character of ASCII has a stroke, and no two have the same. */
static void
test_characters(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (gunichar c = 0x20; c < 0x7f; c++) {
        LodgeStroke stroke;
        g_assert_true(lodge_stroke_of(c, &stroke));
        g_assert_true(g_hash_table_add(seen, g_strdup_printf("%s%d", stroke.key, stroke.shift)));
    }
    g_assert_cmpuint(g_hash_table_size(seen), ==, 95);
}

static void
test_known(void)
{
    static const struct {
        gunichar character;
        const char *key;
        gboolean shift;
    } cases[] = {
        {'a', "a", FALSE},
        {'Z', "z", TRUE},
        {'0', "0", FALSE},
        {')', "0", TRUE},
        {'@', "2", TRUE},
        {'"', "apostrophe", TRUE},
        {'|', "backslash", TRUE},
        {'~', "grave_accent", TRUE},
        {'?', "slash", TRUE},
        {'\n', "ret", FALSE},
        {'\t', "tab", FALSE},
        {'_', "minus", TRUE},
        {'{', "bracket_left", TRUE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        LodgeStroke stroke;
        g_assert_true(lodge_stroke_of(cases[i].character, &stroke));
        g_assert_cmpstr(stroke.key, ==, cases[i].key);
        g_assert_cmpint(stroke.shift, ==, cases[i].shift);
    }
    LodgeStroke none;
    g_assert_false(lodge_stroke_of(0, &none));
    g_assert_false(lodge_stroke_of(0xe4, &none));
    g_assert_false(lodge_stroke_of(0x01, &none));
}

static void
check_chord(const char *text, const char *wanted)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) keys = lodge_chord_parse(text, &error);
    g_assert_no_error(error);
    g_ptr_array_add(keys, NULL);
    g_autofree char *joined = g_strjoinv(" ", (char **)keys->pdata);
    g_assert_cmpstr(joined, ==, wanted);
}

static void
test_chords(void)
{
    check_chord("ctrl-alt-del", "ctrl alt delete");
    check_chord("Ctrl+Alt+F2", "ctrl alt f2");
    check_chord("enter", "ret");
    check_chord("win", "meta_l");
    check_chord("a", "a");
    check_chord("alt-sysrq-b", "alt sysrq b");
    check_chord("ctrl-bracket_left", "ctrl bracket_left");
    check_chord("shift-minus", "shift minus");
}

static void
test_bad_chords(void)
{
    static const char *const bad[] = {"",         "-",     "ctrl-",    "ctrl--a",
                                      "ctrl alt", "nokey", "ctrl-\xff"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(lodge_chord_parse(bad[i], &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
    }
    g_autoptr(GError) error = NULL;
    g_assert_null(lodge_chord_parse("ctrl-atl-del", &error));
    g_assert_nonnull(strstr(error->message, "“alt”"));
}

static void
test_texts(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) strokes = lodge_strokes_of("aA\r\n!", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(strokes->len, ==, 4);
    g_assert_cmpstr(g_array_index(strokes, LodgeStroke, 2).key, ==, "ret");
    g_assert_null(lodge_strokes_of("first\nsecönd", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
    g_assert_nonnull(strstr(error->message, "line 2, column 4"));
    g_assert_nonnull(strstr(error->message, "“ö” (U+00F6)"));
    g_clear_error(&error);
    g_assert_null(lodge_strokes_of("\xc3(", &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_USAGE);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ops/keys/characters", test_characters);
    g_test_add_func("/ops/keys/known", test_known);
    g_test_add_func("/ops/keys/chords", test_chords);
    g_test_add_func("/ops/keys/bad-chords", test_bad_chords);
    g_test_add_func("/ops/keys/texts", test_texts);
    return g_test_run();
}
