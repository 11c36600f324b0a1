/* What dnsmasq is told: DHCP for both families, router advertisements, DNS, TFTP. Pure. */
#pragma once

#include <glib.h>

#include "model/model.h"
#include "net/port.h"

/* Files that dnsmasq uses; borrowed. */
typedef struct {
    const char *pid_file;
    const char *lease_file;
    const char *hosts_folder;        /* of reservations: a file a NIC, read when it appears */
    const char *names_folder;        /* of names, likewise */
    const char *const *host_servers; /* the DNS servers that the host asks, for mode routed */
    const char *nat64_server;        /* the DNS64 server, "127.64.1.2#5364"; NULL: none */
} LodgeDnsmasqFiles;

/* Its configuration file. Free with g_free. */
char *lodge_dnsmasq_config(const LodgeNetwork *network, const LodgeDnsmasqFiles *files);
/* The same for mode routed. */
char *lodge_dnsmasq_routed_config(const LodgeNetwork *network, const LodgeDnsmasqFiles *files);

/* A NIC's reservation, one line: "MAC,10.77.0.12,[fd77::1000],web1". With @former_mac, which may be
 * NULL and stands behind the first, dnsmasq takes the lease away from that one when the NIC asks.
 * Free with g_free. */
char *lodge_dnsmasq_host(const LodgePort *port, const char *former_mac);
/* Its names, one line an address: "10.77.0.12 web1 web1.lodge". Free with g_free. */
char *lodge_dnsmasq_names(const LodgeNetwork *network, const LodgePort *port);
