/* agent: Lodge's own agent in a guest. */
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
