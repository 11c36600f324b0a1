#include "config.h"

#include "keeper/rotate.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

enum {
    KEPT_BYTES = 1 << 20,
};

/* Copy all there is from @offset on, also what comes meanwhile. */
static gboolean
copy_rest(int from, int to, off_t *offset)
{
    for (;;) {
        gssize sent = sendfile(to, from, offset, 1 << 20);
        if (sent <= 0) {
            return sent == 0;
        }
    }
}

/* Put the log's content aside, and empty it. Its descriptor is QEMU's, so it can't be replaced by a
 * rename. Its name is given to the copy first: a follower that sees the log shorter finds the rest
 * there. What is written between the last look and the truncation, some microseconds, is lost. */
static gboolean
put_aside(int from, const char *fresh, const char *old)
{
    off_t offset = 0;
    unlink(fresh);
    lodge_autofd to = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0 || !copy_rest(from, to, &offset) || rename(fresh, old) < 0 ||
        !copy_rest(from, to, &offset) || ftruncate(from, 0) < 0) {
        unlink(fresh);
        return FALSE;
    }
    return TRUE;
}

/* Where there is no room for a copy the last part of it stays, in the space that it has. */
static gboolean
cut(int from, off_t size, gsize kept)
{
    g_autofree char *tail = g_malloc(kept);
    gssize got = pread(from, tail, kept, size - (off_t)kept);
    if (got < 0 || ftruncate(from, 0) < 0) {
        return FALSE;
    }
    /* From a line's begin. What can't be written is lost: the log is cut all the same. */
    const char *line = memchr(tail, '\n', (gsize)got);
    const char *begin = line != NULL ? line + 1 : tail;
    gssize put = write(from, begin, (gsize)(tail + got - begin));
    return put >= 0 || errno == ENOSPC;
}

gboolean
keeper_rotate_log(const char *path, guint64 limit_bytes)
{
    struct stat info;
    if (lstat(path, &info) < 0 || !S_ISREG(info.st_mode) || (guint64)info.st_size <= limit_bytes) {
        return FALSE;
    }
    g_autofree char *old = g_strconcat(path, ".1", NULL);
    g_autofree char *fresh = g_strconcat(path, ".new", NULL);
    lodge_autofd from = open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0) {
        return FALSE;
    }
    if (put_aside(from, fresh, old)) {
        return TRUE;
    }
    /* A full disk: what was put aside before makes room. */
    gboolean had_old = unlink(old) == 0;
    return (had_old && put_aside(from, fresh, old)) ||
           cut(from, info.st_size, (gsize)MIN(limit_bytes / 2, KEPT_BYTES));
}
