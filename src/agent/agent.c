#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

Settings settings = {.root = ""};

void
complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("lodge-agent: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

bool
rooted_path(char out_path[AGENT_PATH_LIMIT], const char *path)
{
    int length = snprintf(out_path, AGENT_PATH_LIMIT, "%s%s", settings.root, path);
    if (length < 0 || length >= AGENT_PATH_LIMIT) {
        errno = ENAMETOOLONG;
        return false;
    }
    return true;
}

static ssize_t
read_all(int fd, char *bytes, size_t limit)
{
    size_t length = 0;
    while (length < limit) {
        ssize_t count = read(fd, bytes + length, limit - length);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -1;
        }
        if (count == 0) {
            break;
        }
        length += (size_t)count;
    }
    return (ssize_t)length;
}

ssize_t
read_text(const char *path, char *out_text, size_t size)
{
    char real[AGENT_PATH_LIMIT];
    *out_text = '\0';
    if (!rooted_path(real, path)) {
        return -1;
    }
    int fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return -1;
    }
    ssize_t length = read_all(fd, out_text, size - 1);
    out_text[length < 0 ? 0 : length] = '\0';
    close(fd);
    return length;
}

char *
read_whole(const char *path, size_t limit, bool may_lack, size_t *out_length)
{
    char *text = malloc(limit + 2);
    if (text == NULL) {
        return NULL;
    }
    ssize_t length = read_text(path, text, limit + 2);
    if (length < 0 && may_lack && errno == ENOENT) {
        length = 0;
    }
    if (length < 0 || (size_t)length > limit) {
        int saved_errno = length < 0 ? errno : EFBIG;
        free(text);
        errno = saved_errno;
        return NULL;
    }
    *out_length = (size_t)length;
    return text;
}

bool
write_all(int fd, const void *bytes, size_t length)
{
    const char *next = bytes;
    while (length > 0) {
        ssize_t count = write(fd, next, length);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return false;
        }
        next += count;
        length -= (size_t)count;
    }
    return true;
}

static bool
write_neighbour(const char *path, const void *bytes, size_t length, FileOwner owner)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return false;
    }
    bool fine = write_all(fd, bytes, length) &&
                (owner.uid == (uid_t)-1 || fchown(fd, owner.uid, owner.gid) == 0) &&
                fchmod(fd, owner.mode) == 0;
    int saved_errno = errno;
    close(fd);
    errno = saved_errno;
    return fine;
}

bool
write_whole(const char *path, const void *bytes, size_t length, FileOwner owner)
{
    char real[AGENT_PATH_LIMIT];
    char beside[AGENT_PATH_LIMIT];
    if (!rooted_path(real, path) || !neighbour_path(beside, real)) {
        return false;
    }
    if (write_neighbour(beside, bytes, length, owner) && rename(beside, real) == 0) {
        return true;
    }
    int saved_errno = errno;
    unlink(beside);
    errno = saved_errno;
    return false;
}

int64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool
random_bytes(void *out_bytes, size_t length)
{
    /* Without waiting: a name that nobody else has is no secret. */
    return getrandom(out_bytes, length, GRND_NONBLOCK) == (ssize_t)length ||
           getrandom(out_bytes, length, GRND_INSECURE) == (ssize_t)length;
}

bool
neighbour_path(char out_path[AGENT_PATH_LIMIT], const char *path)
{
    /* A name of up to 255 bytes must stay one with what is put behind it. */
    enum { NAME_KEPT_BYTES = 200 };
    uint64_t number = (uint64_t)getpid();
    random_bytes(&number, sizeof number);
    const char *slash = strrchr(path, '/');
    int folder_length = slash != NULL ? (int)(slash - path) + 1 : 0;
    int length = snprintf(out_path, AGENT_PATH_LIMIT, "%.*s.%.*s.lodge-%016llx", folder_length,
                          path, NAME_KEPT_BYTES, path + folder_length, (unsigned long long)number);
    if (length < 0 || length >= AGENT_PATH_LIMIT) {
        errno = ENAMETOOLONG;
        return false;
    }
    return true;
}
