#include "config.h"

#include "ops/screen.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"

enum {
    TEXT_WIDTH = 720, /* 80 cells of 9 pixels; all other modes have 8 */
    CELL_HEIGHT = LODGE_GLYPH_ROWS,
    GLYPH_WIDTH = 8,
    GLYPH_A = 'A',
    LARGEST_SIDE = 16384,
    CURSOR_FROM = 13, /* rows of a cell that an underline cursor covers */
    CURSOR_TO = 14,
};

void
lodge_screen_free(LodgeScreen *screen)
{
    if (screen != NULL) {
        g_free(screen->cells);
        g_free(screen);
    }
}

const guint8 *
lodge_screen_font(const guint8 *bios, gsize length)
{
    static const guint8 letter[] = {0x00, 0x00, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe,
                                    0xc6, 0xc6, 0xc6, 0xc6, 0x00, 0x00, 0x00, 0x00};
    const gsize before = GLYPH_A * LODGE_GLYPH_ROWS;
    const gsize size = LODGE_GLYPHS * LODGE_GLYPH_ROWS;
    for (gsize at = 0; length >= size && at <= length - size; at++) {
        if (memcmp(bios + at + before, letter, sizeof letter) == 0) {
            return bios + at;
        }
    }
    return NULL;
}

/* What code page 437 shows for a code. */
static gunichar
character_of(guint code)
{
    static const char low[] = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
    static const char high[] = "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└"
                               "┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";
    if (code >= 0x20 && code < 0x7f) {
        return code;
    }
    const char *table = code < 0x20 ? low : high;
    return g_utf8_get_char(g_utf8_offset_to_pointer(table, code < 0x20 ? code : code - 0x7f));
}

typedef struct {
    const guint8 *pixels;
    guint width, height;
    guint cell_width;
    const guint8 *font;
    GHashTable *glyphs; /* of 16 rows -> code + 1 */
} Picture;

static guint
glyph_hash(gconstpointer key)
{
    guint64 halves[2];
    memcpy(halves, key, sizeof halves);
    halves[0] ^= halves[1] * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15);
    return g_int64_hash(&halves[0]);
}

static gboolean
glyph_equal(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, LODGE_GLYPH_ROWS) == 0;
}

static guint32
pixel_at(const Picture *picture, guint x, guint y)
{
    const guint8 *at = picture->pixels + ((gsize)y * picture->width + x) * 3;
    return (guint32)at[0] << 16 | (guint32)at[1] << 8 | at[2];
}

/* The nearest of the 16: red, green and blue are bits, and bright ones. */
static guint8
colour_of(guint32 pixel)
{
    guint red = pixel >> 16 & 0xff, green = pixel >> 8 & 0xff, blue = pixel & 0xff;
    if (red == 0xaa && green == 0x55 && blue == 0) {
        return 3; /* VGA's brown is terminals' yellow */
    }
    gboolean bright = MAX(red, MAX(green, blue)) > 0xd0 ||
                      (red == green && green == blue && red > 0x40 && red < 0x80);
    guint limit = bright && red + green + blue > 0xff ? 0xa0 : 0x80;
    guint bits = (red >= limit ? 1 : 0) | (green >= limit ? 2 : 0) | (blue >= limit ? 4 : 0);
    return (guint8)(bits | (bright ? 8 : 0));
}

/* A cell as a bit a pixel: set where it is not @back. FALSE if it has more than two colours. */
static gboolean
cell_bits(const Picture *picture, guint x, guint y, guint32 *out_back, guint32 *out_front,
          guint8 bits[LODGE_GLYPH_ROWS])
{
    guint32 back = pixel_at(picture, x, y);
    guint32 front = back;
    for (guint row = 0; row < CELL_HEIGHT; row++) {
        bits[row] = 0;
        for (guint column = 0; column < GLYPH_WIDTH; column++) {
            guint32 pixel = pixel_at(picture, x + column, y + row);
            if (pixel != back && front == back) {
                front = pixel;
            }
            if (pixel != back && pixel != front) {
                return FALSE;
            }
            bits[row] |= pixel != back ? (guint8)(0x80 >> column) : 0;
        }
    }
    *out_back = back;
    *out_front = front;
    return TRUE;
}

static gboolean
find_glyph(const Picture *picture, const guint8 *bits, guint *out_code)
{
    guint found = GPOINTER_TO_UINT(g_hash_table_lookup(picture->glyphs, bits));
    *out_code = found - 1;
    return found != 0;
}

/* With an underline cursor on it? */
static gboolean
find_under_cursor(const Picture *picture, const guint8 *bits, guint *out_code)
{
    if (bits[CURSOR_FROM] != 0xff || bits[CURSOR_TO] != 0xff) {
        return FALSE;
    }
    /* What it hides is nothing, but for a few letters' feet. */
    for (guint code = 0x20; code < LODGE_GLYPHS; code++) {
        const guint8 *glyph = picture->font + code * LODGE_GLYPH_ROWS;
        if (memcmp(bits, glyph, CURSOR_FROM) == 0) {
            *out_code = code;
            return TRUE;
        }
    }
    return FALSE;
}

/* What stands in a cell; TRUE if the cursor does too. */
static gboolean
read_cell(const Picture *picture, guint x, guint y, LodgeCell *cell)
{
    guint32 back = 0, front = 0;
    guint8 bits[LODGE_GLYPH_ROWS], inverse[LODGE_GLYPH_ROWS];
    guint code = 0;
    *cell = (LodgeCell){.character = 0xfffd, .front = 7, .back = 0};
    if (!cell_bits(picture, x, y, &back, &front, bits)) {
        return FALSE;
    }
    for (guint row = 0; row < LODGE_GLYPH_ROWS; row++) {
        inverse[row] = (guint8)~bits[row];
    }
    gboolean cursor = FALSE;
    gboolean straight = find_glyph(picture, bits, &code);
    gboolean turned = !straight && find_glyph(picture, inverse, &code);
    if (!straight && !turned) {
        straight = cursor = find_under_cursor(picture, bits, &code);
    }
    if (straight || turned) {
        cell->character = character_of(code);
        cell->back = colour_of(turned ? front : back);
        cell->front = front == back ? 7 : colour_of(turned ? back : front);
    }
    return cursor;
}

static gboolean
parse_header(const char *ppm, gsize length, Picture *picture, GError **error)
{
    guint most = 0;
    int end = 0;
    g_autofree char *head = g_strndup(ppm, MIN(length, 64));
    if (sscanf(head, "P6 %u %u %u%n", &picture->width, &picture->height, &most, &end) != 3 ||
        most != 255 || picture->width == 0 || picture->width > LARGEST_SIDE ||
        picture->height == 0 || picture->height > LARGEST_SIDE ||
        length - (gsize)end - 1 < (gsize)picture->width * picture->height * 3) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "QEMU's picture is not whole");
    }
    picture->pixels = (const guint8 *)ppm + end + 1;
    picture->cell_width = picture->width == TEXT_WIDTH ? 9 : GLYPH_WIDTH;
    return TRUE;
}

/* The first code wins: blanks and blocks come several times. */
static GHashTable *
index_font(const guint8 *font)
{
    GHashTable *glyphs = g_hash_table_new(glyph_hash, glyph_equal);
    for (guint i = 0; i < LODGE_GLYPHS; i++) {
        guint code = (i + 0x20) % LODGE_GLYPHS;
        gpointer glyph = (gpointer)(font + code * LODGE_GLYPH_ROWS);
        if (!g_hash_table_contains(glyphs, glyph)) {
            g_hash_table_insert(glyphs, glyph, GUINT_TO_POINTER(code + 1));
        }
    }
    return glyphs;
}

LodgeScreen *
lodge_screen_read(const char *ppm, gsize length, const guint8 *font, GError **error)
{
    Picture picture = {.font = font};
    if (!parse_header(ppm, length, &picture, error)) {
        return NULL;
    }
    g_autoptr(GHashTable) glyphs = index_font(font);
    picture.glyphs = glyphs;
    LodgeScreen *screen = g_new0(LodgeScreen, 1);
    screen->columns = picture.width / picture.cell_width;
    screen->rows = picture.height / CELL_HEIGHT;
    screen->cells = g_new0(LodgeCell, (gsize)screen->columns * screen->rows);
    screen->cursor_column = screen->columns;
    for (guint i = 0; i < screen->columns * screen->rows; i++) {
        guint column = i % screen->columns, row = i / screen->columns;
        if (read_cell(&picture, column * picture.cell_width, row * CELL_HEIGHT,
                      &screen->cells[i])) {
            screen->cursor_column = column;
            screen->cursor_row = row;
        }
        screen->unknown += screen->cells[i].character == 0xfffd ? 1 : 0;
    }
    return screen;
}

gboolean
lodge_screen_is_graphic(const LodgeScreen *screen)
{
    guint letters = 0;
    for (guint i = 0; i < screen->columns * screen->rows; i++) {
        gunichar character = screen->cells[i].character;
        letters += character != ' ' && character != 0xfffd ? 1 : 0;
    }
    return screen->unknown > 8 && screen->unknown > letters;
}

char *
lodge_screen_lines(const LodgeScreen *screen)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint row = 0; row < screen->rows; row++) {
        for (guint column = 0; column < screen->columns; column++) {
            g_string_append_unichar(text, screen->cells[row * screen->columns + column].character);
        }
        while (text->len > 0 && text->str[text->len - 1] == ' ') {
            g_string_truncate(text, text->len - 1);
        }
        g_string_append_c(text, '\n');
    }
    while (g_str_has_suffix(text->str, "\n\n")) {
        g_string_truncate(text, text->len - 1);
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}
