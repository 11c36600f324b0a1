/* A tree into the guest: one request per entry, sent ahead of their answers, so that many small
 * files cost bandwidth and not round trips. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "qmp/agent-copy.h"

enum {
    AHEAD_AT_MOST = 64,
    DEPTH_AT_MOST = 128,
};

static gboolean send_entry(Copying *copying, int folder_fd, const char *name,
                           const char *guest_path, guint depth, GError **error);

static void
add_owner(const Copying *copying, AgentRequest *request, const struct stat *about)
{
    if (copying->copy->keep_owner) {
        agent_add_number(request, FIELD_UID, about->st_uid);
        agent_add_number(request, FIELD_GID, about->st_gid);
    }
}

static gboolean
send_file(Copying *copying, int fd, const struct stat *about, const char *guest_path,
          GError **error)
{
    gint64 mtime = (gint64)about->st_mtim.tv_sec * G_GINT64_CONSTANT(1000000000) +
                   about->st_mtim.tv_nsec;
    gboolean keeps = copying->copy->keep_owner;
    CopyingFile file = {
        .fd = fd,
        .guest_path = guest_path,
        .mode = (int)(about->st_mode & (keeps ? 07777 : 0777)),
        .size = (guint64)about->st_size,
        .mtime_ns = mtime > 0 ? (guint64)mtime : 0,
        .uid = keeps ? (gint64)about->st_uid : -1,
        .gid = keeps ? (gint64)about->st_gid : -1,
    };
    return copying_put(copying, &file, error);
}

static gboolean
send_symlink(Copying *copying, int folder_fd, const char *name, const struct stat *about,
             const char *guest_path, GError **error)
{
    char target[PATH_MAX];
    gssize length = readlinkat(folder_fd, name, target, sizeof target - 1);
    if (length < 0) {
        return lodge_error_errno(error, errno, "%s", name);
    }
    target[length] = '\0';
    g_autoptr(GByteArray) request = copying_request(guest_path);
    agent_add_text(request, FIELD_TARGET, target);
    add_owner(copying, request, about);
    return copying_send(copying, FRAME_SYMLINK, request, error);
}

static gboolean
send_folder(Copying *copying, int fd, const struct stat *about, const char *guest_path, guint depth,
            GError **error)
{
    g_autoptr(GByteArray) request = copying_request(guest_path);
    agent_add_number(request, FIELD_MODE, about->st_mode & 0777);
    add_owner(copying, request, about);
    if (!copying_send(copying, FRAME_MKDIR, request, error)) {
        return FALSE;
    }
    if (depth >= DEPTH_AT_MOST) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: folders lie too deep", guest_path);
    }
    int own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    DIR *folder = own_fd >= 0 ? fdopendir(own_fd) : NULL;
    if (folder == NULL) {
        lodge_error_errno(error, errno, "%s", guest_path);
        lodge_fd_clear(&own_fd);
        return FALSE;
    }
    gboolean fine = TRUE;
    struct dirent *entry;
    while (fine && (entry = readdir(folder)) != NULL) {
        if (!g_str_equal(entry->d_name, ".") && !g_str_equal(entry->d_name, "..")) {
            g_autofree char *path = g_strdup_printf("%s/%s", guest_path, entry->d_name);
            fine = send_entry(copying, fd, entry->d_name, path, depth + 1, error);
        }
    }
    closedir(folder);
    return fine;
}

static gboolean
send_entry(Copying *copying, int folder_fd, const char *name, const char *guest_path, guint depth,
           GError **error)
{
    struct stat about;
    int follow = depth == 0 ? 0 : AT_SYMLINK_NOFOLLOW; /* what was named may be a link */
    if (fstatat(folder_fd, name, &about, follow) < 0) {
        return lodge_error_errno(error, errno, "%s", name);
    }
    if (!copying_drain(copying, AHEAD_AT_MOST, error)) {
        return FALSE;
    }
    if (S_ISLNK(about.st_mode)) {
        return send_symlink(copying, folder_fd, name, &about, guest_path, error);
    }
    if (!S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode)) {
        copying->copy->out_skipped++;
        return TRUE;
    }
    int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (depth == 0 ? 0 : O_NOFOLLOW);
    lodge_autofd fd = openat(folder_fd, name, flags);
    if (fd < 0 || fstat(fd, &about) < 0) {
        return lodge_error_errno(error, errno, "%s", name);
    }
    return S_ISDIR(about.st_mode) ? send_folder(copying, fd, &about, guest_path, depth, error)
                                  : send_file(copying, fd, &about, guest_path, error);
}

/* As `cp` does: into a folder that is there, under its own name. */
static char *
target_path(LodgeAgent *agent, const char *host_path, const char *guest_path, gint64 deadline,
            GError **error)
{
    LodgeAgentKind kind = LODGE_AGENT_OTHER;
    g_autoptr(GError) problem = NULL;
    if (guest_path[0] != '/') {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: a path in the guest begins with /",
                        guest_path);
        return NULL;
    }
    if (!lodge_agent_stat(agent, guest_path, TRUE, deadline, &kind, NULL, &problem) &&
        !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return NULL;
    }
    if (kind != LODGE_AGENT_FOLDER) {
        return g_strdup(guest_path);
    }
    g_autofree char *real = realpath(host_path, NULL); /* for "." and "folder/" */
    g_autofree char *name = g_path_get_basename(real != NULL ? real : host_path);
    return g_build_filename(guest_path, name, NULL);
}

gboolean
lodge_agent_copy_in(LodgeAgent *agent, const char *host_path, const char *guest_path,
                    LodgeAgentCopy *copy, GError **error)
{
    Copying copying;
    copying_begin(&copying, agent, copy);
    g_autofree char *target = target_path(agent, host_path, guest_path, copying_deadline(&copying),
                                          error);
    if (target == NULL || !send_entry(&copying, AT_FDCWD, host_path, target, 0, error) ||
        !copying_drain(&copying, 0, error)) {
        agent->is_over |= copying.unanswered > 0;
        return lodge_error_prefix(error, "Copying into the guest");
    }
    return TRUE;
}
