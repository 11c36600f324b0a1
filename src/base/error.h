/* One error domain for all of Lodge, and what its codes mean to a shell. */
#pragma once

#include <glib.h>

#define LODGE_ERROR (lodge_error_quark())

typedef enum {
    LODGE_ERROR_FAILED,      /* what was asked did not work */
    LODGE_ERROR_USAGE,       /* the command line or a value in it is wrong */
    LODGE_ERROR_INVALID,     /* a file, definition or answer is malformed */
    LODGE_ERROR_NOT_FOUND,   /* no such guest, image, file */
    LODGE_ERROR_EXISTS,      /* it is there already */
    LODGE_ERROR_BUSY,        /* another command holds it, or its state forbids this */
    LODGE_ERROR_UNSUPPORTED, /* this host can't */
    LODGE_ERROR_TIMEOUT,     /* a deadline passed */
    LODGE_ERROR_INTERRUPTED, /* SIGINT or SIGTERM arrived */
} LodgeError;

GQuark lodge_error_quark(void);

/* The exit status of a command that ends with @error: 1 failed, 2 wrong usage, 3 no such thing,
 * 4 it exists already, 5 busy, 6 this host can't, 130 interrupted. Foreign domains give 1. */
int lodge_error_exit_status(const GError *error);

/* A short stable word for a code, as `--json` prints it: "not-found", "busy" … */
const char *lodge_error_word(const GError *error);

/* Set @error from errno value @saved_errno: "<what>: <strerror>". Chooses the code: ENOENT gives
 * NOT_FOUND, EEXIST gives EXISTS, EBUSY and EAGAIN give BUSY, ENOSPC says how to mend it.
 * Returns FALSE, so that a function may end with `return lodge_error_errno(…)`. */
gboolean lodge_error_errno(GError **error, int saved_errno, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* Set @error with a code of LODGE_ERROR. Returns FALSE. */
gboolean lodge_error_set(GError **error, LodgeError code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* Put "<prefix>: " before the message. Returns FALSE. */
gboolean lodge_error_prefix(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
