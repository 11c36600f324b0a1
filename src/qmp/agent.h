/* Lodge's own guest agent (src/agent), over its virtio-serial ports.
 *
 * A LodgeAgent is a conversation on one session port, which is its holder's alone; freeing it ends
 * what it began in the guest. What the guest says is checked: shapes, ranges, sizes and names;
 * texts from it are printable unless said otherwise.
 *
 * Errors of all calls: TIMEOUT (no answer before the deadline; LODGE_NO_DEADLINE: none),
 * INTERRUPTED (a signal came, base/wait.h), FAILED (the guest could not do it, QEMU closed the
 * port, or the agent began anew), NOT_FOUND, EXISTS, BUSY and UNSUPPORTED (the guest says so of
 * what was asked for), INVALID (what the guest said is malformed, or an argument is).
 *
 * After TIMEOUT, INTERRUPTED, INVALID, or "the agent began anew", the
 * conversation is over: every further call fails. Refusals by the guest leave it usable. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct LodgeAgent LodgeAgent;

/* Take a free session port (1 to 7) of the guest whose run folder this is, and greet. NOT_FOUND if
 * it has no such ports; BUSY if all are taken until @deadline; TIMEOUT if no agent answers. */
LodgeAgent *lodge_agent_connect(const char *run_folder, gint64 deadline, GError **error);
/* The same on the connected socket @fd, which is taken even on failure. */
LodgeAgent *lodge_agent_open(int fd, gint64 deadline, GError **error);
void lodge_agent_free(LodgeAgent *agent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeAgent, lodge_agent_free)

/* The agent's version ("0.1.0"), borrowed. */
const char *lodge_agent_version(const LodgeAgent *agent);

/* Its port's number, 1 to 7; 0 of one that was opened by its socket. */
guint lodge_agent_port(const LodgeAgent *agent);

/* Who knows of the guest what its port does not tell: that an agent was killed without a
 * successor, or that the guest is stopped on purpose. */
typedef struct {
    int fd; /* when readable, look() is called, which must read it */
    /* FALSE: the conversation is over, for that reason. */
    gboolean (*look)(gpointer data, GError **error);
    /* Is the guest meant to stand still now? Then its silence means nothing. */
    gboolean (*stands)(gpointer data);
    gpointer data;
} LodgeAgentGuard;

/* From now on all that waits for the guest asks @guard too, which is borrowed. With one, a program
 * whose guest is silent for some 30 seconds, though it is asked, is given up: TIMEOUT. */
void lodge_agent_guard(LodgeAgent *agent, const LodgeAgentGuard *guard);

/* --- Programs -------------------------------------------------------------------------------- */

typedef struct {
    const char *const *argv;        /* NULL-terminated; argv[0] is looked up in the guest's PATH */
    const char *const *environment; /* "NAME=VALUE" besides PATH, HOME, USER, LOGNAME, SHELL */
    const char *folder;             /* where it runs; NULL: the user's home */
    const char *user;               /* a name or a number; NULL: root */
    gboolean merge;                 /* standard error goes where standard output goes */
    gboolean terminal;              /* it gets a terminal of rows x columns; implies merge */
    guint rows;
    guint columns;
} LodgeAgentExec;

typedef struct {
    int exit_status; /* 0 to 255; -1 if a signal ended it */
    int signal;      /* 0 if it exited */
} LodgeAgentEnd;

/* What a program's streams are here. A descriptor of -1: no input, or output thrown away. */
typedef struct {
    int input_fd;
    int output_fd;
    int error_fd;
    int wake_fd; /* when readable, on_wake is called, which must read it; -1: none */
    void (*on_wake)(LodgeAgent *agent, gpointer data);
    gpointer data;
} LodgeAgentStreams;

/* Run a program to its end, moving bytes both ways meanwhile. Nothing is kept: who is slow holds
 * the other up. Descriptors stay open and as they are; a local output that nobody reads any more is
 * FAILED (EPIPE). TRUE if it ran, however it ended. NOT_FOUND if there is no such program, user or
 * folder. On every other error the guest ends it. */
gboolean lodge_agent_exec_stream(LodgeAgent *agent, const LodgeAgentExec *exec,
                                 const LodgeAgentStreams *streams, gint64 deadline,
                                 LodgeAgentEnd *out_end, GError **error);

/* For on_wake: the terminal's size changed; a signal for the program's process group. */
void lodge_agent_exec_resize(LodgeAgent *agent, guint rows, guint columns);
void lodge_agent_exec_signal(LodgeAgent *agent, int signal_number);

typedef struct {
    LodgeAgentEnd end;
    char *output; /* any bytes, a NUL behind them */
    gsize output_bytes;
    char *error_output;
    gsize error_output_bytes;
    gboolean truncated; /* more came of either than was wanted */
} LodgeAgentResult;

void lodge_agent_result_clear(LodgeAgentResult *result);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LodgeAgentResult, lodge_agent_result_clear)

/* The same with input from memory (NULL: none) and output into memory, at most @limit_bytes of each
 * stream. @out_result is untouched on failure. */
gboolean lodge_agent_run(LodgeAgent *agent, const LodgeAgentExec *exec, const char *input,
                         gsize input_bytes, gsize limit_bytes, gint64 deadline,
                         LodgeAgentResult *out_result, GError **error);

/* --- Files ----------------------------------------------------------------------------------- */

/* Paths in the guest are absolute. Copying tells of its progress here; may be NULL. */
typedef void (*LodgeAgentProgressFunc)(guint64 done_bytes, const char *path, gpointer data);

typedef struct {
    gboolean sync;       /* on the guest's disk before it is done */
    gboolean keep_owner; /* into the guest: our numbers; else root's, or as what is replaced */
    gint64 stall_ms;     /* give up after so long without progress; 0: a minute */
    LodgeAgentProgressFunc on_progress;
    gpointer data;
    guint64 out_files; /* set: how many files were copied, and bytes */
    guint64 out_bytes;
    guint64 out_skipped; /* devices, sockets, and links that lead out of the tree */
} LodgeAgentCopy;

/* Copy what @fd reads to @guest_path, which is replaced at one stroke when all has come. @mode: -1
 * as what is replaced, or 0644. @copy may be NULL. EXISTS if it is a folder, NOT_FOUND without one.
 */
gboolean lodge_agent_put_fd(LodgeAgent *agent, int fd, const char *guest_path, int mode,
                            LodgeAgentCopy *copy, GError **error);
/* Copy a file of the guest to what @fd writes. */
gboolean lodge_agent_get_fd(LodgeAgent *agent, const char *guest_path, int fd, LodgeAgentCopy *copy,
                            GError **error);

/* A file or a whole tree into or out of the guest, as `cp -r` names it: into the target if that is
 * a folder, else as the target. Modes and times go along; set-user-id bits do not come out. Files
 * appear when they are whole; after an error those before it are there. Names out of the guest
 * can't lead out of the target. */
gboolean lodge_agent_copy_in(LodgeAgent *agent, const char *host_path, const char *guest_path,
                             LodgeAgentCopy *copy, GError **error);
gboolean lodge_agent_copy_out(LodgeAgent *agent, const char *guest_path, const char *host_path,
                              LodgeAgentCopy *copy, GError **error);

typedef enum {
    LODGE_AGENT_FILE,
    LODGE_AGENT_FOLDER,
    LODGE_AGENT_SYMLINK,
    LODGE_AGENT_OTHER,
} LodgeAgentKind;

/* @follow: what a symbolic link leads to. Any out may be NULL. */
gboolean lodge_agent_stat(LodgeAgent *agent, const char *guest_path, gboolean follow,
                          gint64 deadline, LodgeAgentKind *out_kind, guint64 *out_size_bytes,
                          GError **error);
gboolean lodge_agent_mkdir(LodgeAgent *agent, const char *guest_path, mode_t mode, gint64 deadline,
                           GError **error);

/* --- The guest as a whole: see agent-system.h for the structures -------------------------------
 */
#include "qmp/agent-system.h"
