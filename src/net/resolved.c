#include "config.h"

#include "net/resolved.h"

#include "base/base.h"

enum {
    TIMEOUT_MS = 3000,
};
/* The socket by which the C library asks it: there while it runs, and only then. */
#define RUNS_FILE "/run/systemd/resolve/io.systemd.Resolve"

static void
add_server(GPtrArray *words, const LodgePrefix *prefix)
{
    LodgePrefix gateway = lodge_network_gateway(prefix);
    g_ptr_array_add(words, lodge_prefix_format_address(&gateway));
}

static char **
finish(GPtrArray *words)
{
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}

static GPtrArray *
begin(const LodgeNetwork *network, const char *verb)
{
    GPtrArray *words = g_ptr_array_new();
    g_ptr_array_add(words, g_strdup("resolvectl"));
    g_ptr_array_add(words, g_strdup(verb));
    g_ptr_array_add(words, g_strdup(network->bridge));
    return words;
}

GPtrArray *
lodge_resolved_commands(const LodgeNetwork *network)
{
    GPtrArray *commands = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    LodgePrefix prefix;
    if (!lodge_network_has_own_bridge(network) || !network->dhcp || !network->host) {
        return commands;
    }
    GPtrArray *words = begin(network, "dns");
    if (lodge_network_subnet(network, &prefix)) {
        add_server(words, &prefix);
    }
    if (lodge_network_prefix(network, &prefix)) {
        add_server(words, &prefix);
    }
    g_ptr_array_add(commands, finish(words));
    /* "~": names below it are asked there, and no others. */
    words = begin(network, "domain");
    g_ptr_array_add(words, g_strconcat("~", network->domain, NULL));
    g_ptr_array_add(commands, finish(words));
    words = begin(network, "default-route");
    g_ptr_array_add(words, g_strdup("no"));
    g_ptr_array_add(commands, finish(words));
    return commands;
}

void
lodge_resolved_tell(const LodgeStore *store, const LodgeNetwork *network)
{
    if (!g_file_test(RUNS_FILE, G_FILE_TEST_EXISTS)) {
        return;
    }
    g_autoptr(GPtrArray) commands = lodge_resolved_commands(network);
    for (guint i = 0; i < commands->len; i++) {
        g_autoptr(GError) problem = NULL;
        if (!lodge_process_run_argv(commands->pdata[i], TIMEOUT_MS, NULL, &problem)) {
            lodge_event_append(
                store, NULL, "resolver-not-told",
                json_pack("{s:s, s:s}", "network", network->name, "reason", problem->message));
            return;
        }
    }
}
