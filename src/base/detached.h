/* Starting a program that outlives the command, and hearing how its start went. */
#pragma once

#include <glib.h>

enum { LODGE_REPORT_FD = 3 };

/* Execute @argv (argv[0] is a path) as a stranger to our terminal, session, descriptors, signals
 * and umask, and wait for what it writes to descriptor LODGE_REPORT_FD: "ready", or "CODE MESSAGE"
 * (of LodgeError), which becomes the error. FAILED if it ends without a word; TIMEOUT. INTERRUPTED
 * not before its first word, or ten seconds: so who tidies up then finds what it holds. */
gboolean lodge_detached_start(const char *const *argv, gint64 timeout_ms, GError **error);

/* The same for a program that reports to nobody, at the lowest priority: nobody waits for it. */
gboolean lodge_detached_leave(const char *const *argv, GError **error);

/* The other side: we are to be found now, by a lock that we hold. -1: nobody is listening. */
void lodge_detached_begun(int report_fd);

/* The other side: tell whoever started us; *@report_fd (-1: nobody is listening) becomes -1. After
 * an error the caller ends, and lodge_detached_start() returns when it has. */
void lodge_detached_report(int *report_fd, const GError *error);
