/* Kernel samepage merging: equal pages of guests kept once. */
#pragma once

#include <glib.h>

typedef enum { LODGE_KSM_OFF, LODGE_KSM_ON, LODGE_KSM_AUTO } LodgeKsmMode;

typedef struct {
    gboolean available; /* this kernel has it */
    gboolean running;
    guint64 pages_shared;  /* kept */
    guint64 pages_sharing; /* places that use them beside the first: what is saved */
    guint64 pages_to_scan; /* each time it wakes */
    guint64 sleep_ms;
    guint64 saved_bytes;
} LodgeKsm;

/* How the host's memory stands. */
typedef struct {
    guint64 total_bytes;
    guint64 available_bytes;
    double pressure; /* percent of time in which some task waited for memory, over the last 10 s;
                      * below 0: this kernel doesn't say */
} LodgeMemory;

void lodge_ksm_read(const char *sysroot, LodgeKsm *out_ksm);

/* Merge with @pages_to_scan a turn (0: as it is), or stop merging (what is merged stays so until it
 * is written to). Needs root. UNSUPPORTED if the kernel has none. */
gboolean lodge_ksm_write(const char *sysroot, gboolean run, guint64 pages_to_scan, GError **error);

/* Never blocks. What can't be read is 0, the pressure -1. */
void lodge_memory_read(const char *sysroot, LodgeMemory *out_memory);

/* Shall it run, under `auto`? With two guests or more while less than a fifth of the memory is
 * available or tasks wait for it; once on, until a third is available, so that it does not flutter.
 * Pure. */
gboolean lodge_ksm_decide(const LodgeMemory *memory, guint guests, gboolean running);

/* What is asked for. It is kept in @folder (the store's root), in ksm.json, with the kernel's own
 * speed of before. */
LodgeKsmMode lodge_ksm_mode(const char *folder);

/* Ask for a mode and act on it: `on` and `off` at once, `auto` by lodge_ksm_decide(). The first
 * change keeps the kernel's own speed; `off` gives it back. Needs root. */
gboolean lodge_ksm_set(const char *sysroot, const char *folder, LodgeKsmMode mode, guint guests,
                       GError **error);

/* Under `auto`, decide again. Does nothing else; errors are ignored, as nobody is there to tell. */
void lodge_ksm_review(const char *sysroot, const char *folder, guint guests);

const char *lodge_ksm_mode_word(LodgeKsmMode mode);
/* USAGE error unless @word is one. */
gboolean lodge_ksm_mode_from_word(const char *word, LodgeKsmMode *out_mode, GError **error);
