/* agent …: what speaks for a guest inside. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "ops/agent-install.h"

static json_t *
lines_json(const char *text)
{
    json_t *lines = json_array();
    g_auto(GStrv) parts = g_strsplit(text, "\n", -1);
    for (gsize i = 0; parts[i] != NULL; i++) {
        g_autofree char *line = lodge_text_printable(parts[i]);
        if (*line != '\0') {
            json_array_append_new(lines, json_string(line));
        }
    }
    return lines;
}

gboolean
lodge_cmd_agent_install(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_auto(LodgeAgentInstalled) installed = {0};
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_agent_install(cli->store, argv[1], progress, &installed, error);
    lodge_cli_progress_end(progress, fine);
    if (!fine) {
        return FALSE;
    }
    g_autoptr(json_t) lines = lines_json(installed.said);
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:s, s:O, s:o}", "guest", argv[1], "by", installed.by,
                                   "did", lines, "version",
                                   lodge_json_string_or_null(installed.version)));
        return TRUE;
    }
    gsize index;
    json_t *line;
    json_array_foreach (lines, index, line) {
        printf("%s\n", json_string_value(line));
    }
    if (installed.version != NULL) {
        lodge_say(cli, "%s's lodge-agent %s answers (put in by %s)", argv[1], installed.version,
                  installed.by);
    } else {
        lodge_say(cli,
                  "%s was started by an older Lodge, without a port for it: it answers after "
                  "`lodge stop %s` and `lodge start %s`",
                  argv[1], argv[1], argv[1]);
    }
    return TRUE;
}

static char *
describe_agent(const LodgeGuestState *state)
{
    const char *version = lodge_json_string(state->inside, "version", "unknown");
    if (state->inside == NULL) {
        return g_strdup(state->agent ? "QEMU's" : "none");
    }
    return g_str_equal(version, LODGE_VERSION)
               ? g_strdup_printf("lodge-agent %s", version)
               : g_strdup_printf("lodge-agent %s (this host's is " LODGE_VERSION ")", version);
}

static char *
describe_since(gint64 since_ms)
{
    g_autoptr(GDateTime) since = g_date_time_new_from_unix_local(since_ms / 1000);
    return since != NULL ? g_date_time_format(since, "%F %T") : g_strdup("–");
}

static void
fact(const LodgeCli *cli, const char *title, const char *text)
{
    g_autofree char *padded = g_strdup_printf("%-12s", title);
    g_autofree char *shown = lodge_colour(cli->colour_out, "dim", padded);
    g_autofree char *printable = lodge_text_printable(text);
    printf("%s %s\n", shown, printable);
}

static void
print_status(const LodgeCli *cli, const LodgeGuestState *state)
{
    static const char *const keys[] = {"hostname", "os", "kernel"};
    g_autofree char *agent = describe_agent(state);
    fact(cli, "agent", agent);
    if (state->inside != NULL) {
        g_autofree char *since = describe_since(lodge_json_int(state->inside, "since_ms", 0));
        fact(cli, "since", since);
        fact(cli, "QEMU's agent", state->agent ? "there too" : "not there");
    }
    for (gsize i = 0; state->inside != NULL && i < G_N_ELEMENTS(keys); i++) {
        fact(cli, keys[i], lodge_json_string(state->inside, keys[i], "–"));
    }
    gsize index;
    json_t *nic;
    json_array_foreach (json_object_get(state->inside, "nics"), index, nic) {
        g_autoptr(GString) addresses = g_string_new(NULL);
        gsize i;
        json_t *address;
        json_array_foreach (json_object_get(nic, "addresses"), i, address) {
            g_string_append_printf(addresses, "%s%s", i > 0 ? ", " : "",
                                   json_string_value(address));
        }
        fact(cli, lodge_json_string(nic, "name", "–"), addresses->len > 0 ? addresses->str : "–");
    }
}

gboolean
lodge_cmd_agent_status(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autoptr(LodgeGuest) guest = lodge_store_guest(cli->store, argv[1], error);
    if (guest == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(cli->store, guest->name);
    if (!state->has_qemu) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "guest %s is %s (`lodge start %s` starts it)", guest->name,
                               lodge_state_word(state->state), guest->name);
    }
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:o, s:b, s:s, s:O?}", "guest", guest->name, "agent",
                                   lodge_json_string_or_null(state->inside != NULL ? "lodge-agent"
                                                             : state->agent ? "qemu-guest-agent"
                                                                            : NULL),
                                   "qemu_agent", state->agent, "newest", LODGE_VERSION, "inside",
                                   state->inside));
    } else {
        print_status(cli, state);
    }
    return state->inside != NULL || state->agent ||
           lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                           "guest %s: no agent has said anything (`lodge agent install %s` puts "
                           "one in)",
                           guest->name, guest->name);
}
