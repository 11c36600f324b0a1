/* The services follow the DNS servers of the host, as resolv.conf names them. Private to
 * lodge-network. */
#pragma once

#include "net/net.h"

/* Watch the host's resolv.conf from the main loop on: when it changes what a service was told, that
 * one is told anew. dnsmasq on a bridge reads resolv.conf itself. @store and @network are borrowed
 * and outlive the loop. A host where this can't be watched has servers that don't change. */
void lodge_resolv_watch(const LodgeStore *store, const LodgeNetwork *network);
