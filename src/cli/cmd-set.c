/* set, edit, rename: changing what is defined. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "ops/set.h"

static json_t *
changes_json(const GPtrArray *changes)
{
    static const char *const words[] = {"stored", "live", "pending"};
    json_t *list = json_array();
    for (guint i = 0; i < changes->len; i++) {
        const LodgeChange *change = changes->pdata[i];
        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:s, s:o}", "key", change->key,
                                              "old", lodge_json_string_or_null(change->old), "new",
                                              lodge_json_string_or_null(change->fresh), "outcome",
                                              words[change->outcome], "why",
                                              lodge_json_string_or_null(change->why)));
    }
    return list;
}

static void
print_changes(const LodgeCli *cli, const char *name, const GPtrArray *changes)
{
    for (guint i = 0; i < changes->len; i++) {
        const LodgeChange *change = changes->pdata[i];
        const char *value = change->fresh != NULL ? change->fresh : "(default)";
        switch (change->outcome) {
        case LODGE_SET_STORED:
            lodge_say(cli, "%s: %s=%s", name, change->key, value);
            break;
        case LODGE_SET_LIVE:
            lodge_say(cli, "%s: %s=%s, in force now", name, change->key, value);
            break;
        case LODGE_SET_PENDING:
            lodge_say(cli, "%s: %s=%s, from its next start%s%s", name, change->key, value,
                      change->why != NULL ? ": " : "", change->why != NULL ? change->why : "");
            break;
        }
    }
    if (changes->len == 0) {
        lodge_say(cli, "%s: nothing changes.", name);
    }
}

static gboolean
report(const LodgeCli *cli, const char *name, GPtrArray *changes)
{
    if (changes == NULL) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(changes_json(changes));
    } else {
        print_changes(cli, name, changes);
    }
    g_ptr_array_unref(changes);
    return TRUE;
}

gboolean
lodge_cmd_set(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    return report(cli, argv[1],
                  lodge_set(cli->store, argv[1], (const char *const *)argv + 2, error));
}

/* Run the user's editor on @path, in the foreground, as a shell would: it may have options. */
static gboolean
run_editor(const char *path, GError **error)
{
    const char *editor = g_getenv("VISUAL");
    editor = editor != NULL ? editor : g_getenv("EDITOR");
    g_autofree char *quoted = g_shell_quote(path);
    g_autofree char *line = g_strdup_printf("%s %s", editor != NULL ? editor : "vi", quoted);
    int status = system(line); /* NOLINT: the user's own editor, by the user's own shell */
    return (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
           lodge_error_set(error, LODGE_ERROR_FAILED, "the editor (%s) failed; nothing was changed",
                           editor != NULL ? editor : "vi");
}

gboolean
lodge_cmd_edit(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autofree char *text = NULL;
    g_autofree char *folder = g_dir_make_tmp("lodge-edit-XXXXXX", error);
    g_autoptr(GKeyFile)
        file = folder != NULL ? lodge_store_guest_file(cli->store, argv[1], &text, error) : NULL;
    if (file == NULL) {
        g_autoptr(LodgeGuest) guest = NULL;
        g_clear_error(error);
        guest = lodge_store_guest(cli->store, argv[1], error); /* names what was meant */
        return FALSE;
    }
    g_autofree char *path = g_strdup_printf("%s/%s.conf", folder, argv[1]);
    gboolean fine = lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_NO_SYNC, error);
    while (fine) {
        g_autoptr(GError) problem = NULL;
        g_autofree char *edited = NULL;
        fine = run_editor(path, error) &&
               (edited = lodge_file_read(path, 1 << 20, NULL, error)) != NULL;
        if (!fine || report(cli, argv[1], lodge_set_text(cli->store, argv[1], edited, &problem))) {
            break;
        }
        fprintf(stderr, "%s\n", problem->message);
        if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INVALID) ||
            !lodge_ask("Edit again?", NULL)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            fine = FALSE;
        }
    }
    lodge_tree_remove(folder, NULL);
    return fine;
}

gboolean
lodge_cmd_rename(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    if (!lodge_rename(cli->store, argv[1], argv[2], error)) {
        return FALSE;
    }
    lodge_say(cli, "%s is called %s now.", argv[1], argv[2]);
    return TRUE;
}
