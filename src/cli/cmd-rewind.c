/* rewind: back to a scheduled snapshot. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "model/schedule.h"
#include "ops/rewind.h"

static char *option_to;
static gboolean option_cold;

const GOptionEntry lodge_options_rewind[] = {
    {"to", 't', 0, G_OPTION_ARG_STRING, &option_to,
     "How long ago, like 10m, or when, like \"2026-11-21 15:30\"", "TIME"},
    {"cold", 0, 0, G_OPTION_ARG_NONE, &option_cold,
     "Its disks only: the guest is stopped then, and `lodge start` boots it", NULL},
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &lodge_option_yes, "Don't ask", NULL},
    {NULL},
};

/* Seconds of the Unix epoch; FALSE: USAGE. */
static gboolean
parse_time(const char *text, gint64 *out_time_s, GError **error)
{
    gint64 ago_ms = 0;
    if (lodge_duration_parse(text, &ago_ms, NULL)) {
        *out_time_s = g_get_real_time() / G_USEC_PER_SEC - ago_ms / 1000;
        return TRUE;
    }
    g_autoptr(GTimeZone) zone = g_time_zone_new_local();
    gsize colons = strlen(text) - strcspn(text, ":") > 3; /* seconds are said */
    g_autofree char *full = g_strconcat(text, colons ? "" : ":00", NULL);
    char *space = strchr(full, ' ');
    if (space != NULL) {
        *space = 'T';
    }
    g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(full, zone);
    if (time == NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "--to: “%s” is neither how long ago (10m) nor when (\"2026-11-21 "
                               "15:30\")",
                               text);
    }
    *out_time_s = g_date_time_to_unix(time);
    return TRUE;
}

static char *
age_of(const char *name)
{
    gint64 age_s = g_get_real_time() / G_USEC_PER_SEC - lodge_schedule_time(name);
    return lodge_duration_human(MAX(age_s, 0) * 1000);
}

static gboolean
list(const LodgeCli *cli, const char *guest, GError **error)
{
    static const char *const titles[] = {"SNAPSHOT", "AGE>", NULL};
    g_auto(GStrv) names = lodge_snapshots_scheduled(cli->store, guest, error);
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    g_autoptr(json_t) values = json_array();
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autofree char *age = age_of(names[i]);
        const char *cells[] = {names[i], age};
        lodge_table_add(table, cells);
        json_array_append_new(values, json_pack("{s:s, s:I}", "snapshot", names[i], "made_s",
                                                (json_int_t)lodge_schedule_time(names[i])));
    }
    if (names == NULL) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&values));
    } else if (names[0] == NULL) {
        lodge_say(cli,
                  "%s has no scheduled snapshots. Have some: lodge set %s \"snapshots=every 10m "
                  "keep 6\"",
                  guest, guest);
    } else {
        lodge_table_print(table, cli);
    }
    return TRUE;
}

gboolean
lodge_cmd_rewind(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    gint64 time_s = 0;
    if (option_to == NULL) {
        return list(cli, argv[1], error);
    }
    g_autofree char *name = parse_time(option_to, &time_s, error)
                                ? lodge_rewind_find(cli->store, argv[1], time_s, error)
                                : NULL;
    if (name == NULL) {
        return FALSE;
    }
    g_autofree char *age = age_of(name);
    g_autofree char *question = g_strdup_printf(
        "Make %s what it was %s ago (%s)? What it is now is lost.", argv[1], age, name);
    if (!lodge_option_yes && !lodge_ask(question, error)) {
        return FALSE;
    }
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_snapshot_restore(cli->store, argv[1], name, option_cold, progress, error);
    gint64 time_ms = lodge_cli_progress_end(progress, fine);
    if (!fine) {
        return FALSE;
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(cli->store, argv[1]);
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:s, s:s, s:I}", "guest", argv[1], "snapshot", name,
                                   "state", lodge_state_word(state->state), "time_ms",
                                   (json_int_t)time_ms));
        return TRUE;
    }
    g_autofree char *time = lodge_duration_human(time_ms);
    lodge_say(cli, "%s is what it was %s ago, at %s, and %s, after %s.%s%s", argv[1], age, name,
              state->has_qemu ? "goes on" : "stopped", time,
              state->has_qemu ? "" : " Boot it: lodge start ", state->has_qemu ? "" : argv[1]);
    return TRUE;
}
