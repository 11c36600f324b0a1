/* Executing QEMU with its descriptors in place and its privileges gone. */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "qemu/command.h"

typedef struct {
    const char *log_path; /* where its standard output and error go, appended */
    int lock_fd;   /* inherited: it holds the guest's qemu.lock as long as QEMU lives; -1: none */
    gboolean drop; /* we are root: run it as a user of its own */
    uid_t uid;     /* that user, and group */
    gboolean tied; /* it ends when we do, however that is */
    guint64 locked_bytes; /* how much memory it may lock; 0: as little as we */
} LodgeSpawn;

/* A user id for a guest's QEMU, from a range that no system uses for accounts or containers. The
 * guest's folder decides; that two of a thousand guests have the same one is a chance of 1 in 500.
 */
uid_t lodge_qemu_uid(const char *guest_folder);

/* Open what the command passes, execute it. On success the process id, and a descriptor for it in
 * @out_pid_fd. It gets a session of its own, so that no terminal's Ctrl-C reaches it. What fails
 * between fork and exec is written to the log, and ends it with status 127. */
gboolean lodge_qemu_spawn(const LodgeCommand *command, const LodgeSpawn *spawn, pid_t *out_pid,
                          int *out_pid_fd, GError **error);

/* Let the process @pid lock so many bytes of memory, if it may not yet. FAILED if we may not. */
gboolean lodge_qemu_allow_locked(pid_t pid, guint64 bytes, GError **error);
