#include "config.h"

#include <string.h>

#include "cli/terminal-keys.h"

static void
test_keys(void)
{
    static const struct {
        const char *bytes;
        gsize taken;
        const char *text, *chord;
    } cases[] = {
        {"", 0, NULL, NULL},          {"ab", 1, "a", NULL},         {"\r", 1, "\r", NULL},
        {"\x7f", 1, "\x7f", NULL},    {"\x03", 1, NULL, "ctrl-c"},  {"\x1a", 1, NULL, "ctrl-z"},
        {"\x1b", 1, NULL, "esc"},     {"\x1b[A", 3, NULL, "up"},    {"\x1b[5~x", 4, NULL, "pgup"},
        {"\x1bOP", 3, NULL, "f1"},    {"\x1b[24~", 5, NULL, "f12"}, {"\x1bx", 2, NULL, "alt-x"},
        {"\x1b[1;5C", 6, NULL, NULL}, {"\x1b[", 1, NULL, "esc"},    {"\xc3\xbc", 1, NULL, NULL},
        {"\x1b[200", 5, NULL, NULL},  {"\x1f", 1, NULL, NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = NULL, *chord = NULL;
        gsize taken = lodge_terminal_key(cases[i].bytes, strlen(cases[i].bytes), &text, &chord);
        g_assert_cmpuint(taken, ==, cases[i].taken);
        g_assert_cmpstr(text, ==, cases[i].text);
        g_assert_cmpstr(chord, ==, cases[i].chord);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/terminal-keys/keys", test_keys);
    return g_test_run();
}
