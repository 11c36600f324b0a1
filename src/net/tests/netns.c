#include "config.h"

#include "net/tests/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

static gboolean is_root;

static gboolean
write_text(const char *path, const char *text)
{
    lodge_autofd fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (gssize)strlen(text);
}

static gboolean
become_mapped_root(uid_t uid, gid_t gid)
{
    g_autofree char *uids = g_strdup_printf("0 %u 1", uid);
    g_autofree char *gids = g_strdup_printf("0 %u 1", gid);
    return write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/uid_map", uids) &&
           write_text("/proc/self/gid_map", gids);
}

void
netns_begin(int *argc, char ***argv)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    g_test_init(argc, argv, NULL);
    is_root = uid == 0;
    int flags = CLONE_NEWNET | (is_root ? 0 : CLONE_NEWUSER);
    if (unshare(flags) < 0 || (!is_root && !become_mapped_root(uid, gid))) {
        g_printerr("network namespaces can't be made here\n");
        exit(77);
    }
    /* Should this ever not have worked, the machine's network would be at stake. */
    g_autofree char *own = g_file_read_link("/proc/self/ns/net", NULL);
    g_autofree char *parents = g_strdup_printf("/proc/%d/ns/net", getppid());
    g_autofree char *parent = g_file_read_link(parents, NULL);
    g_assert_cmpstr(own, !=, parent);
    g_free(netns_run(NULL, "ip link set lo up; cd /proc/sys/net/ipv6/conf; echo 0 >all/accept_dad;"
                           " echo 0 >default/accept_dad"));
}

gboolean
netns_is_root(void)
{
    return is_root;
}

Netns *
netns_new(void)
{
    int fds[2];
    g_assert_cmpint(pipe(fds), ==, 0);
    Netns *netns = g_new0(Netns, 1);
    netns->pid = fork();
    g_assert_cmpint(netns->pid, >=, 0);
    if (netns->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        gboolean fine = unshare(CLONE_NEWNET) == 0;
        if (write(fds[1], fine ? "y" : "n", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    char answer = 'n';
    g_assert_cmpint(read(fds[0], &answer, 1), ==, 1);
    g_assert_cmpint(answer, ==, 'y');
    close(fds[0]);
    close(fds[1]);
    g_free(netns_run(netns, "ip link set lo up"));
    return netns;
}

void
netns_free(Netns *netns)
{
    if (netns != NULL) {
        kill(netns->pid, SIGKILL);
        waitpid(netns->pid, NULL, 0);
        g_free(netns);
    }
}

static gboolean
run(const Netns *netns, const char *command, char **out_output)
{
    g_autofree char *pid = g_strdup_printf("%d", netns != NULL ? netns->pid : getpid());
    const char *argv[] = {"nsenter", "--preserve-credentials", "-t", pid, "-n", "sh", "-c", command,
                          NULL};
    /* nsenter into one's own namespace is a round trip for nothing. */
    const char *const *used = netns != NULL ? argv : argv + 5;
    g_autoptr(GError) error = NULL;
    gboolean fine = lodge_process_run(&(LodgeProcess){.argv = used, .timeout_ms = 30000},
                                      out_output, &error);
    if (!fine && g_test_verbose()) {
        g_test_message("%s: %s", command, error->message);
    }
    return fine;
}

gboolean
netns_try(const Netns *netns, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *command = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return run(netns, command, NULL);
}

char *
netns_run(const Netns *netns, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *command = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    char *output = NULL;
    if (!run(netns, command, &output)) {
        g_test_message("failed: %s", command);
        g_assert_not_reached();
    }
    return output;
}

char *
netns_dump(void)
{
    return netns_run(NULL,
                     "ip -o link | sed 's/^[0-9]*: //'; ip -o addr | sed 's/^[0-9]*: //; "
                     "s/valid_lft.*//; s/ nodad//';"
                     " { ip route show table all; ip -6 route show table all; } |"
                     " sed 's/ expires [0-9]*sec//' | sort;"
                     " ip neigh show nud permanent; ip neigh show proxy; nft list ruleset;"
                     " cd /proc/sys/net; grep '' ipv4/ip_forward ipv4/conf/*/forwarding"
                     " ipv4/conf/*/accept_redirects ipv4/conf/*/proxy_arp ipv6/conf/*/forwarding"
                     " ipv6/conf/*/accept_ra ipv6/conf/*/proxy_ndp");
}

static guint
count(char **lines, const char *line)
{
    guint found = 0;
    for (gsize i = 0; lines[i] != NULL; i++) {
        found += g_str_equal(lines[i], line);
    }
    return found;
}

/* In whatever order: the kernel's follows how links and tables came and went. */
void
netns_assert_unchanged(const char *before)
{
    g_autofree char *after = netns_dump();
    g_auto(GStrv) old = g_strsplit(before, "\n", -1);
    g_auto(GStrv) new = g_strsplit(after, "\n", -1);
    guint differences = 0;
    for (gsize i = 0; new[i] != NULL; i++) {
        if (count(new, new[i]) > count(old, new[i])) {
            g_test_message("left behind: %s", new[i]);
            differences++;
        }
    }
    for (gsize i = 0; old[i] != NULL; i++) {
        if (count(old, old[i]) > count(new, old[i])) {
            g_test_message("lost: %s", old[i]);
            differences++;
        }
    }
    g_assert_cmpuint(differences, ==, 0);
}

char *
netns_make_store(void)
{
    char *folder = g_dir_make_tmp("lodge-net-XXXXXX", NULL);
    g_assert_nonnull(folder);
    chmod(folder, 0755);
    g_setenv("LODGE_DIR", folder, TRUE);
    return folder;
}

void
netns_remove_store(char *folder)
{
    lodge_tree_remove(folder, NULL);
    g_free(folder);
}
