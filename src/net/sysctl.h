/* Kernel settings that networks need, and what they were before. Private to the net layer.
 *
 * What a setting was stands in a file before it is changed, with the networks that need it; the
 * last of them to stop puts it back. The caller holds the host's lock. */
#pragma once

#include <glib.h>

typedef struct {
    char *key; /* "net/ipv4/ip_forward", below /proc/sys */
    char *value;
} LodgeSysctl;

void lodge_sysctl_free(LodgeSysctl *setting);

/* What forwarding for these families needs, in order, given the host's interfaces: each name with
 * what its accept_ra says now ("1"), as pairs. Pure. Turning IPv6 forwarding on makes the kernel
 * drop default routes learned from router advertisements, unless accept_ra is 2 by then.
 * Returns LodgeSysctl *. */
GPtrArray *lodge_sysctl_forwarding(gboolean ipv4, gboolean ipv6, const char *const *accept_ra);

/* The pairs for the above as they are on this host, without @except. Free with g_strfreev. */
char **lodge_sysctl_accept_ra(const char *except);

/* Set them all for @network, remembering in the file @memory. */
gboolean lodge_sysctl_apply(const char *memory, const char *network, const GPtrArray *settings,
                            GError **error);
/* @network needs nothing any more: put back what no other needs. */
gboolean lodge_sysctl_release(const char *memory, const char *network, GError **error);

/* Set one that nobody must remember, as it vanishes with its link. */
gboolean lodge_sysctl_set(const char *key, const char *value, GError **error);
char *lodge_sysctl_get(const char *key);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeSysctl, lodge_sysctl_free)
