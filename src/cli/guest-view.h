/* How a guest is shown. Texts are freed with g_free, JSON values are new references. */
#pragma once

#include "cli/cli.h"

/* "running", "stopped (create)", "unfinished". */
char *lodge_view_state(const LodgeGuestState *state);

/* "3 min 5 s", or a dash. */
char *lodge_view_uptime(const LodgeGuestState *state);

/* ", agent there" if one is, else "". */
const char *lodge_view_agent(const LodgeGuestState *state);

/* What is known without its definition; with it; and that printed, with how long it took to get
 * there if @time_ms is not negative. */
json_t *lodge_view_state_json(const char *name, const LodgeGuestState *state);
json_t *lodge_view_json(const LodgeGuest *guest, const LodgeGuestState *state,
                        const LodgeStore *store);
gboolean lodge_print_guest_json(const LodgeCli *cli, const char *name, gint64 time_ms,
                                GError **error);
