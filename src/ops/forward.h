/* Ports of the host that reach guests, and the addresses that guests have. */
#pragma once

#include <glib.h>

#include "ops/ops.h"

/* One forwarded port, as it is defined. */
typedef struct {
    char *guest;
    char *nic;
    char *network;
    char *spelling; /* "8080:80", "192.0.2.1:5353:53/udp" */
    char *address;  /* the host's; NULL: all of them */
    guint host_port;
    guint guest_port;
    gboolean udp;
    char *target; /* the guest's address; NULL: unknown, or user-mode networking */
} LodgeForwardView;

/* Those of guest @name (NULL: all guests) on @network (NULL: any), of LodgeForwardView *. */
GPtrArray *lodge_forward_list(const LodgeStore *store, const char *name, const char *network,
                              GError **error);

/* Forward a port (LODGE_TYPE_FORWARDS, one) to NIC @nic (NULL: the first on a network that
 * forwards) of a guest, or with @remove no longer; then a bare host port, "8080" or "53/udp", names
 * it too. A running guest's ports change at once. BUSY if the port is taken, NOT_FOUND if none is
 * forwarded, EXISTS if it is already; the definition is unchanged then. */
gboolean lodge_forward_change(const LodgeStore *store, const char *name, const char *nic,
                              const char *forward, gboolean remove, GError **error);

/* An address of a guest's. */
typedef struct {
    char *nic; /* NULL: a NIC that its definition does not know */
    char *network;
    char *address;
} LodgeAddress;

/* All that are known, of LodgeAddress *: those of the definition, reserved ones of a NIC without,
 * and where neither is known what the guest's agent says. "web1.lodge" is web1, if `lodge` is the
 * domain of one of its networks. NOT_FOUND if none is known. */
GPtrArray *lodge_resolve(const LodgeStore *store, const char *name, GError **error);
