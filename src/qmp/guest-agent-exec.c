#include "config.h"

#include <string.h>

#include "base/base.h"
#include "qmp/guest-agent-private.h"

#define EXEC "guest-exec"
#define EXEC_STATUS "guest-exec-status"

enum {
    FIRST_POLL_MS = 10,
    LAST_POLL_MS = 250,
};

void
lodge_guest_exec_result_clear(LodgeGuestExecResult *result)
{
    g_free(result->output);
    g_free(result->error_output);
    *result = (LodgeGuestExecResult){0};
}

static json_t *
exec_arguments(const LodgeGuestExec *exec, GError **error)
{
    g_autoptr(json_t) argv = lodge_guest_agent_strings(exec->argv + 1, error);
    if (argv == NULL) {
        return NULL;
    }
    g_autoptr(json_t) environment = NULL;
    if (exec->environment != NULL) {
        environment = lodge_guest_agent_strings(exec->environment, error);
        if (environment == NULL) {
            return NULL;
        }
    }
    g_autofree char *input = NULL;
    if (exec->input != NULL) {
        input = g_base64_encode((const guchar *)exec->input, exec->input_bytes);
    }
    json_t *arguments = json_pack("{s:s, s:O, s:O*, s:s*, s:b}", "path", exec->argv[0], "arg", argv,
                                  "env", environment, "input-data", input, "capture-output",
                                  !exec->discard_output);
    if (arguments == NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "the program's name is not UTF-8");
    }
    return arguments;
}

static gboolean
start(LodgeGuestAgent *agent, const LodgeGuestExec *exec, gint64 deadline, gint64 *out_pid,
      GError **error)
{
    json_t *arguments = exec_arguments(exec, error);
    if (arguments == NULL) {
        return lodge_error_prefix(error, EXEC);
    }
    g_autoptr(GError) problem = NULL;
    g_autoptr(json_t) started = lodge_guest_agent_call(agent, EXEC, arguments, deadline, &problem);
    if (started == NULL) {
        /* The agent has no class of error for it, but GLib's words, in the agent's language: C. */
        if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_FAILED) &&
            strstr(problem->message, "No such file or directory") != NULL) {
            problem->code = LODGE_ERROR_NOT_FOUND;
        }
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    return lodge_guest_agent_integer(json_object_get(started, "pid"), 1, G_MAXINT64, out_pid,
                                     error) ||
           lodge_error_prefix(error, EXEC);
}

static gboolean
parse_number(const json_t *status, const char *key, gint64 fallback, gint64 *out_number,
             GError **error)
{
    const json_t *value = json_object_get(status, key);
    *out_number = fallback;
    return value == NULL || lodge_guest_agent_integer(value, 0, G_MAXUINT32, out_number, error);
}

static gboolean
parse_stream(const json_t *status, const char *key, const char *truncated_key, char **out_bytes,
             gsize *out_length, gboolean *out_truncated, GError **error)
{
    const json_t *value = json_object_get(status, key);
    *out_truncated = lodge_json_bool(status, truncated_key, FALSE);
    if (value == NULL) {
        *out_bytes = g_strdup("");
        *out_length = 0;
        return TRUE;
    }
    *out_bytes = lodge_guest_agent_decode(value, out_length, error);
    return *out_bytes != NULL;
}

static gboolean
parse_end(const json_t *status, LodgeGuestExecResult *out_result, GError **error)
{
    g_auto(LodgeGuestExecResult) result = {0};
    if (!parse_number(status, "exitcode", -1, &result.exit_status, error) ||
        !parse_number(status, "signal", 0, &result.signal, error) ||
        !parse_stream(status, "out-data", "out-truncated", &result.output, &result.output_bytes,
                      &result.output_truncated, error) ||
        !parse_stream(status, "err-data", "err-truncated", &result.error_output,
                      &result.error_output_bytes, &result.error_output_truncated, error)) {
        return lodge_error_prefix(error, EXEC_STATUS);
    }
    if ((result.exit_status < 0) == (result.signal == 0)) {
        return lodge_guest_agent_malformed(error, EXEC_STATUS);
    }
    *out_result = result;
    result = (LodgeGuestExecResult){0};
    return TRUE;
}

gboolean
lodge_guest_agent_exec(LodgeGuestAgent *agent, const LodgeGuestExec *exec, gint64 deadline,
                       LodgeGuestExecResult *out_result, GError **error)
{
    gint64 pid = 0;
    if (!start(agent, exec, deadline, &pid, error)) {
        return FALSE;
    }
    /* The agent can't tell when a program ends: it must be asked. */
    for (gint64 pause_ms = FIRST_POLL_MS;; pause_ms = MIN(pause_ms * 3 / 2, LAST_POLL_MS)) {
        g_autoptr(json_t) status = lodge_guest_agent_ask(agent, deadline, error, EXEC_STATUS,
                                                         "{s:I}", "pid", (json_int_t)pid);
        if (status == NULL) {
            return FALSE;
        }
        const json_t *exited = json_object_get(status, "exited");
        if (!json_is_boolean(exited)) {
            return lodge_guest_agent_malformed(error, EXEC_STATUS);
        }
        if (json_is_true(exited)) {
            return parse_end(status, out_result, error);
        }
        if (!lodge_wait_for(pause_ms, error)) {
            return lodge_error_prefix(error, EXEC);
        }
        if (lodge_deadline_passed(deadline)) {
            return lodge_error_set(error, LODGE_ERROR_TIMEOUT,
                                   EXEC ": the program did not end in time");
        }
    }
}
