#include "config.h"

#include "qmp/tests/fake.h"

#include <sys/socket.h>
#include <sys/wait.h>

#include "base/fd.h"

#define PROGRAM LODGE_SOURCE_DIR "/src/qmp/tests/fake-qemu.py"

Fake
fake_start(const char *script)
{
    int pair[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    const char *argv[] = {"python3", PROGRAM, "--fd", "3", "--script", script, NULL};
    const int target = 3;
    Fake fake = {.fd = pair[0]};
    g_autoptr(GError) error = NULL;
    g_spawn_async_with_pipes_and_fds(
        NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH, NULL, NULL, -1, -1, -1,
        &pair[1], &target, 1, &fake.pid, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    lodge_fd_clear(&pair[1]);
    return fake;
}

void
fake_end(Fake *fake)
{
    int status = -1;
    g_assert_cmpint(waitpid(fake->pid, &status, 0), ==, fake->pid);
    g_assert_cmpint(status, ==, 0);
}
