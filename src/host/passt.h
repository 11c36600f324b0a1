/* Is there a passt that Lodge takes? */
#pragma once

#include <glib.h>

/* The oldest that is known to do what `network=user` asks of it, by its date: of those between,
 * none was tried. One of March 2023, which Debian 12 has, leaves the handshake of a forwarded
 * connection unfinished until the client speaks, so SSH, where the server speaks first, hangs; and
 * it hands on what a guest sends to 127.0.0.1. One of May 2025, Debian 13's, loses the end of what
 * comes when the guest has closed its own side of a connection. */
#define LODGE_PASST_LEAST 20261002

/* The date in what `passt --version` says, upstream's "2025_05_03.587980c" or a distribution's
 * "0.0~git20250503.587980c-2", as the number 20250503; 0: there is none. */
guint lodge_passt_date(const char *version);

/* The same of the program @path; 0 too if it can't be run. */
guint lodge_passt_date_of(const char *path);

/* The path of a passt that is new enough; free with g_free. NULL: there is none. What it said of
 * itself is remembered in @cache_folder, until the file is another. */
char *lodge_passt_find(const char *cache_folder);
