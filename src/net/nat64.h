/* IPv4 for guests that have IPv6 only: tayga translates packets, unbound makes up the addresses.
 *
 * Guests find the IPv4 world in a /96 that is routed to a tun device of the network's own,
 * l64-NAME. tayga gives each guest an address of the pool (`subnet=`) there, which the host's rules
 * hide behind its own. unbound answers for names without IPv6 with addresses of the /96; dnsmasq,
 * which the guests ask, asks it. */
#pragma once

#include "net/net-private.h"

/* The name of @network's tun device. Free with g_free. */
char *lodge_nat64_link(const char *network);

/* Where unbound listens, "127.64.3.141", and at which port: an address a network, as many can run.
 * Free with g_free. */
char *lodge_nat64_listen(const LodgeNetwork *network);
enum { LODGE_NAT64_PORT = 5364 };

/* tayga's configuration. Pure. Free with g_free. */
char *lodge_nat64_tayga_config(const LodgeNetwork *network);

/* unbound's. @servers are those of the host, for networks without dns=; without any it begins at
 * the root. Pure. Free with g_free. */
char *lodge_nat64_unbound_config(const LodgeNetwork *network, const char *pid_file,
                                 const char *const *servers);

/* Is all there that @network needs for it? UNSUPPORTED error that names what to install. */
gboolean lodge_nat64_check(const LodgeNetwork *network, GError **error);

/* Make the device, or mend it, with its routes; and remove it. Nothing for networks without. */
gboolean lodge_nat64_make_link(LodgeNet *net, const LodgeNetwork *network, GError **error);
gboolean lodge_nat64_remove_link(LodgeNet *net, const LodgeNetwork *network, GError **error);
