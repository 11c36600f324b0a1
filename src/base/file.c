#include "config.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/units.h"

/* @size is what the file is said to hold: no need then to ask for more. Files below /proc say 0,
 * some below /sys too much, so it is only a hint. */
static char *
read_whole(int fd, gsize size, gsize limit_bytes, gsize *out_length)
{
    g_autoptr(GString) text = g_string_sized_new(MIN(size, limit_bytes) + 1);
    char buffer[4096];
    for (;;) {
        gssize got = read(fd, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return NULL;
        }
        if (got == 0) {
            break;
        }
        if (text->len + (gsize)got > limit_bytes) {
            errno = EFBIG;
            return NULL;
        }
        g_string_append_len(text, buffer, got);
        if (text->len == size) {
            break;
        }
    }
    if (out_length != NULL) {
        *out_length = text->len;
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

char *
lodge_file_read(const char *path, gsize limit_bytes, gsize *out_length, GError **error)
{
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        lodge_error_errno(error, errno, "%s", path);
        return NULL;
    }
    struct stat info;
    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: not a regular file", path);
        return NULL;
    }
    char *text = read_whole(fd, (gsize)info.st_size, limit_bytes, out_length);
    if (text == NULL && errno == EFBIG) {
        lodge_error_set(error, LODGE_ERROR_INVALID,
                        "%s: larger than the %" G_GSIZE_FORMAT " bytes that belong there", path,
                        limit_bytes);
    } else if (text == NULL) {
        lodge_error_errno(error, errno, "Reading %s", path);
    }
    return text;
}

static gboolean
write_whole(int fd, const char *data, gsize length)
{
    while (length > 0) {
        gssize put = write(fd, data, length);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return FALSE;
        }
        data += put;
        length -= (gsize)put;
    }
    return TRUE;
}

static void
sync_folder_of(const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);
    lodge_autofd fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
    }
}

/* A neighbour that a killed writer left is the next one's, so there is never more than one of a
 * file. It is its own lock: while another writes the same file, -1 with BUSY. In a folder of
 * somebody else's it could be one more name of a file of ours. */
static int
take_neighbour(const char *path, GError **error)
{
    struct stat info;
    lodge_autofd fd = lodge_lock_take(path, error);
    if (fd < 0) {
        return -1;
    }
    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode) || info.st_nlink != 1 ||
        info.st_uid != geteuid() || ftruncate(fd, 0) < 0) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s is in the way", path);
        return -1;
    }
    return lodge_fd_steal(&fd);
}

static int
open_neighbour(const char *path, char **out_neighbour, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *neighbour = g_strdup_printf("%s/.%s.new", folder, name);
    int fd = take_neighbour(neighbour, NULL);
    if (fd < 0) {
        g_free(neighbour);
        neighbour = g_strdup_printf("%s/.%s.XXXXXX", folder, name);
        fd = g_mkstemp_full(neighbour, O_RDWR | O_CLOEXEC, 0600);
    }
    if (fd < 0) {
        lodge_error_errno(error, errno, "Writing %s", path);
        return -1;
    }
    *out_neighbour = g_steal_pointer(&neighbour);
    return fd;
}

gboolean
lodge_file_write(const char *path, const char *data, gsize length, mode_t mode,
                 LodgeWriteFlags flags, GError **error)
{
    gboolean sync = !(flags & LODGE_WRITE_NO_SYNC);
    g_autofree char *neighbour = NULL;
    lodge_autofd fd = open_neighbour(path, &neighbour, error);
    if (fd < 0) {
        return FALSE;
    }
    if (!write_whole(fd, data, length) || fchmod(fd, mode) < 0 || (sync && fsync(fd) < 0) ||
        rename(neighbour, path) < 0) {
        int saved_errno = errno;
        unlink(neighbour);
        return lodge_error_errno(error, saved_errno, "Writing %s", path);
    }
    if (sync) {
        sync_folder_of(path);
    }
    return TRUE;
}

/* Root's folders are passed by services that run as somebody else: its umask must not close them.
 * 0 or -1 with errno. */
static int
make_folder(const char *path, mode_t mode)
{
    if (mkdir(path, mode) == 0) {
        return geteuid() == 0 ? chmod(path, mode) : 0;
    }
    int saved_errno = errno;
    struct stat info;
    if (saved_errno == EEXIST && stat(path, &info) == 0) {
        errno = ENOTDIR;
        return S_ISDIR(info.st_mode) ? 0 : -1;
    }
    errno = saved_errno;
    return -1;
}

gboolean
lodge_dir_make(const char *path, mode_t mode, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(path);
    int made = make_folder(path, mode);
    if (made < 0 && errno == ENOENT && !g_str_equal(parent, path)) {
        if (!lodge_dir_make(parent, mode, error)) {
            return FALSE;
        }
        made = make_folder(path, mode);
    }
    return made == 0 || lodge_error_errno(error, errno, "Creating folder %s", path);
}

static gboolean
remove_content(int parent_fd, const char *name, dev_t device)
{
    lodge_autofd fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return FALSE;
    }
    struct stat info;
    if (fstat(fd, &info) < 0) {
        return FALSE;
    }
    if (info.st_dev != device) {
        errno = EXDEV;
        return FALSE;
    }
    DIR *folder = fdopendir(fd);
    if (folder == NULL) {
        return FALSE;
    }
    int folder_fd = lodge_fd_steal(&fd);
    gboolean fine = TRUE;
    for (struct dirent *entry; fine && (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (unlinkat(folder_fd, entry->d_name, 0) == 0 || errno == ENOENT) {
            continue;
        }
        fine = (errno == EISDIR || errno == EPERM) &&
               remove_content(folder_fd, entry->d_name, device) &&
               unlinkat(folder_fd, entry->d_name, AT_REMOVEDIR) == 0;
    }
    int saved_errno = errno;
    closedir(folder);
    errno = saved_errno;
    return fine;
}

gboolean
lodge_tree_remove(const char *path, GError **error)
{
    struct stat info;
    if (lstat(path, &info) < 0) {
        return errno == ENOENT ? TRUE : lodge_error_errno(error, errno, "Removing %s", path);
    }
    gboolean fine = S_ISDIR(info.st_mode)
                        ? remove_content(AT_FDCWD, path, info.st_dev) && rmdir(path) == 0
                        : unlink(path) == 0 || errno == ENOENT;
    return fine || lodge_error_errno(error, errno, "Removing %s", path);
}

guint64
lodge_tree_allocated(const char *path)
{
    struct stat info;
    if (lstat(path, &info) < 0) {
        return 0;
    }
    guint64 sum = (guint64)info.st_blocks * 512;
    if (!S_ISDIR(info.st_mode)) {
        return sum;
    }
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    for (const char *name; folder != NULL && (name = g_dir_read_name(folder)) != NULL;) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        sum += lodge_tree_allocated(child);
    }
    return sum;
}

guint64
lodge_file_system_free(const char *path)
{
    g_autofree char *place = g_strdup(path);
    struct statvfs info;
    while (statvfs(place, &info) < 0) {
        if (errno != ENOENT || strcmp(place, "/") == 0 || strcmp(place, ".") == 0) {
            return 0;
        }
        char *parent = g_path_get_dirname(place);
        g_free(place);
        place = parent;
    }
    return (guint64)info.f_bavail * info.f_frsize;
}

static int
compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

gboolean
lodge_file_system_check(const char *path, guint64 need_bytes, const char *what, GError **error)
{
    guint64 free_bytes = lodge_file_system_free(path);
    if (free_bytes == 0 || free_bytes >= need_bytes) {
        return TRUE;
    }
    g_autofree char *need = lodge_size_human(need_bytes);
    g_autofree char *left = lodge_size_human(free_bytes);
    return lodge_error_set(error, LODGE_ERROR_FAILED,
                           "%s takes %s in %s, where only %s is free (free some space there, or "
                           "move the data with LODGE_DIR)",
                           what, need, path, left);
}

char **
lodge_dir_names(const char *path, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    DIR *folder = opendir(path);
    if (folder == NULL && errno != ENOENT) {
        lodge_error_errno(error, errno, "Reading folder %s", path);
        return NULL;
    }
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.') {
            g_ptr_array_add(names, g_strdup(entry->d_name));
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    g_ptr_array_sort(names, compare_names);
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}

/* A Unix socket's address holds 107 bytes of path. Longer ones are reached through the folder's
 * descriptor below /proc/self/fd, which is left in @out_folder_fd until bind or connect is done. */
static gboolean
socket_address(const char *path, struct sockaddr_un *out_address, int *out_folder_fd,
               GError **error)
{
    *out_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *out_folder_fd = -1;
    if (strlen(path) < sizeof out_address->sun_path) {
        g_strlcpy(out_address->sun_path, path, sizeof out_address->sun_path);
        return TRUE;
    }
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    *out_folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*out_folder_fd < 0) {
        return lodge_error_errno(error, errno, "%s", folder);
    }
    int length = g_snprintf(out_address->sun_path, sizeof out_address->sun_path,
                            "/proc/self/fd/%d/%s", *out_folder_fd, name);
    if ((gsize)length >= sizeof out_address->sun_path) {
        lodge_fd_clear(out_folder_fd);
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: the name is too long for a socket",
                               path);
    }
    return TRUE;
}

int
lodge_unix_listen(const char *path, mode_t mode, GError **error)
{
    struct sockaddr_un address;
    lodge_autofd folder_fd = -1;
    if (!socket_address(path, &address, &folder_fd, error)) {
        return -1;
    }
    lodge_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(path);
    if (fd < 0 || fchmod(fd, mode) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 8) < 0) {
        lodge_error_errno(error, errno, "Listening on %s", path);
        return -1;
    }
    return lodge_fd_steal(&fd);
}

int
lodge_unix_connect(const char *path, GError **error)
{
    struct sockaddr_un address;
    lodge_autofd folder_fd = -1;
    if (!socket_address(path, &address, &folder_fd, error)) {
        return -1;
    }
    /* Without waiting: a listener whose queue is full must not hold us up. */
    lodge_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        fcntl(fd, F_SETFL, 0) < 0) {
        if (errno == ECONNREFUSED) {
            errno = ENOENT;
        }
        lodge_error_errno(error, errno, "Connecting to %s", path);
        return -1;
    }
    return lodge_fd_steal(&fd);
}
