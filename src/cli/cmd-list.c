#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/guest-view.h"

static gboolean option_names;

const GOptionEntry lodge_options_list[] = {
    {"names", 0, 0, G_OPTION_ARG_NONE, &option_names, "Names only, a line each", NULL},
    {NULL},
};

/* A definition that can't be read does not hide its guest, nor the others. */
static void
add_row(LodgeTable *table, const LodgeCli *cli, const char *name, const LodgeGuestState *state)
{
    g_autoptr(GError) problem = NULL;
    g_autoptr(LodgeGuest) guest = lodge_store_guest(cli->store, name, &problem);
    g_autofree char *state_text = lodge_view_state(state);
    g_autofree char *uptime = lodge_view_uptime(state);
    if (guest == NULL) {
        g_autofree char *prefix = g_strdup_printf("guest %s: ", name);
        gboolean is_prefixed = g_str_has_prefix(problem->message, prefix);
        const char *reason = problem->message + (is_prefixed ? strlen(prefix) : 0);
        const char *cells[] = {name, state_text, "?", "?", "?", "–", uptime, reason};
        lodge_table_add(table, cells);
        return;
    }
    g_autofree char *cpus = g_strdup_printf("%u", guest->cpus);
    g_autofree char *memory = lodge_size_human(guest->memory_bytes);
    /* Where SSH gets in: the guest's own address, or a port of this host's. */
    g_autofree char *port = state->ssh_port == 0      ? g_strdup("–")
                            : state->ssh_host != NULL ? g_strdup(state->ssh_host)
                                                      : g_strdup_printf("%u", state->ssh_port);
    const char *os = guest->os != NULL ? guest->os : guest->image;
    const char *note = state->reason != NULL ? state->reason : guest->description;
    const char *cells[] = {name, state_text, os != NULL ? os : "–",   cpus, memory,
                           port, uptime,     note != NULL ? note : ""};
    lodge_table_add(table, cells);
}

static json_t *
item(const LodgeCli *cli, const char *name, const LodgeGuestState *state)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(LodgeGuest) guest = lodge_store_guest(cli->store, name, &error);
    if (guest != NULL) {
        return lodge_view_json(guest, state, cli->store);
    }
    json_t *value = lodge_view_state_json(name, state);
    json_object_set_new(value, "definition_error", json_string(error->message));
    return value;
}

gboolean
lodge_cmd_list(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    (void)argv;
    g_auto(GStrv) names = lodge_store_guests(cli->store, error);
    if (names == NULL) {
        return FALSE;
    }
    if (option_names && !cli->json) {
        for (gsize i = 0; names[i] != NULL; i++) {
            puts(names[i]);
        }
        return TRUE;
    }
    g_autoptr(GPtrArray) states = lodge_store_states(cli->store, (const char *const *)names);
    if (cli->json) {
        json_t *list = json_array();
        for (gsize i = 0; names[i] != NULL; i++) {
            json_array_append_new(list, item(cli, names[i], states->pdata[i]));
        }
        lodge_print_json(list);
        return TRUE;
    }
    if (names[0] == NULL) {
        lodge_say(cli, "No guests yet. Make one: lodge create web1 --os debian-12");
        return TRUE;
    }
    static const char *const titles[] = {"NAME", "STATE",  "OS",   "CPUS>", "MEMORY>",
                                         "SSH>", "UPTIME", "NOTE", NULL};
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    for (gsize i = 0; names[i] != NULL; i++) {
        add_row(table, cli, names[i], states->pdata[i]);
    }
    lodge_table_print(table, cli);
    return TRUE;
}
