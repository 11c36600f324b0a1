/* A network proves itself: a stranger on its bridge asks for an address, resolves a name and looks
 * outside, as a guest would. */
#pragma once

#include "net/net.h"

typedef enum { LODGE_PROBE_OK, LODGE_PROBE_FAILED, LODGE_PROBE_SKIPPED } LodgeProbeState;

/* A link of the chain. */
typedef struct {
    char *name; /* "DHCPv4", "gateway IPv6" */
    LodgeProbeState state;
    char *detail; /* what was found, or what is wrong and how to mend it, or why it was skipped */
} LodgeProbeStep;

void lodge_probe_step_free(LodgeProbeStep *step);
/* "ok", "failed", "skipped". */
const char *lodge_probe_state_word(LodgeProbeState state);

/* Test a network from a network namespace of its own, which is gone afterwards, killed or not; the
 * address that it was given is given back. @outside is an address to look for (NULL: the host's own
 * gateways). Takes a second, and up to some 15 where nothing answers. The steps in order, of
 * LodgeProbeStep *; NULL on error: BUSY if the network is stopped or is being tested. */
GPtrArray *lodge_net_probe(LodgeNet *net, const char *name, const char *outside, GError **error);
