/* What the guest is and how it does. */
#pragma once

#include "agent/message.h"

/* Add the INFO fields; what can't be found out is left out. Never waits. */
void info_fill(Message *message);
