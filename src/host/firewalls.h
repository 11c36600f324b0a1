/* Other firewalls on this host, which may drop what guests send: Docker's, ufw's, firewalld's. */
#pragma once

#include <glib.h>

/* The chains that the kernel's nftables have, a line each: "ip filter FORWARD forward drop", where
 * hook and policy are "-" if it has none. Needs root; an empty list where there are none. Free with
 * g_strfreev. */
char **lodge_nftables_chains(void);

typedef struct {
    gboolean docker, firewalld, ufw;
    /* Base chains of others that drop what nothing in them accepts. */
    gboolean drops_input, drops_forward;
} LodgeFirewalls;

/* What such lines say. Pure; Lodge's own tables do not count. */
LodgeFirewalls lodge_firewalls_judge(const char *const *chains);

/* "Docker, ufw"; "another firewall" if it drops and none of those it is. Free with g_free. */
char *lodge_firewalls_names(const LodgeFirewalls *firewalls);
