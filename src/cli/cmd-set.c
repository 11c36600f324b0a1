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

static gboolean
take_text(LodgeCli *cli, const char *name, const char *text, GError **error)
{
    return report(cli, name, lodge_set_text(cli->store, name, text, error));
}

gboolean
lodge_cmd_edit(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autofree char *text = NULL;
    g_autoptr(GKeyFile) file = lodge_store_guest_file(cli->store, argv[1], &text, error);
    if (file == NULL) {
        g_autoptr(LodgeGuest) guest = NULL;
        g_clear_error(error);
        guest = lodge_store_guest(cli->store, argv[1], error); /* names what was meant */
        return FALSE;
    }
    return lodge_edit_text(cli, argv[1], text, take_text, error);
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
