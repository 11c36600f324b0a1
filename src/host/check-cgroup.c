/* Which version of control groups is mounted where, and what can be limited with it. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "host/check.h"

enum { WANTED = 4 };

/* What Lodge limits guests by, and its names in versions 1 and 2. */
static const struct {
    const char *v2;
    const char *v1;
    const char *what;
} wanted[WANTED] = {
    {"cpu", "cpu", "processor time"},
    {"memory", "memory", "memory"},
    {"io", "blkio", "disk traffic"},
    {"pids", "pids", "processes"},
};

typedef struct {
    char *unified; /* where version 2 is mounted; NULL */
    gboolean has_v1;
    gboolean read_only;
    gboolean v1[WANTED];
    gboolean v2[WANTED];
} Groups;

static void
groups_clear(Groups *groups)
{
    g_free(groups->unified);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Groups, groups_clear)

static gboolean
list_has(const char *list, const char *word)
{
    g_auto(GStrv) words = g_strsplit(list, ",", -1);
    return g_strv_contains((const char *const *)words, word);
}

/* A line of mountinfo: id parent device root place options … - type source super-options. */
static void
read_mount(char *line, Groups *groups)
{
    char *dash = strstr(line, " - ");
    if (dash == NULL) {
        return;
    }
    *dash = '\0';
    g_auto(GStrv) left = g_strsplit(line, " ", -1);
    g_auto(GStrv) right = g_strsplit(dash + 3, " ", 3);
    if (g_strv_length(left) < 6 || g_strv_length(right) < 3) {
        return;
    }
    gboolean v2 = strcmp(right[0], "cgroup2") == 0;
    gboolean v1 = strcmp(right[0], "cgroup") == 0;
    if (v2 && groups->unified == NULL) {
        groups->unified = g_strdup(left[4]);
    }
    if (v2 || v1) {
        groups->read_only = groups->read_only || list_has(left[5], "ro");
    }
    for (gsize i = 0; v1 && i < WANTED; i++) {
        if (list_has(right[2], wanted[i].v1)) {
            groups->has_v1 = groups->v1[i] = TRUE;
        }
    }
}

static void
read_groups(const LodgeExamined *examined, Groups *groups)
{
    g_autofree char *mounts = lodge_system_text(examined->sysroot, "/proc/self/mountinfo");
    g_auto(GStrv) lines = g_strsplit(mounts, "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        read_mount(lines[i], groups);
    }
    if (groups->unified == NULL) {
        return;
    }
    /* A user may use what systemd delegated to its session. */
    guint uid = examined->facts->uid;
    g_autofree char *path =
        uid == 0 ? g_strdup_printf("%s/cgroup.controllers", groups->unified)
                 : g_strdup_printf("%s/user.slice/user-%u.slice/user@%u.service/cgroup.controllers",
                                   groups->unified, uid, uid);
    g_autofree char *controllers = lodge_system_text(examined->sysroot, path);
    for (gsize i = 0; i < WANTED; i++) {
        groups->v2[i] = lodge_system_has_word(controllers, wanted[i].v2);
    }
}

/* "cpu, memory", or "none"; or of the missing, what they'd limit. */
static char *
names_of(const gboolean *has, gboolean present, gboolean v2)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (gsize i = 0; i < WANTED; i++) {
        if (has[i] == present) {
            const char *name = v2 ? wanted[i].v2 : wanted[i].v1;
            g_string_append_printf(text, "%s%s", text->len > 0 ? ", " : "",
                                   present ? name : wanted[i].what);
        }
    }
    return g_strdup(text->len > 0 ? text->str : "none");
}

static char *
mend_version(const LodgeExamined *examined)
{
    if (examined->container != NULL) {
        return g_strdup("on this container's host: boot with cgroup version 2 only");
    }
    if (lodge_system_exists(examined->sysroot, "/run/openrc")) {
        return g_strdup("set rc_cgroup_mode=\"unified\" in /etc/rc.conf, and reboot");
    }
    if (lodge_system_exists(examined->sysroot, "/run/systemd/system")) {
        return lodge_distro_kernel_argument(&examined->distro,
                                            "systemd.unified_cgroup_hierarchy=1");
    }
    return g_strdup("have the init system mount cgroup2 on /sys/fs/cgroup instead of version 1");
}

static void
judge_v2(const LodgeExamined *examined, const Groups *groups, LodgeCheck *check)
{
    g_autofree char *has = names_of(groups->v2, TRUE, TRUE);
    g_autofree char *lacks = names_of(groups->v2, FALSE, TRUE);
    gboolean user = examined->facts->uid != 0;
    lodge_check_found(check, "version 2; controllers %s: %s%s",
                      user ? "given to this user" : "usable", has,
                      groups->read_only ? "; mounted read-only" : "");
    if (strcmp(lacks, "none") != 0) {
        g_autofree char *cost = g_strdup_printf("guests can't be limited in: %s", lacks);
        char *mend = user ? g_strdup("sudo systemctl edit user@.service, and add: [Service] "
                                     "Delegate=cpu memory io pids")
                          : NULL;
        lodge_check_gap(check, LODGE_CHECK_DEGRADED, cost, mend);
    }
}

static void
judge_v1(const LodgeExamined *examined, const Groups *groups, LodgeCheck *check)
{
    g_autofree char *has = names_of(groups->v1, TRUE, FALSE);
    g_autofree char *lacks = names_of(groups->v1, FALSE, FALSE);
    g_autofree char *unified = names_of(groups->v2, TRUE, TRUE);
    const char *beside = groups->unified == NULL        ? ""
                         : strcmp(unified, "none") == 0 ? "; beside it version 2 without any"
                                                        : "; beside it version 2";
    lodge_check_found(check, "version 1; controllers: %s%s%s", has, beside,
                      groups->read_only ? "; mounted read-only" : "");
    g_autofree char *cost = g_strdup_printf("limits hold, but buffered writes pass the disk's%s%s",
                                            strcmp(lacks, "none") != 0 ? "; no limits of: " : "",
                                            strcmp(lacks, "none") != 0 ? lacks : "");
    lodge_check_gap(check, LODGE_CHECK_DEGRADED, cost, mend_version(examined));
}

void
lodge_check_cgroup(const LodgeExamined *examined, LodgeCheck *check)
{
    g_auto(Groups) groups = {0};
    read_groups(examined, &groups);
    if (groups.has_v1) {
        judge_v1(examined, &groups, check);
    } else if (groups.unified != NULL) {
        judge_v2(examined, &groups, check);
    } else {
        lodge_check_found(check, "not mounted");
        lodge_check_gap(check, LODGE_CHECK_MISSING, "guests can't be limited in anything",
                        mend_version(examined));
    }
    if (groups.read_only) {
        lodge_check_gap(check, LODGE_CHECK_DEGRADED, "guests can't be limited in anything",
                        g_strdup(examined->container != NULL
                                     ? "start the container with its cgroups writable"
                                     : "mount -o remount,rw /sys/fs/cgroup, as root"));
    }
}
