/* Theory of operation: whether io_uring works is tried, not concluded.
 *
 * QEMU may be built without it, a container's seccomp filter may forbid it, and older kernels count
 * its rings as locked memory, of which an ordinary user has little. So a QEMU without a machine is
 * started once, with its sandbox on and a file opened by io_uring, and told to quit. */
#include "config.h"

#include <string.h>
#include <sys/utsname.h>

#include "base/base.h"
#include "host/check.h"

enum {
    PROBE_TIMEOUT_MS = 10000,
    CACHE_LIMIT_BYTES = 4096,
    SYSCTL_LIMIT_BYTES = 16,
};

/* 1: only a group may, 2: nobody. QEMU's user, who owns nothing, is in no group. */
static gboolean
is_forbidden(void)
{
    g_autofree char *text = lodge_file_read("/proc/sys/kernel/io_uring_disabled",
                                            SYSCTL_LIMIT_BYTES, NULL, NULL);
    return text != NULL && *text != '0';
}

static gboolean
is_kernel_new_enough(const char *release)
{
    char *end = NULL;
    guint64 major = g_ascii_strtoull(release, &end, 10);
    guint64 minor = *end == '.' ? g_ascii_strtoull(end + 1, NULL, 10) : 0;
    return major > 5 || (major == 5 && minor >= 12);
}

/* FALSE, too, if no answer came in time: nothing is known then. */
static gboolean
try_it(const char *program, gboolean *out_works)
{
    g_autoptr(GError) error = NULL;
    const char *const argv[] = {program,
                                "-machine",
                                "none",
                                "-nodefaults",
                                "-no-user-config",
                                "-display",
                                "none",
                                "-sandbox",
                                "on",
                                "-monitor",
                                "stdio",
                                "-blockdev",
                                "driver=file,node-name=a,filename=/proc/self/exe,read-only=on,"
                                "aio=io_uring",
                                NULL};
    const LodgeProcess process = {.argv = argv, .input = "quit\n", .timeout_ms = PROBE_TIMEOUT_MS};
    *out_works = lodge_process_run(&process, NULL, &error);
    return !g_error_matches(error, LODGE_ERROR, LODGE_ERROR_TIMEOUT) &&
           !g_error_matches(error, LODGE_ERROR, LODGE_ERROR_INTERRUPTED);
}

gboolean
lodge_qemu_does_io_uring(const char *program, const char *cache_folder, gboolean may_try)
{
    struct utsname system;
    g_autofree char *identity = lodge_qemu_identity(program);
    if (identity == NULL || uname(&system) < 0 || is_forbidden() ||
        !is_kernel_new_enough(system.release)) {
        return FALSE;
    }
    g_autofree char *key = g_strdup_printf("%s %s", identity, system.release);
    g_autofree char *file = g_build_filename(cache_folder, "qemu-aio.json", NULL);
    g_autoptr(json_t) saved = lodge_json_read(file, CACHE_LIMIT_BYTES, NULL);
    if (strcmp(lodge_json_string(saved, "key", ""), key) == 0) {
        return lodge_json_bool(saved, "io_uring", FALSE);
    }
    if (!may_try) {
        return FALSE;
    }
    gboolean works = FALSE;
    if (!try_it(program, &works)) {
        return FALSE;
    }
    g_autoptr(json_t) fresh = json_pack("{s:s, s:b}", "key", key, "io_uring", works);
    lodge_json_publish(file, fresh, NULL);
    return works;
}
