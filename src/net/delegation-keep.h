/* Having a prefix delegated for a network, as long as its keeper lives. */
#pragma once

#include "model/network.h"
#include "store/store.h"

typedef struct LodgeDelegationKeep LodgeDelegationKeep;

/* If the network wants that: begin, in the main loop of the default context. Both are borrowed for
 * good. What fails is tried again, and told as an event. NULL: it
 * does not, or that can't be. Never freed. */
LodgeDelegationKeep *lodge_delegation_keep(const LodgeStore *store, const LodgeNetwork *network);
/* The network is stopped: give the prefix back, and wait for the answer for half a second at most.
 * @keep may be NULL. */
void lodge_delegation_give_back(LodgeDelegationKeep *keep);
