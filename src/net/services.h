/* The programs that serve a network: dnsmasq, and tayga and unbound for NAT64. Private to the net
 * layer and to lodge-network, their keeper. */
#pragma once

#include "net/net.h"

/* One program. dnsmasq closes every descriptor it inherits, so no lock can tell whether it lives:
 * its process id stands in a file, and is believed if that process was called with these words. */
typedef struct {
    const char *name; /* "dnsmasq" */
    char **argv;
    char *process_path; /* its process id, written by itself before it is executed */
    char *ready_path;   /* appears when it serves; NULL: it serves at once */
} LodgeService;

/* A descriptor for the living process (see pidfd_open(2)), or -1. */
int lodge_service_open(const LodgeService *service);

void lodge_service_free(LodgeService *service);

/* Those that @network wants, of LodgeService *. */
GPtrArray *lodge_net_services(const LodgeStore *store, const LodgeNetwork *network);

/* Write their configuration. */
gboolean lodge_net_write_services(const LodgeStore *store, const LodgeNetwork *network,
                                  GError **error);

/* End the network's keeper and its programs, whoever of them lives, and wait for it. */
gboolean lodge_net_stop_services(const LodgeStore *store, const LodgeNetwork *network,
                                 GError **error);

/* Do all of them live? */
gboolean lodge_net_is_served(const LodgeStore *store, const LodgeNetwork *network);

/* Have dnsmasq read its folders anew: that a file was removed it does not notice by itself. */
void lodge_net_reread_hosts(const LodgeStore *store, const LodgeNetwork *network);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeService, lodge_service_free)
