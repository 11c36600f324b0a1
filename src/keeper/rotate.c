#include "config.h"

#include "keeper/rotate.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

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

gboolean
keeper_rotate_log(const char *path, guint64 limit_bytes)
{
    struct stat info;
    if (lstat(path, &info) < 0 || !S_ISREG(info.st_mode) || (guint64)info.st_size <= limit_bytes) {
        return FALSE;
    }
    g_autofree char *old = g_strconcat(path, ".1", NULL);
    g_autofree char *fresh = g_strconcat(path, ".new", NULL);
    lodge_autofd from = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    unlink(fresh);
    lodge_autofd to = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    off_t offset = 0;
    /* The log's descriptor is QEMU's, so it can't be replaced by a rename. Its name is given to the
     * copy first: a follower that sees the log shorter finds the rest there. What is written
     * between the last look and the truncation, some microseconds, is lost. */
    if (from < 0 || to < 0 || !copy_rest(from, to, &offset) || rename(fresh, old) < 0 ||
        !copy_rest(from, to, &offset) || ftruncate(from, 0) < 0) {
        unlink(fresh);
        return FALSE;
    }
    return TRUE;
}
