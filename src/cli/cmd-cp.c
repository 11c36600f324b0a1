/* cp: files into and out of guests. */
#include "config.h"

#include <unistd.h>

#include "cli/cli.h"
#include "ops/copy.h"

gboolean
lodge_cmd_cp(LodgeCli *cli, int argc, char **argv, GError **error)
{
    (void)argc;
    LodgeCopy copy = {0};
    LodgeCopied copied = {0};
    if (!lodge_copy_parse(argv[1], argv[2], &copy, error)) {
        return FALSE;
    }
    g_autofree const char *guest = copy.guest;
    gboolean to_pipe = !copy.into_guest && g_str_equal(copy.host_path, "-");
    /* As cp does, it says nothing where nobody looks. */
    LodgeProgress *progress = isatty(STDERR_FILENO) ? lodge_cli_progress_new(cli) : NULL;
    gint64 began = g_get_monotonic_time();
    gboolean fine = lodge_copy(cli->store, &copy, progress, &copied, error);
    gint64 took_ms = (g_get_monotonic_time() - began) / 1000;
    if (progress != NULL) {
        lodge_cli_progress_end(progress, fine);
    }
    if (copied.skipped > 0) {
        lodge_say(cli,
                  "lodge: %" G_GUINT64_FORMAT
                  " left out: devices, sockets, and links that lead out of the tree",
                  copied.skipped);
    }
    if (fine && cli->json && !to_pipe) {
        lodge_print_json(json_pack("{s:s, s:I, s:I, s:I, s:I}", "guest", guest, "files",
                                   (json_int_t)copied.files, "bytes", (json_int_t)copied.bytes,
                                   "skipped", (json_int_t)copied.skipped, "took_ms",
                                   (json_int_t)took_ms));
    }
    return fine;
}
