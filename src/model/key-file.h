/* Reading key files: GLib's syntax, each entry with its line, at a tenth of GKeyFile's cost (which
 * `lodge list` pays once per guest). Files are written with GKeyFile. */
#pragma once

#include <glib.h>

typedef struct {
    const char *group;
    const char *key;   /* NULL: this is the group's own line */
    const char *value; /* unescaped; of a group's own line NULL */
    guint line;        /* from 1 */
} LodgeEntry;

typedef struct {
    char *what; /* for messages: "guest web1" */
    char *text; /* what the entries point into */
    LodgeEntry *entries;
    gsize count;
} LodgeKeyFile;

/* Parse @text. Entries stand in the file's order. INVALID error, beginning with @what, where it is
 * no UTF-8 text, an escape is unknown, or a line is neither a comment, "[group]" nor "key=value"
 * below one. Free with lodge_key_file_free. */
LodgeKeyFile *lodge_key_file_parse(const char *what, const char *text, gsize length,
                                   GError **error);

void lodge_key_file_free(LodgeKeyFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeKeyFile, lodge_key_file_free)

/* The value of @key in @group, where it stands last; NULL if it does not. */
const char *lodge_key_file_value(const LodgeKeyFile *file, const char *group, const char *key);

/* The text of @file, which was @before until somebody changed it: as g_key_file_to_data(), but a
 * key that came to a group stands with the others, not behind the empty line below them. Free with
 * g_free. */
char *lodge_key_file_text(GKeyFile *file, const char *before);
