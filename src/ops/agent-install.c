/* Theory of operation: one script, however it gets there.
 *
 * recipes/guest/agent/install does the work in the guest. What it brings, the program above all,
 * goes before it as shell functions that print files; so all of it is one text on the standard
 * input of one `sh`, which each way into a guest can carry, and nothing needs to be there but a
 * shell. */
#include "config.h"

#include "ops/agent-install.h"

#include <string.h>
#include <sys/utsname.h>

#include "base/base.h"
#include "ops/ops.h"
#include "ops/way.h"

enum {
    FILE_LIMIT_BYTES = 8 << 20,
    SAID_LIMIT_BYTES = 64 << 10,
    CONNECT_TIMEOUT_MS = 15000,
    RUN_TIMEOUT_MS = 120000,
    ANSWER_TIMEOUT_MS = 30000,
};

static const char shell_as_root[] =
    "if [ \"$(id -u)\" = 0 ]; then exec sh; else exec sudo -n sh; fi";

void
lodge_agent_installed_clear(LodgeAgentInstalled *installed)
{
    g_clear_pointer(&installed->said, g_free);
    g_clear_pointer(&installed->version, g_free);
}

/* --- The script ------------------------------------------------------------------------------ */

static char *
read_resource(const char *name, GError **error)
{
    g_autofree char *relative = g_build_filename("recipes", "guest", "agent", name, NULL);
    g_autofree char *path = lodge_program_own(relative, LODGE_DATA_DIR);
    return lodge_file_read(path, FILE_LIMIT_BYTES, NULL, error);
}

static void
add_file(GString *script, const char *function, const char *content)
{
    g_string_append_printf(script, "%s() {\ncat <<'LODGE_END_OF_FILE'\n%s\nLODGE_END_OF_FILE\n}\n",
                           function, content);
}

static char *
make_script(GError **error)
{
    gsize length = 0;
    struct utsname host;
    uname(&host);
    g_autofree char *path = lodge_program_own("lodge-agent", LODGE_LIBEXEC_DIR);
    g_autofree char *program = lodge_file_read(path, FILE_LIMIT_BYTES, &length, error);
    g_autofree char *systemd = program != NULL ? read_resource("lodge-agent.service", error) : NULL;
    g_autofree char *openrc = systemd != NULL ? read_resource("lodge-agent.initd", error) : NULL;
    g_autofree char *install = openrc != NULL ? read_resource("install", error) : NULL;
    if (install == NULL) {
        return NULL;
    }
    g_autofree char *encoded = g_base64_encode((const guchar *)program, length);
    g_autoptr(GString) script = g_string_new(NULL);
    g_string_append_printf(script, "LODGE_AGENT_FOR='%s %s'\n", host.sysname, host.machine);
    add_file(script, "bring_program", encoded);
    add_file(script, "bring_systemd", systemd);
    add_file(script, "bring_openrc", openrc);
    g_string_append(script, install);
    return g_string_free(g_steal_pointer(&script), FALSE);
}

/* --- The ways -------------------------------------------------------------------------------- */

/* Its output if it went well; else its last word is the error. */
static char *
judge(gint64 exit_status, const char *output, const char *errors, GError **error)
{
    if (exit_status == 0) {
        return g_strdup(output);
    }
    g_autofree char *last = lodge_text_last_line(errors);
    lodge_error_set(error, LODGE_ERROR_FAILED, "%s", *last != '\0' ? last : "the script failed");
    return NULL;
}

static char *
run_by_agent(const Way *way, const char *script, GError **error)
{
    static const char *const argv[] = {"sh", NULL};
    gint64 deadline = lodge_deadline_in(RUN_TIMEOUT_MS);
    if (way->lodge != NULL) {
        const LodgeAgentExec exec = {.argv = argv};
        g_auto(LodgeAgentResult) result = {0};
        return lodge_agent_run(way->lodge, &exec, script, strlen(script), SAID_LIMIT_BYTES,
                               deadline, &result, error)
                   ? judge(result.end.exit_status, result.output, result.error_output, error)
                   : NULL;
    }
    const LodgeGuestExec exec = {.argv = argv, .input = script, .input_bytes = strlen(script)};
    g_auto(LodgeGuestExecResult) result = {0};
    return lodge_guest_agent_exec(way->qemu, &exec, deadline, &result, error)
               ? judge(result.exit_status, result.output, result.error_output, error)
               : NULL;
}

static char *
run_by_ssh(const LodgeStore *store, const char *name, const char *script, GError **error)
{
    const char *const words[] = {shell_as_root, NULL};
    g_auto(GStrv) argv = lodge_ssh_command(store, name, NULL, words, error);
    char *said = NULL;
    const LodgeProcess process = {
        .argv = (const char *const *)argv, .input = script, .timeout_ms = RUN_TIMEOUT_MS};
    return argv != NULL && lodge_process_run(&process, &said, error) ? said : NULL;
}

static char *
run_script(const LodgeStore *store, const char *name, const char *script, const char **out_by,
           GError **error)
{
    g_auto(Way) way = WAY_NONE;
    g_autoptr(GError) problem = NULL;
    if (way_open(store, name, lodge_deadline_in(CONNECT_TIMEOUT_MS), &way, &problem)) {
        *out_by = way.lodge != NULL ? "lodge-agent" : "qemu-guest-agent";
        return run_by_agent(&way, script, error);
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
    if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY) || state->ssh_port == 0 ||
        state->state != LODGE_STATE_RUNNING) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return NULL;
    }
    *out_by = "ssh";
    return run_by_ssh(store, name, script, error);
}

gboolean
lodge_agent_install(const LodgeStore *store, const char *name, LodgeProgress *progress,
                    LodgeAgentInstalled *out_installed, GError **error)
{
    const char *by = NULL;
    g_autofree char *script = make_script(error);
    if (script == NULL) {
        return FALSE;
    }
    lodge_progress_stage(progress, "installing it");
    g_autofree char *said = run_script(store, name, script, &by, error);
    if (said == NULL) {
        return lodge_error_prefix(error, "guest %s: installing lodge-agent", name);
    }
    lodge_progress_stage(progress, "it answers");
    g_autoptr(GError) problem = NULL;
    g_autofree char *folder = lodge_store_run_path(store, name, NULL);
    g_autoptr(LodgeAgent)
        agent = lodge_agent_connect(folder, lodge_deadline_in(ANSWER_TIMEOUT_MS), &problem);
    if (agent == NULL && !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        g_propagate_prefixed_error(error, g_steal_pointer(&problem),
                                   "guest %s: lodge-agent is installed, but: ", name);
        return FALSE;
    }
    *out_installed = (LodgeAgentInstalled){
        by, g_steal_pointer(&said), agent != NULL ? g_strdup(lodge_agent_version(agent)) : NULL};
    return TRUE;
}
