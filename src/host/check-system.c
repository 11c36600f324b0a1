/* Checks of the kernel, its memory and its users. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "host/check.h"

#define MIB G_GUINT64_CONSTANT(1048576)

enum {
    MEMORY_LEAST_MIB = 192,
    MEMORY_ENOUGH_MIB = 1024,
    DISK_LEAST_MIB = 512,
    DISK_ENOUGH_MIB = 5120,
};

void
lodge_check_kernel(const LodgeExamined *examined, LodgeCheck *check)
{
    int major = 0;
    int minor = 0;
    lodge_check_found(check, "Linux %s", examined->facts->release);
    if (sscanf(examined->facts->release, "%d.%d", &major, &minor) != 2) {
        return;
    }
    int version = major * 1000 + minor;
    if (version < 5003) {
        lodge_check_gap(check, LODGE_CHECK_MISSING,
                        "processes can't be held by descriptors (pidfd), on which Lodge relies",
                        g_strdup("boot Linux 5.3 or later"));
    } else if (version < 5010) {
        lodge_check_gap(check, LODGE_CHECK_DEGRADED, "Lodge is tested on Linux 5.10 and later",
                        g_strdup("boot Linux 5.10 or later"));
    }
}

/* A line of /proc/meminfo, in bytes; 0 if there is none. */
static guint64
meminfo(const char *text, const char *name)
{
    g_autofree char *value = lodge_system_field(text, name);
    return value != NULL ? g_ascii_strtoull(value, NULL, 10) * 1024 : 0;
}

void
lodge_check_memory(const LodgeExamined *examined, LodgeCheck *check)
{
    g_autofree char *text = lodge_system_text(examined->sysroot, "/proc/meminfo");
    guint64 available = meminfo(text, "MemAvailable");
    g_autofree char *free_text = lodge_size_human(available);
    g_autofree char *total_text = lodge_size_human(meminfo(text, "MemTotal"));
    lodge_check_found(check, "%s of %s", free_text, total_text);
    if (available < MEMORY_LEAST_MIB * MIB) {
        lodge_check_gap(check, LODGE_CHECK_MISSING, "not even a small guest fits",
                        g_strdup("stop what uses memory (top, then M), or add some"));
    } else if (available < MEMORY_ENOUGH_MIB * MIB) {
        lodge_check_gap(check, LODGE_CHECK_DEGRADED, "only small guests fit",
                        g_strdup("stop what uses memory (top, then M), or add some"));
    }
}

void
lodge_check_disk(const LodgeExamined *examined, LodgeCheck *check)
{
    guint64 available = examined->facts->disk_free_bytes;
    g_autofree char *text = lodge_size_human(available);
    lodge_check_found(check, "%s for %s", text, examined->store_root);
    if (available < DISK_ENOUGH_MIB * MIB) {
        gboolean none = available < DISK_LEAST_MIB * MIB;
        lodge_check_gap(check, none ? LODGE_CHECK_MISSING : LODGE_CHECK_DEGRADED,
                        none ? "no image and no guest's disk fits"
                             : "few guests' disks fit; one that fills up stops its guest",
                        g_strdup("free some space, or set LODGE_DIR to a folder on a larger disk"));
    }
}

void
lodge_check_ksm(const LodgeExamined *examined, LodgeCheck *check)
{
    gint64 run = lodge_system_number(examined->sysroot, "/sys/kernel/mm/ksm/run", -1);
    if (run < 0) {
        lodge_check_found(check, "not in this kernel");
        lodge_check_gap(check, LODGE_CHECK_MISSING, "equal memory of guests can't be shared",
                        lodge_distro_kernel_with(&examined->distro, "KSM"));
    } else if (run == 1) {
        gint64 shared = lodge_system_number(examined->sysroot, "/sys/kernel/mm/ksm/pages_sharing",
                                            0);
        g_autofree char *saved = lodge_size_human((guint64)MAX(shared, 0) * 4096);
        lodge_check_found(check, "on, saving %s", saved);
    } else {
        lodge_check_found(check, "there, off (echo 1 > /sys/kernel/mm/ksm/run shares guests' equal "
                                 "memory, for some processor time)");
    }
}

/* The word in brackets of "always [madvise] never"; free with g_free. */
static char *
chosen(const char *text)
{
    const char *start = strchr(text, '[');
    return start == NULL ? g_strdup("absent") : g_strndup(start + 1, strcspn(start + 1, "]"));
}

void
lodge_check_hugepages(const LodgeExamined *examined, LodgeCheck *check)
{
    g_autofree char *text = lodge_system_text(examined->sysroot,
                                              "/sys/kernel/mm/transparent_hugepage/enabled");
    g_autofree char *mode = chosen(text);
    const char *const pools[] = {"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
                                 "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"};
    gint64 mid = lodge_system_number(examined->sysroot, pools[0], 0);
    gint64 big = lodge_system_number(examined->sysroot, pools[1], 0);
    lodge_check_found(check,
                      "transparent: %s; reserved: %" G_GINT64_FORMAT " of 2 MiB, %" G_GINT64_FORMAT
                      " of 1 GiB",
                      mode, mid, big);
    gboolean transparent = strcmp(mode, "always") == 0 || strcmp(mode, "madvise") == 0;
    if (!transparent && mid + big == 0) {
        gboolean built = strcmp(mode, "absent") != 0;
        lodge_check_gap(
            check, LODGE_CHECK_DEGRADED, "guests' memory is in 4 KiB pages: some percent slower",
            built ? g_strdup("echo madvise > "
                             "/sys/kernel/mm/transparent_hugepage/enabled, as root")
                  : lodge_distro_kernel_with(&examined->distro, "TRANSPARENT_HUGEPAGE"));
    }
}

static gboolean
names_user(const char *text, const char *user)
{
    g_autofree char *range = lodge_system_field(text, user);
    return range != NULL;
}

/* Does the file, as /etc/subuid, give the user a range? */
static gboolean
has_range(const LodgeExamined *examined, const char *path)
{
    g_autofree char *text = lodge_system_text(examined->sysroot, path);
    g_autofree char *id = g_strdup_printf("%u", examined->facts->uid);
    return names_user(text, examined->facts->user) || names_user(text, id);
}

static gboolean
has_user_namespaces(const LodgeExamined *examined, const char **out_setting)
{
    static const struct {
        const char *path;
        const char *setting;
        gint64 off;
    } switches[] = {
        {"/proc/sys/user/max_user_namespaces", "user.max_user_namespaces=15000", 0},
        {"/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone=1", 0},
        {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
         "kernel.apparmor_restrict_unprivileged_userns=0", 1},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(switches); i++) {
        if (lodge_system_number(examined->sysroot, switches[i].path, -1) == switches[i].off) {
            *out_setting = switches[i].setting;
            return FALSE;
        }
    }
    return TRUE;
}

void
lodge_check_userns(const LodgeExamined *examined, LodgeCheck *check)
{
    static const char cost[] = "images can be built by root only";
    const char *root = lodge_distro_become_root(&examined->distro);
    const char *user = examined->facts->user;
    const char *setting = NULL;
    if (examined->facts->uid == 0) {
        lodge_check_found(check, "not needed by root");
    } else if (!has_user_namespaces(examined, &setting)) {
        lodge_check_found(check, "users may not make user namespaces");
        lodge_check_gap(check, LODGE_CHECK_MISSING, cost,
                        g_strdup_printf("%s sysctl -w %s", root, setting));
    } else if (!has_range(examined, "/etc/subuid") || !has_range(examined, "/etc/subgid")) {
        lodge_check_found(check, "%s has no ids of its own in /etc/subuid and /etc/subgid", user);
        lodge_check_gap(check, LODGE_CHECK_MISSING, cost,
                        g_strdup_printf("%s usermod --add-subuids 100000-165535 --add-subgids "
                                        "100000-165535 %s",
                                        root, user));
    } else {
        g_autofree char *program = lodge_system_program(examined->sysroot, "newuidmap");
        lodge_check_found(check, "user namespaces, and ids for %s in /etc/subuid%s", user,
                          program != NULL ? "" : ", but no program newuidmap");
        if (program == NULL) {
            lodge_check_gap(check, LODGE_CHECK_MISSING, cost,
                            lodge_distro_install(&examined->distro, LODGE_NEED_SUBID));
        }
    }
}
