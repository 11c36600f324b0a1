/* Seeing to it that other firewalls let a running network through when they come, or load their
 * rules anew, while it runs. Private to this layer. */
#pragma once

#include "net/net-private.h"

/* From now on, in this process's main loop; @store and @network must live as long. */
void lodge_foreign_watch(const LodgeStore *store, const LodgeNetwork *network);
