/* network bridge, confirm, unbridge: the host's own interface becomes a port of a bridge, and back.
 */
#include "config.h"

#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "net/bridge.h"

enum {
    CONFIRM_LEAST_S = 5,
    CONFIRM_MOST_S = 3600,
};

static char *option_name;
static int option_within = 60;
static gboolean option_dry_run;
static gboolean option_temporary;
static gboolean option_undo;

const GOptionEntry lodge_options_network_bridge[] = {
    {"name", 0, 0, G_OPTION_ARG_STRING, &option_name, "What the bridge is called (br0)", "BRIDGE"},
    {"confirm-within", 0, 0, G_OPTION_ARG_INT, &option_within,
     "Undo it unless it is confirmed by then (60)", "SECONDS"},
    {"temporary", 0, 0, G_OPTION_ARG_NONE, &option_temporary,
     "Until the host restarts: leave its files alone", NULL},
    {"dry-run", 0, 0, G_OPTION_ARG_NONE, &option_dry_run, "Say what would be done, and do nothing",
     NULL},
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &lodge_option_yes, "Don't ask", NULL},
    {NULL},
};

const GOptionEntry lodge_options_network_unbridge[] = {
    {"confirm-within", 0, 0, G_OPTION_ARG_INT, &option_within,
     "Undo it unless it is confirmed by then (60)", "SECONDS"},
    {"temporary", 0, 0, G_OPTION_ARG_NONE, &option_temporary,
     "Until the host restarts: leave its files alone", NULL},
    {"dry-run", 0, 0, G_OPTION_ARG_NONE, &option_dry_run, "Say what would be done, and do nothing",
     NULL},
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &lodge_option_yes, "Don't ask", NULL},
    {NULL},
};

const GOptionEntry lodge_options_network_confirm[] = {
    {"undo", 0, 0, G_OPTION_ARG_NONE, &option_undo, "Undo the change instead, at once", NULL},
    {NULL},
};

static LodgeNet *
open_net(LodgeCli *cli, GError **error)
{
    if (geteuid() != 0) {
        lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                        "only root can change the host's network (sudo lodge network …)");
        return NULL;
    }
    if (option_within < CONFIRM_LEAST_S || option_within > CONFIRM_MOST_S) {
        lodge_error_set(error, LODGE_ERROR_USAGE, "--confirm-within is %d to %d seconds, not %d",
                        CONFIRM_LEAST_S, CONFIRM_MOST_S, option_within);
        return NULL;
    }
    return lodge_net_open(cli->store, error);
}

/* A heading, and each of @lines below it. */
static void
print_list(FILE *stream, const char *heading, char **lines)
{
    for (gsize i = 0; lines[i] != NULL; i++) {
        fprintf(stream, "  %-10s %s\n", i == 0 ? heading : "", lines[i]);
    }
}

static json_t *
strings_json(char **lines)
{
    json_t *list = json_array();
    for (gsize i = 0; lines[i] != NULL; i++) {
        json_array_append_new(list, json_string(lines[i]));
    }
    return list;
}

static json_t *
plan_json(const LodgeBridgeRequest *request, const LodgeBridgePlan *plan)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:s?, s:o}", "bridge", request->bridge, "uplink",
                     plan->uplink, "addresses", strings_json(plan->addresses), "routes",
                     strings_json(plan->routes), "steps", strings_json(plan->steps), "manager",
                     plan->manager, "files", strings_json(plan->files));
}

static void
print_plan(FILE *stream, const LodgeBridgeRequest *request, const LodgeBridgePlan *plan)
{
    if (request->uplink != NULL) {
        fprintf(stream, "%s becomes a port of the new bridge %s", plan->uplink, request->bridge);
    } else {
        fprintf(stream, "%s leaves the bridge %s, which will be gone", plan->uplink,
                request->bridge);
    }
    gboolean has_any = plan->addresses[0] != NULL || plan->routes[0] != NULL;
    fprintf(stream, "%s\n",
            !has_any                  ? ". It has no addresses to move."
            : request->uplink != NULL ? ", which takes over:"
                                      : "; it takes back:");
    print_list(stream, "addresses", plan->addresses);
    print_list(stream, "routes", plan->routes);
    if (plan->manager != NULL) {
        fprintf(stream, "When you confirm it, %s in %s's files:\n",
                request->uplink != NULL ? "it is written" : "it is taken back", plan->manager);
        print_list(stream, "files", plan->files);
    } else if (request->uplink != NULL) {
        fputs("It lasts until the host restarts, as none of its files are touched.\n", stream);
    } else {
        fputs("No file of the host is touched: if one makes the bridge, it is back after a restart."
              "\n",
              stream);
    }
}

static gboolean
print_dry(const LodgeCli *cli, const LodgeBridgeRequest *request, const LodgeBridgePlan *plan)
{
    if (cli->json) {
        lodge_print_json(plan_json(request, plan));
        return TRUE;
    }
    print_plan(stdout, request, plan);
    puts("Step by step:");
    for (gsize i = 0; plan->steps[i] != NULL; i++) {
        /* The bridge is made by several messages that are one step to people. */
        if (i == 0 || !g_str_equal(plan->steps[i], plan->steps[i - 1])) {
            printf("  %s\n", plan->steps[i]);
        }
    }
    puts("Nothing was changed.");
    return TRUE;
}

static gboolean
agree(const LodgeCli *cli, const LodgeBridgeRequest *request, const LodgeBridgePlan *plan,
      GError **error)
{
    g_autofree char *question = g_strdup_printf(
        "It is undone by itself after %d s unless you confirm. Go on?", option_within);
    if (!cli->quiet && !cli->json) {
        print_plan(stderr, request, plan);
    }
    return lodge_option_yes || lodge_ask(question, error);
}

static gboolean
change(LodgeCli *cli, LodgeNet *net, const LodgeBridgeRequest *request, GError **error)
{
    g_autoptr(LodgeBridgePlan) plan = lodge_bridge_plan(net, request, error);
    if (plan == NULL) {
        return FALSE;
    }
    if (option_dry_run) {
        return print_dry(cli, request, plan);
    }
    if (!agree(cli, request, plan, error)) {
        return FALSE;
    }
    gint64 began = g_get_monotonic_time();
    if (!lodge_bridge_change(net, request, error)) {
        return FALSE;
    }
    double took_ms = (double)(g_get_monotonic_time() - began) / 1000;
    if (cli->json) {
        json_t *value = plan_json(request, plan);
        json_object_set_new(value, "confirm-within", json_integer(option_within));
        json_object_set_new(value, "took-ms", json_real(took_ms));
        lodge_print_json(value);
        return TRUE;
    }
    lodge_say(cli, "Done in %.0f ms; open connections live on.", took_ms);
    lodge_say(cli,
              "Everything goes back to how it was in %d s, whatever becomes of this session, "
              "unless you run:\n  lodge network confirm",
              option_within);
    lodge_say(cli, "First see that a new login works, from another terminal.");
    return TRUE;
}

gboolean
lodge_cmd_network_bridge(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    const char *name = option_name != NULL ? option_name : "br0";
    LodgeBridgeRequest request = {argv[1], name, (gint64)option_within * 1000, option_temporary,
                                  NULL};
    g_autoptr(LodgeNet) net = open_net(cli, error);
    return net != NULL && change(cli, net, &request, error);
}

gboolean
lodge_cmd_network_unbridge(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeBridgeRequest request = {NULL, argv[1], (gint64)option_within * 1000, option_temporary,
                                  NULL};
    g_autoptr(LodgeNet) net = open_net(cli, error);
    return net != NULL && change(cli, net, &request, error);
}

static gboolean
undo(LodgeCli *cli, LodgeNet *net, GError **error)
{
    if (!lodge_bridge_undo_now(net, error)) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(json_pack("{s:b}", "undone", TRUE));
    }
    lodge_say(cli, "Undone: the host's network is as it was before.");
    return TRUE;
}

static void
tell(const LodgeCli *cli, const LodgeBridgeConfirmed *done)
{
    if (done->is_bridge) {
        lodge_say(cli, "Confirmed: %s is the host's interface now, and %s its port.", done->bridge,
                  done->uplink);
    } else {
        lodge_say(cli, "Confirmed: %s is the host's interface again, and %s is gone.", done->uplink,
                  done->bridge);
    }
    if (done->manager != NULL && done->is_bridge) {
        lodge_say(cli, "It lasts: %s has it in its files, and the old ones are kept in %s/%s/%s.",
                  done->manager, cli->store->root, "host-network", done->bridge);
    } else if (done->manager != NULL) {
        lodge_say(cli, "The files of %s are what they were before.", done->manager);
    } else {
        lodge_say(cli, "It lasts until the host restarts: none of its files was touched.");
    }
    if (done->is_bridge) {
        lodge_say(cli, "Guests get onto it by: lodge network create NAME mode=bridged bridge=%s",
                  done->bridge);
    }
}

gboolean
lodge_cmd_network_confirm(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    (void)argv;
    LodgeBridgeConfirmed done;
    g_autoptr(LodgeNet) net = open_net(cli, error);
    if (net == NULL) {
        return FALSE;
    }
    if (option_undo) {
        return undo(cli, net, error);
    }
    if (!lodge_bridge_confirm(net, &done, error)) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:s, s:b, s:s?}", "bridge", done.bridge, "uplink",
                                   done.uplink, "is-bridge", done.is_bridge, "manager",
                                   done.manager));
        return TRUE;
    }
    tell(cli, &done);
    return TRUE;
}
