#include "config.h"

#include "net/dhcp-client.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"

enum {
    COMMAND_LIMIT_BYTES = 64 << 10,
    LEASES_LIMIT_BYTES = 1 << 20,
    END_TIMEOUT_MS = 5000,
    START_TIMEOUT_MS = 30000,
};

/* @text with @from, where it is a word, become @to. */
static char *
renamed(const char *text, const char *from, const char *to)
{
    g_autofree char *name = g_regex_escape_string(from, -1);
    g_autofree char *pattern = g_strdup_printf("(?<![A-Za-z0-9])%s(?![A-Za-z0-9])", name);
    g_autoptr(GRegex) regex = g_regex_new(pattern, 0, 0, NULL);
    char *result = g_regex_replace_literal(regex, text, -1, 0, to, 0, NULL);
    return result != NULL ? result : g_strdup(text);
}

char **
lodge_dhcp_client_argv(const char *const *argv, const char *from, const char *to)
{
    static const char *const clients[] = {"dhclient", "dhcpcd", "udhcpc", "udhcpc6", NULL};
    if (argv[0] == NULL) {
        return NULL;
    }
    /* busybox udhcpc … */
    g_autofree char *first = g_path_get_basename(argv[0]);
    const char *program = g_str_equal(first, "busybox") && argv[1] != NULL ? argv[1] : first;
    if (!g_strv_contains(clients, program) || !g_strv_contains(argv + 1, from)) {
        return NULL;
    }
    g_autoptr(GStrvBuilder) words = g_strv_builder_new();
    for (gsize i = 0; argv[i] != NULL; i++) {
        g_autofree char *word = renamed(argv[i], from, to);
        g_strv_builder_add(words, word);
    }
    return g_strv_builder_end(words);
}

/* Each word that is a file with the old name in its path gets a copy with the new one. */
static void
copy_leases(const char *const *old, char **new, const char *from, const char *to)
{
    for (gsize i = 1; old[i] != NULL; i++) {
        if (*old[i] != '/' || g_str_equal(old[i], new[i]) || g_str_has_suffix(old[i], ".pid")) {
            continue;
        }
        g_autofree char *text = lodge_file_read(old[i], LEASES_LIMIT_BYTES, NULL, NULL);
        g_autofree char *moved = text != NULL ? renamed(text, from, to) : NULL;
        if (moved != NULL) {
            lodge_file_write(new[i], moved, strlen(moved), 0644, LODGE_WRITE_NO_SYNC, NULL);
        }
    }
}

static char **
command_line(const char *pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%s/cmdline", pid);
    gsize length = 0;
    g_autofree char *words = NULL;
    g_autoptr(GStrvBuilder) argv = g_strv_builder_new();
    if (!g_file_get_contents(path, &words, &length, NULL) || length > COMMAND_LIMIT_BYTES) {
        return NULL;
    }
    for (gsize at = 0; at < length; at += strlen(words + at) + 1) {
        g_strv_builder_add(argv, words + at);
    }
    return g_strv_builder_end(argv);
}

static gboolean
is_in_our_network(const char *pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%s/ns/net", pid);
    g_autofree char *theirs = g_file_read_link(path, NULL);
    g_autofree char *ours = g_file_read_link("/proc/self/ns/net", NULL);
    return theirs != NULL && g_strcmp0(theirs, ours) == 0;
}

static void
leave_session(gpointer data)
{
    (void)data;
    setsid();
}

/* End the client and start the other. It puts itself into the background, or was there. */
static void
replace_client(const char *pid, char **argv)
{
    g_autofree char *link = g_strdup_printf("/proc/%s/exe", pid);
    g_autofree char *program = g_file_read_link(link, NULL);
    lodge_autofd process = (int)syscall(SYS_pidfd_open, (pid_t)g_ascii_strtoll(pid, NULL, 10), 0);
    if (process < 0 || program == NULL) {
        return;
    }
    /* SIGKILL: on any other signal it may give its lease back, or take addresses away. */
    lodge_pid_fd_signal(process, SIGKILL, NULL);
    lodge_pid_fd_await(process, END_TIMEOUT_MS);
    /* What the name in argv[0] leads to need not be what runs; busybox looks at argv[0]. */
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_ptr_array_add(words, program);
    for (gsize i = 0; argv[i] != NULL; i++) {
        g_ptr_array_add(words, argv[i]);
    }
    g_ptr_array_add(words, NULL);
    g_spawn_async("/", (char **)words->pdata, NULL,
                  G_SPAWN_FILE_AND_ARGV_ZERO | G_SPAWN_STDOUT_TO_DEV_NULL |
                      G_SPAWN_STDERR_TO_DEV_NULL,
                  leave_session, NULL, NULL, NULL);
}

void
lodge_dhcp_client_move(const char *from, const char *to)
{
    g_auto(GStrv) names = lodge_dir_names("/proc", NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_auto(GStrv) old = g_ascii_isdigit(*names[i]) ? command_line(names[i]) : NULL;
        g_auto(GStrv) new = old != NULL ? lodge_dhcp_client_argv((const char *const *)old, from, to)
                                        : NULL;
        if (new != NULL && is_in_our_network(names[i])) {
            copy_leases((const char *const *)old, new, from, to);
            replace_client(names[i], new);
        }
    }
}
