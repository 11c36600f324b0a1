/* Theory of operation
 *
 * swtpm and QEMU are tied by a pair of sockets, which nobody else has: when QEMU ends, however that
 * is, its end is closed, and swtpm ends with it (--terminate). So a keeper that is killed leaves
 * nothing behind. swtpm reads what the guest says; it runs as QEMU's user, and has of this host
 * only the folder of its state, by a descriptor. */
#include "config.h"

#include "keeper/tpm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "qemu/command.h"
#include "qemu/spawn.h"

enum { ENDING_MS = 3000 };

/* The folder of its state and all in it belong to @uid: which one that is, the guest's place says,
 * and it may have moved. */
static int
open_state(const LodgeStore *store, const LodgeGuest *guest, uid_t uid, GError **error)
{
    g_autofree char *path = lodge_store_guest_path(store, guest->name, guest->tpm_state);
    if (!lodge_dir_make(path, 0700, error)) {
        return -1;
    }
    lodge_autofd fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    g_auto(GStrv) names = lodge_dir_names(path, NULL);
    gboolean fine = fd >= 0 && (geteuid() != 0 || fchown(fd, uid, uid) == 0);
    for (gsize i = 0; fine && geteuid() == 0 && names != NULL && names[i] != NULL; i++) {
        fine = fchownat(fd, names[i], uid, uid, AT_SYMLINK_NOFOLLOW) == 0;
    }
    if (!fine) {
        lodge_error_errno(error, errno, "%s", path);
        return -1;
    }
    return lodge_fd_steal(&fd);
}

static gboolean
spawn(Tpm *tpm, const LodgeStore *store, const LodgeGuest *guest, const char *program,
      GError **error)
{
    int pair[2];
    g_autofree char *folder = lodge_store_guest_path(store, guest->name, NULL);
    g_autofree char *log = lodge_store_run_path(store, guest->name, "swtpm.log");
    const LodgeSpawn how = {
        .log_path = log, .lock_fd = -1, .drop = geteuid() == 0, .uid = lodge_qemu_uid(folder)};
    lodge_autofd state = open_state(store, guest, how.uid, error);
    if (state < 0) {
        return FALSE;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return lodge_error_errno(error, errno, "A socket for its TPM");
    }
    lodge_autofd theirs = pair[0];
    tpm->socket = pair[1];
    g_autoptr(LodgeCommand) command = lodge_swtpm_command(program, state, theirs);
    unlink(log);
    return lodge_qemu_spawn(command, &how, &tpm->pid, &tpm->pid_fd, error);
}

gboolean
tpm_begin(Tpm *tpm, const LodgeStore *store, const LodgeGuest *guest, GError **error)
{
    if (!lodge_guest_has_tpm(guest)) {
        return TRUE;
    }
    g_autofree char *program = lodge_program_find("swtpm");
    if (program == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "its TPM needs swtpm, which is not installed (`lodge check` names "
                               "the package; tpm=no does without)");
    }
    return spawn(tpm, store, guest, program, error) || lodge_error_prefix(error, "TPM");
}

void
tpm_end(Tpm *tpm)
{
    lodge_fd_clear(&tpm->socket);
    if (tpm->pid != 0) {
        if (!lodge_pid_fd_await(tpm->pid_fd, ENDING_MS)) {
            lodge_pid_fd_signal(tpm->pid_fd, SIGKILL, NULL);
        }
        while (waitpid(tpm->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    lodge_fd_clear(&tpm->pid_fd);
    tpm->pid = 0;
}
