/* A guest of a few instructions, run by KVM in a child process for some milliseconds. */
#pragma once

#include <glib.h>

typedef enum {
    LODGE_MICRO_STARTED,   /* the child has begun */
    LODGE_MICRO_OPENED,    /* /dev/kvm opened */
    LODGE_MICRO_CREATED,   /* virtual machine, memory and virtual CPU are there */
    LODGE_MICRO_REAL_DONE, /* the real-mode loop was timed */
    LODGE_MICRO_LONG_DONE, /* and the long-mode loop: all is known */
} LodgeMicroStage;

typedef struct {
    LodgeMicroStage stage; /* how far it came */
    int saved_errno;       /* of the system call that failed after that stage; 0 if none did */
    int exit_reason; /* KVM_EXIT_… that ended a loop which ends for no reason of its own; 0 */
    int api_version;
    gboolean timed_out; /* it was killed, as it came no further in time */
    double real_mips;   /* million instructions a second, by the child's own processor time */
    double long_mips;
} LodgeMicroGuest;

/* One that runs, until it is freed. */
typedef struct LodgeMicroRun LodgeMicroRun;

void lodge_micro_run_free(LodgeMicroRun *run);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeMicroRun, lodge_micro_run_free)

/* Let it run on the KVM device at @device, for at most @timeout_ms from now. NULL if no child could
 * be made. */
LodgeMicroRun *lodge_micro_run_start(const char *device, gint64 timeout_ms, GError **error);

/* Wait for its end and take what it found. Returns by its deadline and what it takes to end a
 * process, whatever the kernel does. FALSE only with INTERRUPTED; else look at @out. */
gboolean lodge_micro_run_finish(LodgeMicroRun *run, LodgeMicroGuest *out, GError **error);
