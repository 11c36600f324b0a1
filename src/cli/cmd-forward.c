/* forward, resolve: how guests are reached. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "net/define.h"
#include "ops/forward.h"

static gboolean option_remove;
static char *option_nic;

const GOptionEntry lodge_options_forward[] = {
    {"remove", 'r', 0, G_OPTION_ARG_NONE, &option_remove, "Forward them no longer", NULL},
    {"nic", 0, 0, G_OPTION_ARG_STRING, &option_nic,
     "Which of its NICs (else the first on a network that forwards)", "NAME"},
    {NULL},
};

static json_t *
forward_json(const LodgeForwardView *view)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:i, s:s, s:o, s:i}", "guest", view->guest, "nic",
                     view->nic, "network", view->network, "forward", view->spelling, "address",
                     lodge_json_string_or_null(view->address), "host_port", (int)view->host_port,
                     "protocol", view->udp ? "udp" : "tcp", "target",
                     lodge_json_string_or_null(view->target), "guest_port", (int)view->guest_port);
}

static void
add_row(LodgeTable *table, const LodgeForwardView *view)
{
    gboolean is_ipv6 = view->target != NULL && strchr(view->target, ':') != NULL;
    g_autofree char *port = g_strdup_printf("%u", view->host_port);
    g_autofree char *target = view->target == NULL ? g_strdup_printf("port %u", view->guest_port)
                              : is_ipv6 ? g_strdup_printf("[%s]:%u", view->target, view->guest_port)
                                        : g_strdup_printf("%s:%u", view->target, view->guest_port);
    const char *cells[] = {view->guest, view->address != NULL ? view->address : "all",
                           port,        view->udp ? "udp" : "tcp",
                           target,      view->network};
    lodge_table_add(table, cells);
}

static gboolean
list(LodgeCli *cli, const char *guest, const char *network, GError **error)
{
    static const char *const titles[] = {"GUEST", "HOST ADDRESS", "PORT>", "PROTOCOL",
                                         "TO",    "NETWORK",      NULL};
    g_autoptr(GPtrArray) views = lodge_forward_list(cli->store, guest, network, error);
    if (views == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    g_autoptr(json_t) values = json_array();
    for (guint i = 0; i < views->len; i++) {
        add_row(table, views->pdata[i]);
        json_array_append_new(values, forward_json(views->pdata[i]));
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&values));
    } else if (views->len > 0) {
        lodge_table_print(table, cli);
    } else {
        lodge_say(cli, "No ports are forwarded. Forward one: lodge forward %s 8080:80",
                  guest != NULL ? guest : "GUEST");
    }
    return TRUE;
}

gboolean
lodge_cmd_forward(LodgeCli *cli, int argc, char **argv, GError **error)
{
    if (argc < 3) {
        return list(cli, argc > 1 ? argv[1] : NULL, NULL, error);
    }
    for (int i = 2; i < argc; i++) {
        if (!lodge_forward_change(cli->store, argv[1], option_nic, argv[i], option_remove, error)) {
            return FALSE;
        }
        lodge_say(cli, "%s: %s is %s.", argv[1], argv[i],
                  option_remove ? "forwarded no longer" : "forwarded");
    }
    return !cli->json || list(cli, argv[1], NULL, error);
}

gboolean
lodge_cmd_network_forward(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autoptr(LodgeNetwork) network = g_str_equal(argv[1], LODGE_NETWORK_USER)
                                          ? NULL
                                          : lodge_store_network(cli->store, argv[1], error);
    return (network != NULL || g_str_equal(argv[1], LODGE_NETWORK_USER)) &&
           list(cli, NULL, argv[1], error);
}

gboolean
lodge_cmd_resolve(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autoptr(GPtrArray) addresses = lodge_resolve(cli->store, argv[1], error);
    if (addresses == NULL) {
        return FALSE;
    }
    g_autoptr(json_t) values = json_array();
    for (guint i = 0; i < addresses->len; i++) {
        const LodgeAddress *address = addresses->pdata[i];
        if (!cli->json) {
            puts(address->address);
        }
        json_array_append_new(values, json_pack("{s:s, s:s, s:s}", "nic", address->nic, "network",
                                                address->network, "address", address->address));
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&values));
    }
    return TRUE;
}
