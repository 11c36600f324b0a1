/* A screen's text, read off its picture.
 *
 * A guest's text mode can't be read from its memory alone: where on its card the visible part
 * begins stands in a register that nobody can read without disturbing the guest. So the picture is
 * compared, cell by cell, with the font of the video BIOS, which text modes use, and Linux's frame
 * buffer console too. */
#pragma once

#include <glib.h>

#include "store/store.h"

enum {
    LODGE_GLYPHS = 256,
    LODGE_GLYPH_ROWS = 16,
};

typedef struct {
    gunichar character; /* U+FFFD where no letter was recognised */
    guint8 front, back; /* of the 16 colours of terminals */
} LodgeCell;

typedef struct {
    guint columns, rows;
    guint cursor_column, cursor_row; /* columns: none is to be seen */
    guint unknown;                   /* cells that are no letter */
    LodgeCell *cells;                /* row by row */
} LodgeScreen;

void lodge_screen_free(LodgeScreen *screen);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeScreen, lodge_screen_free)

/* The font within a video BIOS: LODGE_GLYPHS times LODGE_GLYPH_ROWS bytes, borrowed from @bios;
 * NULL if it has none. */
const guint8 *lodge_screen_font(const guint8 *bios, gsize length);

/* Read a picture of @length bytes in the format PPM (P6). NULL with INVALID. Pure. */
LodgeScreen *lodge_screen_read(const char *ppm, gsize length, const guint8 *font, GError **error);

/* Is so much of it no letter that it must be a picture? */
gboolean lodge_screen_is_graphic(const LodgeScreen *screen);

/* Its lines, without white space at their ends. g_free it. */
char *lodge_screen_lines(const LodgeScreen *screen);

/* Look at a guest's screen. UNSUPPORTED if it has none, or there is no font. */
LodgeScreen *lodge_screen_of(const LodgeStore *store, const char *name, GError **error);
