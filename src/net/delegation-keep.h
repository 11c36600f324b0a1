/* Having a prefix delegated for a network, as long as its keeper lives. */
#pragma once

#include "model/network.h"
#include "store/store.h"

/* If the network wants that: begin, in the main loop of the default context. Both are borrowed for
 * good. What fails is tried again, and told as an event. */
void lodge_delegation_keep(const LodgeStore *store, const LodgeNetwork *network);
