/* Changing a guest's definition, and the running guest with it where that can be. */
#pragma once

#include <glib.h>

#include "ops/ops.h"

/* What became of one change. */
typedef enum {
    LODGE_SET_STORED,  /* the guest does not run: it holds from the next start */
    LODGE_SET_LIVE,    /* it holds now */
    LODGE_SET_PENDING, /* the running guest can't take it: it waits for the next start */
} LodgeSetOutcome;

typedef struct {
    char *key;   /* as the user writes it: "memory", "disk.root.iops" */
    char *old;   /* NULL: the default */
    char *fresh; /* NULL: the default */
    LodgeSetOutcome outcome;
    char *why; /* for PENDING, what stood in the way; NULL: such a key never changes live */
} LodgeChange;

/* Apply @assignments, "key=value" each, an empty value meaning the default: all or, if one is
 * wrong, none. Keys: "memory", "disk.NAME.KEY", "nic.NAME.KEY" … Returns an array of LodgeChange *
 * that frees them. Errors: USAGE with a suggestion for a key or value that is none; NOT_FOUND for a
 * disk or NIC that the guest lacks. */
GPtrArray *lodge_set(const LodgeStore *store, const char *name, const char *const *assignments,
                     GError **error);

/* Make @text the definition; the running guest takes what it can. As lodge_set(). */
GPtrArray *lodge_set_text(const LodgeStore *store, const char *name, const char *text,
                          GError **error);

/* What of the definition waits for the next start: an array of LodgeChange *, empty if nothing does
 * or the guest does not run. */
GPtrArray *lodge_pending(const LodgeStore *store, const char *name, GError **error);

/* Give a stopped guest another name; its host name follows where Lodge's own images are told it. */
gboolean lodge_rename(const LodgeStore *store, const char *from, const char *to, GError **error);
