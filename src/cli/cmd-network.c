#include "config.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "net/define.h"

static gboolean option_start;
static gboolean option_force;
static gboolean option_autostart;

const GOptionEntry lodge_options_network_create[] = {
    {"start", 0, 0, G_OPTION_ARG_NONE, &option_start, "Start it at once", NULL},
    {NULL},
};

const GOptionEntry lodge_options_network_start[] = {
    {"autostart", 0, 0, G_OPTION_ARG_NONE, &option_autostart,
     "All that have autostart=yes, as at the host's start", NULL},
    {NULL},
};

const GOptionEntry lodge_options_network_stop[] = {
    {"force", 0, 0, G_OPTION_ARG_NONE, &option_force, "Even if running guests are on it", NULL},
    {NULL},
};

/* The network is there all the same, which its user would hear of next time. */
static gboolean
start_new(LodgeCli *cli, const char *name, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (lodge_network_start(cli->store, name, &problem)) {
        return TRUE;
    }
    return lodge_error_set(error, (LodgeError)problem->code,
                           "%s; network %s is defined all the same: `lodge network start %s` "
                           "tries again, `lodge network delete %s` removes it",
                           problem->message, name, name, name);
}

gboolean
lodge_cmd_network_create(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    const char *name = argv[1];
    if (!lodge_network_create(cli->store, name, (const char *const *)argv + 2, error) ||
        (option_start && !start_new(cli, name, error))) {
        return FALSE;
    }
    g_autoptr(LodgeNetwork) network = lodge_store_network(cli->store, name, error);
    if (network == NULL) {
        return FALSE;
    }
    gboolean is_useless = !option_start && geteuid() != 0;
    lodge_say(cli, "Network %s is %s%s%s%s%s%s.", name, option_start ? "running" : "defined",
              network->subnet != NULL ? ", " : "", network->subnet != NULL ? network->subnet : "",
              network->prefix != NULL ? ", " : "", network->prefix != NULL ? network->prefix : "",
              is_useless ? "; only root can start it, your guests have network=user" : "");
    return TRUE;
}

static json_t *
ports_json(const LodgeCli *cli, const char *name)
{
    g_autoptr(GPtrArray) ports = lodge_net_ports(cli->store, name);
    json_t *list = json_array();
    for (guint i = 0; i < ports->len; i++) {
        json_array_append_new(list, lodge_port_json(ports->pdata[i]));
    }
    return list;
}

/* {"prefix", "uplink", "preferred_until", "valid_until"}, or NULL. */
static json_t *
delegated_json(const LodgeCli *cli, const LodgeNetwork *network)
{
    g_autofree char *path = lodge_store_network_run_path(cli->store, network->name,
                                                         "delegated.json");
    return network->delegation ? lodge_json_read(path, 65536, NULL) : NULL;
}

static void
print_delegated(const LodgeCli *cli, const LodgeNetwork *network)
{
    g_autoptr(json_t) value = delegated_json(cli, network);
    if (!network->delegation || lodge_net_state(cli->store, network->name) == LODGE_NET_DOWN) {
        return;
    }
    if (value == NULL) {
        printf("  %-14s nothing yet (`lodge events` tells why)\n", "delegated");
        return;
    }
    g_autoptr(GDateTime)
        until = g_date_time_new_from_unix_local(lodge_json_int(value, "valid_until", 0));
    g_autofree char *time = until != NULL ? g_date_time_format(until, "%F %H:%M") : g_strdup("–");
    g_autofree char *prefix = lodge_text_printable(lodge_json_string(value, "prefix", ""));
    printf("  %-14s %s, by %s, until %s\n", "delegated", prefix,
           lodge_json_string(value, "uplink", ""), time);
}

static json_t *
network_json(const LodgeCli *cli, const LodgeNetwork *network)
{
    json_t *value = json_pack("{s:s, s:s}", "name", network->name, "state",
                              lodge_net_state_word(lodge_net_state(cli->store, network->name)));
    const LodgeSection *section = lodge_network_sections();
    for (gsize i = 0; i < section->key_count; i++) {
        g_autofree char *text = lodge_schema_format(&section->keys[i], network);
        json_object_set_new(value, section->keys[i].name, lodge_json_string_or_null(text));
    }
    json_t *delegated = delegated_json(cli, network);
    json_object_set_new(value, "delegated", delegated != NULL ? delegated : json_null());
    json_object_set_new(value, "ports", ports_json(cli, network->name));
    return value;
}

gboolean
lodge_cmd_network_list(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    (void)argv;
    static const char *const titles[] = {"NAME", "STATE", "MODE", "IPV4", "IPV6", "GUESTS>", NULL};
    g_auto(GStrv) names = lodge_store_networks(cli->store, error);
    if (names == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    g_autoptr(json_t) list = json_array();
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autoptr(GError) problem = NULL;
        g_autoptr(LodgeNetwork) network = lodge_store_network(cli->store, names[i], &problem);
        if (network == NULL) {
            const char *cells[] = {names[i], "broken", "–", problem->message, "–", "–"};
            lodge_table_add(table, cells);
            json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", names[i], "state",
                                                  "broken", "error", problem->message));
            continue;
        }
        g_autoptr(GPtrArray) ports = lodge_net_ports(cli->store, names[i]);
        g_autofree char *count = g_strdup_printf("%u", ports->len);
        const char *cells[] = {
            names[i],
            lodge_net_state_word(lodge_net_state(cli->store, names[i])),
            lodge_network_mode_word(network),
            lodge_network_subnet(network, NULL) ? network->subnet : "–",
            lodge_network_prefix(network, NULL) ? network->prefix : "–",
            count,
        };
        lodge_table_add(table, cells);
        json_array_append_new(list, network_json(cli, network));
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&list));
    } else {
        lodge_table_print(table, cli);
    }
    return TRUE;
}

/* Does the key say something of this network? Numbers that are 0 and keys of other modes don't. */
static gboolean
counts(const LodgeNetwork *network, const char *key, const char *value)
{
    if (value == NULL || g_str_equal(value, "0")) {
        return FALSE;
    }
    if (g_str_equal(key, "each")) {
        return network->mode == LODGE_NETWORK_ROUTED && network->subnet != NULL;
    }
    if (g_str_equal(key, "host")) {
        return network->mode == LODGE_NETWORK_ISOLATED;
    }
    if (g_str_equal(key, "vlan-aware") || g_str_equal(key, "delegation") ||
        g_str_equal(key, "nat64")) {
        return g_str_equal(value, "yes");
    }
    return TRUE;
}

gboolean
lodge_cmd_network_show(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autoptr(LodgeNetwork) network = lodge_store_network(cli->store, argv[1], error);
    if (network == NULL) {
        return FALSE;
    }
    if (cli->json) {
        lodge_print_json(network_json(cli, network));
        return TRUE;
    }
    g_autofree char *name = lodge_colour(cli->colour_out, "bold", network->name);
    printf("%s  %s\n", name, lodge_net_state_word(lodge_net_state(cli->store, network->name)));
    const LodgeSection *section = lodge_network_sections();
    for (gsize i = 0; i < section->key_count; i++) {
        g_autofree char *value = lodge_schema_format(&section->keys[i], network);
        if (counts(network, section->keys[i].name, value)) {
            g_autofree char *shown = lodge_text_printable(value);
            printf("  %-14s %s\n", section->keys[i].name, shown);
        }
    }
    print_delegated(cli, network);
    g_autoptr(GPtrArray) ports = lodge_net_ports(cli->store, network->name);
    for (guint i = 0; i < ports->len; i++) {
        const LodgePort *port = ports->pdata[i];
        printf("  %-14s %s nic %s, %s%s%s%s%s\n", i == 0 ? "guests" : "", port->guest, port->nic,
               port->link, port->address4 != NULL ? ", " : "",
               port->address4 != NULL ? port->address4 : "", port->address6 != NULL ? ", " : "",
               port->address6 != NULL ? port->address6 : "");
    }
    return TRUE;
}

gboolean
lodge_cmd_network_set(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    if (!lodge_network_set(cli->store, argv[1], (const char *const *)argv + 2, error)) {
        return FALSE;
    }
    if (lodge_net_state(cli->store, argv[1]) != LODGE_NET_DOWN) {
        lodge_say(cli, "Network %s is running: it changes when it is stopped and started.",
                  argv[1]);
    }
    return TRUE;
}

gboolean
lodge_cmd_network_delete(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    for (gsize i = 1; argv[i] != NULL; i++) {
        g_autofree char *question = g_strdup_printf("Delete network %s?", argv[i]);
        if ((!lodge_option_yes && !lodge_ask(question, error)) ||
            !lodge_network_delete(cli->store, argv[i], error)) {
            return FALSE;
        }
        lodge_say(cli, "Network %s is deleted.", argv[i]);
    }
    return TRUE;
}

static gboolean
start_one(LodgeCli *cli, const char *name, GError **error)
{
    if (!lodge_network_start(cli->store, name, error)) {
        return FALSE;
    }
    lodge_say(cli, "Network %s is running.", name);
    return TRUE;
}

/* One that fails does not keep the others down. */
static gboolean
start_automatic(LodgeCli *cli, GError **error)
{
    g_auto(GStrv) names = lodge_store_networks(cli->store, error);
    g_autoptr(GError) first = NULL;
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autoptr(GError) problem = NULL;
        g_autoptr(LodgeNetwork) network = lodge_store_network(cli->store, names[i], &problem);
        if (network != NULL && network->autostart) {
            start_one(cli, names[i], &problem);
        }
        if (problem != NULL && first != NULL) {
            lodge_say(cli, "%s", problem->message);
        } else if (problem != NULL) {
            first = g_steal_pointer(&problem);
        }
    }
    if (first != NULL) {
        g_propagate_error(error, g_steal_pointer(&first));
        return FALSE;
    }
    return names != NULL;
}

gboolean
lodge_cmd_network_start(LodgeCli *cli, int argc, char **argv, GError **error)
{
    if ((argc > 1) == option_autostart) {
        return lodge_error_set(
            error, LODGE_ERROR_USAGE,
            "name networks, or say --autostart for those that start by themselves");
    }
    if (option_autostart) {
        return start_automatic(cli, error);
    }
    for (gsize i = 1; argv[i] != NULL; i++) {
        if (!start_one(cli, argv[i], error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean
lodge_cmd_network_stop(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    for (gsize i = 1; argv[i] != NULL; i++) {
        g_autoptr(LodgeNetwork) network = lodge_net_running(cli->store, argv[i]);
        if (network == NULL) {
            network = lodge_store_network(cli->store, argv[i], error);
        }
        if (network == NULL || !lodge_network_stop(cli->store, argv[i], option_force, error)) {
            return FALSE;
        }
        lodge_say(cli, "Network %s is stopped.", argv[i]);
    }
    return TRUE;
}

gboolean
lodge_cmd_network_leases(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    static const char *const titles[] = {"ADDRESS", "NAME", "MAC", "UNTIL", NULL};
    g_autoptr(GPtrArray) leases = lodge_network_leases(cli->store, argv[1], error);
    if (leases == NULL) {
        return FALSE;
    }
    g_autoptr(LodgeTable) table = lodge_table_new(titles);
    g_autoptr(json_t) list = json_array();
    for (guint i = 0; i < leases->len; i++) {
        const LodgeLease *lease = leases->pdata[i];
        g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(lease->until);
        g_autofree char *until = lease->until == 0 || time == NULL
                                     ? g_strdup("–")
                                     : g_date_time_format(time, "%Y-%m-%d %H:%M:%S");
        const char *cells[] = {lease->address, lease->name, lease->mac, until};
        lodge_table_add(table, cells);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I}", "address", lease->address,
                                              "name", lease->name, "mac", lease->mac, "until",
                                              (json_int_t)lease->until));
    }
    if (cli->json) {
        lodge_print_json(g_steal_pointer(&list));
    } else {
        lodge_table_print(table, cli);
    }
    return TRUE;
}
