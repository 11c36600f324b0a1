#include "config.h"

#include "cli/cli.h"
#include "ops/fork.h"

static int option_count = 1;
static gboolean option_full, option_no_wait;
static char *option_timeout;

const GOptionEntry lodge_options_fork[] = {
    {"count", 0, 0, G_OPTION_ARG_INT, &option_count, "Make so many: NAME-1, NAME-2 …", "N"},
    {"full", 0, 0, G_OPTION_ARG_NONE, &option_full,
     "Copy the disks, so that nothing of the first guest is needed any more", NULL},
    {"no-wait", 0, 0, G_OPTION_ARG_NONE, &option_no_wait, "Don't wait until they answer", NULL},
    {"timeout", 0, 0, G_OPTION_ARG_STRING, &option_timeout,
     "How long each may take to answer (default 5m)", "TIME"},
    {NULL},
};

static GPtrArray *
names_of(const char *name)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    for (int i = 1; i <= option_count; i++) {
        g_ptr_array_add(names,
                        option_count == 1 ? g_strdup(name) : g_strdup_printf("%s-%d", name, i));
    }
    g_ptr_array_add(names, NULL);
    return names;
}

static void
say(const LodgeCli *cli, const GPtrArray *names, const char *source, guint pause_ms, gint64 time_ms)
{
    const char *first = names->pdata[0];
    g_autofree char *time = lodge_duration_human(time_ms);
    g_autofree char *who = option_count == 1
                               ? g_strdup_printf("%s is there", first)
                               : g_strdup_printf("%s to %s are there", first,
                                                 (const char *)names->pdata[names->len - 2]);
    if (pause_ms != 0) {
        lodge_say(cli, "%s, after %s; %s stood still for %u ms. Log in: lodge ssh %s", who, time,
                  source, pause_ms, first);
    } else {
        lodge_say(cli, "%s, after %s. Start: lodge start %s", who, time, first);
    }
}

gboolean
lodge_cmd_fork(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    guint pause_ms = 0;
    gint64 timeout_ms = 0;
    if (option_count < 1 || option_count > 1000) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "--count: it is from 1 to 1000");
    }
    if (!lodge_duration_parse(option_timeout != NULL ? option_timeout : "5m", &timeout_ms, error)) {
        return lodge_error_prefix(error, "--timeout");
    }
    g_autoptr(GPtrArray) names = names_of(argv[2]);
    const LodgeFork what = {.source = argv[1],
                            .names = (const char *const *)names->pdata,
                            .full = option_full,
                            .timeout_ms = option_no_wait ? 0 : timeout_ms};
    LodgeProgress *progress = lodge_cli_progress_new(cli);
    gboolean fine = lodge_fork(cli->store, &what, &pause_ms, progress, error);
    gint64 time_ms = lodge_cli_progress_end(progress, fine);
    if (!fine) {
        return FALSE;
    }
    if (!cli->json) {
        say(cli, names, argv[1], pause_ms, time_ms);
        return TRUE;
    }
    json_t *list = json_array();
    for (guint i = 0; i + 1 < names->len; i++) {
        json_array_append_new(list, json_string(names->pdata[i]));
    }
    lodge_print_json(json_pack("{s:s, s:o, s:i, s:I}", "source", argv[1], "names", list, "pause_ms",
                               (int)pause_ms, "took_ms", (json_int_t)time_ms));
    return TRUE;
}
