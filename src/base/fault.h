/* Interruptions made on purpose, for tests of what follows them. */
#pragma once

/* Name a step after which everything must be found in order again. In a build with the option
 * `faults` the environment variable LODGE_TEST_FAULT=STEP ends the process here by SIGKILL;
 * LODGE_TEST_FAULT=STEP:PID ends that process instead, waits until it has ended, and goes on;
 * STEP:INT is a Ctrl-C at that moment, and STEP:STOP halts until somebody continues the process.
 * Otherwise nothing happens. */
void lodge_fault(const char *step);
