/* Living beside other firewalls: Docker, ufw and their like drop by policy what they know nothing
 * of. Private to this layer.
 *
 * An accept in Lodge's own table binds no other, so a running network has a few rules in theirs,
 * each with the comment "lodge:BRIDGE": what is forwarded is accepted behind all their own rules,
 * just before the policy; to this host only DHCP, DNS and ICMP. firewalld is asked to count the
 * bridge to the zone it has for shared connections; if it has none, to the one that trusts, behind
 * a table "lodge-guard-BRIDGE" that lets in no more than the other zone would. Where nobody drops,
 * nothing is done. */
#pragma once

#include "net/net-private.h"

/* Let the network through, whatever there is of it. What can't be done is an event, and no error:
 * the network may be of use all the same. */
void lodge_foreign_open(LodgeNet *net, const LodgeNetwork *network);
/* The same where something of it is missing in tables of iptables, and, with @firewalld, in its
 * zones. FALSE: something can't be done now, as another firewall is just starting. */
gboolean lodge_foreign_keep_open(LodgeNet *net, const LodgeNetwork *network, gboolean firewalld);
/* Take all of it back. */
void lodge_foreign_close(LodgeNet *net, const LodgeNetwork *network);

/* What iptables-restore --noflush is told: @listing is the output of `iptables -S`. With @opens
 * FALSE rules are only removed. Empty if there is nothing to do. Pure. Free with g_free. */
char *lodge_foreign_render(const LodgeNetwork *network, const char *listing, gboolean is_ipv6,
                           gboolean opens);
/* The guard's table, for nft. Pure. Free with g_free. */
char *lodge_foreign_render_guard(const LodgeNetwork *network);
/* Are all of these rules in the listing, and those of FORWARD behind all others? Pure. */
gboolean lodge_foreign_is_open(const LodgeNetwork *network, const char *listing, gboolean is_ipv6);
