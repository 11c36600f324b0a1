/* What this box can do for guests, what each gap costs, and how to close it.
 *
 * Everything here looks at the running system, or at a tree below a folder that looks like one
 * (sysroot), so that a machine can be examined, and tests can make machines up. */
#pragma once

#include <glib.h>
#include <jansson.h>

#include "host/distro.h"
#include "host/firmware.h"

/* Below this many million instructions a second a guest of any kind would hang, as good as. */
#define LODGE_KVM_LEAST_MIPS 50.0

typedef enum {
    LODGE_KVM_HARDWARE, /* guests run at the processor's speed: use it */
    LODGE_KVM_EMULATED, /* it opens, but the kernel interprets each instruction: never use it */
    LODGE_KVM_ABSENT,   /* it can't be opened or runs nothing */
} LodgeKvmState;

typedef struct {
    LodgeKvmState state;
    double real_mips; /* speed in real mode, million instructions a second; 0 if not measured */
    double long_mips; /* speed in long mode, which decides */
    gint64 took_us;   /* how long it took to find out */
    gboolean cached;  /* found out earlier since this boot */
    char reason[256]; /* what was found, a sentence without its full stop; "" for HARDWARE */
    char mend[256];   /* what to do about it, a command where one helps; "" if nothing does */
} LodgeKvmVerdict;

/* Can /dev/kvm run a guest, and how fast? Runs a guest of a few instructions in a child process and
 * counts; takes some 5 ms, and however busy or stuck the machine, under half a second. The result
 * is kept in kvm.json in @cache_folder (NULL: nowhere; a folder that is absent or not ours to write
 * is no error), for this boot, kernel and device; later calls take microseconds. @fresh measures in
 * any case. TRUE with @out filled whatever the verdict; FALSE if no child could be made, or
 * INTERRUPTED. */
gboolean lodge_kvm_verdict(const char *cache_folder, gboolean fresh, LodgeKvmVerdict *out,
                           GError **error);

/* "hardware", "emulated", "absent". */
const char *lodge_kvm_state_word(LodgeKvmState state);

typedef enum { LODGE_CHECK_OK, LODGE_CHECK_DEGRADED, LODGE_CHECK_MISSING } LodgeCheckState;

typedef struct {
    const char *id;    /* "vhost-net" */
    const char *title; /* "Fast guest network (vhost-net)" */
    gboolean required; /* no guest runs without it */
    LodgeCheckState state;
    char *detail; /* what was found */
    char *cost;   /* what the gap costs the user; NULL if OK */
    char *mend;   /* a command for this distribution, or advice; NULL if none helps */
} LodgeCheck;

typedef struct {
    const char *sysroot;      /* NULL or "": the running system; KVM is the running one's anyway */
    const char *cache_folder; /* as for lodge_kvm_verdict(); QEMU's version is kept there too */
    const char *store_root;   /* where guests are kept, for its free space */
} LodgeCheckOptions;

typedef struct {
    GPtrArray *checks; /* of LodgeCheck, in the order to show them */
    LodgeKvmVerdict kvm;
    gboolean can_run; /* no required check is MISSING: guests run, perhaps emulated */
    char *summary;    /* that in a sentence */
} LodgeCheckReport;

void lodge_check_report_free(LodgeCheckReport *report);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeCheckReport, lodge_check_report_free)

/* Look at everything; KVM is measured anew. Takes some 7 ms, and once per QEMU upgrade its
 * start-up time besides. NULL only with the errors of lodge_kvm_verdict(). */
LodgeCheckReport *lodge_check_run(const LodgeCheckOptions *options, GError **error);

/* "ok", "degraded", "missing". */
const char *lodge_check_state_word(LodgeCheckState state);

/* {"can-run", "summary", "kvm": {…}, "checks": [{"id", "title", "state", "severity", "detail",
 * "cost", "mend"}]}. New reference. */
json_t *lodge_check_json(const LodgeCheckReport *report);

/* Why no guest that runs by KVM can have hardware virtualization of its own (nested=yes), with the
 * mend, by what the kernel's module was loaded with; NULL: it can. Free with g_free. */
char *lodge_nested_obstacle(const char *sysroot);

typedef enum {
    LODGE_FIX_LOAD_MODULE, /* now */
    LODGE_FIX_ADD_LINE,    /* to a file that is made if absent: it lasts over reboots */
} LodgeFixKind;

typedef struct {
    LodgeFixKind kind;
    char *sentence; /* what will be done and why, for the user to agree to */
    char *module;   /* the module to load, or for which the line is; a line whose module could not
                     * be loaded is not written */
    char *path;     /* of the file, without the sysroot; NULL for LOAD_MODULE */
    char *line;     /* without the line's end; NULL for LOAD_MODULE */
} LodgeFixStep;

/* What would be done to this box, in order: kernel modules that are there but not loaded, and
 * nested virtualization. Changes nothing. An array of LodgeFixStep, empty if all is well (or in a
 * container, whose host's kernel it is); free with g_ptr_array_unref. */
GPtrArray *lodge_host_fix_plan(const char *sysroot);

/* Loads @module. The default runs modprobe. */
typedef gboolean (*LodgeModprobeFunc)(const char *module, gpointer data, GError **error);

/* Do it. Files keep all their lines and are replaced whole; what is done already is skipped. A step
 * that fails does not keep the others from being done; the first failure is returned. @modprobe may
 * be NULL. Needs root. */
gboolean lodge_host_fix_apply(const char *sysroot, const GPtrArray *plan,
                              LodgeModprobeFunc modprobe, gpointer data, GError **error);
