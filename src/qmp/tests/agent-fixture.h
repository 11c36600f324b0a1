/* The real agent as an ordinary process: its ports are Unix sockets, its files below a folder. */
#pragma once

#include <glib.h>

#include "base/base.h"
#include "qmp/agent.h"

typedef struct {
    char *folder; /* the ports' sockets; below it root/, its files, and work/ */
    GPid pid;
} AgentFixture;

#define DEADLINE lodge_deadline_in(30000)
#define SOON lodge_deadline_in(200)

/* $LODGE_TEST_AGENT, with @more (NULL-terminated, may be NULL) behind its own options. */
void agent_fixture_start(AgentFixture *fixture, const char *const *more);
void agent_fixture_end(AgentFixture *fixture);

LodgeAgent *agent_fixture_connect(const AgentFixture *fixture);
char *agent_fixture_path(const AgentFixture *fixture, const char *name);

/* Processes whose command line contains @text. */
guint agent_count_processes(const char *text);

/* Wait until there are @count of them; fails the test after some seconds. */
void agent_await_processes(const char *text, guint count);

/* Resident bytes of the agent and its sessions, the largest of any one. */
guint64 agent_resident_most(const AgentFixture *fixture);
