#include "config.h"

#include "ops/console.h"

#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/base.h"
#include "ops/view.h"

int
lodge_console_open(const LodgeStore *store, const char *name, int *out_lock_fd, pid_t *out_writer,
                   GError **error)
{
    g_autoptr(LodgeGuestState) state = lodge_view_check(store, name, error);
    g_autoptr(GError) problem = NULL;
    *out_writer = 0;
    if (state == NULL) {
        return -1;
    }
    g_autofree char *lock_path = lodge_store_run_path(store, name, "console.lock");
    g_autofree char *path = lodge_store_run_path(store, name, "console.sock");
    lodge_autofd lock = lodge_lock_take(lock_path, &problem);
    if (lock < 0 && g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
        lodge_autofd holder = lodge_lock_open_holder(lock_path, out_writer);
        lodge_error_set(error, LODGE_ERROR_BUSY,
                        "guest %s: process %d writes to its console (`lodge console %s --watch` "
                        "looks on)",
                        name, holder >= 0 ? (int)*out_writer : 0, name);
        return -1;
    }
    if (lock < 0 || !lodge_lock_write_pid(lock, 0, &problem)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return -1;
    }
    int fd = lodge_unix_connect(path, error);
    if (fd < 0) {
        lodge_error_prefix(error, "guest %s: console", name);
        return -1;
    }
    *out_lock_fd = lodge_fd_steal(&lock);
    return fd;
}

struct LodgeConsoleLog {
    char *path;
    int fd;
    int watch;
    off_t at;
    int old_fd; /* what of the last part was not read before it was put aside; -1: all was */
    off_t old_at;
};

/* The start of the first whole line behind @at, so that no half escape sequence is shown. */
static off_t
next_line(int fd, off_t at)
{
    char buffer[4096];
    gssize got = pread(fd, buffer, sizeof buffer, at);
    const char *end = at > 0 && got > 0 ? memchr(buffer, '\n', (gsize)got) : NULL;
    return end != NULL ? at + (end - buffer) + 1 : at;
}

LodgeConsoleLog *
lodge_console_log_open(const LodgeStore *store, const char *name, gsize back_bytes, GError **error)
{
    g_autoptr(LodgeConsoleLog) log = g_new0(LodgeConsoleLog, 1);
    log->path = lodge_store_guest_path(store, name, "console.log");
    log->old_fd = -1;
    log->fd = open(log->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    log->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    struct stat info;
    if (log->fd < 0 || log->watch < 0 || fstat(log->fd, &info) < 0 ||
        inotify_add_watch(log->watch, log->path, IN_MODIFY) < 0) {
        lodge_error_errno(error, errno, "guest %s: its console's log", name);
        return NULL;
    }
    log->at = MAX(info.st_size - (off_t)back_bytes, 0);
    log->at = back_bytes > 0 ? next_line(log->fd, log->at) : log->at;
    return g_steal_pointer(&log);
}

void
lodge_console_log_free(LodgeConsoleLog *log)
{
    if (log != NULL) {
        lodge_fd_clear(&log->fd);
        lodge_fd_clear(&log->watch);
        lodge_fd_clear(&log->old_fd);
        g_free(log->path);
        g_free(log);
    }
}

int
lodge_console_log_fd(const LodgeConsoleLog *log)
{
    return log->watch;
}

/* It became shorter: the keeper has put its content aside as console.log.1 and begun it anew. */
static void
turn_over(LodgeConsoleLog *log)
{
    g_autofree char *old = g_strconcat(log->path, ".1", NULL);
    lodge_fd_clear(&log->old_fd);
    log->old_fd = open(old, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    log->old_at = log->at;
    log->at = 0;
}

/* What can be read now, of the old file's rest first. */
static gsize
read_on(LodgeConsoleLog *log, char *buffer, gsize size)
{
    struct stat info;
    if (fstat(log->fd, &info) == 0 && info.st_size < log->at) {
        turn_over(log);
    }
    if (log->old_fd >= 0) {
        gssize got = pread(log->old_fd, buffer, size, log->old_at);
        if (got > 0) {
            log->old_at += got;
            return (gsize)got;
        }
        lodge_fd_clear(&log->old_fd);
    }
    gssize got = pread(log->fd, buffer, size, log->at);
    log->at += MAX(got, 0);
    return (gsize)MAX(got, 0);
}

gsize
lodge_console_log_read(LodgeConsoleLog *log, char *buffer, gsize size)
{
    char news[4096];
    gsize got = read_on(log, buffer, size);
    if (got > 0) {
        return got; /* the news stay, so that poll() says there may be more */
    }
    while (read(log->watch, news, sizeof news) > 0) {
    }
    return read_on(log, buffer, size);
}
