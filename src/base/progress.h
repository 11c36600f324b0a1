/* How long work tells whoever asked for it how far it is, without knowing who that is. */
#pragma once

#include <glib.h>

typedef struct LodgeProgress LodgeProgress;

/* Embedded at the front of the structure of whoever listens. */
struct LodgeProgress {
    void (*stage)(LodgeProgress *progress, const char *words);
    void (*part)(LodgeProgress *progress, double fraction, const char *words);
    void (*failed)(LodgeProgress *progress);
};

/* A stage begins, and with it the last one has ended. A few words: "fetching the image". @progress
 * may be NULL: nobody listens. */
void lodge_progress_stage(LodgeProgress *progress, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The present stage is at @fraction of 1 (below 0: unknown); @words may add "124 of 330 MiB", or
 * NULL. May be called often. */
void lodge_progress_part(LodgeProgress *progress, double fraction, const char *words);

/* The present stage has failed; stages that follow undo what was done. */
void lodge_progress_failed(LodgeProgress *progress);
