/* The messages of DHCPv6 by which a router is delegated a prefix (RFC 8415). Pure. */
#pragma once

#include <glib.h>

#include "model/prefix.h"

enum {
    LODGE_DUID_MOST = 130, /* bytes */
};

typedef enum {
    LODGE_DHCP6_SOLICIT = 1,
    LODGE_DHCP6_ADVERTISE = 2,
    LODGE_DHCP6_REQUEST = 3,
    LODGE_DHCP6_RENEW = 5,
    LODGE_DHCP6_REBIND = 6,
    LODGE_DHCP6_REPLY = 7,
    LODGE_DHCP6_RELEASE = 8,
} LodgeDhcp6Type;

/* Who a client or server is. */
typedef struct {
    guint8 bytes[LODGE_DUID_MOST];
    gsize length; /* 0: nobody */
} LodgeDuid;

/* A prefix that is ours for a time, G_MAXUINT32 seconds being for ever. */
typedef struct {
    LodgePrefix prefix; /* its family is 0 if there is none */
    guint32 preferred_s;
    guint32 valid_s;
    guint32 renew_s;  /* T1: when its server is asked to prolong it */
    guint32 rebind_s; /* T2: when every server is */
    LodgeDuid server;
} LodgeDelegation;

typedef struct {
    LodgeDhcp6Type type;
    guint32 transaction; /* 24 bits */
    guint32 iaid;
    guint elapsed_cs;              /* since the first message of the exchange, in 1/100 s */
    const LodgeDuid *client;       /* borrowed */
    const LodgeDelegation *wanted; /* the prefix that we have or were offered; NULL: none */
} LodgeDhcp6Question;

/* Append the message. A SOLICIT without a wanted prefix asks for any /64. Server and lifetimes of
 * what is wanted don't count but where the type is one for a certain server. */
void lodge_dhcp6_put(GByteArray *bytes, const LodgeDhcp6Question *question);

typedef struct {
    int type;
    guint32 transaction;
    gboolean rapid; /* a REPLY to a SOLICIT */
    guint8 preference;
    LodgeDuid client;
    LodgeDuid server;
    gboolean has_iaid;          /* it speaks of ours */
    LodgeDelegation delegation; /* the best usable prefix that it has for us, complete */
} LodgeDhcp6Answer;

/* Read a message of a server's; @iaid is ours. Prefixes that can't be used are passed over: those
 * longer than /64, of less than a minute, or neither global nor unique local. INVALID error if it
 * is no such message. */
gboolean lodge_dhcp6_parse(const guint8 *data, gsize size, guint32 iaid,
                           LodgeDhcp6Answer *out_answer, GError **error);
