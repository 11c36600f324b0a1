/* The full screen. */
#pragma once

#include <glib.h>

#include "store/store.h"

typedef struct {
    const LodgeStore *store;
    const char *const *names; /* only these guests; NULL: all */
    const char *program;      /* lodge, for what keys ask of a guest */
    const char *sort;
    gint64 interval_ms;
} ScreenOptions;

/* Show guests until `q`. USAGE error if there is no terminal. */
gboolean screen_run(const ScreenOptions *options, GError **error);
