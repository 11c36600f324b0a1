/* The verbs. Each takes the guest's job lock for as long as it works (BUSY if another has it), and
 * tells @progress (may be NULL) its stages. Names are checked; an unknown one is NOT_FOUND with a
 * suggestion. All may end with INTERRUPTED, having tidied up. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "qmp/agent.h"
#include "store/store.h"

/* What `create` is told. Texts as the user wrote them; NULL: not said. */
typedef struct {
    const char *name;
    const char *os;    /* a name of the catalogue; its image is made if absent */
    const char *image; /* an image that is here */
    const char *disk;  /* a disk file of the user's own, used where it is */
    const char *cpus, *memory, *size, *firmware, *accel, *user, *description;
    const char *profile;
    const char *const *assignments; /* "KEY=VALUE", as lodge_set() takes them; NULL: none */
    const char *const *forwards;
    const char *const *networks; /* a NIC each; NULL: what lodge_network_default() says */
    const char *const *ssh_keys; /* files of public keys; NULL: those of the calling user */
    const char *password_file;   /* its first line */
    const char *user_data;       /* a cloud-init user-data file */
    gboolean start, wait;
    gboolean cold;     /* boot it, even if it could begin as a parked machine */
    gboolean keep;     /* keep a guest that does not answer, to look into it */
    gint64 timeout_ms; /* for the answer */
} LodgeCreate;

/* Make a guest, and with it its image if need be. Returns when it answers, unless told not to start
 * or wait. On any failure nothing is left of it (but the image). EXISTS if the name is taken. */
gboolean lodge_create(const LodgeStore *store, const LodgeCreate *what, LodgeProgress *progress,
                      GError **error);

/* Start, and wait until the guest answers if @timeout_ms is not 0. One that runs already is fine.
 * @boot_once (NULL: the definition's order) is "disk", "cdrom" or "net": where to boot from, this
 * time only; BUSY if it runs already, and if one that runs is to be @paused. */
gboolean lodge_start(const LodgeStore *store, const char *name, gboolean paused,
                     const char *boot_once, gint64 timeout_ms, LodgeProgress *progress,
                     GError **error);

/* Wait until a running guest answers: its agent has its port open where it has one, and an SSH
 * server shows its banner. FAILED, with the reason, if it ends instead; TIMEOUT. */
gboolean lodge_wait_ready(const LodgeStore *store, const char *name, gint64 timeout_ms,
                          LodgeProgress *progress, GError **error);

/* Ask the guest to shut down, by its agent, else by ACPI; wait. One that is stopped is fine.
 * TIMEOUT says what to do next. */
gboolean lodge_stop(const LodgeStore *store, const char *name, gint64 timeout_ms,
                    LodgeProgress *progress, GError **error);

/* One guest has ended, or @error says why not. */
typedef void (*LodgeStoppedFunc)(const char *name, const GError *error, gpointer data);

/* Ask all of them first, then wait for all, within one deadline: for a host that shuts down.
 * @stopped is called once for each. */
void lodge_stop_many(const LodgeStore *store, const char *const *names, gint64 timeout_ms,
                     LodgeStoppedFunc stopped, gpointer data);

/* Pull the plug. QEMU is asked to quit; a QEMU that doesn't answer is killed. */
gboolean lodge_kill(const LodgeStore *store, const char *name, LodgeProgress *progress,
                    GError **error);

/* Stop and start; @force kills instead of stopping. */
gboolean lodge_restart(const LodgeStore *store, const char *name, gboolean force, gint64 timeout_ms,
                       LodgeProgress *progress, GError **error);

/* Stop and continue the guest's CPUs. BUSY if it does not run. */
gboolean lodge_pause(const LodgeStore *store, const char *name, GError **error);
gboolean lodge_resume(const LodgeStore *store, const char *name, GError **error);

/* Remove the guest with all files in its folder. BUSY if it runs, unless @force, which kills it.
 * Disks elsewhere stay. */
gboolean lodge_delete(const LodgeStore *store, const char *name, gboolean force,
                      LodgeProgress *progress, GError **error);

/* What `lodge_delete` would say now, before somebody is asked whether it shall: BUSY if the guest
 * runs and @force is FALSE, or if others need its data. */
gboolean lodge_delete_check(const LodgeStore *store, const char *name, gboolean force,
                            GError **error);

/* The command that logs into the guest: `ssh` with Lodge's key, the guest's port and its own
 * known_hosts, then @arguments. NULL-terminated, free with g_strfreev. BUSY if it does not run. */
char **lodge_ssh_command(const LodgeStore *store, const char *name, const char *user,
                         const char *const *arguments, GError **error);

/* The text of Lodge's own public key, which is made if absent. Free with g_free. */
char *lodge_ssh_key(const LodgeStore *store, GError **error);

/* A program in the guest, and what its streams are here; -1: no input, or output thrown away. */
typedef struct {
    LodgeAgentExec program;
    int input_fd;
    int output_fd;
    int error_fd;
    gint64 timeout_ms; /* 0: however long it takes */
} LodgeExec;

/* Run it to its end, by lodge-agent, which is sent the signals that we get meanwhile; else by
 * QEMU's agent: that takes standard input as a whole, shows output in the end, hears no signals,
 * and serves one at a time. @out_status: as a shell tells it, 128 and the number for a signal; 127
 * with a NOT_FOUND error if the guest has no such program, folder or user, else 0 with errors. BUSY
 * if the guest does not run, or no agent is there; UNSUPPORTED for what QEMU's agent can't. */
gboolean lodge_exec(const LodgeStore *store, const char *name, const LodgeExec *exec,
                    int *out_status, GError **error);

/* A key of [limits] and its value as the user wrote it. */
typedef struct {
    const char *key;
    const char *value;
} LodgeLimitsChange;

/* Write @changes (ended by a NULL key) into the definition, comments kept, and have them hold at
 * once if the guest runs. What can't hold is not written: see lodge_limits_apply(). */
gboolean lodge_limits_set(const LodgeStore *store, const char *name,
                          const LodgeLimitsChange *changes, GError **error);

/* {"name", "running", "cgroup": 1|2|null, "reason": why there is none, "asked": {"cpu_percent",
 * "cpu_weight", "memory_max_bytes", "io_weight", "pids_max"}, "holds": the same or null,
 * "throttled": {"cpu_used_us", "cpu_periods", "cpu_throttled", "cpu_throttled_us", "memory_bytes",
 * "memory_limit_hits", "memory_oom_kills", "threads"} or null, "disks": [{"name", "asked": {"iops",
 * "iops_read", "iops_write", "bytes", "bytes_read", "bytes_write"}, "holds": the same or null}],
 * "memory_bytes", "memory_now_bytes", "unasked": why QEMU was not asked, or null}. In limits 0 is
 * "none"; null is "can't be known". New reference. A hung QEMU costs a second. */
json_t *lodge_limits_report(const LodgeStore *store, const char *name, GError **error);

/* lodge_memory_set_live() (limit.h) with a size as the user wrote it. */
gboolean lodge_memory_now(const LodgeStore *store, const char *name, const char *size,
                          GError **error);
