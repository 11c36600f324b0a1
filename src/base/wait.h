/* Waiting: always for an event, always with a deadline, always ready to be interrupted. */
#pragma once

#include <glib.h>
#include <poll.h>
#include <sys/types.h>

/* Deadlines are points of g_get_monotonic_time(), in microseconds. LODGE_NO_DEADLINE never passes.
 */
#define LODGE_NO_DEADLINE G_MAXINT64

gint64 lodge_deadline_in(gint64 timeout_ms); /* of a time too long to count: never */
gboolean lodge_deadline_passed(gint64 deadline);

/* From now on SIGINT, SIGTERM and SIGHUP no longer end the process; instead every wait below ends
 * with LODGE_ERROR_INTERRUPTED, so that the command can unwind and tidy up. For programs' main().
 */
void lodge_interrupt_install(void);
/* For a child of fork(): it hears of signals by a pipe of its own. */
void lodge_interrupt_renew(void);
/* For moments that must come to their end, by deadlines of their own: until
 * lodge_interrupt_release() no wait is interrupted. A signal that comes meanwhile counts
 * afterwards. Pairs may be nested. */
void lodge_interrupt_hold(void);
void lodge_interrupt_release(void);
/* Has such a signal come? The number of it, or 0. */
int lodge_interrupt_signal(void);
/* Forget the signal, so that the tidying up may itself wait. */
void lodge_interrupt_forget(void);
/* Error INTERRUPTED if a signal has come, for loops that do not wait. */
gboolean lodge_interrupt_check(GError **error);

/* poll() on @count descriptors until one has an event, the deadline passes (TIMEOUT) or a signal
 * comes (INTERRUPTED). TRUE: look at revents. */
gboolean lodge_wait_polls(struct pollfd *polls, gsize count, gint64 deadline, GError **error);

/* The same for one descriptor. @events as for poll(). */
gboolean lodge_wait_fd(int fd, short events, gint64 deadline, GError **error);

/* Wait for nothing but time (and signals). For retries against what can't announce itself. */
gboolean lodge_wait_for(gint64 time_ms, GError **error);

/* Send @signal_number to the process that @pid_fd stands for. One that has ended is fine. */
gboolean lodge_pid_fd_signal(int pid_fd, int signal_number, GError **error);

/* Wait for that process to end, whatever signals come: for those who tidy up. FALSE if it has not
 * after @timeout_ms. */
gboolean lodge_pid_fd_await(int pid_fd, gint64 timeout_ms);
