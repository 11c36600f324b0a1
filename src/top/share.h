/* The memory that is a process's own, with its share of what it has in common with others. The
 * kernel counts page by page, and waits for whoever changes the process's memory, for ever if that
 * one hangs: so it is asked by threads. */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Its proportional set size in bytes, or -1: not known, or not allowed. */
typedef gint64 (*TopShareRead)(pid_t pid);

/* What @read said of @pid last, which is asked anew; waits for that, but not beyond @deadline. -1:
 * it said nothing yet. */
gint64 top_share_by(TopShareRead read, pid_t pid, gint64 deadline);

/* The same, asking the kernel, within a moment. */
gint64 top_share_bytes(pid_t pid);
