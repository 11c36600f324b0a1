#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* The two-word commands that begin with @word; FALSE if there are none. */
static gboolean
print_noun_help(const char *word)
{
    g_autofree char *prefix = g_strconcat(word, " ", NULL);
    gboolean found = FALSE;
    for (const LodgeCommandRow *row = lodge_commands(); row->name != NULL; row++) {
        if (g_str_has_prefix(row->name, prefix)) {
            g_autofree char *call = g_strdup_printf("lodge %s %s", row->name, row->arguments);
            glong gap = 40 - g_utf8_strlen(call, -1);
            printf("%s%*s%s\n", call, (int)MAX(gap, 1), "", row->summary);
            found = TRUE;
        }
    }
    return found;
}

/* How many of the words are left after parsing; the message shows the right form. */
static gboolean
check_words(const LodgeCommandRow *row, int count, GError **error)
{
    if (count >= row->least && (row->most < 0 || count <= row->most)) {
        return TRUE;
    }
    return lodge_error_set(error, LODGE_ERROR_USAGE, "%s: write `lodge %s%s%s`",
                           count < row->least ? "something is missing" : "too many words",
                           row->name, *row->arguments != '\0' ? " " : "", row->arguments);
}

/* GOption's own words, with the mend behind them. */
static gboolean
explain_option(const LodgeCommandRow *row, GError **error)
{
    if (error == NULL || *error == NULL || (*error)->domain != G_OPTION_ERROR) {
        return FALSE;
    }
    g_autofree char *words = g_strdup((*error)->message);
    g_clear_error(error);
    return lodge_error_set(error, LODGE_ERROR_USAGE, "%s (`lodge %s --help` shows the options)",
                           words, row->name);
}

/* For who could not be understood: the options of a line that was refused are not set. */
static gboolean
asks_json(char **argv)
{
    return g_strv_contains((const char *const *)argv, "--json");
}

static gboolean
run_row(LodgeCli *cli, const LodgeCommandRow *row, int argc, char **argv, GError **error)
{
    gboolean help = FALSE;
    const GOptionEntry shared[] = {
        {"json", 0, 0, G_OPTION_ARG_NONE, &cli->json, "Print JSON", NULL},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &cli->quiet, "Print no progress", NULL},
        {"help", 'h', 0, G_OPTION_ARG_NONE, &help, "Show help", NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_set_strict_posix(context, row->strict);
    if (row->options != NULL) {
        g_option_context_add_main_entries(context, row->options, NULL);
    }
    g_option_context_add_main_entries(context, shared, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error)) {
        cli->json = asks_json(argv);
        return explain_option(row, error);
    }
    if (help) {
        lodge_print_command_help(cli, row);
        return TRUE;
    }
    if (argc > 1 && g_str_equal(argv[1], "--")) {
        argv++;
        argc--;
    }
    if (!check_words(row, argc - 1, error)) {
        return FALSE;
    }
    cli->store = lodge_store_open(error);
    return cli->store != NULL && row->run(cli, argc, argv, error);
}

/* Words that stand for no command of the table. TRUE if it was one. */
static gboolean
run_special(const LodgeCli *cli, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "--help";
    const char *second = argc > 2 ? argv[2] : NULL;
    if (g_str_equal(word, "--version") || g_str_equal(word, "version")) {
        puts("lodge " LODGE_VERSION);
    } else if (g_str_equal(word, "__complete")) {
        lodge_complete(argc - 2, argv + 2);
    } else if (g_str_equal(word, "__man") && second != NULL) {
        if (g_str_equal(second, "guest")) {
            lodge_print_man_guest();
        } else if (g_str_equal(second, "network")) {
            lodge_print_man_network();
        } else {
            lodge_print_man();
        }
    } else if (g_str_equal(word, "--help") || g_str_equal(word, "-h") ||
               (g_str_equal(word, "help") && second == NULL)) {
        lodge_print_help(cli);
    } else {
        return FALSE;
    }
    return TRUE;
}

static gboolean
dispatch(LodgeCli *cli, int argc, char **argv, GError **error)
{
    int words = 0;
    if (run_special(cli, argc, argv)) {
        return TRUE;
    }
    if (g_str_equal(argv[1], "completion")) {
        return lodge_print_completion(argc > 2 ? argv[2] : "", error);
    }
    gboolean asks_help = g_str_equal(argv[1], "help");
    int shift = asks_help ? 1 : 0;
    const LodgeCommandRow *row = lodge_find_command(
        argv[1 + shift], argc - shift > 2 ? argv[2 + shift] : NULL, &words);
    if (row != NULL && asks_help) {
        lodge_print_command_help(cli, row);
        return TRUE;
    }
    if (row != NULL) {
        argv[words] = argv[0];
        return run_row(cli, row, argc - words, argv + words, error);
    }
    const char *noun = argv[1 + shift];
    cli->json = asks_json(argv);
    gboolean bare = argc - shift == 2 || g_str_equal(argv[argc - 1], "--help");
    return (bare && print_noun_help(noun)) ||
           lodge_refuse_command(noun, argc - shift > 2 ? argv[2 + shift] : NULL, error);
}

static gboolean
wants_colour(int fd)
{
    const char *refused = g_getenv("NO_COLOR");
    return isatty(fd) && (refused == NULL || *refused == '\0') &&
           g_strcmp0(g_getenv("TERM"), "dumb") != 0;
}

/* The one place where errors are printed. */
static int
print_error(const LodgeCli *cli, const GError *error)
{
    if (cli->json) {
        lodge_print_json(json_pack("{s:{s:s, s:s}}", "error", "code", lodge_error_word(error),
                                   "message", error->message));
    }
    g_autofree char *name = lodge_colour(cli->colour_errors, "red", "lodge:");
    fprintf(stderr, "%s %s\n", name, error->message);
    return lodge_error_exit_status(error);
}

int
main(int argc, char **argv)
{
    LodgeCli cli = {.colour_out = wants_colour(STDOUT_FILENO),
                    .colour_errors = wants_colour(STDERR_FILENO)};
    g_autoptr(GError) error = NULL;
    lodge_interrupt_install();
    int status = EXIT_SUCCESS;
    if (!dispatch(&cli, argc, argv, &error)) {
        /* A command may want an exit status of its own, with or without an error. */
        status = error != NULL ? print_error(&cli, error) : cli.status;
        status = cli.status != 0 ? cli.status : status;
    }
    lodge_store_free(cli.store);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("lodge: standard output: it could not be written whole\n", stderr);
        return EXIT_FAILURE;
    }
    return status;
}
