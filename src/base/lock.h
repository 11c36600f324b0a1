/* Locks that die with their holder, and that can be asked after without being taken.
 *
 * They are open file description locks (fcntl F_OFD_SETLK): they belong to the descriptor, so a
 * child that inherits it holds the lock too, as long as it lives, whatever becomes of its parent.
 * That makes "does this guest's QEMU live?" one system call that no reuse of process ids can fool.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Take the lock file at @path, which is made if absent, without waiting. Returns a close-on-exec
 * descriptor that holds the lock until its last copy is closed; -1 with BUSY if somebody else has
 * it. The file may be removed by its holder: a taker notices and starts over. */
int lodge_lock_take(const char *path, GError **error);

/* The same, waiting up to @timeout_ms for the holder to let go. */
int lodge_lock_take_within(const char *path, gint64 timeout_ms, GError **error);

/* Is the lock at @path held by anyone? FALSE too if there is no such file. Takes nothing. */
gboolean lodge_lock_is_held(const char *path);

/* Write the calling process's id, or @pid, into the lock file that @fd holds. */
gboolean lodge_lock_write_pid(int fd, pid_t pid, GError **error);

/* A descriptor for the process whose id stands in the held lock file at @path: poll() says readable
 * when it ends, pidfd_send_signal() can't hit another. -1, without error, if nobody holds it. The
 * id goes to @out_pid (may be NULL). */
int lodge_lock_open_holder(const char *path, pid_t *out_pid);
