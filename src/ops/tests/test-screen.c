#include "config.h"

#include <string.h>

#include "base/base.h"
#include "ops/screen.h"

enum {
    FONT_BYTES = LODGE_GLYPHS * LODGE_GLYPH_ROWS,
    FONT_AT = 1234, /* within a BIOS */
};

static guint8 bios[FONT_AT + FONT_BYTES + 99];

/* Glyphs that differ from each other, with empty last rows as letters have; 'A' is the real one. */
static const guint8 *
make_font(void)
{
    static const guint8 letter[] = {0x00, 0x00, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe,
                                    0xc6, 0xc6, 0xc6, 0xc6, 0x00, 0x00, 0x00, 0x00};
    memset(bios, 0x55, sizeof bios);
    for (guint code = 0; code < LODGE_GLYPHS; code++) {
        guint8 *glyph = bios + FONT_AT + code * LODGE_GLYPH_ROWS;
        memset(glyph, 0, LODGE_GLYPH_ROWS);
        glyph[2] = (guint8)code;
        glyph[5] = code == ' ' ? 0 : 0x18;
        glyph[2] = code == ' ' ? 0 : glyph[2];
    }
    memcpy(bios + FONT_AT + 'A' * LODGE_GLYPH_ROWS, letter, sizeof letter);
    const guint8 *font = lodge_screen_font(bios, sizeof bios);
    g_assert_true(font == bios + FONT_AT);
    return font;
}

typedef struct {
    GString *ppm;
    guint width, cell_width, header;
} Canvas;

static Canvas
canvas_new(guint width, guint height)
{
    Canvas canvas = {g_string_new(NULL), width, width == 720 ? 9 : 8, 0};
    g_string_printf(canvas.ppm, "P6\n%u %u\n255\n", width, height);
    canvas.header = (guint)canvas.ppm->len;
    g_string_set_size(canvas.ppm, canvas.header + (gsize)width * height * 3);
    memset(canvas.ppm->str + canvas.header, 0, (gsize)width * height * 3);
    return canvas;
}

static void
put(Canvas *canvas, guint x, guint y, guint32 colour)
{
    char *at = canvas->ppm->str + canvas->header + ((gsize)y * canvas->width + x) * 3;
    at[0] = (char)(colour >> 16);
    at[1] = (char)(colour >> 8);
    at[2] = (char)colour;
}

static void
draw(Canvas *canvas, const guint8 *glyph, guint column, guint row, guint32 front, guint32 back)
{
    for (guint i = 0; i < 16 * canvas->cell_width; i++) {
        guint x = i % canvas->cell_width, y = i / canvas->cell_width;
        gboolean set = x < 8 && glyph[y] & (0x80 >> x);
        put(canvas, column * canvas->cell_width + x, row * 16 + y, set ? front : back);
    }
}

static void
check_size(guint width, guint height, guint columns, guint rows)
{
    g_autoptr(GError) error = NULL;
    const guint8 *font = make_font();
    Canvas canvas = canvas_new(width, height);
    guint8 under[LODGE_GLYPH_ROWS];
    memcpy(under, font + 'b' * 16, sizeof under);
    under[13] = under[14] = 0xff;
    draw(&canvas, font + 'A' * 16, 0, 0, 0xaaaaaa, 0);
    draw(&canvas, font + 'x' * 16, 2, 0, 0xff5555, 0x0000aa);
    draw(&canvas, font + 0xc4 * 16, 3, 0, 0, 0xaaaaaa);
    draw(&canvas, under, 1, 2, 0xaaaaaa, 0);
    g_autoptr(LodgeScreen)
        screen = lodge_screen_read(canvas.ppm->str, canvas.ppm->len, font, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(screen->columns, ==, columns);
    g_assert_cmpuint(screen->rows, ==, rows);
    g_assert_cmpuint(screen->unknown, ==, 0);
    g_assert_cmpuint(screen->cursor_column, ==, 1);
    g_assert_cmpuint(screen->cursor_row, ==, 2);
    g_assert_cmpuint(screen->cells[0].front, ==, 7);
    g_assert_cmpuint(screen->cells[2].front, ==, 9);
    g_assert_cmpuint(screen->cells[2].back, ==, 4);
    g_autofree char *lines = lodge_screen_lines(screen);
    g_assert_cmpstr(lines, ==, "A x─\n\n b\n");
    g_assert_false(lodge_screen_is_graphic(screen));
    g_string_free(canvas.ppm, TRUE);
}

static void
test_text_mode(void)
{
    check_size(720, 400, 80, 25);
}

static void
test_frame_buffer(void)
{
    check_size(1024, 768, 128, 48);
    check_size(1366, 768, 170, 48);
}

static void
test_picture(void)
{
    Canvas canvas = canvas_new(640, 480);
    for (guint i = 0; i < 640 * 480; i++) {
        put(&canvas, i % 640, i / 640, g_random_int());
    }
    g_autoptr(LodgeScreen)
        screen = lodge_screen_read(canvas.ppm->str, canvas.ppm->len, make_font(), NULL);
    g_assert_true(lodge_screen_is_graphic(screen));
    g_string_free(canvas.ppm, TRUE);
}

static void
test_broken(void)
{
    static const char *const bad[] = {"",
                                      "P5 8 16 255\n",
                                      "P6 8 16 255\n",
                                      "P6 0 0 255\n",
                                      "P6 99999 1 255\n",
                                      "P6 1 1 65535\nabcdef",
                                      "P6"};
    const guint8 *font = make_font();
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(lodge_screen_read(bad[i], strlen(bad[i]), font, &error));
        g_assert_error(error, LODGE_ERROR, LODGE_ERROR_INVALID);
    }
    g_assert_null(lodge_screen_font(bios, 100));
    g_assert_null(lodge_screen_font(bios + FONT_AT + 1, FONT_BYTES));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ops/screen/text-mode", test_text_mode);
    g_test_add_func("/ops/screen/frame-buffer", test_frame_buffer);
    g_test_add_func("/ops/screen/picture", test_picture);
    g_test_add_func("/ops/screen/broken", test_broken);
    return g_test_run();
}
