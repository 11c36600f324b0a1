/* A DHCP client that runs by itself (dhclient, dhcpcd, udhcpc) goes with the address that it
 * renews. Private to the net layer. */
#pragma once

#include <glib.h>

/* The client of link @from is ended, without a word to the server or its scripts, and started anew
 * for @to as it was, with a copy of its leases, so that it asks for the same address. Nothing to do
 * if none runs in this network namespace. */
void lodge_dhcp_client_move(const char *from, const char *to);

/* A client's command line for another link: the link's name changes wherever it stands as a word,
 * also in paths ("/run/dhclient.eth0.pid"). NULL: this is no client of @from's. Free with
 * g_strfreev. */
char **lodge_dhcp_client_argv(const char *const *argv, const char *from, const char *to);
