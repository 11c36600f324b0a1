/* A guest's text screen within the terminal. */
#pragma once

#include <glib.h>

#include "cli/cli.h"

/* Show it, and type into it what is typed here, until Ctrl-], a signal or the guest's end. USAGE if
 * standard input and output are no terminal. */
gboolean lodge_screen_view(LodgeCli *cli, const char *name, GError **error);
