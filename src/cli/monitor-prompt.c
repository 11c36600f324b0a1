/* lodge-monitor GUEST: a prompt with line editing and history for QEMU's human monitor.
 *
 * A program of its own because of libedit, which `lodge` need not load for any other command.
 * Between two commands it holds nothing: the guest's monitor is free for others. */
#include "config.h"

#include <editline/readline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "ops/view.h"

enum {
    HISTORY_LINES = 1000,
};

/* libedit's completion has no place for data. */
static GPtrArray *command_names;
static GPtrArray *info_names; /* what stands behind "info" */
static GPtrArray *wanted_names;

static char *
next_name(const char *text, int state)
{
    static guint at;
    at = state == 0 ? 0 : at;
    while (at < wanted_names->len) {
        const char *name = wanted_names->pdata[at++];
        if (g_str_has_prefix(name, text)) {
            return strdup(name);
        }
    }
    return NULL;
}

/* `help` shows a line a command: "info [subcommand] -- …", "quit|q  -- …"; `help info` the same
 * with @before, "info ". */
static GPtrArray *
learn_names(const char *help, const char *before)
{
    g_auto(GStrv) lines = g_strsplit(help, "\n", -1);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    for (gsize i = 0; lines[i] != NULL; i++) {
        const char *name = g_str_has_prefix(lines[i], before) ? lines[i] + strlen(before) : "";
        if (g_ascii_isalpha(*name)) {
            g_ptr_array_add(names, g_strndup(name, strcspn(name, " |\t\r")));
        }
    }
    return names;
}

static char **
complete(const char *text, int start, int end)
{
    (void)end;
    rl_attempted_completion_over = 1;
    wanted_names = start == 0 ? command_names : info_names;
    return start == 0 || (start == 5 && g_str_has_prefix(rl_line_buffer, "info "))
               ? rl_completion_matches(text, next_name)
               : NULL;
}

static char *
history_path(void)
{
    g_autofree char *folder = g_build_filename(g_get_user_state_dir(), "lodge", NULL);
    return lodge_dir_make(folder, 0700, NULL) ? g_build_filename(folder, "monitor-history", NULL)
                                              : NULL;
}

/* FALSE, with an error, when the guest is gone. What QEMU refuses is only printed. */
static gboolean
run_line(const LodgeStore *store, const char *name, const char *line, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autofree char *text = lodge_monitor_human(store, name, line, &problem);
    if (text != NULL) {
        printf("%s%s", text, *text == '\0' || g_str_has_suffix(text, "\n") ? "" : "\n");
        return TRUE;
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
    if (!state->has_qemu) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "guest %s has ended", name);
    }
    fprintf(stderr, "%s\n", problem->message);
    return TRUE;
}

/* What leaves every other prompt pulls the plug here. */
static gboolean
is_quit(const char *name, const char *line)
{
    if (!g_str_equal(line, "q") && !g_str_equal(line, "quit") && !g_str_equal(line, "exit")) {
        return FALSE;
    }
    fprintf(stderr, "Ctrl-D leaves; QEMU's quit would pull the guest's plug, as `lodge kill %s`\n",
            name);
    return TRUE;
}

static gboolean
run(const char *name, GError **error)
{
    g_autoptr(LodgeStore) store = lodge_store_open(error);
    g_autofree char *help = store != NULL ? lodge_monitor_human(store, name, "help", error) : NULL;
    if (help == NULL) {
        return FALSE;
    }
    g_autofree char *history = history_path();
    g_autofree char *prompt = g_strdup_printf("%s> ", name);
    g_autofree char *last = g_strdup("");
    rl_readline_name = (char *)"lodge";
    using_history();
    stifle_history(HISTORY_LINES);
    if (history != NULL) {
        read_history(history);
    }
    g_autofree char *info = lodge_monitor_human(store, name, "help info", NULL);
    command_names = learn_names(help, "");
    info_names = learn_names(info != NULL ? info : "", "info ");
    rl_attempted_completion_function = complete;
    fprintf(stderr, "QEMU's monitor of %s; `help` lists its commands, Ctrl-D leaves it\n", name);
    gboolean fine = TRUE;
    for (char *line; fine && (line = readline(prompt)) != NULL; free(line)) {
        g_strstrip(line);
        if (*line == '\0') {
            continue;
        }
        if (!g_str_equal(line, last)) {
            add_history(line);
            g_free(last);
            last = g_strdup(line);
        }
        fine = is_quit(name, line) || run_line(store, name, line, error);
    }
    if (history != NULL) {
        write_history(history);
    }
    puts("");
    return fine;
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    if (argc != 2) {
        fputs("lodge-monitor: write `lodge monitor GUEST`\n", stderr);
        return 2;
    }
    if (run(argv[1], &error)) {
        return 0;
    }
    fprintf(stderr, "lodge: %s\n", error->message);
    return lodge_error_exit_status(error);
}
