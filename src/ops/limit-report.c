/* What `lodge limits` shows: asked, held, throttled. Never waits for more than a second: a QEMU
 * that is hung, or busy with another command, only leaves its part out. */
#include "config.h"

#include "base/base.h"
#include "keeper/group.h"
#include "ops/ops.h"
#include "ops/session.h"

enum {
    QEMU_TIMEOUT_MS = 2000,
};

static json_t *
number_or_null(gboolean known, guint64 number)
{
    return known ? json_integer((json_int_t)number) : json_null();
}

static json_t *
count_or_null(gint64 count)
{
    return number_or_null(count >= 0, (guint64)count);
}

static json_t *
limits_json(const LodgeCgroupLimits *limits, const LodgeCgroupReport *held)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o}", "cpu_percent",
        number_or_null(held == NULL || held->has_cpu, limits->cpu_percent), "cpu_weight",
        number_or_null(held == NULL || held->has_cpu, limits->cpu_weight), "memory_max_bytes",
        number_or_null(held == NULL || held->has_memory, limits->memory_max_bytes), "io_weight",
        number_or_null(held == NULL || held->has_io, limits->io_weight), "pids_max",
        number_or_null(held == NULL || held->has_pids, limits->pids_max));
}

static void
add_cgroup(json_t *report, const LodgeCgroup *cgroup)
{
    LodgeCgroupReport held;
    lodge_cgroup_report(cgroup, &held);
    json_object_set_new(report, "cgroup", json_integer(cgroup->version == LODGE_CGROUP_V2 ? 2 : 1));
    json_object_set_new(report, "holds", limits_json(&held.limits, &held));
    json_object_set_new(
        report, "throttled",
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "cpu_used_us",
                  count_or_null(held.cpu_usage_us), "cpu_periods", count_or_null(held.cpu_periods),
                  "cpu_throttled", count_or_null(held.cpu_throttled), "cpu_throttled_us",
                  count_or_null(held.cpu_throttled_us), "memory_bytes",
                  count_or_null(held.memory_bytes), "memory_limit_hits",
                  count_or_null(held.memory_limit_hits), "memory_oom_kills",
                  count_or_null(held.memory_oom_kills), "threads", count_or_null(held.pids)));
}

static json_t *
disk_asked(const LodgeDisk *disk)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "iops", (json_int_t)disk->iops, "iops_read",
                     (json_int_t)disk->iops_read, "iops_write", (json_int_t)disk->iops_write,
                     "bytes", (json_int_t)disk->bytes, "bytes_read", (json_int_t)disk->bytes_read,
                     "bytes_write", (json_int_t)disk->bytes_write);
}

static json_t *
disk_held(LodgeQmp *qmp, const LodgeDisk *disk)
{
    gint64 deadline = lodge_deadline_in(QEMU_TIMEOUT_MS);
    g_autofree char *path = g_strconcat("/objects/limit-", disk->name, NULL);
    g_autoptr(json_t) held = qmp != NULL
                                 ? lodge_qmp_ask(qmp, deadline, NULL, "qom-get", "{s:s, s:s}",
                                                 "path", path, "property", "limits")
                                 : NULL;
    if (held == NULL) {
        return json_null();
    }
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I}", "iops", lodge_json_int(held, "iops-total", 0),
        "iops_read", lodge_json_int(held, "iops-read", 0), "iops_write",
        lodge_json_int(held, "iops-write", 0), "bytes", lodge_json_int(held, "bps-total", 0),
        "bytes_read", lodge_json_int(held, "bps-read", 0), "bytes_write",
        lodge_json_int(held, "bps-write", 0));
}

static void
add_from_qemu(json_t *report, const LodgeGuest *guest, LodgeQmp *qmp)
{
    json_t *disks = json_array();
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        json_array_append_new(disks, json_pack("{s:s, s:o, s:o}", "name", disk->name, "asked",
                                               disk_asked(disk), "holds", disk_held(qmp, disk)));
    }
    json_object_set_new(report, "disks", disks);
    gint64 deadline = lodge_deadline_in(QEMU_TIMEOUT_MS);
    g_autoptr(json_t)
        balloon = qmp != NULL ? lodge_qmp_ask(qmp, deadline, NULL, "query-balloon", NULL) : NULL;
    json_object_set_new(report, "memory_now_bytes",
                        balloon != NULL ? json_integer(lodge_json_int(balloon, "actual", 0))
                                        : json_null());
}

json_t *
lodge_limits_report(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, name, error);
    if (guest == NULL) {
        return NULL;
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
    g_autoptr(GError) problem = NULL;
    g_autofree char *why = NULL;
    g_autoptr(LodgeCgroup) cgroup = state->has_qemu ? lodge_limits_cgroup(store, name, &why) : NULL;
    LodgeCgroupLimits asked = lodge_limits_of(guest);
    g_autoptr(json_t) report = json_pack(
        "{s:s, s:b, s:n, s:o, s:o, s:n, s:n, s:I}", "name", name, "running", state->has_qemu,
        "cgroup", "reason", lodge_json_string_or_null(why), "asked", limits_json(&asked, NULL),
        "holds", "throttled", "memory_bytes", (json_int_t)guest->memory_bytes);
    if (cgroup != NULL) {
        add_cgroup(report, cgroup);
    }
    g_autoptr(Session) session = state->has_qemu ? session_begin(store, name, "limits", &problem)
                                                 : NULL;
    g_autoptr(LodgeQmp) qmp = session != NULL ? session_monitor(session, QEMU_TIMEOUT_MS, &problem)
                                              : NULL;
    add_from_qemu(report, guest, qmp);
    json_object_set_new(report, "unasked",
                        lodge_json_string_or_null(problem != NULL ? problem->message : NULL));
    return g_steal_pointer(&report);
}
