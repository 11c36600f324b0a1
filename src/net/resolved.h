/* systemd-resolved, where it runs: the host finds guests by name too. Private to the net layer. */
#pragma once

#include "net/net.h"

/* The commands that tell it of a network's DNS server and domain: an array of char **, which it
 * frees; empty for a network without a server of its own. Pure. Nothing need be taken back: it
 * forgets with the bridge. */
GPtrArray *lodge_resolved_commands(const LodgeNetwork *network);

/* Run them, if it runs here. That it can't be told is news (an event), no failure. */
void lodge_resolved_tell(const LodgeStore *store, const LodgeNetwork *network);
