/* A verb at work: the guest's definition, its state and the job lock. Private to this layer. */
#pragma once

#include <glib.h>

#include "base/progress.h"
#include "qmp/qmp.h"
#include "store/store.h"

typedef struct {
    const LodgeStore *store;
    LodgeGuest *guest;
    LodgeJob *job;
    LodgeGuestState *state;
} Session;

/* Load the definition, take the job lock, see that a running QEMU has a keeper, look at the state.
 */
Session *session_begin(const LodgeStore *store, const char *name, const char *verb, GError **error);
/* The same for verbs that need nothing of the definition: it may be damaged, the guest is there. */
Session *session_begin_any(const LodgeStore *store, const char *name, const char *verb,
                           GError **error);
void session_end(Session *session);

/* Read definition and state anew, after something changed them. */
gboolean session_refresh(Session *session, GError **error);

/* Connect to the monitor that belongs to whoever holds the job lock. BUSY if no QEMU runs, TIMEOUT
 * with the mend if it does not answer; neither names the guest before what it says. */
LodgeQmp *session_monitor(const Session *session, gint64 timeout_ms, GError **error);

/* Let a keeper without QEMU do what it is at: it starts one (@out_starts), or it ends. A keeper
 * that is just starting QEMU must not be killed, or it would leave one whose process id nobody
 * knows. It says nothing of that moment, so it is looked for; one that is hung is not waited for
 * long. */
gboolean session_let_keeper(const Session *session, gboolean *out_starts, GError **error);

/* Wait until the keeper has published @wanted, so that who looks next sees it. One that is hung is
 * not waited for long: the command itself is done. */
void session_await_state(const Session *session, LodgeState wanted);

/* Start QEMU if none runs: checks the host's memory, starts the keeper. */
gboolean session_start(const Session *session, gboolean paused, LodgeProgress *progress,
                       GError **error);

/* What the host has to give, in bytes; a lot if it does not say. */
guint64 lodge_memory_available(void);

/* UNSUPPORTED if the host has not as much memory to give as the guest wants. */
gboolean session_check_memory(const Session *session, GError **error);

/* Wait until QEMU, and then its keeper, have ended. */
gboolean session_wait_end(const Session *session, gint64 deadline, GError **error);

/* Ask the guest to shut down and wait for its end; one that does not run is fine. */
gboolean session_stop(const Session *session, gint64 timeout_ms, LodgeProgress *progress,
                      GError **error);

/* Ask QEMU to quit, kill it if it does not answer, wait for the end. */
gboolean session_kill(const Session *session, GError **error);

/* Remove the guest, killing its QEMU if @force; its run folder goes when the session ends. */
gboolean session_delete(const Session *session, gboolean force, LodgeProgress *progress,
                        GError **error);

/* Connect to one of the guest's monitors, @socket in its run folder. Errors as session_monitor().
 */
LodgeQmp *lodge_monitor_connect(const LodgeStore *store, const char *name, const char *socket,
                                gint64 timeout_ms, GError **error);

/* BUSY: "guest web1 is stopped (`lodge start web1` starts it)". */
gboolean lodge_refuse_state(const char *name, const LodgeGuestState *state, GError **error);
gboolean session_refuse_state(const Session *session, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Session, session_end)
