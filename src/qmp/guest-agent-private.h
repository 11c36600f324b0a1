/* Between the parts of the guest agent's client, and for its tests. */
#pragma once

#include "qmp/guest-agent.h"

/* Base64 in a string, strictly: no white space, whole groups. Its bytes with a NUL behind; NULL
 * with INVALID, also if @value is no string. */
char *lodge_guest_agent_decode(const json_t *value, gsize *out_length, GError **error);

/* An integer from @minimum to @maximum; else INVALID. */
gboolean lodge_guest_agent_integer(const json_t *value, gint64 minimum, gint64 maximum,
                                   gint64 *out_number, GError **error);

/* Set @error: "<command>: the guest agent's answer is malformed". Returns FALSE. */
gboolean lodge_guest_agent_malformed(GError **error, const char *command);

/* An array of the strings; NULL with INVALID if one is not UTF-8. */
json_t *lodge_guest_agent_strings(const char *const *strings, GError **error);

/* Send a command that has no answer if it works, and wait for a refusal until @deadline. */
gboolean lodge_guest_agent_call_silent(LodgeGuestAgent *agent, const char *command,
                                       json_t *arguments, gint64 deadline, GError **error);

/* For the fuzzer, which says its answers beforehand: take what is there for answers. */
void lodge_guest_agent_assume_sync(LodgeGuestAgent *agent);
