#include "config.h"

#include "net/tests/steps.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static gboolean
changes_something(pid_t pid)
{
    static const guint64 calls[] = {
        SYS_renameat, SYS_renameat2, SYS_unlinkat,  SYS_mkdirat, SYS_sendto,
        SYS_sendmsg,  SYS_clone,     SYS_ftruncate, SYS_kill,    SYS_pidfd_send_signal,
#ifdef SYS_rename
        SYS_rename,   SYS_unlink,    SYS_mkdir,     SYS_fork,
#endif
    };
    struct __ptrace_syscall_info info = {0};
    if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0 ||
        info.op != PTRACE_SYSCALL_INFO_ENTRY) {
        return FALSE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(calls); i++) {
        if (info.entry.nr == calls[i]) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean
steps_kill_at(guint step, void (*function)(gpointer data), gpointer data)
{
    int status = 0;
    guint seen = 0;
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        function(data);
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSTOPPED(status));
    g_assert_cmpint(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL),
                    ==, 0);
    int signal_number = 0;
    for (;;) {
        ptrace(PTRACE_SYSCALL, pid, NULL, (gpointer)(gintptr)signal_number);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        if (!WIFSTOPPED(status)) {
            return FALSE;
        }
        gboolean is_call = WSTOPSIG(status) == (SIGTRAP | 0x80);
        signal_number = is_call ? 0 : WSTOPSIG(status);
        if (is_call && changes_something(pid) && seen++ == step) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return TRUE;
        }
    }
}
