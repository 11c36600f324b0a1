/* exec: a command here that stands for one in the guest. */
#include "config.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/terminal.h"
#include "ops/ops.h"

static char *option_user, *option_timeout, *option_folder;
static char **option_environment;
static gboolean option_stdin, option_no_stdin, option_terminal;

const GOptionEntry lodge_options_exec[] = {
    {"stdin", 'i', 0, G_OPTION_ARG_NONE, &option_stdin,
     "Send it our standard input, also what is typed at a terminal", NULL},
    {"no-stdin", 'n', 0, G_OPTION_ARG_NONE, &option_no_stdin,
     "Give it no input; by default it has ours, if that is a pipe or a file", NULL},
    {"terminal", 't', 0, G_OPTION_ARG_NONE, &option_terminal,
     "Give it a terminal, of the size of ours (and our standard input)", NULL},
    {"user", 'u', 0, G_OPTION_ARG_STRING, &option_user, "Run it as that user (default root)",
     "NAME"},
    {"env", 'e', 0, G_OPTION_ARG_STRING_ARRAY, &option_environment,
     "Set a variable; may be repeated", "NAME=VALUE"},
    {"folder", 'w', 0, G_OPTION_ARG_STRING, &option_folder,
     "Run it there (default the user's home)", "PATH"},
    {"timeout", 0, 0, G_OPTION_ARG_STRING, &option_timeout,
     "How long it may take (default however long)", "TIME"},
    {NULL},
};

static gboolean
check_options(gint64 *out_timeout_ms, GError **error)
{
    *out_timeout_ms = 0;
    if (option_timeout != NULL && !lodge_duration_parse(option_timeout, out_timeout_ms, error)) {
        return lodge_error_prefix(error, "--timeout");
    }
    for (gsize i = 0; option_environment != NULL && option_environment[i] != NULL; i++) {
        const char *equals = strchr(option_environment[i], '=');
        if (equals == NULL || equals == option_environment[i]) {
            return lodge_error_set(error, LODGE_ERROR_USAGE, "--env %s: wanted is NAME=VALUE",
                                   option_environment[i]);
        }
    }
    if (option_folder != NULL && *option_folder != '/') {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "--folder %s: a path from the guest's root is wanted (/…)",
                               option_folder);
    }
    if (option_no_stdin && (option_stdin || option_terminal)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "--no-stdin contradicts %s",
                               option_stdin ? "--stdin" : "--terminal");
    }
    return !option_terminal || isatty(STDIN_FILENO) ||
           lodge_error_set(error, LODGE_ERROR_USAGE,
                           "--terminal: standard input is none (a pipe needs no --terminal)");
}

/* As programs in a pipe expect it. What is typed at a terminal is the shell's, unless asked for. */
static gboolean
sends_input(void)
{
    return option_stdin || option_terminal || (!option_no_stdin && !isatty(STDIN_FILENO));
}

/* What the program shall know besides: on a terminal of ours, its kind. Free with g_strfreev. */
static char **
environment(void)
{
    GStrvBuilder *builder = g_strv_builder_new();
    const char *kind = g_getenv("TERM");
    if (option_terminal && kind != NULL) {
        g_autofree char *variable = g_strconcat("TERM=", kind, NULL);
        g_strv_builder_add(builder, variable);
    }
    if (option_environment != NULL) {
        g_strv_builder_addv(builder, (const char **)option_environment);
    }
    char **variables = g_strv_builder_end(builder);
    g_strv_builder_unref(builder);
    return variables;
}

gboolean
lodge_cmd_exec(LodgeCli *cli, int argc, char **argv, GError **error)
{
    gint64 timeout_ms = 0;
    int first = g_str_equal(argv[2], "--") ? 3 : 2;
    if (first == argc) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "exec: which command?");
    }
    if (!check_options(&timeout_ms, error)) {
        return FALSE;
    }
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    if (option_terminal) {
        ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
    }
    g_auto(GStrv) variables = environment();
    const LodgeExec exec = {.program = {.argv = (const char *const *)argv + first,
                                        .environment = (const char *const *)variables,
                                        .folder = option_folder,
                                        .user = option_user,
                                        .terminal = option_terminal,
                                        .rows = size.ws_row,
                                        .columns = size.ws_col},
                            .input_fd = sends_input() ? STDIN_FILENO : -1,
                            .output_fd = STDOUT_FILENO,
                            .error_fd = STDERR_FILENO,
                            .timeout_ms = timeout_ms};
    g_autoptr(LodgeTerminal) terminal = option_terminal ? lodge_terminal_raw() : NULL;
    gboolean fine = lodge_exec(cli->store, argv[1], &exec, &cli->status, error);
    return fine && cli->status == 0;
}
