#include "config.h"

#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "host/host.h"
#include "ops/snapshot.h"

enum {
    EXIT_UNSUPPORTED = 6,
};

static gboolean option_fix, option_repair;

const GOptionEntry lodge_options_check[] = {
    {"fix", 0, 0, G_OPTION_ARG_NONE, &option_fix,
     "Load the kernel modules that are missing and make it last, after asking", NULL},
    {"repair", 0, 0, G_OPTION_ARG_NONE, &option_repair,
     "Of guests: put in order what interrupted commands left", NULL},
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &lodge_option_yes, "Don't ask", NULL},
    {NULL},
};

static void
print_check(const LodgeCli *cli, const LodgeCheck *check)
{
    static const char *const colours[] = {"green", "yellow", "red"};
    gboolean grave = check->state == LODGE_CHECK_MISSING && check->required;
    const char *colour = check->state == LODGE_CHECK_MISSING && !check->required
                             ? "yellow"
                             : colours[check->state];
    g_autofree char *padded = g_strdup_printf("%-8s", lodge_check_state_word(check->state));
    g_autofree char *word = lodge_colour(cli->colour_out, grave ? "red" : colour, padded);
    glong gap = 36 - g_utf8_strlen(check->title, -1);
    g_autofree char *padding = g_strnfill((gsize)MAX(gap, 1), ' ');
    printf("%s  %s%s%s\n", word, check->title, padding, check->detail != NULL ? check->detail : "");
    if (check->cost != NULL) {
        printf("%10s%s\n", "", check->cost);
    }
    if (check->mend != NULL) {
        g_autofree char *mend = lodge_colour(cli->colour_out, "bold", check->mend);
        printf("%10s→ %s\n", "", mend);
    }
}

static gboolean
fix(const LodgeCli *cli, GError **error)
{
    g_autoptr(GPtrArray) plan = lodge_host_fix_plan(NULL);
    if (plan->len == 0) {
        lodge_say(cli, "Nothing to fix: no module is missing that could be loaded.");
        return TRUE;
    }
    for (guint i = 0; i < plan->len; i++) {
        const LodgeFixStep *step = plan->pdata[i];
        fprintf(stderr, "  %u. %s\n", i + 1, step->sentence);
    }
    if (geteuid() != 0) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "only root can do that: sudo lodge check --fix");
    }
    if (!lodge_option_yes && !lodge_ask("Do this?", error)) {
        return FALSE;
    }
    return lodge_host_fix_apply(NULL, plan, NULL, NULL, error);
}

static gboolean
check_guests(LodgeCli *cli, char **names, GError **error)
{
    g_autoptr(json_t) list = json_array();
    for (gsize i = 0; names[i] != NULL; i++) {
        gboolean mended = FALSE;
        if (!lodge_snapshot_check(cli->store, names[i], option_repair, &mended, error)) {
            return FALSE;
        }
        json_array_append_new(list, json_pack("{s:s, s:b}", "name", names[i], "mended", mended));
        if (!cli->json) {
            lodge_say(cli, "%s: %s", names[i], mended ? "put in order" : "in order");
        }
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&list));
    }
    return TRUE;
}

gboolean
lodge_cmd_check(LodgeCli *cli, int argc, char **argv, GError **error)
{
    if (argc > 1) {
        return check_guests(cli, argv + 1, error);
    }
    if (option_repair) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "check --repair: which guest? For example: lodge check web1 "
                               "--repair");
    }
    if (option_fix && !fix(cli, error)) {
        return FALSE;
    }
    LodgeCheckOptions options = {.cache_folder = cli->store->run, .store_root = cli->store->root};
    g_autoptr(LodgeCheckReport) report = lodge_check_run(&options, error);
    if (report == NULL) {
        return FALSE;
    }
    cli->status = report->can_run ? 0 : EXIT_UNSUPPORTED;
    if (cli->json) {
        lodge_print_json(lodge_check_json(report));
        return report->can_run;
    }
    for (guint i = 0; i < report->checks->len; i++) {
        print_check(cli, report->checks->pdata[i]);
    }
    g_autofree char *summary = lodge_colour(cli->colour_out, "bold", report->summary);
    printf("\n%s\n", summary);
    return report->can_run;
}
