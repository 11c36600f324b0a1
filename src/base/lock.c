#include "config.h"

#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/wait.h"

enum {
    RETRY_MS = 20,
    PID_LIMIT_BYTES = 32,
};

static gboolean
is_still_there(int fd, const char *path)
{
    struct stat held, found;
    return fstat(fd, &held) == 0 && stat(path, &found) == 0 && held.st_ino == found.st_ino &&
           held.st_dev == found.st_dev;
}

int
lodge_lock_take(const char *path, GError **error)
{
    for (;;) {
        /* Nobody else's to open: whoever can read it could keep us waiting by a read lock. */
        lodge_autofd fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
            lodge_error_errno(error, errno, "Lock %s", path);
            return -1;
        }
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(fd, F_OFD_SETLK, &whole) < 0) {
            lodge_error_errno(error, errno == EACCES ? EAGAIN : errno, "Lock %s", path);
            return -1;
        }
        if (is_still_there(fd, path)) {
            return lodge_fd_steal(&fd);
        }
    }
}

int
lodge_lock_take_within(const char *path, gint64 timeout_ms, GError **error)
{
    gint64 deadline = lodge_deadline_in(timeout_ms);
    for (;;) {
        g_autoptr(GError) problem = NULL;
        int fd = lodge_lock_take(path, &problem);
        if (fd >= 0) {
            return fd;
        }
        if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY) ||
            lodge_deadline_passed(deadline)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return -1;
        }
        /* The kernel has no lock call with a deadline, and a blocking one can't be left. */
        if (!lodge_wait_for(RETRY_MS, error)) {
            return -1;
        }
    }
}

gboolean
lodge_lock_is_held(const char *path)
{
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return FALSE;
    }
    /* A read lock conflicts with the holder's write lock, and may be asked for on a descriptor that
     * is open for reading only. */
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
}

gboolean
lodge_lock_write_pid(int fd, pid_t pid, GError **error)
{
    g_autofree char *text = g_strdup_printf("%d\n", (int)(pid != 0 ? pid : getpid()));
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, strlen(text), 0) != (gssize)strlen(text)) {
        return lodge_error_errno(error, errno, "Writing a process id");
    }
    return TRUE;
}

int
lodge_lock_open_holder(const char *path, pid_t *out_pid)
{
    if (!lodge_lock_is_held(path)) {
        return -1;
    }
    g_autofree char *text = lodge_file_read(path, PID_LIMIT_BYTES, NULL, NULL);
    pid_t pid = text != NULL ? (pid_t)strtol(text, NULL, 10) : 0;
    if (pid <= 1) {
        return -1;
    }
    lodge_autofd fd = (int)syscall(SYS_pidfd_open, pid, 0);
    /* Held still, now that the descriptor is open: so the process it stands for is the holder, or
     * was when it wrote the id and passed the lock to nobody. */
    if (fd < 0 || !lodge_lock_is_held(path)) {
        return -1;
    }
    if (out_pid != NULL) {
        *out_pid = pid;
    }
    return lodge_fd_steal(&fd);
}
