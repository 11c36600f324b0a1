/* What a guest is doing, as far as can be known without asking anybody. */
#pragma once

#include <glib.h>
#include <jansson.h>
#include <sys/types.h>

typedef enum {
    LODGE_STATE_STOPPED,
    LODGE_STATE_CREATING, /* `create` has not finished, or was killed: the job says which */
    LODGE_STATE_STARTING, /* QEMU is being started */
    LODGE_STATE_RUNNING,
    LODGE_STATE_PAUSED,
    LODGE_STATE_STOPPING, /* the guest was asked to shut down, or QEMU is ending */
    LODGE_STATE_CRASHED,  /* it ended otherwise than by being asked to */
} LodgeState;

typedef struct {
    LodgeState state;
    gboolean has_qemu;   /* a QEMU process lives */
    gboolean has_keeper; /* its keeper does; else the next command starts one that adopts it */
    pid_t qemu_pid;
    gint64 started_ms; /* of the Unix epoch; 0 unknown */
    gboolean agent;    /* QEMU's guest agent has its port open: images of Lodge's are up then */
    json_t *inside;    /* what lodge-agent says (keeper/inside.h); NULL: it is not there */
    guint ports;       /* a bit for each of lodge-agent's ports that the guest has open */
    guint ssh_port;    /* on 127.0.0.1 or ssh_host; 0: none */
    char *ssh_host;    /* the guest's own address, where the host reaches it; NULL: 127.0.0.1 */
    gboolean is_kvm;
    char *reason;    /* why it crashed or was paused; NULL: nothing to say */
    char *job;       /* the verb at work, "create"; NULL: none */
    char *job_stage; /* how far it is; NULL */
    pid_t job_pid;
} LodgeGuestState;

/* Where its SSH server is reached, an address; NULL: nowhere. Borrowed. */
const char *lodge_state_ssh_host(const LodgeGuestState *state);

const char *lodge_state_word(LodgeState state);
/* The reverse; FALSE if @word is none. */
gboolean lodge_state_from_word(const char *word, LodgeState *out_state);

void lodge_guest_state_free(LodgeGuestState *state);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeGuestState, lodge_guest_state_free)
