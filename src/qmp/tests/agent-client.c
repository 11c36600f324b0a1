/* A client as a whole program, for the tests against real guests and for measuring:
 *   agent-client RUN_FOLDER exec [-t] PROGRAM… | put FILE PATH | get PATH FILE | info | addresses |
 *                           hostname NAME | identity NAME MAC | freeze HOLD_MS WAIT_MS | shutdown
 *   agent-client RUN_FOLDER control SECONDS   what the control port tells, as it comes */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "qmp/agent-control.h"
#include "qmp/agent.h"

enum {
    CONNECT_MS = 60000,
    CALL_MS = 60000,
};

static int
fail(const GError *error)
{
    fprintf(stderr, "agent-client: %s\n", error->message);
    return lodge_error_exit_status(error);
}

static void
print_info(const LodgeAgentInfo *info)
{
    printf("agent %s, host %s, %s %s (%s), kernel %s, boot %s, up %" G_GUINT64_FORMAT
           " ms, load %.2f, users %u, memory %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT "\n",
           info->agent_version, info->hostname, info->os_id, info->os_version, info->os_name,
           info->kernel, info->boot_id, info->uptime_ms, info->load, info->users,
           info->memory_available, info->memory_total);
}

static void
print_nics(const GPtrArray *nics)
{
    for (guint i = 0; i < nics->len; i++) {
        const LodgeAgentNic *nic = nics->pdata[i];
        g_autofree char *addresses = g_strjoinv(" ", nic->addresses);
        printf("nic %s %s %s %s\n", nic->name, nic->mac, nic->is_up ? "up" : "down", addresses);
    }
}

static gboolean
watch_control(const char *run_folder, gint64 deadline, GError **error)
{
    g_autofree char *path = g_build_filename(run_folder, "agent-0.sock", NULL);
    gint64 begin = g_get_monotonic_time();
    int fd = lodge_unix_connect(path, error);
    if (fd < 0) {
        return FALSE;
    }
    g_autoptr(LodgeAgentControl) control = lodge_agent_control_new(fd);
    while (!lodge_deadline_passed(deadline)) {
        GIOCondition events = lodge_agent_control_fd_events(control);
        lodge_wait_fd(lodge_agent_control_fd(control), (short)events, deadline, NULL);
        if (!lodge_agent_control_pump(control)) {
            break;
        }
        for (;;) {
            g_autoptr(LodgeAgentEvent) event = lodge_agent_control_take(control);
            static const char *const kinds[] = {"ready", "addresses", "info", "gone"};
            if (event == NULL) {
                break;
            }
            printf("%.3f %s\n", (double)(g_get_monotonic_time() - begin) / G_USEC_PER_SEC,
                   kinds[event->kind]);
            if (event->info != NULL) {
                print_info(event->info);
            }
            if (event->nics != NULL) {
                print_nics(event->nics);
            }
            fflush(stdout);
        }
    }
    return TRUE;
}

static gboolean
run(LodgeAgent *agent, char **argv, int *out_status, GError **error)
{
    gboolean terminal = g_strcmp0(argv[0], "-t") == 0;
    LodgeAgentExec exec = {.argv = (const char *const *)argv + terminal,
                           .terminal = terminal,
                           .rows = 24,
                           .columns = 80};
    LodgeAgentStreams streams = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, -1, NULL, NULL};
    LodgeAgentEnd end;
    if (!lodge_agent_exec_stream(agent, &exec, &streams, LODGE_NO_DEADLINE, &end, error)) {
        return FALSE;
    }
    *out_status = end.signal > 0 ? 128 + end.signal : end.exit_status;
    return TRUE;
}

static gboolean
identify(LodgeAgent *agent, char **argv, GError **error)
{
    const char *const addresses[] = {"10.9.8.7/24", NULL};
    LodgeAgentNicIdentity nics[] = {
        {.nic = "", .mac = argv[1], .addresses = addresses, .link_up = TRUE}, {0}};
    LodgeAgentFile files[] = {{"/etc/lodge-test", 0600, "secret", 6}, {0}};
    LodgeAgentIdentity identity = {.hostname = argv[0],
                                   .machine_id = "0123456789abcdef0123456789abcdef",
                                   .clock = TRUE,
                                   .entropy = TRUE,
                                   .nics = nics,
                                   .files = files,
                                   .authorized_keys = "ssh-ed25519 AAAA test\n"};
    return lodge_agent_identity(agent, &identity, lodge_deadline_in(CALL_MS), error);
}

static gboolean
hold_frozen(LodgeAgent *agent, char **argv, GError **error)
{
    guint count;
    if (!lodge_agent_freeze(agent, atoi(argv[0]), lodge_deadline_in(CALL_MS), &count, error)) {
        return FALSE;
    }
    printf("%u frozen\n", count);
    return lodge_wait_for(atoi(argv[1]), error) &&
           lodge_agent_thaw(agent, lodge_deadline_in(CALL_MS), error);
}

static gboolean
command(LodgeAgent *agent, const char *verb, char **argv, int *out_status, GError **error)
{
    gint64 deadline = lodge_deadline_in(CALL_MS);
    *out_status = 0;
    if (g_str_equal(verb, "exec")) {
        return run(agent, argv, out_status, error);
    }
    if (g_str_equal(verb, "put")) {
        return lodge_agent_copy_in(agent, argv[0], argv[1], NULL, error);
    }
    if (g_str_equal(verb, "get")) {
        return lodge_agent_copy_out(agent, argv[0], argv[1], NULL, error);
    }
    if (g_str_equal(verb, "info")) {
        g_autoptr(LodgeAgentInfo) info = lodge_agent_info(agent, deadline, error);
        if (info != NULL) {
            print_info(info);
        }
        return info != NULL;
    }
    if (g_str_equal(verb, "addresses")) {
        g_autoptr(GPtrArray) nics = lodge_agent_addresses(agent, deadline, error);
        if (nics != NULL) {
            print_nics(nics);
        }
        return nics != NULL;
    }
    if (g_str_equal(verb, "identity")) {
        return identify(agent, argv, error);
    }
    if (g_str_equal(verb, "hostname")) {
        LodgeAgentIdentity identity = {.hostname = argv[0]};
        return lodge_agent_identity(agent, &identity, deadline, error);
    }
    if (g_str_equal(verb, "freeze")) {
        return hold_frozen(agent, argv, error);
    }
    if (g_str_equal(verb, "shutdown")) {
        return lodge_agent_shutdown(agent, FALSE, deadline, error);
    }
    return lodge_error_set(error, LODGE_ERROR_USAGE, "unknown verb");
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    int status = 0;
    if (argc < 3) {
        return 2;
    }
    lodge_interrupt_install();
    if (g_str_equal(argv[2], "control")) {
        gint64 deadline = lodge_deadline_in(argc > 3 ? atoi(argv[3]) * 1000 : CALL_MS);
        return watch_control(argv[1], deadline, &error) ? 0 : fail(error);
    }
    g_autoptr(LodgeAgent)
        agent = lodge_agent_connect(argv[1], lodge_deadline_in(CONNECT_MS), &error);
    if (agent == NULL || !command(agent, argv[2], argv + 3, &status, &error)) {
        return fail(error);
    }
    return status;
}
