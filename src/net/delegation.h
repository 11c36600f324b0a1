/* A client that has a prefix delegated and keeps it (RFC 8415, section 18.2). Pure: what to send
 * and when is asked of it, and what was heard is told to it; clocks and sockets are the caller's.
 *
 * Theory of operation: it solicits; of the offers of the first second it requests the best, at once
 * one that says so. What it has is renewed by its server from T1 on, by any from T2 on, and lost
 * when its time is over. Begun anew with a prefix of an earlier run it solicits too, and hints at
 * that prefix, which stays in use as long as it is valid: a server that knows us gives it again,
 * and another router's replaces it. All times are in ms, of one clock of the caller's. */
#pragma once

#include <glib.h>

#include "net/dhcp6-message.h"

typedef enum {
    LODGE_DELEGATION_SOLICITING,
    LODGE_DELEGATION_REQUESTING,
    LODGE_DELEGATION_BOUND,
    LODGE_DELEGATION_RENEWING,
    LODGE_DELEGATION_REBINDING,
    LODGE_DELEGATION_RELEASING,
} LodgeDelegationState;

typedef struct {
    LodgeDuid duid;
    guint32 iaid;
    LodgeDelegationState state;
    LodgeDelegation lease; /* what we have; of family 0: nothing */
    gint64 since;          /* from when its times count */
    LodgeDelegation hint;  /* what we had before, and would like again; of family 0: nothing */
    LodgeDelegation offer; /* the best so far, or what is requested */
    int preference;
    guint32 transaction;
    gint64 began; /* of the exchange */
    gint64 next;  /* when lodge_delegation_act() has something to do */
    guint tries;
    gint64 pause; /* between the last message and the next */
} LodgeDelegationClient;

/* Begin to solicit at @now. The caller has set duid and iaid, and lease and since if there is one
 * from earlier. */
void lodge_delegation_begin(LodgeDelegationClient *client, gint64 now);

/* Do what is due: append a message that is to be sent to @bytes, or nothing. Returns whether the
 * lease was lost. */
gboolean lodge_delegation_act(LodgeDelegationClient *client, gint64 now, GByteArray *bytes);

/* Give the lease back: append the message that says so to @bytes, as often as it is called. FALSE:
 * there is no lease, or not any more. */
gboolean lodge_delegation_release(LodgeDelegationClient *client, gint64 now, GByteArray *bytes);

/* Hear a message. Returns whether the lease is new or prolonged; what was no answer to us is
 * ignored. An answer to the release ends the lease. */
gboolean lodge_delegation_hear(LodgeDelegationClient *client, const guint8 *data, gsize size,
                               gint64 now);

/* Until when @seconds of the lease last; G_MAXINT64: for ever. */
gint64 lodge_delegation_until(const LodgeDelegationClient *client, guint32 seconds);
