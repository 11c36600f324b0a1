/* Theory of operation: what a guest had in memory is files in memory without a name.
 *
 * Most are filled by a process of ours that reads it out of QEMU (memory-reader.c). Where that
 * can't be, QEMU writes its migration into a pipe, and a copy of this process takes the stream
 * apart as it comes, so that QEMU never waits for us. */
#include "config.h"

#include "ops/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/machine-state.h"
#include "keeper/keeper.h"
#include "ops/session.h"
#include "qemu/memory-stream.h"

enum { PIPE_BYTES = 1 << 20 };

typedef struct {
    int from, other_end;
    LodgeMemoryStream to;
} Reading;

static gboolean
read_stream(gpointer data, LodgeProgress *progress, GError **error)
{
    Reading *reading = data;
    (void)progress;
    lodge_fd_clear(&reading->other_end); /* or the stream would never end */
    return lodge_memory_stream_split(reading->from, &reading->to, error);
}

gboolean
capture_prepare(Capture *capture, guint64 size_bytes, GError **error)
{
    guint64 available = lodge_memory_available();
    if (capture->memory_fd >= 0) {
        return TRUE;
    }
    if (size_bytes > available) {
        g_autofree char *wanted = lodge_size_human(size_bytes);
        g_autofree char *there = lodge_size_human(available);
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "its memory may take %s more of this host's, which has %s to give "
                               "(stop other guests, or fork it when it is stopped)",
                               wanted, there);
    }
    capture->memory_fd = memfd_create("lodge-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    capture->state_fd = memfd_create("lodge-state", MFD_CLOEXEC);
    return (capture->memory_fd >= 0 && capture->state_fd >= 0 &&
            ftruncate(capture->memory_fd, (off_t)size_bytes) == 0) ||
           lodge_error_errno(error, errno, "a place for its memory");
}

int
capture_begin(Capture *capture, guint64 size_bytes, GError **error)
{
    int pipe_fds[2];
    if (!capture_prepare(capture, size_bytes, error)) {
        return -1;
    }
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        lodge_error_errno(error, errno, "a pipe");
        return -1;
    }
    lodge_autofd read_end = pipe_fds[0];
    lodge_autofd write_end = pipe_fds[1];
    fcntl(write_end, F_SETPIPE_SZ, PIPE_BYTES); /* a user may have less: then it is only slower */
    Reading reading = {
        .from = read_end,
        .other_end = write_end,
        .to = {capture->memory_fd, size_bytes, capture->state_fd},
    };
    capture->reader = lodge_child_begin(read_stream, &reading, error);
    return capture->reader != NULL ? lodge_fd_steal(&write_end) : -1;
}

gboolean
capture_finish(Capture *capture, GError **error)
{
    if ((capture->reader != NULL && !lodge_child_end(capture->reader, error)) ||
        !machine_state_cut_networks(capture->state_fd, error)) {
        return FALSE;
    }
    return fcntl(capture->memory_fd, F_ADD_SEALS, LODGE_KEEPER_SEALS) == 0 ||
           lodge_error_errno(error, errno, "its memory");
}

void
capture_clear(Capture *capture)
{
    g_clear_pointer(&capture->reader, lodge_child_free);
    lodge_fd_clear(&capture->memory_fd);
    lodge_fd_clear(&capture->state_fd);
}

char *
capture_memory_path(const Capture *capture)
{
    return g_strdup_printf("/proc/%d/fd/%d", (int)getpid(), capture->memory_fd);
}

char *
capture_state_path(const Capture *capture)
{
    return g_strdup_printf("/proc/self/fd/%d", capture->state_fd);
}
