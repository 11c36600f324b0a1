/* A guest's NIC on a network: what filters, forwards and DHCP must know of it. */
#pragma once

#include <glib.h>

#include "base/json.h"
#include "model/model.h"

typedef struct {
    char *link; /* the tap's name */
    char *guest;
    char *nic;
    char *mac;
    char *address4; /* NULL: none */
    char *address6; /* NULL: none */
    char *forward;  /* LODGE_TYPE_FORWARDS; NULL: none */
    char *route;    /* LODGE_TYPE_PREFIXES; NULL: none */
    gboolean filter;
    guint vlan;                            /* 0: the network's */
    char *trunk;                           /* LODGE_TYPE_VLANS; NULL: none */
    guint64 rate_in_bytes, rate_out_bytes; /* a second; 0: no limit */
} LodgePort;

/* Read what was written for a port; NULL with INVALID if it is no port. */
LodgePort *lodge_port_from_json(const json_t *value, GError **error);
json_t *lodge_port_json(const LodgePort *port);
void lodge_port_free(LodgePort *port);

/* The port of a guest's NIC; all texts are borrowed, @link too. Without addresses in the definition
 * it has none. */
LodgePort lodge_port_of_nic(const LodgeGuest *guest, const LodgeNic *nic, char *link);

/* The name of the tap of a guest's NIC: the same at each start, another in each store. */
char *lodge_port_link(const char *store_root, const char *guest, const char *nic);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgePort, lodge_port_free)
