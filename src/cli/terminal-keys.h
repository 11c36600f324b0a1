/* What a terminal sends, as keys of a guest's keyboard. Pure. */
#pragma once

#include <glib.h>

/* The first key in @bytes: how many of them it took, 0 only if there are none. Either *@out_text is
 * a character to type, or *@out_chord are keys to press ("ctrl-c", "up"), or both are NULL for what
 * stands for no key. Free them with g_free. */
gsize lodge_terminal_key(const char *bytes, gsize length, char **out_text, char **out_chord);
