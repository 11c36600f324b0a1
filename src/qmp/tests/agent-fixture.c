#include "config.h"

#include "qmp/tests/agent-fixture.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static void
in_child(gpointer unused)
{
    (void)unused;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
}

void
agent_fixture_start(AgentFixture *fixture, const char *const *more)
{
    g_autoptr(GError) error = NULL;
    const char *program = g_getenv("LODGE_TEST_AGENT");
    g_assert_nonnull(program);
    fixture->folder = g_dir_make_tmp("lodge-agent-XXXXXX", &error);
    g_assert_no_error(error);
    g_autofree char *root = agent_fixture_path(fixture, "root");
    g_autofree char *etc = agent_fixture_path(fixture, "root/etc");
    g_autofree char *work = agent_fixture_path(fixture, "work");
    g_assert_true(lodge_dir_make(etc, 0755, &error));
    g_assert_true(lodge_dir_make(work, 0755, &error));
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_ptr_array_add(argv, (char *)program);
    g_ptr_array_add(argv, (char *)"--port-dir");
    g_ptr_array_add(argv, fixture->folder);
    g_ptr_array_add(argv, (char *)"--root");
    g_ptr_array_add(argv, root);
    for (gsize i = 0; more != NULL && more[i] != NULL; i++) {
        g_ptr_array_add(argv, (char *)more[i]);
    }
    g_ptr_array_add(argv, NULL);
    g_spawn_async(NULL, (char **)argv->pdata, NULL, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH,
                  in_child, NULL, &fixture->pid, &error);
    g_assert_no_error(error);
    /* The last socket is there: so are the others. */
    g_autofree char *last = agent_fixture_path(fixture, "agent-7.sock");
    gint64 deadline = DEADLINE;
    for (;;) {
        lodge_autofd fd = lodge_unix_connect(last, NULL);
        if (fd >= 0) {
            break;
        }
        g_assert_false(lodge_deadline_passed(deadline));
        g_assert_true(lodge_wait_for(5, NULL));
    }
}

void
agent_fixture_end(AgentFixture *fixture)
{
    int status = 0;
    kill(fixture->pid, SIGTERM);
    g_assert_cmpint(waitpid(fixture->pid, &status, 0), ==, fixture->pid);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    g_assert_true(lodge_tree_remove(fixture->folder, NULL));
    g_clear_pointer(&fixture->folder, g_free);
}

LodgeAgent *
agent_fixture_connect(const AgentFixture *fixture)
{
    g_autoptr(GError) error = NULL;
    LodgeAgent *agent = lodge_agent_connect(fixture->folder, DEADLINE, &error);
    g_assert_no_error(error);
    return agent;
}

char *
agent_fixture_path(const AgentFixture *fixture, const char *name)
{
    return g_build_filename(fixture->folder, name, NULL);
}

static gboolean
is_running(const char *pid, const char *text)
{
    g_autofree char *path = g_strdup_printf("/proc/%s/cmdline", pid);
    char *line = NULL;
    gsize length = 0;
    if (!g_file_get_contents(path, &line, &length, NULL)) {
        return FALSE;
    }
    for (gsize i = 0; i < length; i++) {
        line[i] = line[i] == '\0' ? ' ' : line[i];
    }
    gboolean found = strstr(line, text) != NULL;
    g_free(line);
    return found;
}

guint
agent_count_processes(const char *text)
{
    guint count = 0;
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        count += g_ascii_isdigit(entry->d_name[0]) && is_running(entry->d_name, text);
    }
    closedir(folder);
    return count;
}

void
agent_await_processes(const char *text, guint count)
{
    gint64 deadline = lodge_deadline_in(10000);
    while (agent_count_processes(text) != count) {
        g_assert_false(lodge_deadline_passed(deadline));
        g_assert_true(lodge_wait_for(10, NULL));
    }
}

guint64
agent_resident_most(const AgentFixture *fixture)
{
    guint64 most = 0;
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        g_autofree char *path = g_strdup_printf("/proc/%s/status", entry->d_name);
        g_autofree char *status = NULL;
        if (g_ascii_isdigit(entry->d_name[0]) && is_running(entry->d_name, fixture->folder) &&
            g_file_get_contents(path, &status, NULL, NULL) && strstr(status, "VmHWM:") != NULL) {
            most = MAX(most, g_ascii_strtoull(strstr(status, "VmHWM:") + 6, NULL, 10) * 1024);
        }
    }
    closedir(folder);
    return most;
}
