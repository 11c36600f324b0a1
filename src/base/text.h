/* Names and words: what may be one, and which one was meant. */
#pragma once

#include <glib.h>

/* A guest's, disk's, NIC's or network's name: 1 to 63 of a-z, 0-9 and '-', beginning and ending
 * with a letter or digit (so it is a host name, RFC 1123, and a file name without surprises). @what
 * is "guest" etc. for the USAGE error, which says what is wrong with it. */
gboolean lodge_name_check(const char *what, const char *name, GError **error);

/* An image's name: as above, and '.' and '_' inside ("ubuntu-24.04"). */
gboolean lodge_image_name_check(const char *name, GError **error);

/* The candidate nearest to @word by edits (insert, delete, replace, swap), if it is near enough to
 * be a slip of the finger; else NULL. @candidates is NULL-terminated; the result is borrowed from
 * it. */
const char *lodge_text_nearest(const char *word, const char *const *candidates);

/* " (did you mean “X”?)" or "": to be put behind an error message. Free with g_free. */
char *lodge_text_suggestion(const char *word, const char *const *candidates);

/* The last line with anything on it, without white space around it; "" if there is none. Control
 * characters become '?': it may come from a guest. Free with g_free. */
char *lodge_text_last_line(const char *text);

/* A copy in which control characters and invalid UTF-8 are replaced, safe to print to a terminal.
 */
char *lodge_text_printable(const char *text);

/* Quote @text for a POSIX shell if it needs it. Free with g_free. */
char *lodge_text_shell_quote(const char *text);
