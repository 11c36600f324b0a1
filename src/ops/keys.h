/* Keys by QEMU's names for them (QKeyCode): a US keyboard, which is what QEMU emulates. Pure. */
#pragma once

#include <glib.h>

typedef struct {
    const char *key; /* static */
    gboolean shift;
} LodgeStroke;

/* The stroke that types @character on a US keyboard. FALSE if none does. */
gboolean lodge_stroke_of(gunichar character, LodgeStroke *out_stroke);

/* "ctrl-alt-del", "ctrl+alt+f2", "meta_l": keys to be held down together. Their names, static
 * texts; free with g_ptr_array_unref. USAGE, with a suggestion, for what is no key. */
GPtrArray *lodge_chord_parse(const char *text, GError **error);

/* The strokes of a text; an array of LodgeStroke, free with g_array_unref. USAGE names the first
 * character that has none, and its line and column. Carriage returns before line ends are dropped.
 */
GArray *lodge_strokes_of(const char *text, GError **error);
