/* What a copy does when it has become its own, and nobody waits for it any more. */
#pragma once

/* Where the host notes what it put to sleep before it parked the machine: the places of control
 * groups' `cgroup.freeze`, a line each. The folder says that this agent wakes them. */
#define SETTLE_FOLDER "/run/lodge-agent"

/* At the agent's start: make the folder. What a killed agent left asleep wakes. */
void settle_begin(void);

/* From a session's process: the machine has another id. */
void settle_ask(void);

/* Wake what sleeps, and have systemd's journal begin anew under the machine's new id. */
void settle(void);
