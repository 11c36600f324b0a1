/* What the parts of a guest's keeper share: guest-run.c (its life), guest-start.c (starting and
 * adopting), guest-events.c (what QEMU and the guest tell), guest-end.c. Private to the keeper. */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "base/base.h"
#include "keeper/guest-run.h"
#include "keeper/inside.h"
#include "keeper/memory.h"
#include "keeper/mend.h"
#include "keeper/passt.h"
#include "keeper/schedule.h"
#include "keeper/space.h"
#include "keeper/tpm.h"
#include "keeper/watch.h"
#include "qmp/qmp.h"

enum {
    KEEPER_RESTARTS_AT_MOST = 5, /* in ten minutes; then it is a loop that nobody is helped by */
};

struct Keeper {
    LodgeStore *store;
    char *name;
    char *run_folder;
    GMainLoop *loop;
    int report_fd;
    int keeper_lock;
    int port_reservation;
    KeeperMemory memory; /* what it began with, for others that do */

    LodgeOnCrash on_crash;
    pid_t qemu_pid;
    int qemu_pid_fd;
    int hangup_fd;
    gboolean is_child; /* else it was adopted, and its exit status is its own affair */
    guint exit_source;
    LodgeQmp *qmp;
    guint qmp_source;
    guint reconnect_source;
    Watch *watch;
    Mend *mend;
    Tpm tpm;
    Passts *passts;
    Space *space;
    Schedule *schedule;

    LodgeState state;
    char *reason;
    gboolean agent; /* QEMU's: it has its port open */
    Inside *inside; /* what lodge-agent tells */
    guint ports;    /* a bit for each of lodge-agent's that the guest has open */
    gboolean kvm;
    guint ssh_port;
    char *ssh_host; /* NULL: 127.0.0.1 */
    gint64 started_ms;
    gboolean incoming;         /* it has not run yet: it waits for its memory, or has just got it */
    gboolean ended_by_request; /* a SHUTDOWN event that is not a panic's came */
    gint64 restarts[KEEPER_RESTARTS_AT_MOST];
    guint restart_count;
    gint64 reset_us; /* when one was logged; 0: none */
};

/* A file of the run folder. Free with g_free. */
char *keeper_run_path(const Keeper *keeper, const char *file);

/* Write state.json. */
void keeper_publish(Keeper *keeper);

/* Enter a state, say why (NULL: nothing to say), publish both and log the event. */
void keeper_enter(Keeper *keeper, LodgeState state, const char *event, const char *reason);

/* Tell whoever started us how that went, once; NULL: well. */
void keeper_report(Keeper *keeper, const GError *error);

/* Begin and go on watching QEMU's end and events. */
void keeper_watch(Keeper *keeper);

/* --- guest-start.c --- */

/* Take what may be set while the guest runs from its definition (NULL: it can't be read). */
void keeper_read_policy(Keeper *keeper, const LodgeGuest *guest);

/* QEMU's last words, for the error that says why it ended. Free with g_free. */
char *keeper_last_words(const Keeper *keeper);

/* Take the exit status of a QEMU that has ended, 0 if it was not our child. */
void keeper_reap(Keeper *keeper, int *out_status);

/* --- guest-events.c --- */

/* Connect to the events' monitor, without waiting, and ask what may have changed. */
gboolean keeper_connect_events(Keeper *keeper, GError **error);
/* The same for a QEMU that may hang: it takes only so many connections, and earlier keepers' may
 * fill its queue. Then it is watched over all the same, by its process, and tried again. */
gboolean keeper_connect_patiently(Keeper *keeper, GError **error);

/* Ask whether the guest's agent has its port open: it may have been while nobody listened. */
void keeper_ask_ports(Keeper *keeper);

/* Have the main loop look at the events connection; again when what it waits for has changed. */
void keeper_watch_qmp(Keeper *keeper);

/* Act on the events that have come. */
void keeper_take_events(Keeper *keeper);

/* Let go of the events connection, if there is one, and try for none. */
void keeper_drop_qmp(Keeper *keeper);

/* Have the guest go on. */
void keeper_continue(gpointer keeper);

/* lodge-agent came (1), went (-1), or said something new (0). */
void keeper_on_inside(int came, gpointer keeper);

/* --- guest-end.c --- */

/* Count a restart. FALSE if there were too many: it does not help. */
gboolean keeper_may_restart(Keeper *keeper);

/* QEMU has ended: remove what was for it. */
void keeper_tidy_up(const Keeper *keeper);

/* For its pid descriptor. */
gboolean keeper_on_qemu_end(gint fd, GIOCondition condition, gpointer data);
