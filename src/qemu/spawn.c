#include "config.h"

#include "qemu/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

enum {
    /* systemd's list of user id ranges calls 1879048192 to 2147352575 unused
     * (https://systemd.io/UIDS-GIDS/, read 2024). */
    FIRST_UID = 1879048192,
    UID_COUNT = 2147352576 - FIRST_UID,
    LOCK_FD = 9,                  /* below the passed ones */
    COPY_LIMIT_BYTES = 512 << 20, /* a kernel or an initial RAM disk */
    COPY_STEP_BYTES = 1 << 20,
};

uid_t
lodge_qemu_uid(const char *guest_folder)
{
    return FIRST_UID + g_str_hash(guest_folder) % UID_COUNT;
}

/* A copy in memory, which whoever has the descriptor may open again. */
static int
copy_into_memory(int source, GError **error)
{
    lodge_autofd fd = memfd_create("lodge", MFD_CLOEXEC);
    gssize sent = fd >= 0 ? 1 : -1;
    guint64 length = 0;
    while (sent > 0 && length <= COPY_LIMIT_BYTES) {
        sent = sendfile(fd, source, NULL, COPY_STEP_BYTES);
        length += (guint64)MAX(sent, 0);
    }
    if (sent < 0) {
        lodge_error_errno(error, errno, "copying it");
        return -1;
    }
    if (sent > 0) {
        lodge_error_set(error, LODGE_ERROR_INVALID,
                        "larger than %d MiB, and QEMU's user may not read it (chmod a+r)",
                        COPY_LIMIT_BYTES >> 20);
        return -1;
    }
    return lodge_fd_steal(&fd);
}

static int
open_copy(const char *path, GError **error)
{
    struct stat info;
    lodge_autofd source = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (source < 0 || fstat(source, &info) < 0) {
        lodge_error_errno(error, errno, "%s", path);
        return -1;
    }
    if (!S_ISREG(info.st_mode)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: not a regular file", path);
        return -1;
    }
    if (info.st_mode & S_IROTH) {
        return lodge_fd_steal(&source);
    }
    int fd = copy_into_memory(source, error);
    if (fd < 0) {
        lodge_error_prefix(error, "%s", path);
    }
    return fd;
}

static int
open_passed(const LodgePass *pass, GError **error)
{
    int fd = -1;
    switch (pass->kind) {
    case LODGE_PASS_READ:
        fd = open(pass->path, O_RDONLY | O_CLOEXEC);
        break;
    case LODGE_PASS_WRITE:
        fd = open(pass->path, O_RDWR | O_CLOEXEC);
        break;
    case LODGE_PASS_APPEND:
        fd = open(pass->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        break;
    case LODGE_PASS_COPY:
        return open_copy(pass->path, error);
    case LODGE_PASS_LISTEN:
        return lodge_unix_listen(pass->path, 0600, error);
    case LODGE_PASS_OPEN:
        fd = fcntl(pass->open_fd, F_DUPFD_CLOEXEC, 0);
        break;
    }
    if (fd < 0) {
        lodge_error_errno(error, errno, "%s", pass->path);
    }
    return fd;
}

/* Everything that the child does between fork and exec: only calls that are safe there. */
typedef struct {
    char **argv;
    const int *sources; /* open descriptors, close-on-exec, all above the targets */
    const int *targets;
    gsize count;
    int log_fd;
    const LodgeSpawn *spawn;
    gid_t kvm_group; /* 0: none */
    pid_t parent;
} Child;

static gboolean
drop_privileges(const Child *child)
{
    const LodgeSpawn *spawn = child->spawn;
    if (!spawn->drop) {
        return TRUE;
    }
    gsize group_count = child->kvm_group != 0 ? 1 : 0;
    return setgroups(group_count, &child->kvm_group) == 0 &&
           setresgid(spawn->uid, spawn->uid, spawn->uid) == 0 &&
           setresuid(spawn->uid, spawn->uid, spawn->uid) == 0;
}

/* After the change of user, which would undo it. */
static gboolean
tie(const Child *child)
{
    return !child->spawn->tied ||
           (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && getppid() == child->parent);
}

static void
be_child(const Child *child)
{
    static const char failed[] = "lodge-keeper: could not prepare or execute QEMU\n";
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    umask(077);
    int null_fd = open("/dev/null", O_RDONLY);
    gboolean fine = null_fd >= 0 && dup2(null_fd, 0) == 0 && dup2(child->log_fd, 1) == 1 &&
                    dup2(child->log_fd, 2) == 2;
    for (gsize i = 0; fine && i < child->count; i++) {
        fine = dup2(child->sources[i], child->targets[i]) >= 0;
    }
    fine = fine && syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
    for (gsize i = 0; fine && i < child->count; i++) {
        fine = fcntl(child->targets[i], F_SETFD, 0) == 0;
    }
    fine = fine && drop_privileges(child) && tie(child) &&
           prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
    if (fine) {
        execv(child->argv[0], child->argv);
    }
    /* Not to log_fd: a disk may have that number by now. */
    if (write(2, failed, sizeof failed - 1) < 0) {
        _exit(126);
    }
    _exit(127);
}

/* The group that may open /dev/kvm, if it is one that only grants that. */
static gid_t
kvm_group(void)
{
    struct stat info;
    gboolean grants = stat("/dev/kvm", &info) == 0 && (info.st_mode & 0060) == 0060;
    return grants ? info.st_gid : 0;
}

/* Descriptors, moved out of the way of the numbers they will get. */
static GArray *
open_all(const LodgeCommand *command, const LodgeSpawn *spawn, GArray *targets, GError **error)
{
    g_autoptr(GArray) sources = g_array_new(FALSE, FALSE, sizeof(int));
    g_array_set_clear_func(sources, (GDestroyNotify)lodge_fd_clear);
    int above = LOCK_FD;
    for (guint i = 0; i < command->passed->len; i++) {
        const LodgePass *pass = command->passed->pdata[i];
        above = MAX(above, pass->fd);
    }
    for (guint i = 0; i < command->passed->len + (spawn->lock_fd >= 0 ? 1 : 0); i++) {
        const LodgePass *pass = i < command->passed->len ? command->passed->pdata[i] : NULL;
        lodge_autofd fd = pass != NULL ? open_passed(pass, error) : dup(spawn->lock_fd);
        int target = pass != NULL ? pass->fd : LOCK_FD;
        int high = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, above + 1) : -1;
        if (high < 0) {
            if (error != NULL && *error == NULL) {
                lodge_error_errno(error, errno, "Opening files for QEMU");
            }
            return NULL;
        }
        g_array_append_val(sources, high);
        g_array_append_val(targets, target);
    }
    return g_steal_pointer(&sources);
}

gboolean
lodge_qemu_allow_locked(pid_t pid, guint64 bytes, GError **error)
{
    struct rlimit present;
    const struct rlimit limit = {bytes, bytes};
    if (prlimit(pid, RLIMIT_MEMLOCK, NULL, &present) == 0 && present.rlim_cur >= bytes) {
        return TRUE;
    }
    return prlimit(pid, RLIMIT_MEMLOCK, &limit, NULL) == 0 ||
           lodge_error_errno(error, errno,
                             "Letting QEMU lock the guest's memory for PCI devices (which takes "
                             "CAP_SYS_RESOURCE)");
}

gboolean
lodge_qemu_spawn(const LodgeCommand *command, const LodgeSpawn *spawn, pid_t *out_pid,
                 int *out_pid_fd, GError **error)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    /* Ours, which it inherits: its own it may not raise. */
    if (!lodge_qemu_allow_locked(getpid(), spawn->locked_bytes, error)) {
        return FALSE;
    }
    g_autoptr(GArray) targets = g_array_new(FALSE, FALSE, sizeof(int));
    g_autoptr(GArray) sources = open_all(command, spawn, targets, error);
    if (sources == NULL) {
        return FALSE;
    }
    lodge_autofd log_fd = open(spawn->log_path,
                               O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log_fd < 0) {
        return lodge_error_errno(error, errno, "%s", spawn->log_path);
    }
    Child child = {
        .argv = (char **)command->argv->pdata,
        .sources = (const int *)(gpointer)sources->data,
        .targets = (const int *)(gpointer)targets->data,
        .count = sources->len,
        .log_fd = log_fd,
        .spawn = spawn,
        .kvm_group = kvm_group(),
        .parent = getpid(),
    };
    pid_t pid = fork();
    if (pid < 0) {
        return lodge_error_errno(error, errno, "Starting QEMU");
    }
    if (pid == 0) {
        be_child(&child);
    }
    lodge_autofd pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pid_fd < 0) {
        int saved_errno = errno;
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        return lodge_error_errno(error, saved_errno, "Watching QEMU");
    }
    *out_pid = pid;
    *out_pid_fd = lodge_fd_steal(&pid_fd);
    return TRUE;
}
