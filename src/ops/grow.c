#include "config.h"

#include "ops/grow.h"

#include "base/base.h"
#include "ops/hotplug.h"
#include "qmp/agent.h"

enum {
    MONITOR_TIMEOUT_MS = 10000,
    CONNECT_TIMEOUT_MS = 5000,
    GROW_TIMEOUT_MS = 120000,
    OUTPUT_LIMIT_BYTES = 4096,
};

gboolean
grow_disk(const Session *session, LodgeQmp *qmp, const char *name, guint64 size_bytes,
          GError **error)
{
    g_autoptr(GError) problem = NULL;
    const Hotplug hotplug = {qmp, session->guest, lodge_deadline_in(MONITOR_TIMEOUT_MS)};
    g_autofree char *node = hotplug_disk_node(&hotplug, name, &problem);
    if (node == NULL) {
        if (!g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
            g_propagate_error(error, g_steal_pointer(&problem));
        }
        return FALSE;
    }
    return lodge_qmp_run(qmp, hotplug.deadline, error, "block_resize", "{s:s, s:I}", "node-name",
                         node, "size", (json_int_t)size_bytes);
}

gboolean
grow_root(const Session *session, gboolean *out_grown, GError **error)
{
    static const char *const argv[] = {"/usr/lib/lodge/grow", NULL};
    const LodgeAgentExec program = {.argv = argv};
    g_autoptr(GError) problem = NULL;
    g_auto(LodgeAgentResult) result = {0};
    g_autofree char *folder = lodge_store_run_path(session->store, session->guest->name, NULL);
    g_autoptr(LodgeAgent)
        agent = lodge_agent_connect(folder, lodge_deadline_in(CONNECT_TIMEOUT_MS), error);
    *out_grown = FALSE;
    if (agent == NULL) {
        return FALSE;
    }
    if (!lodge_agent_run(agent, &program, NULL, 0, OUTPUT_LIMIT_BYTES,
                         lodge_deadline_in(GROW_TIMEOUT_MS), &result, &problem)) {
        if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
            return TRUE;
        }
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (result.end.exit_status != 0) {
        g_autofree char *words = lodge_text_last_line(result.error_output);
        return lodge_error_set(error, LODGE_ERROR_FAILED, "%s: %s", argv[0], words);
    }
    *out_grown = TRUE;
    return TRUE;
}
