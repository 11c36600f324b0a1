/* screenshot, type: a guest's screen and keys. Viewers are cmd-vnc.c's. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "ops/screen.h"
#include "ops/view.h"

enum {
    TEXT_LIMIT_BYTES = 1 << 20,
};

static char **option_keys;
static gboolean option_enter, option_text;

const GOptionEntry lodge_options_screenshot[] = {
    {"text", 0, 0, G_OPTION_ARG_NONE, &option_text,
     "Print the text on it instead: of text modes and Linux's console", NULL},
    {NULL},
};

const GOptionEntry lodge_options_type[] = {
    {"keys", 'k', 0, G_OPTION_ARG_STRING_ARRAY, &option_keys,
     "Press keys together first, such as ctrl-alt-del; may be repeated", "KEYS"},
    {"enter", 'e', 0, G_OPTION_ARG_NONE, &option_enter, "Press Enter at the end", NULL},
    {NULL},
};

static gboolean
write_out(const char *data, gsize length, GError **error)
{
    if (isatty(STDOUT_FILENO)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "a picture is nothing for a terminal: name a file, or a pipe behind "
                               "`-`");
    }
    if (fwrite(data, 1, length, stdout) != length || fflush(stdout) != 0) {
        return lodge_error_errno(error, errno, "Standard output");
    }
    return TRUE;
}

static gboolean
print_screen(const LodgeCli *cli, const char *name, GError **error)
{
    g_autoptr(LodgeScreen) screen = lodge_screen_of(cli->store, name, error);
    if (screen == NULL) {
        return FALSE;
    }
    if (lodge_screen_is_graphic(screen)) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "guest %s shows a picture, or letters of another font (`lodge "
                               "screenshot %s` saves it, `lodge vnc %s` shows it)",
                               name, name, name);
    }
    g_autofree char *text = lodge_screen_lines(screen);
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:i, s:i, s:s}", "name", name, "columns",
                                   (int)screen->columns, "rows", (int)screen->rows, "text", text));
    } else {
        fputs(text, stdout);
    }
    return TRUE;
}

gboolean
lodge_cmd_screenshot(LodgeCli *cli, int argc, char **argv, GError **error)
{
    const char *name = argv[1];
    if (option_text) {
        return argc == 2 ? print_screen(cli, name, error)
                         : lodge_error_set(error, LODGE_ERROR_USAGE,
                                           "screenshot: --text prints, it takes no file");
    }
    g_autofree char *fallback = g_strconcat(name, ".png", NULL);
    const char *path = argc > 2 ? argv[2] : fallback;
    gsize length = 0;
    guint width = 0, height = 0;
    g_autofree char *data = lodge_screenshot(cli->store, name, &length, &width, &height, error);
    if (data == NULL) {
        return FALSE;
    }
    if (g_str_equal(path, "-")) {
        return write_out(data, length, error);
    }
    if (!lodge_file_write(path, data, length, 0644, LODGE_WRITE_NO_SYNC, error)) {
        return lodge_error_prefix(error, "guest %s: screenshot", name);
    }
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:s, s:i, s:i, s:I}", "name", name, "file", path, "width",
                                   (int)width, "height", (int)height, "bytes", (json_int_t)length));
    } else {
        lodge_say(cli, "%s: %u × %u pixels", path, width, height);
    }
    return TRUE;
}

static char *
read_text(GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    char buffer[65536];
    for (;;) {
        if (!lodge_wait_fd(STDIN_FILENO, POLLIN, LODGE_NO_DEADLINE, error)) {
            return NULL;
        }
        gssize got = read(STDIN_FILENO, buffer, sizeof buffer);
        if (got <= 0) {
            return g_string_free(g_steal_pointer(&text), FALSE);
        }
        g_string_append_len(text, buffer, got);
        if (text->len > TEXT_LIMIT_BYTES || memchr(buffer, '\0', (gsize)got) != NULL) {
            lodge_error_set(error, LODGE_ERROR_USAGE,
                            "type: standard input is no text of at most 1 MiB");
            return NULL;
        }
    }
}

gboolean
lodge_cmd_type(LodgeCli *cli, int argc, char **argv, GError **error)
{
    int first = argc > 2 && g_str_equal(argv[2], "--") ? 3 : 2;
    gboolean from_input = argc == first + 1 && g_str_equal(argv[first], "-");
    if (argc == first && option_keys == NULL && !option_enter) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "type: which text? Or --keys ctrl-alt-del, or --enter");
    }
    g_autofree char *text = from_input ? read_text(error) : g_strjoinv(" ", argv + first);
    return text != NULL && lodge_type(cli->store, argv[1], (const char *const *)option_keys, text,
                                      option_enter, error);
}
