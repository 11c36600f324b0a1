/* Which CPUs and memory nodes this host has. */
#pragma once

#include <glib.h>

typedef enum {
    LODGE_TOPOLOGY_CPUS,
    LODGE_TOPOLOGY_NODES, /* of memory (NUMA) */
} LodgeTopologyKind;

/* Those that are online, as numbers; [0] where the kernel does not say. @root is "" but in tests.
 * Free with g_array_unref. */
GArray *lodge_topology_online(const char *root, LodgeTopologyKind kind);

/* Has this host all of @list ("0-3,8")? UNSUPPORTED that says what it has. */
gboolean lodge_topology_check(const char *root, LodgeTopologyKind kind, const char *list,
                              GError **error);
