/* network edit: a network's definition in the user's editor. */
#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "net/define.h"

enum {
    TEXT_LIMIT_BYTES = 1 << 20,
};

static gboolean
take_text(LodgeCli *cli, const char *name, const char *text, GError **error)
{
    gboolean is_same = FALSE;
    if (!lodge_network_set_text(cli->store, name, text, &is_same, error)) {
        return FALSE;
    }
    gboolean is_running = lodge_net_state(cli->store, name) != LODGE_NET_DOWN;
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:b, s:b}", "network", name, "changed", !is_same,
                                   "pending", !is_same && is_running));
    } else if (is_same) {
        lodge_say(cli, "Nothing was changed.");
    } else if (is_running) {
        lodge_say(cli, "Network %s is running: it changes when it is stopped and started.", name);
    } else {
        lodge_say(cli, "Network %s is changed.", name);
    }
    return TRUE;
}

gboolean
lodge_cmd_network_edit(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    g_autofree char *path = lodge_store_network_path(cli->store, argv[1]);
    g_autofree char *text = NULL;
    if (lodge_name_check("network", argv[1], error)) {
        text = lodge_file_read(path, TEXT_LIMIT_BYTES, NULL, NULL);
    }
    if (text == NULL) {
        g_autoptr(LodgeNetwork) network = NULL;
        g_clear_error(error);
        network = lodge_store_network(cli->store, argv[1], error); /* names what was meant */
        return FALSE;
    }
    return lodge_edit_text(cli, argv[1], text, take_text, error);
}
