/* Files into the guest. Each is written beside its place and takes its name when it is whole; if
 * the conversation ends before, nothing of it stays. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/item.h"
#include "agent/session.h"

typedef struct {
    const FileRequest *request;
    char path[AGENT_PATH_LIMIT]; /* with a symbolic link at its end resolved */
    char beside[AGENT_PATH_LIMIT];
    struct stat old;
    bool has_old;
    int fd;
} Put;

/* What stands at the path now, and whether a file may take its place. Errno if not. */
static int
look(Put *put)
{
    const FileRequest *request = put->request;
    char resolved[PATH_MAX];
    const char *path = request->path;
    size_t length = strlen(path);
    if (length >= sizeof put->path) {
        return ENAMETOOLONG;
    }
    if (path[length - 1] == '/') {
        return EISDIR;
    }
    if (lstat(path, &put->old) < 0) {
        memcpy(put->path, path, length + 1);
        return errno == ENOENT ? 0 : errno; /* a missing folder shows when the file is made */
    }
    if ((request->flags & PUT_NEW) != 0) {
        return EEXIST;
    }
    if (S_ISLNK(put->old.st_mode)) {
        struct stat followed;
        /* The kernel follows first: it knows which links in folders that all may write to are not
         * to be trusted, and realpath() does not. */
        if (stat(path, &followed) < 0 || realpath(path, resolved) == NULL ||
            stat(resolved, &put->old) < 0) {
            return errno;
        }
        if (followed.st_ino != put->old.st_ino || followed.st_dev != put->old.st_dev) {
            return EAGAIN; /* changed under our hands */
        }
        path = resolved;
    }
    snprintf(put->path, sizeof put->path, "%s", path);
    put->has_old = true;
    return S_ISREG(put->old.st_mode) ? 0 : S_ISDIR(put->old.st_mode) ? EISDIR : EINVAL;
}

static int
put_begin(Put *put)
{
    int problem = look(put);
    if (problem != 0) {
        return problem;
    }
    if (!neighbour_path(put->beside, put->path)) {
        return errno;
    }
    put->fd = open(put->beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (put->fd < 0) {
        put->beside[0] = '\0';
        return errno;
    }
    /* Better to hear that it will not fit before than after. Not all file systems can tell. */
    if (put->request->has_size && put->request->size > 0 && put->request->size <= INT64_MAX &&
        fallocate(put->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)put->request->size) < 0 &&
        (errno == ENOSPC || errno == EFBIG || errno == EDQUOT)) {
        return errno;
    }
    return 0;
}

static int
put_finish(Put *put)
{
    const FileRequest *request = put->request;
    mode_t mode = request->has_mode ? (mode_t)(request->mode & 07777)
                  : put->has_old    ? put->old.st_mode & 07777
                                    : 0644;
    if (request->has_owner || put->has_old) {
        uid_t uid = request->has_owner ? (uid_t)request->uid : put->old.st_uid;
        gid_t gid = request->has_owner ? (gid_t)request->gid : put->old.st_gid;
        if (fchown(put->fd, uid, gid) < 0) {
            return errno;
        }
    }
    if (fchmod(put->fd, mode) < 0) {
        return errno;
    }
    if (request->has_mtime) {
        struct timespec times[2] = {
            {.tv_nsec = UTIME_NOW},
            {.tv_sec = (time_t)(request->mtime / 1000000000),
             .tv_nsec = (long)(request->mtime % 1000000000)},
        };
        futimens(put->fd, times);
    }
    if ((request->flags & PUT_SYNC) != 0 && fsync(put->fd) < 0) {
        return errno;
    }
    int fd = put->fd;
    put->fd = -1;
    if (close(fd) < 0 || rename(put->beside, put->path) < 0) {
        return errno;
    }
    put->beside[0] = '\0';
    return 0;
}

static void
put_abandon(Put *put)
{
    if (put->fd >= 0) {
        close(put->fd);
    }
    if (put->beside[0] != '\0') {
        unlink(put->beside);
    }
}

/* Write DATA until DATA_END. 0, an errno, or -1 if the conversation is over. */
static int
receive(Put *put, Link *link)
{
    Frame frame;
    for (;;) {
        while (link_frame(link, &frame)) {
            if (frame.type != FRAME_DATA && frame.type != FRAME_DATA_END) {
                return EPROTO;
            }
            bool fine = write_all(put->fd, frame.payload, frame.length);
            int saved_errno = errno;
            link_pop(link);
            if (!fine) {
                return saved_errno;
            }
            if (frame.type == FRAME_DATA_END) {
                return 0;
            }
        }
        if (link->state != LINK_OPEN || !link_wait(link, NULL, 0, -1)) {
            return -1;
        }
    }
}

void
put_request(Session *session, FieldReader *fields)
{
    FileRequest request;
    if (!file_request_parse(fields, &request)) {
        link_fail(&session->link, PROBLEM_INVALID, "the file to write is malformed");
        file_request_clear(&request);
        return;
    }
    Put put = {.request = &request, .fd = -1};
    int problem = put_begin(&put);
    if (problem == 0) {
        problem = receive(&put, &session->link);
    }
    if (problem == 0) {
        problem = put_finish(&put);
    }
    put_abandon(&put);
    if (problem == 0) {
        session_result(session);
    } else if (problem > 0) {
        link_fail_errno(&session->link, problem, request.path);
    }
    file_request_clear(&request);
}

/* By a descriptor: in a user's folder another could stand in its place by now. */
static bool
dress_folder(const FileRequest *request)
{
    struct stat about;
    mode_t mode = request->has_mode ? (mode_t)(request->mode & 07777) : 0755;
    int fd = open(request->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool fine = fd >= 0 && fstat(fd, &about) == 0 &&
                (about.st_uid == geteuid() || (errno = EAGAIN, false)) &&
                (!request->has_owner ||
                 fchown(fd, (uid_t)request->uid, (gid_t)request->gid) == 0) &&
                fchmod(fd, mode) == 0;
    int saved_errno = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = saved_errno;
    return fine;
}

static bool
make_folder(const FileRequest *request)
{
    struct stat about;
    if (mkdir(request->path, 0700) == 0) {
        return dress_folder(request);
    }
    return errno == EEXIST && stat(request->path, &about) == 0 &&
           (S_ISDIR(about.st_mode) || (errno = EEXIST, false));
}

void
mkdir_request(Session *session, FieldReader *fields)
{
    FileRequest request;
    bool fine = file_request_parse(fields, &request);
    if (!fine) {
        errno = EINVAL;
    } else {
        fine = make_folder(&request);
    }
    if (fine) {
        session_result(session);
    } else {
        link_fail_errno(&session->link, errno, request.path != NULL ? request.path : "folder");
    }
    file_request_clear(&request);
}

static bool
make_symlink(const FileRequest *request)
{
    char beside[AGENT_PATH_LIMIT];
    struct stat about;
    if (symlink(request->target, request->path) == 0) {
        return true;
    }
    if (errno != EEXIST || lstat(request->path, &about) < 0) {
        return false;
    }
    if (S_ISDIR(about.st_mode)) {
        errno = EISDIR;
        return false;
    }
    if (!neighbour_path(beside, request->path) || symlink(request->target, beside) < 0) {
        return false;
    }
    if (rename(beside, request->path) == 0) {
        return true;
    }
    int saved_errno = errno;
    unlink(beside);
    errno = saved_errno;
    return false;
}

void
symlink_request(Session *session, FieldReader *fields)
{
    FileRequest request;
    if (!file_request_parse(fields, &request) || request.target == NULL) {
        link_fail(&session->link, PROBLEM_INVALID, "the link to make is malformed");
    } else if (make_symlink(&request)) {
        if (request.has_owner && lchown(request.path, (uid_t)request.uid, (gid_t)request.gid) < 0) {
            link_fail_errno(&session->link, errno, request.path);
        } else {
            session_result(session);
        }
    } else {
        link_fail_errno(&session->link, errno, request.path);
    }
    file_request_clear(&request);
}
