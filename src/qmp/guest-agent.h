/* The QEMU guest agent (qemu-ga), over the Unix socket behind its virtio-serial port.
 *
 * Nobody may be there: an agent that is not installed, not started yet or stuck just never answers.
 * What it says is the guest's word: shapes, ranges and sizes are checked, texts may hold anything.
 * Errors of all calls, prefixed with the command's name where there is one:
 *   TIMEOUT      no answer before the deadline
 *   INTERRUPTED  a signal came (base/wait.h)
 *   FAILED       the agent refused, or QEMU closed the connection
 *   UNSUPPORTED  this agent has no such command, or it is disabled
 *   BUSY         the guest's file systems are frozen, which allows few commands
 *   INVALID      the answer is malformed or too large, or the arguments are not UTF-8
 * Unless QEMU closed it, the connection may be used on after each of them: the next call makes sure
 * that it hears its own answer. A file or program that was open in the guest then stays so.
 */
#pragma once

#include <glib.h>

#include "base/json.h"

typedef struct LodgeGuestAgent LodgeGuestAgent;

/* Connect to the socket and find out whether an agent answers. NOT_FOUND if nothing listens there.
 * TIMEOUT also if another client has the socket: QEMU serves one at a time. */
LodgeGuestAgent *lodge_guest_agent_connect(const char *socket_path, gint64 deadline,
                                           GError **error);
/* Use the connected socket @fd, which is taken. Says and hears nothing yet. */
LodgeGuestAgent *lodge_guest_agent_new(int fd);
void lodge_guest_agent_free(LodgeGuestAgent *agent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeGuestAgent, lodge_guest_agent_free)

/* Make sure that the next answer belongs to the next question. The calls do so when needed. */
gboolean lodge_guest_agent_sync(LodgeGuestAgent *agent, gint64 deadline, GError **error);

/* Any command; @arguments (an object or NULL) is taken. The value of "return", new reference. */
json_t *lodge_guest_agent_call(LodgeGuestAgent *agent, const char *command, json_t *arguments,
                               gint64 deadline, GError **error);
/* The same with arguments as for json_pack(), or NULL. */
json_t *lodge_guest_agent_ask(LodgeGuestAgent *agent, gint64 deadline, GError **error,
                              const char *command, const char *format, ...);

gboolean lodge_guest_agent_ping(LodgeGuestAgent *agent, gint64 deadline, GError **error);

/* Its version ("7.2.14", printable, g_free) and the commands that it allows (g_strfreev). Either
 * may be NULL. */
gboolean lodge_guest_agent_info(LodgeGuestAgent *agent, gint64 deadline, char **out_version,
                                char ***out_commands, GError **error);

typedef enum {
    LODGE_GUEST_SHUTDOWN_POWERDOWN,
    LODGE_GUEST_SHUTDOWN_HALT,
    LODGE_GUEST_SHUTDOWN_REBOOT,
} LodgeGuestShutdown;

/* Ask the guest to end. TRUE if the agent took it, which it shows by not refusing: it was in good
 * order before, and said nothing for some seconds, or went. Whether the guest ends, QMP tells. */
gboolean lodge_guest_agent_shutdown(LodgeGuestAgent *agent, LodgeGuestShutdown mode,
                                    gint64 deadline, GError **error);

typedef struct {
    const char *const *argv;        /* NULL-terminated; argv[0] is looked up in the agent's PATH */
    const char *const *environment; /* "NAME=VALUE": all of it; NULL: the agent's own */
    const char *input;              /* for its standard input; NULL: nothing */
    gsize input_bytes;
    gboolean discard_output; /* do not send us what it writes */
} LodgeGuestExec;

typedef struct {
    gint64 exit_status; /* 0 to 2^32-1; -1 if a signal ended it */
    gint64 signal;      /* 0 if it exited */
    char *output;       /* standard output, any bytes, a NUL behind them */
    gsize output_bytes;
    gboolean output_truncated; /* the agent keeps 16 MiB */
    char *error_output;        /* standard error, the same */
    gsize error_output_bytes;
    gboolean error_output_truncated;
} LodgeGuestExecResult;

void lodge_guest_exec_result_clear(LodgeGuestExecResult *result);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LodgeGuestExecResult, lodge_guest_exec_result_clear)

/* Run a program in the guest to its end. TRUE if it ran, however it ended. @out_result is untouched
 * on failure; clear it. NOT_FOUND if there is no such program; after TIMEOUT and INTERRUPTED it may
 * still run. */
gboolean lodge_guest_agent_exec(LodgeGuestAgent *agent, const LodgeGuestExec *exec, gint64 deadline,
                                LodgeGuestExecResult *out_result, GError **error);

/* Read a file of at most @limit_bytes: its bytes with a NUL behind (g_free), its length without it
 * in
 * @out_length. NOT_FOUND; INVALID if it is longer. */
char *lodge_guest_agent_file_read(LodgeGuestAgent *agent, const char *path, gsize limit_bytes,
                                  gint64 deadline, gsize *out_length, GError **error);

/* Make or overwrite a file; not atomic, and its mode is up to the agent. NOT_FOUND without folder.
 */
gboolean lodge_guest_agent_file_write(LodgeGuestAgent *agent, const char *path, const char *data,
                                      gsize length, gint64 deadline, GError **error);

/* A new array of the guest's NICs, loopback included, nothing but these members, texts printable:
 * [{"name": "eth0", "mac": "52:54:00:…" or null,
 *   "addresses": [{"family": "ipv4" or "ipv6", "address": "10.77.0.12", "prefix": 24}]}] */
json_t *lodge_guest_agent_interfaces(LodgeGuestAgent *agent, gint64 deadline, GError **error);

/* Set the guest's clock to the host's. */
gboolean lodge_guest_agent_set_time(LodgeGuestAgent *agent, gint64 deadline, GError **error);

/* Freeze all file systems, or thaw them; how many goes to @out_count (may be NULL). If freezing
 * fails, by TIMEOUT above all, some may be frozen: thaw in any case. */
gboolean lodge_guest_agent_freeze(LodgeGuestAgent *agent, gint64 deadline, guint *out_count,
                                  GError **error);
gboolean lodge_guest_agent_thaw(LodgeGuestAgent *agent, gint64 deadline, guint *out_count,
                                GError **error);
