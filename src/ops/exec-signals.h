/* The signals of a command that stands for a program in the guest. Private to this layer. */
#pragma once

#include "qmp/agent.h"

typedef struct {
    int fd; /* readable when some have come */
    int interrupts;
} ExecSignals;

/* From now on signals come by the descriptor, until exec_signals_end(). */
void exec_signals_begin(ExecSignals *signals);
void exec_signals_end(ExecSignals *signals);

/* For LodgeAgentStreams: forward what has come. @data: the ExecSignals. */
void exec_signals_forward(LodgeAgent *agent, gpointer data);
