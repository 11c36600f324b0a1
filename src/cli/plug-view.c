#include "config.h"

#include "cli/plug-view.h"

static const char *
word(LodgePlug outcome)
{
    switch (outcome) {
    case LODGE_PLUG_STORED:
        return "stored";
    case LODGE_PLUG_LIVE:
        return "live";
    case LODGE_PLUG_PENDING:
        return "pending";
    }
    return "stored";
}

gboolean
lodge_view_plug(const LodgeCli *cli, const char *guest, const char *kind, LodgeDiskResult *result,
                gboolean comes)
{
    const char *verb = comes ? "is attached" : "is detached";
    if (cli->json) {
        lodge_print_json(json_pack("{s:s, s:s, s:s, s:s, s:o}", "guest", guest, "kind", kind,
                                   "name", result->name, "outcome", word(result->outcome), "why",
                                   lodge_json_string_or_null(result->why)));
        g_clear_pointer(&result->name, g_free);
        return TRUE;
    }
    switch (result->outcome) {
    case LODGE_PLUG_STORED:
        lodge_say(cli, "%s: %s %s %s", guest, kind, result->name, verb);
        break;
    case LODGE_PLUG_LIVE:
        lodge_say(cli, "%s: %s %s %s, in the running guest too", guest, kind, result->name, verb);
        break;
    case LODGE_PLUG_PENDING:
        lodge_say(cli, "%s: %s %s %s from the guest's next start: %s", guest, kind, result->name,
                  verb, result->why);
        break;
    }
    g_clear_pointer(&result->name, g_free);
    return TRUE;
}
