/* The terminal as a guest's screen and keyboard: raw, and always given back as it was. */
#pragma once

#include <glib.h>

typedef struct LodgeTerminal LodgeTerminal;

/* Make the terminal of standard input raw: each key comes at once, Ctrl-C too. Of what is no
 * terminal nothing is changed. Broken pipes no longer end the process from now on. */
LodgeTerminal *lodge_terminal_raw(void);
/* Give it back. Also done when the process is ended by exit(). */
void lodge_terminal_restore(LodgeTerminal *terminal);

/* Write all of it, waiting for room. FALSE if nobody takes it any more, or on a signal. */
gboolean lodge_terminal_write(int fd, const char *data, gsize length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeTerminal, lodge_terminal_restore)
