/* A definition in the user's editor, again and again until it is sound. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

enum {
    TEXT_LIMIT_BYTES = 1 << 20,
};

/* The editor that the user names, or NULL. An empty variable is none, as for a shell's ${…:-…}. */
static const char *
own_editor(void)
{
    static const char *const variables[] = {"VISUAL", "EDITOR"};
    for (gsize i = 0; i < G_N_ELEMENTS(variables); i++) {
        const char *value = g_getenv(variables[i]);
        if (value != NULL && *value != '\0') {
            return value;
        }
    }
    return NULL;
}

/* The user's editor; else one that there is. */
static const char *
find_editor(void)
{
    static const char *const programs[] = {"editor", "vi", "nano"};
    const char *own = own_editor();
    if (own != NULL) {
        return own;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(programs); i++) {
        g_autofree char *found = g_find_program_in_path(programs[i]);
        if (found != NULL) {
            return programs[i];
        }
    }
    return "vi";
}

/* Run the user's editor on @path, in the foreground, as a shell would: it may have options. */
static gboolean
run_editor(const char *path, GError **error)
{
    const char *editor = find_editor();
    g_autofree char *quoted = g_shell_quote(path);
    g_autofree char *line = g_strdup_printf("%s %s", editor, quoted);
    int status = system(line); /* NOLINT: the user's own editor, by the user's own shell */
    return (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
           lodge_error_set(error, LODGE_ERROR_FAILED,
                           "the editor (%s) failed; nothing was changed (VISUAL names another)",
                           editor);
}

/* TRUE: it is done with, well or not. FALSE: the user wants to mend what is wrong. */
static gboolean
edit_once(LodgeCli *cli, const char *name, const char *path, LodgeTakeTextFunc take,
          gboolean *out_fine, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autofree char *edited = run_editor(path, error)
                                  ? lodge_file_read(path, TEXT_LIMIT_BYTES, NULL, error)
                                  : NULL;
    *out_fine = FALSE;
    if (edited == NULL) {
        return TRUE;
    }
    if (take(cli, name, edited, &problem)) {
        *out_fine = TRUE;
        return TRUE;
    }
    gboolean is_mendable = g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INVALID) ||
                           g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_EXISTS);
    if (is_mendable && isatty(STDIN_FILENO)) {
        fprintf(stderr, "%s\n", problem->message);
        if (lodge_ask("Edit again?", NULL)) {
            return FALSE;
        }
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return TRUE;
}

gboolean
lodge_edit_text(LodgeCli *cli, const char *name, const char *text, LodgeTakeTextFunc take,
                GError **error)
{
    /* What a user names may be a program for pipes; vi would fill the pipe with escapes. */
    if (own_editor() == NULL && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "editing %s: there is no terminal here for an editor (EDITOR may "
                               "name a program that needs none; `set` changes single keys)",
                               name);
    }
    g_autofree char *folder = g_dir_make_tmp("lodge-edit-XXXXXX", error);
    if (folder == NULL) {
        return FALSE;
    }
    g_autofree char *path = g_strdup_printf("%s/%s.conf", folder, name);
    gboolean fine = lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_NO_SYNC, error);
    while (fine && !edit_once(cli, name, path, take, &fine, error)) {
        fine = TRUE;
    }
    lodge_tree_remove(folder, NULL);
    return fine;
}
