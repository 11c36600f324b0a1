/* What the agent says of its guest, and what it does for all of it. Part of qmp/agent.h. */
#pragma once

#include "qmp/agent.h"

/* Texts are printable; NULL where the guest does not say. Sizes in bytes, 0 where unknown. */
typedef struct {
    char *agent_version;
    char *hostname;
    char *os_id;      /* "debian" */
    char *os_version; /* "12" */
    char *os_name;    /* "Debian GNU/Linux 12 (bookworm)" */
    char *kernel;
    char *boot_id; /* another one: it was rebooted */
    guint64 uptime_ms;
    double load; /* of the last minute */
    guint users; /* logged in */
    guint64 memory_total;
    guint64 memory_available;
    guint64 memory_free;
    guint64 swap_total;
    guint64 swap_free;
} LodgeAgentInfo;

void lodge_agent_info_free(LodgeAgentInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeAgentInfo, lodge_agent_info_free)

typedef struct {
    char *name; /* "eth0" */
    char *mac;  /* "52:54:00:…", NULL if it has none */
    gboolean is_up;
    char **addresses; /* "10.77.0.12/24", "fe80::1/64"; checked */
} LodgeAgentNic;

LodgeAgentInfo *lodge_agent_info(LodgeAgent *agent, gint64 deadline, GError **error);

/* All but loopback: an array of LodgeAgentNic that frees them. */
GPtrArray *lodge_agent_addresses(LodgeAgent *agent, gint64 deadline, GError **error);

/* Who the guest shall be. What is NULL, 0 or empty stays as it is. */
typedef struct {
    const char *nic; /* its name or present MAC; "": the only one; NULL ends the array */
    const char *mac; /* to be */
    const char *const *addresses; /* "10.77.0.12/24"; they replace what it has */
    const char *const *gateways;
    gboolean dhcp;    /* ask for a lease anew */
    gboolean link_up; /* at the end */
} LodgeAgentNicIdentity;

typedef struct {
    const char *path;
    guint mode;
    const char *content;
    gsize length;
} LodgeAgentFile;

typedef struct {
    const char *hostname;
    const char *machine_id; /* 32 hexadecimal digits */
    gboolean clock;         /* as the host's */
    gboolean entropy;       /* fresh, from the host */
    const LodgeAgentNicIdentity *nics;
    const char *const *dns;
    const char *keys_user;       /* whose authorized keys `keys` are; NULL: root */
    const char *authorized_keys; /* lines; they replace those that were */
    const LodgeAgentFile *files; /* SSH host keys and the like; a NULL path ends the array */
} LodgeAgentIdentity;

/* Tell the guest who it is. All parts are tried; if some fail, the error has the first's code and
 * names each. */
gboolean lodge_agent_identity(LodgeAgent *agent, const LodgeAgentIdentity *identity,
                              gint64 deadline, GError **error);
gboolean lodge_agent_set_time(LodgeAgent *agent, gint64 deadline, GError **error);
gboolean lodge_agent_write_keys(LodgeAgent *agent, const char *user, const char *keys,
                                gint64 deadline, GError **error);

/* Freeze the guest's file systems. They thaw by lodge_agent_thaw(), at the end of this
 * conversation, or after @hold_ms, whichever comes first. @out_count may be NULL. */
gboolean lodge_agent_freeze(LodgeAgent *agent, gint64 hold_ms, gint64 deadline, guint *out_count,
                            GError **error);
/* TIMEOUT if they had thawed by themselves: what was done meanwhile is not consistent. */
gboolean lodge_agent_thaw(LodgeAgent *agent, gint64 deadline, GError **error);

/* Give unused blocks back; @out_bytes may be NULL. UNSUPPORTED if no file system can. */
gboolean lodge_agent_trim(LodgeAgent *agent, gint64 deadline, guint64 *out_bytes, GError **error);
gboolean lodge_agent_sync(LodgeAgent *agent, gint64 deadline, GError **error);

/* Have the guest begin to end. TRUE when the agent took it; QMP tells whether it does. */
gboolean lodge_agent_shutdown(LodgeAgent *agent, gboolean reboot, gint64 deadline, GError **error);
