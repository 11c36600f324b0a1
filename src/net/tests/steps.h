/* Killing a command at each of its steps: what it leaves must be mended by the next. */
#pragma once

#include <glib.h>

/* Run @function in a child and kill it just before its @step-th system call that changes something
 * (a file, a process, the kernel's tables), counted from 0; what it wrote lives on. FALSE: it ended
 * before there was such a call, so that all steps have been seen. */
gboolean steps_kill_at(guint step, void (*function)(gpointer data), gpointer data);
