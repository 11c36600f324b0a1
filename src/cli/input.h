/* Standard input by lines, without losing the ear for signals. */
#pragma once

#include <glib.h>

typedef struct LodgeInput LodgeInput;

/* @fd stays the caller's. */
LodgeInput *lodge_input_new(int fd);
void lodge_input_free(LodgeInput *input);

/* Wait for the next line, without its end. NULL at the end of input, and with an error. g_free. */
char *lodge_input_line(LodgeInput *input, GError **error);

/* The same from what was read already; NULL if there is no whole line. */
char *lodge_input_ready_line(LodgeInput *input);
/* Read once what is there. */
void lodge_input_read(LodgeInput *input);
/* Was all read? Lines may still be ready. */
gboolean lodge_input_at_end(const LodgeInput *input);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeInput, lodge_input_free)
