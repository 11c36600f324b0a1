/* Files and folders out of the guest. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/item.h"
#include "agent/session.h"

enum {
    DEPTH_AT_MOST = 128, /* each level holds a folder open */
};

/* Where a walk is: for its errors, and for the names that it sends. */
typedef struct {
    Link *link;
    char path[AGENT_PATH_LIMIT]; /* below what was asked for, "" for itself */
    size_t length;
    int problem; /* errno, once something failed */
} Walk;

static bool
send_item(Walk *walk, const struct stat *about, const char *target)
{
    Message *message = message_begin();
    item_fill(message, walk->path, about, target);
    return link_send(walk->link, FRAME_ITEM, message->bytes, message->length);
}

/* DATA to the end of the file, then DATA_END. */
static bool
send_content(Walk *walk, int fd)
{
    for (;;) {
        uint8_t *room = link_room(walk->link);
        if (room == NULL) {
            if (!link_wait(walk->link, NULL, 0, -1)) {
                return false;
            }
            continue;
        }
        ssize_t count = read(fd, room, FRAME_LIMIT);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            walk->problem = errno;
            return false;
        }
        if (count == 0) {
            return link_send(walk->link, FRAME_DATA_END, "", 0);
        }
        link_commit(walk->link, FRAME_DATA, (size_t)count);
    }
}

static bool send_folder(Walk *walk, int fd, unsigned depth);

static bool
send_symlink(Walk *walk, int folder_fd, const char *name, const struct stat *about)
{
    char target[PATH_MAX];
    ssize_t length = readlinkat(folder_fd, name, target, sizeof target - 1);
    if (length < 0) {
        walk->problem = errno;
        return false;
    }
    target[length] = '\0';
    return send_item(walk, about, target);
}

static bool
send_opened(Walk *walk, int fd, unsigned depth)
{
    struct stat about;
    if (fstat(fd, &about) < 0) {
        walk->problem = errno;
        return false;
    }
    if (!S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode)) {
        return send_item(walk, &about, NULL);
    }
    return send_item(walk, &about, NULL) &&
           (S_ISREG(about.st_mode) ? send_content(walk, fd) : send_folder(walk, fd, depth));
}

static bool
send_entry(Walk *walk, int folder_fd, const char *name, unsigned depth)
{
    struct stat about;
    if (fstatat(folder_fd, name, &about, AT_SYMLINK_NOFOLLOW) < 0) {
        walk->problem = errno == ENOENT ? 0 : errno; /* removed meanwhile: fine */
        return walk->problem == 0;
    }
    if (S_ISLNK(about.st_mode)) {
        return send_symlink(walk, folder_fd, name, &about);
    }
    if (!S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode)) {
        return send_item(walk, &about, NULL); /* never opened: that may have effects */
    }
    int fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        walk->problem = errno == ENOENT ? 0 : errno;
        return walk->problem == 0;
    }
    bool fine = send_opened(walk, fd, depth);
    close(fd);
    return fine;
}

static bool
send_named(Walk *walk, int folder_fd, const char *name, unsigned depth)
{
    size_t before = walk->length;
    int length = snprintf(walk->path + before, sizeof walk->path - before, "%s%s",
                          before > 0 ? "/" : "", name);
    if (length < 0 || (size_t)length >= sizeof walk->path - before) {
        walk->path[before] = '\0';
        walk->problem = ENAMETOOLONG;
        return false;
    }
    walk->length += (size_t)length;
    if (!send_entry(walk, folder_fd, name, depth)) {
        return false; /* the path stays, for the error */
    }
    walk->length = before;
    walk->path[before] = '\0';
    return true;
}

static bool
send_folder(Walk *walk, int fd, unsigned depth)
{
    int own_fd = depth < DEPTH_AT_MOST ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : (errno = ELOOP, -1);
    DIR *folder = own_fd >= 0 ? fdopendir(own_fd) : NULL;
    if (folder == NULL) {
        walk->problem = errno;
        if (own_fd >= 0) {
            close(own_fd);
        }
        return false;
    }
    bool fine = true;
    struct dirent *entry;
    while (fine && (errno = 0, entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            fine = send_named(walk, fd, entry->d_name, depth + 1);
        }
    }
    if (fine && errno != 0) {
        walk->problem = errno;
        fine = false;
    }
    closedir(folder);
    return fine;
}

static void
get(Walk *walk, const FileRequest *request)
{
    struct stat about;
    int fd = open(request->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) < 0) {
        walk->problem = errno;
    } else if (S_ISDIR(about.st_mode) && (request->flags & GET_TREE) == 0) {
        walk->problem = EISDIR;
    } else if (!S_ISDIR(about.st_mode) && !S_ISREG(about.st_mode)) {
        walk->problem = EINVAL;
    } else {
        send_opened(walk, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
}

void
get_request(Session *session, FieldReader *fields)
{
    FileRequest request;
    Walk walk = {.link = &session->link};
    if (!file_request_parse(fields, &request)) {
        link_fail(&session->link, PROBLEM_INVALID, "the file to read is malformed");
        file_request_clear(&request);
        return;
    }
    get(&walk, &request);
    if (walk.problem != 0) {
        char where[2 * AGENT_PATH_LIMIT];
        snprintf(where, sizeof where, "%s%s%s", request.path, walk.length > 0 ? "/" : "",
                 walk.path);
        link_fail_errno(&session->link, walk.problem, where);
    } else {
        session_result(session);
    }
    file_request_clear(&request);
}

void
stat_request(Session *session, FieldReader *fields)
{
    FileRequest request;
    struct stat about;
    if (!file_request_parse(fields, &request)) {
        link_fail(&session->link, PROBLEM_INVALID, "the file to look at is malformed");
        file_request_clear(&request);
        return;
    }
    bool follows = (request.flags & STAT_FOLLOW) != 0;
    if (fstatat(AT_FDCWD, request.path, &about, follows ? 0 : AT_SYMLINK_NOFOLLOW) < 0) {
        link_fail_errno(&session->link, errno, request.path);
    } else {
        char target[PATH_MAX];
        ssize_t length = S_ISLNK(about.st_mode) ? readlink(request.path, target, sizeof target - 1)
                                                : -1;
        target[length < 0 ? 0 : length] = '\0';
        Message *message = message_begin();
        item_fill(message, request.path, &about, length < 0 ? NULL : target);
        link_send(&session->link, FRAME_RESULT, message->bytes, message->length);
    }
    file_request_clear(&request);
}

void
list_request(Session *session, FieldReader *fields)
{
    FileRequest request;
    Walk walk = {.link = &session->link};
    struct dirent *entry;
    if (!file_request_parse(fields, &request)) {
        link_fail(&session->link, PROBLEM_INVALID, "the folder to list is malformed");
        file_request_clear(&request);
        return;
    }
    DIR *folder = opendir(request.path);
    if (folder == NULL) {
        link_fail_errno(&session->link, errno, request.path);
        file_request_clear(&request);
        return;
    }
    while (session->link.state == LINK_OPEN && (entry = readdir(folder)) != NULL) {
        struct stat about;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(dirfd(folder), entry->d_name, &about, AT_SYMLINK_NOFOLLOW) < 0) {
            continue;
        }
        snprintf(walk.path, sizeof walk.path, "%s", entry->d_name);
        if (S_ISLNK(about.st_mode)) {
            send_symlink(&walk, dirfd(folder), entry->d_name, &about);
        } else {
            send_item(&walk, &about, NULL);
        }
    }
    closedir(folder);
    session_result(session);
    file_request_clear(&request);
}
