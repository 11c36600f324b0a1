/* What the guest is and how it does. */
#pragma once

#include "agent/message.h"

/* Those of INFO's fields that seldom change. */
void info_fill_system(Message *message);

/* Add the INFO fields; what can't be found out is left out. Never waits. */
void info_fill(Message *message);
