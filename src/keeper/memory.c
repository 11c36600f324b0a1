#include "config.h"

#include "keeper/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "host/check.h"

#define SHARED_FILE "memory.json"
#define SEALS LODGE_KEEPER_SEALS

enum {
    PATH_LIMIT_BYTES = 4096,
    COPY_TIMEOUT_MS = 60000,
};

typedef struct {
    int from, to;
    off_t size_bytes;
} Copying;

/* Holes stay holes. */
static gboolean
copy_data(gpointer data, LodgeProgress *progress, GError **error)
{
    const Copying *copying = data;
    (void)progress;
    for (off_t at = 0; at < copying->size_bytes;) {
        off_t begin = lseek(copying->from, at, SEEK_DATA);
        off_t end = begin >= 0 ? lseek(copying->from, begin, SEEK_HOLE) : -1;
        if (begin < 0 && errno == ENXIO) {
            return TRUE;
        }
        if (end < 0 || lseek(copying->from, begin, SEEK_SET) < 0 ||
            lseek(copying->to, begin, SEEK_SET) < 0) {
            return lodge_error_errno(error, errno, "memory to begin with");
        }
        for (at = begin; at < end;) {
            ssize_t done = sendfile(copying->to, copying->from, NULL, (size_t)(end - at));
            if (done <= 0) {
                return lodge_error_errno(error, errno, "memory to begin with");
            }
            at += done;
        }
    }
    return TRUE;
}

static gboolean
begin_copy(const char *file, KeeperMemory *memory, GError **error)
{
    struct stat info;
    lodge_autofd from = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    lodge_autofd copy = memfd_create("lodge-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (from < 0 || copy < 0 || fstat(from, &info) < 0 || ftruncate(copy, info.st_size) < 0) {
        return lodge_error_errno(error, errno, "%s", file);
    }
    Copying copying = {from, copy, info.st_size};
    memory->copying = lodge_child_begin(copy_data, &copying, error);
    memory->fd = lodge_fd_steal(&copy);
    return memory->copying != NULL;
}

/* The copy that @guest's keeper holds, if it is of @file as it is now. */
static int
take_from(const LodgeStore *store, const char *guest, const char *file, const struct stat *info)
{
    pid_t pid = 0;
    g_autofree char *lock_path = lodge_store_run_path(store, guest, "keeper.lock");
    g_autofree char *path = lodge_store_run_path(store, guest, SHARED_FILE);
    g_autoptr(json_t) shared = lodge_json_read(path, PATH_LIMIT_BYTES, NULL);
    if (g_strcmp0(lodge_json_string(shared, "file", NULL), file) != 0 ||
        (ino_t)lodge_json_int(shared, "inode", 0) != info->st_ino) {
        return -1;
    }
    lodge_autofd keeper = lodge_lock_open_holder(lock_path, &pid);
    if (keeper < 0 || lodge_json_int(shared, "pid", 0) != pid) {
        return -1;
    }
    g_autofree char *link = g_strdup_printf("/proc/%d/fd/%d", (int)pid,
                                            (int)lodge_json_int(shared, "fd", -1));
    lodge_autofd fd = open(link, O_RDWR | O_CLOEXEC);
    gboolean is_sealed = fd >= 0 && fcntl(fd, F_GET_SEALS) == SEALS;
    return is_sealed ? lodge_fd_steal(&fd) : -1;
}

static gboolean
share(const LodgeStore *store, const char *guest, const char *file, int fd, GError **error)
{
    struct stat info;
    g_autofree char *path = lodge_store_run_path(store, guest, SHARED_FILE);
    if (stat(file, &info) < 0) {
        return lodge_error_errno(error, errno, "%s", file);
    }
    g_autoptr(json_t) shared = json_pack("{s:s, s:I, s:i, s:i}", "file", file, "inode",
                                         (json_int_t)info.st_ino, "pid", (int)getpid(), "fd", fd);
    lodge_json_publish(path, shared, NULL);
    return TRUE;
}

static gboolean
open_sealed(const LodgeStore *store, const char *guest, const char *file, KeeperMemory *memory,
            GError **error)
{
    struct stat info;
    g_autofree char *lock_path = g_build_filename(store->run, "memory.lock", NULL);
    g_autofree char *folder = g_build_filename(store->run, "guests", NULL);
    /* Who comes at the same time waits for the one copy. */
    lodge_autofd lock = lodge_lock_take_within(lock_path, COPY_TIMEOUT_MS, error);
    if (lock < 0) {
        return FALSE;
    }
    if (stat(file, &info) < 0) {
        return lodge_error_errno(error, errno, "%s", file);
    }
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    for (gsize i = 0; memory->fd < 0 && names != NULL && names[i] != NULL; i++) {
        memory->fd = take_from(store, names[i], file, &info);
    }
    if (memory->fd >= 0) {
        return share(store, guest, file, memory->fd, error);
    }
    memory->lock_fd = lodge_fd_steal(&lock);
    return begin_copy(file, memory, error);
}

/* What somebody holds for us has no name, and must be what nobody can change. */
static int
open_held(const char *file, gboolean reads, GError **error)
{
    lodge_autofd fd = open(file, (reads ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0) {
        lodge_error_errno(error, errno, "%s", file);
        return -1;
    }
    if (fcntl(fd, F_GET_SEALS) != SEALS) {
        lodge_error_set(error, LODGE_ERROR_FAILED, "%s: it is not there any more", file);
        return -1;
    }
    return lodge_fd_steal(&fd);
}

static gboolean
open_memory(const LodgeStore *store, const char *guest, const char *file, KeeperMemory *memory,
            GError **error)
{
    gboolean reads = memory->use == LODGE_MEMORY_READ_ONLY;
    if (g_str_has_prefix(file, "/proc/")) {
        memory->fd = open_held(file, reads, error);
        return memory->fd >= 0;
    }
    if (!reads) {
        return open_sealed(store, guest, file, memory, error);
    }
    memory->fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return memory->fd >= 0 || lodge_error_errno(error, errno, "%s", file);
}

gboolean
keeper_memory_open(const LodgeStore *store, const char *guest, const char *qemu,
                   KeeperMemory *out_memory, GError **error)
{
    g_autofree char *path = lodge_store_run_path(store, guest, LODGE_KEEPER_MEMORY);
    g_autofree char *file = lodge_file_read(path, PATH_LIMIT_BYTES, NULL, NULL);
    *out_memory = KEEPER_MEMORY_NONE;
    unlink(path);
    if (file == NULL) {
        return TRUE;
    }
    gboolean reads = qemu != NULL && lodge_qemu_is_at_least(qemu, "8.2");
    out_memory->use = reads ? LODGE_MEMORY_READ_ONLY : LODGE_MEMORY_COPIED;
    out_memory->file = g_strdup(file);
    return open_memory(store, guest, file, out_memory, error);
}

gboolean
keeper_memory_complete(const LodgeStore *store, const char *guest, KeeperMemory *memory,
                       GError **error)
{
    if (memory->copying == NULL) {
        return TRUE;
    }
    gboolean fine = lodge_child_end(memory->copying, error) &&
                    (fcntl(memory->fd, F_ADD_SEALS, SEALS) == 0 ||
                     lodge_error_errno(error, errno, "%s", memory->file)) &&
                    share(store, guest, memory->file, memory->fd, error);
    g_clear_pointer(&memory->copying, lodge_child_free);
    lodge_fd_clear(&memory->lock_fd);
    return fine;
}

void
keeper_memory_clear(KeeperMemory *memory)
{
    g_clear_pointer(&memory->copying, lodge_child_free);
    lodge_fd_clear(&memory->lock_fd);
    lodge_fd_clear(&memory->fd);
    g_clear_pointer(&memory->file, g_free);
}
