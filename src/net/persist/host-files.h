/* The files in which this host's own network is configured: who reads them, and what they must say
 * so that a bridge is there again after a restart. */
#pragma once

#include <glib.h>

#include "base/json.h"

typedef enum {
    LODGE_MANAGER_UNKNOWN,
    LODGE_MANAGER_IFUPDOWN,
    LODGE_MANAGER_NETWORKD,
    LODGE_MANAGER_NETWORKMANAGER,
    LODGE_MANAGER_NETPLAN,
    LODGE_MANAGER_NETIFRC,
    LODGE_MANAGER_IFCFG,
} LodgeManager;

/* "ifupdown", "systemd-networkd" … */
const char *lodge_manager_word(LodgeManager manager);

/* A file as it is, or shall be. */
typedef struct {
    char *path;   /* without the sysroot */
    char *text;   /* NULL: it is absent, or a link */
    char *target; /* of a symbolic link; NULL: it is none */
    guint mode;
} LodgeHostFile;

/* What of this host matters: made up by tests. */
typedef struct {
    const char *sysroot; /* NULL or "": the running system */
    const char *uplink;  /* "eth0" */
    const char *bridge;  /* "br0" */
    const char *mac;     /* the uplink's, which the bridge takes */
    int index;           /* the uplink's number, by which managers keep their notes */
} LodgeHostLink;

/* Files that change, as they are and as they shall be: two lists of LodgeHostFile with the same
 * paths in the same order. */
typedef struct {
    LodgeManager manager;
    GPtrArray *before;
    GPtrArray *after;
} LodgeHostChange;

/* Which one configures the uplink, and what its files must say for @link->bridge to take over what
 * the uplink has. Reads, and writes nothing. UNSUPPORTED if nothing that Lodge knows configures the
 * uplink, or in a way that it can't rewrite: the error says what. */
LodgeHostChange *lodge_host_change_plan(const LodgeHostLink *link, GError **error);
void lodge_host_change_free(LodgeHostChange *change);

json_t *lodge_host_change_json(const LodgeHostChange *change);
LodgeHostChange *lodge_host_change_from_json(const json_t *value, GError **error);

/* Make the files what they shall be, or with @forward FALSE what they were. Those that are already
 * are left alone, so a killed call may be made again. INVALID, naming it, if one is neither: then
 * somebody else has changed it since, and none is written. */
gboolean lodge_host_change_apply(const LodgeHostChange *change, const char *sysroot,
                                 gboolean forward, GError **error);

/* Could it be applied? The same INVALID error; writes nothing. */
gboolean lodge_host_change_check(const LodgeHostChange *change, const char *sysroot,
                                 GError **error);

/* Tell the running manager that its files have changed. What it has to say of it is ignored: what
 * counts is whether the host still has its addresses. With @is_dynamic they come from DHCP, and the
 * manager must take @bridge over at once (@forward) to renew its lease. */
void lodge_host_change_announce(const LodgeHostChange *change, const char *bridge, gboolean forward,
                                gboolean is_dynamic);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeHostChange, lodge_host_change_free)
