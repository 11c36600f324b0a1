/* What the files of the network's test share. Private to this layer. */
#pragma once

#include "net/net-private.h"
#include "net/probe.h"

/* What a DHCPv4 server offered. */
typedef struct {
    LodgePrefix address; /* with the subnet's length */
    LodgePrefix server;
    LodgePrefix router; /* family 0: none */
    LodgePrefix dns;    /* family 0: none */
} LodgeProbeOffer;

/* --- The wire (probe-wire.c): called in the namespace; all with a deadline --- */

/* Ask for an address on @link, and take it. TIMEOUT if nobody answers, FAILED with the server's own
 * words if it refuses. */
gboolean lodge_probe_dhcp(const char *link, const char *mac, LodgeProbeOffer *out_offer,
                          GError **error);
/* Give it back. */
void lodge_probe_dhcp_release(const char *mac, const LodgeProbeOffer *offer);

/* Ask a DNS server for @name (type 1 is A); the answer's code (0: it knows) goes to
 * @out_code. */
gboolean lodge_probe_dns(const LodgePrefix *server, const char *name, guint16 type, int *out_code,
                         GError **error);

/* Send up to three echo requests; the time of the first answer goes to @out_us. */
gboolean lodge_probe_ping(const LodgePrefix *target, gint64 *out_us, GError **error);

/* --- The chain (probe-steps.c) --- */

typedef struct {
    const LodgeNetwork *network;
    const char *link; /* the namespace's end */
    const char *mac;
    gboolean has_server;  /* DHCP and DNS are Lodge's own */
    LodgePrefix outside4; /* family 0: the host has no way out itself */
    LodgePrefix outside6;
} LodgeProbeRun;

/* Do it all, in the namespace; steps are appended. */
void lodge_probe_run(const LodgeProbeRun *run, GPtrArray *steps);

void lodge_probe_add(GPtrArray *steps, LodgeProbeState state, const char *name, const char *format,
                     ...) G_GNUC_PRINTF(4, 5);
