/* Over a conversation with lodge-agent: what the keeper knows and the port does not tell. Private
 * to this layer. */
#pragma once

#include "qmp/agent.h"
#include "store/store.h"

typedef struct Guard Guard;

/* Watch over @agent, which must live as long; @store and @name too. Free before it. */
Guard *guard_new(const LodgeStore *store, const char *name, LodgeAgent *agent);
void guard_free(Guard *guard);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Guard, guard_free)
