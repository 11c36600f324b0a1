#include "config.h"

#include "keeper/group.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"

enum {
    FILE_LIMIT_BYTES = 64 << 10,
};
#define NONE "none "

LodgeCgroupLimits
lodge_limits_of(const LodgeGuest *guest)
{
    return (LodgeCgroupLimits){
        .cpu_percent = guest->limits.cpu_percent,
        .cpu_weight = guest->limits.cpu_weight,
        .memory_max_bytes = guest->limits.memory_max_bytes,
        .io_weight = guest->limits.io_weight,
        .pids_max = guest->limits.pids_max,
    };
}

gboolean
lodge_limits_asked(const LodgeGuest *guest)
{
    LodgeCgroupLimits limits = lodge_limits_of(guest);
    g_autoptr(GPtrArray) settings = lodge_cgroup_render(&limits, LODGE_CGROUP_V2, FALSE);
    return settings->len > 0;
}

static void
publish(const LodgeStore *store, const char *name, const char *text)
{
    g_autofree char *path = lodge_store_run_path(store, name, "cgroup");
    lodge_file_write(path, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL);
}

/* The same name in two stores must not mean one group. */
static char *
label_of(const LodgeStore *store, const char *name)
{
    return g_str_equal(store->run, "/run/lodge")
               ? g_strdup(name)
               : g_strdup_printf("%s.%08x", name, g_str_hash(store->run));
}

gboolean
lodge_limits_place(const LodgeStore *store, const LodgeGuest *guest, pid_t qemu_pid, GError **error)
{
    g_autoptr(GError) problem = NULL;
    LodgeCgroupLimits limits = lodge_limits_of(guest);
    g_autofree char *label = label_of(store, guest->name);
    g_autoptr(LodgeCgroup) cgroup = lodge_cgroup_plan(NULL, label, &limits, geteuid(), &problem);
    if (cgroup != NULL) {
        /* First said, then done: what dies in between leaves nothing that nobody knows of. */
        g_autofree char *text = lodge_cgroup_format(cgroup);
        publish(store, guest->name, text);
        if (lodge_cgroup_enter(cgroup, &limits, qemu_pid, &problem)) {
            return TRUE;
        }
    }
    g_autofree char *why = g_strconcat(NONE, problem->message, "\n", NULL);
    publish(store, guest->name, why);
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

LodgeCgroup *
lodge_limits_cgroup(const LodgeStore *store, const char *name, char **out_why)
{
    g_autofree char *path = lodge_store_run_path(store, name, "cgroup");
    g_autofree char *text = lodge_file_read(path, FILE_LIMIT_BYTES, NULL, NULL);
    LodgeCgroup *cgroup = text != NULL ? lodge_cgroup_parse(text) : NULL;
    if (out_why != NULL) {
        gboolean says = cgroup == NULL && text != NULL && g_str_has_prefix(text, NONE);
        *out_why = says ? g_strchomp(g_strdup(text + strlen(NONE))) : NULL;
    }
    return cgroup;
}

void
lodge_limits_remove(const LodgeStore *store, const char *name)
{
    g_autofree char *path = lodge_store_run_path(store, name, "cgroup");
    g_autoptr(LodgeCgroup) cgroup = lodge_limits_cgroup(store, name, NULL);
    if (cgroup != NULL) {
        lodge_cgroup_remove(cgroup);
    }
    unlink(path);
}
