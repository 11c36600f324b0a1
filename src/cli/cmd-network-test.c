/* network test: a network proves itself, from a guest's point of view. */
#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "net/probe.h"

static char *option_outside;

const GOptionEntry lodge_options_network_test[] = {
    {"outside", 0, 0, G_OPTION_ARG_STRING, &option_outside,
     "What to look for outside (this host's own gateways)", "ADDRESS"},
    {NULL},
};

static json_t *
steps_json(const GPtrArray *steps)
{
    json_t *list = json_array();
    for (guint i = 0; i < steps->len; i++) {
        const LodgeProbeStep *step = steps->pdata[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "step", step->name, "state",
                                              lodge_probe_state_word(step->state), "detail",
                                              step->detail));
    }
    return list;
}

static void
print_steps(const LodgeCli *cli, const GPtrArray *steps)
{
    static const char *const colours[] = {"green", "red", "yellow"};
    for (guint i = 0; i < steps->len; i++) {
        const LodgeProbeStep *step = steps->pdata[i];
        g_autofree char *padded = g_strdup_printf("%-7s", lodge_probe_state_word(step->state));
        g_autofree char *word = lodge_colour(cli->colour_out, colours[step->state], padded);
        g_autofree char *detail = lodge_text_printable(step->detail);
        printf("%s  %-16s  %s\n", word, step->name, detail);
    }
    fflush(stdout);
}

gboolean
lodge_cmd_network_test(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autoptr(LodgeNet) net = lodge_net_open(cli->store, error);
    g_autoptr(GPtrArray) steps = net != NULL ? lodge_net_probe(net, argv[1], option_outside, error)
                                             : NULL;
    if (steps == NULL) {
        return FALSE;
    }
    const LodgeProbeStep *broken = NULL;
    for (guint i = 0; broken == NULL && i < steps->len; i++) {
        const LodgeProbeStep *step = steps->pdata[i];
        broken = step->state == LODGE_PROBE_FAILED ? step : NULL;
    }
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:b, s:s?, s:o}", "network", argv[1], "works",
                                   broken == NULL, "broken", broken != NULL ? broken->name : NULL,
                                   "steps", steps_json(steps)));
        cli->status = 1;
        return broken == NULL;
    }
    print_steps(cli, steps);
    if (broken != NULL) {
        return lodge_error_set(error, LODGE_ERROR_FAILED, "network %s: the chain breaks at: %s",
                               argv[1], broken->name);
    }
    return TRUE;
}
