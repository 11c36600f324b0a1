#include "config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/exec-signals.h"
#include "ops/guard.h"
#include "ops/ops.h"
#include "ops/way.h"

enum {
    NOT_FOUND_STATUS = 127,            /* as shells have it */
    QEMU_INPUT_LIMIT_BYTES = 16 << 20, /* in one message, which its agent parses as a whole */
};

static int
shell_status(gint64 status, gint64 signal)
{
    return signal != 0 ? 128 + (int)signal : (int)(status & 0xff);
}

/* --- By QEMU's agent: all at once, in the end ------------------------------------------------ */

static char *
read_input(int fd, gsize *out_length, GError **error)
{
    g_autoptr(GString) input = g_string_new(NULL);
    char buffer[65536];
    for (gssize got = 1; fd >= 0 && got > 0;) {
        if (!lodge_wait_fd(fd, POLLIN, LODGE_NO_DEADLINE, error)) {
            return NULL;
        }
        got = read(fd, buffer, sizeof buffer);
        g_string_append_len(input, buffer, MAX(got, 0));
        if (input->len > QEMU_INPUT_LIMIT_BYTES) {
            lodge_error_set(error, LODGE_ERROR_USAGE,
                            "standard input is larger than the 16 MiB that QEMU's agent takes");
            return NULL;
        }
    }
    *out_length = input->len;
    return g_string_free(g_steal_pointer(&input), FALSE);
}

static gboolean
write_all(int fd, const char *bytes, gsize length, GError **error)
{
    while (length > 0) {
        gssize put = write(fd, bytes, length);
        if (put < 0 && errno != EINTR && errno != EAGAIN) {
            return lodge_error_errno(error, errno, "Writing its output");
        }
        if (put < 0 && !lodge_wait_fd(fd, POLLOUT, LODGE_NO_DEADLINE, error)) {
            return FALSE;
        }
        bytes += MAX(put, 0);
        length -= (gsize)MAX(put, 0);
    }
    return TRUE;
}

/* It knows neither folders nor variables beside its own; programs that every system has do. */
static GPtrArray *
wrapped(const LodgeAgentExec *program)
{
    GPtrArray *argv = g_ptr_array_new();
    static const char *const in_folder[] = {"sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "sh"};
    for (gsize i = 0; program->folder != NULL && i < G_N_ELEMENTS(in_folder); i++) {
        g_ptr_array_add(argv, (gpointer)in_folder[i]);
    }
    if (program->folder != NULL) {
        g_ptr_array_add(argv, (gpointer)program->folder);
    }
    if (program->environment != NULL && program->environment[0] != NULL) {
        g_ptr_array_add(argv, (gpointer) "env");
    }
    for (gsize i = 0; program->environment != NULL && program->environment[i] != NULL; i++) {
        g_ptr_array_add(argv, (gpointer)program->environment[i]);
    }
    for (gsize i = 0; program->argv[i] != NULL; i++) {
        g_ptr_array_add(argv, (gpointer)program->argv[i]);
    }
    g_ptr_array_add(argv, NULL);
    return argv;
}

static gboolean
exec_by_qemu(const Way *way, const char *name, const LodgeExec *exec, gint64 deadline,
             int *out_status, GError **error)
{
    gsize length = 0;
    const LodgeAgentExec *program = &exec->program;
    if (program->terminal || program->user != NULL) {
        return way_needs_lodge_agent(name, program->terminal ? "a terminal" : "other users", error);
    }
    g_autofree char *input = read_input(exec->input_fd, &length, error);
    if (input == NULL) {
        return FALSE;
    }
    g_autoptr(GPtrArray) argv = wrapped(program);
    const LodgeGuestExec question = {.argv = (const char *const *)argv->pdata,
                                     .input = length > 0 ? input : NULL,
                                     .input_bytes = length};
    g_auto(LodgeGuestExecResult) result = {0};
    if (!lodge_guest_agent_exec(way->qemu, &question, deadline, &result, error)) {
        return lodge_error_prefix(error, "guest %s: agent", name);
    }
    *out_status = shell_status(result.exit_status, result.signal);
    if (!write_all(exec->output_fd, result.output, result.output_bytes, error) ||
        !write_all(exec->error_fd, result.error_output, result.error_output_bytes, error)) {
        return FALSE;
    }
    return (!result.output_truncated && !result.error_output_truncated) ||
           lodge_error_set(
               error, LODGE_ERROR_FAILED,
               "guest %s: QEMU's agent kept only the first 16 MiB of the output (`lodge "
               "agent install %s` puts in one that keeps nothing back)",
               name, name);
}

/* --- Either way ------------------------------------------------------------------------------ */

/* The guest answered that something is not there: 127, as from a shell, for 3 may be what a program
 * there ends with. */
static gboolean
explain_absence(const LodgeExec *exec, int *out_status, GError **error)
{
    const char *const *argv = exec->program.argv;
    if (error == NULL || !g_error_matches(*error, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        return FALSE;
    }
    *out_status = NOT_FOUND_STATUS;
    if (argv[1] == NULL && strchr(argv[0], ' ') != NULL) {
        g_autofree char *words = g_strdup((*error)->message);
        g_clear_error(error);
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                        "%s (quotes make it one word: leave them off, or write sh -c '%s')", words,
                        argv[0]);
    }
    return FALSE;
}

static gboolean
exec_by_lodge(LodgeAgent *agent, const LodgeExec *exec, gint64 deadline, int *out_status,
              GError **error)
{
    ExecSignals signals;
    LodgeAgentEnd end;
    exec_signals_begin(&signals);
    const LodgeAgentStreams streams = {.input_fd = exec->input_fd,
                                       .output_fd = exec->output_fd,
                                       .error_fd = exec->error_fd,
                                       .wake_fd = signals.fd,
                                       .on_wake = exec_signals_forward,
                                       .data = &signals};
    gboolean fine = lodge_agent_exec_stream(agent, &exec->program, &streams, deadline, &end, error);
    exec_signals_end(&signals);
    *out_status = fine ? shell_status(end.exit_status, end.signal) : 0;
    return fine || explain_absence(exec, out_status, error);
}

gboolean
lodge_exec(const LodgeStore *store, const char *name, const LodgeExec *exec, int *out_status,
           GError **error)
{
    g_auto(Way) way = WAY_NONE;
    gint64 deadline = exec->timeout_ms > 0 ? lodge_deadline_in(exec->timeout_ms)
                                           : LODGE_NO_DEADLINE;
    if (!way_open(store, name, deadline, &way, error)) {
        return FALSE;
    }
    if (way.lodge == NULL) {
        return exec_by_qemu(&way, name, exec, deadline, out_status, error);
    }
    g_autoptr(Guard) guard = guard_new(store, name, way.lodge);
    return exec_by_lodge(way.lodge, exec, deadline, out_status, error) ||
           lodge_error_prefix(error, "guest %s", name);
}
