/* Limits as files of a group, and back. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "host/cgroup.h"
#include "host/system.h"

enum {
    PERIOD_US = 100000,
    WEIGHT_DEFAULT = 100,
    SHARES_DEFAULT = 1024,
    SHARES_LEAST = 2,
    BFQ_MOST = 1000,
};
/* Version 1 says "no limit" by the largest number of pages. */
#define NO_MEMORY_LIMIT (G_GUINT64_CONSTANT(1) << 62)

static void
setting_free(gpointer data)
{
    LodgeCgroupSetting *setting = data;
    g_free(setting->value);
    g_free(setting);
}

static void G_GNUC_PRINTF(4, 5)
    add(GPtrArray *settings, const char *controller, const char *file, const char *format, ...)
{
    LodgeCgroupSetting *setting = g_new0(LodgeCgroupSetting, 1);
    va_list arguments;
    va_start(arguments, format);
    setting->controller = controller;
    setting->file = file;
    setting->value = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_ptr_array_add(settings, setting);
}

static void
add_maximum(GPtrArray *settings, const char *controller, const char *file, guint64 value,
            const char *none)
{
    if (value != 0) {
        add(settings, controller, file, "%" G_GUINT64_FORMAT, value);
    } else {
        add(settings, controller, file, "%s", none);
    }
}

static void
render_v2(GPtrArray *settings, const LodgeCgroupLimits *limits, gboolean all)
{
    if (limits->cpu_percent != 0) {
        add(settings, "cpu", "cpu.max", "%" G_GUINT64_FORMAT " %d",
            (guint64)limits->cpu_percent * PERIOD_US / 100, PERIOD_US);
    } else if (all) {
        add(settings, "cpu", "cpu.max", "max %d", PERIOD_US);
    }
    if (all || limits->cpu_weight != WEIGHT_DEFAULT) {
        add(settings, "cpu", "cpu.weight", "%u", limits->cpu_weight);
    }
    if (all || limits->memory_max_bytes != 0) {
        add_maximum(settings, "memory", "memory.max", limits->memory_max_bytes, "max");
    }
    if (all || limits->io_weight != WEIGHT_DEFAULT) {
        add(settings, "io", "io.weight", "default %u", limits->io_weight);
    }
    if (all || limits->pids_max != 0) {
        add_maximum(settings, "pids", "pids.max", limits->pids_max, "max");
    }
}

static void
render_v1(GPtrArray *settings, const LodgeCgroupLimits *limits, gboolean all)
{
    if (limits->cpu_percent != 0) {
        add(settings, "cpu", "cpu.cfs_period_us", "%d", PERIOD_US);
        add(settings, "cpu", "cpu.cfs_quota_us", "%" G_GUINT64_FORMAT,
            (guint64)limits->cpu_percent * PERIOD_US / 100);
    } else if (all) {
        add(settings, "cpu", "cpu.cfs_quota_us", "-1");
    }
    if (all || limits->cpu_weight != WEIGHT_DEFAULT) {
        guint64 shares = (guint64)limits->cpu_weight * SHARES_DEFAULT / WEIGHT_DEFAULT;
        add(settings, "cpu", "cpu.shares", "%" G_GUINT64_FORMAT, MAX(shares, SHARES_LEAST));
    }
    if (all || limits->memory_max_bytes != 0) {
        add_maximum(settings, "memory", "memory.limit_in_bytes", limits->memory_max_bytes, "-1");
    }
    if (all || limits->io_weight != WEIGHT_DEFAULT) {
        add(settings, "blkio", "blkio.bfq.weight", "%u", MIN(limits->io_weight, BFQ_MOST));
    }
    if (all || limits->pids_max != 0) {
        add_maximum(settings, "pids", "pids.max", limits->pids_max, "max");
    }
}

GPtrArray *
lodge_cgroup_render(const LodgeCgroupLimits *limits, LodgeCgroupVersion version, gboolean all)
{
    GPtrArray *settings = g_ptr_array_new_with_free_func(setting_free);
    switch (version) {
    case LODGE_CGROUP_V1:
        render_v1(settings, limits, all);
        break;
    case LODGE_CGROUP_V2:
        render_v2(settings, limits, all);
        break;
    }
    return settings;
}

/* --- Reading back ---------------------------------------------------------------------------- */

/* The text of a group's file; NULL if there is none. Free with g_free. */
static char *
read_file(const LodgeCgroup *cgroup, const char *controller, const char *file)
{
    for (guint i = 0; i < cgroup->places->len; i++) {
        const LodgeCgroupPlace *place = cgroup->places->pdata[i];
        if (cgroup->version == LODGE_CGROUP_V2 || g_str_equal(place->controller, controller)) {
            g_autofree char *path = g_build_filename(place->folder, file, NULL);
            return lodge_system_read("", path);
        }
    }
    return NULL;
}

/* A number in a text, behind the line's word @key ("nr_throttled 12") or, NULL, alone. "max" is 0;
 * what isn't there is -1. */
static gint64
number_in(const char *text, const char *key)
{
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", -1);
    gsize length = key != NULL ? strlen(key) : 0;
    for (gsize i = 0; lines[i] != NULL; i++) {
        const char *value = lines[i];
        if (key != NULL) {
            if (strncmp(value, key, length) != 0 || value[length] != ' ') {
                continue;
            }
            value += length + 1;
        }
        char *end = NULL;
        gint64 number = g_ascii_strtoll(value, &end, 10);
        return end != value ? number : g_str_has_prefix(value, "max") ? 0 : -1;
    }
    return -1;
}

static gint64
read_number(const LodgeCgroup *cgroup, const char *controller, const char *file, const char *key)
{
    g_autofree char *text = read_file(cgroup, controller, file);
    return number_in(text, key);
}

static void
report_v2(const LodgeCgroup *cgroup, LodgeCgroupReport *report)
{
    g_autofree char *stat = read_file(cgroup, "cpu", "cpu.stat");
    g_autofree char *events = read_file(cgroup, "memory", "memory.events");
    g_autofree char *maximum = read_file(cgroup, "cpu", "cpu.max");
    gint64 weight = read_number(cgroup, "cpu", "cpu.weight", NULL);
    gint64 memory = read_number(cgroup, "memory", "memory.max", NULL);
    gint64 io_weight = read_number(cgroup, "io", "io.weight", "default");
    gint64 pids = read_number(cgroup, "pids", "pids.max", NULL);
    g_auto(GStrv) parts = g_strsplit(maximum != NULL ? maximum : "", " ", 2);
    gint64 quota = g_strv_length(parts) == 2 ? number_in(parts[0], NULL) : -1;
    gint64 period = quota >= 0 ? MAX(number_in(parts[1], NULL), 1) : 1;
    report->has_cpu = quota >= 0 && weight >= 0;
    report->has_memory = memory >= 0;
    report->has_io = io_weight >= 0;
    report->has_pids = pids >= 0;
    report->limits = (LodgeCgroupLimits){
        .cpu_percent = (guint)(MAX(quota, 0) * 100 / period),
        .cpu_weight = (guint)MAX(weight, 0),
        .memory_max_bytes = (guint64)MAX(memory, 0),
        .io_weight = (guint)MAX(io_weight, 0),
        .pids_max = (guint)MAX(pids, 0),
    };
    report->cpu_usage_us = number_in(stat, "usage_usec");
    report->cpu_periods = number_in(stat, "nr_periods");
    report->cpu_throttled = number_in(stat, "nr_throttled");
    report->cpu_throttled_us = number_in(stat, "throttled_usec");
    report->memory_bytes = read_number(cgroup, "memory", "memory.current", NULL);
    report->memory_limit_hits = number_in(events, "max");
    report->memory_oom_kills = number_in(events, "oom_kill");
    report->pids = read_number(cgroup, "pids", "pids.current", NULL);
}

static gint64
nanoseconds_to_us(gint64 time_ns)
{
    return time_ns >= 0 ? time_ns / 1000 : -1;
}

static void
report_v1(const LodgeCgroup *cgroup, LodgeCgroupReport *report)
{
    g_autofree char *stat = read_file(cgroup, "cpu", "cpu.stat");
    gint64 quota = read_number(cgroup, "cpu", "cpu.cfs_quota_us", NULL);
    gint64 period = read_number(cgroup, "cpu", "cpu.cfs_period_us", NULL);
    gint64 shares = read_number(cgroup, "cpu", "cpu.shares", NULL);
    gint64 memory = read_number(cgroup, "memory", "memory.limit_in_bytes", NULL);
    gint64 io_weight = read_number(cgroup, "blkio", "blkio.bfq.weight", NULL);
    gint64 pids = read_number(cgroup, "pids", "pids.max", NULL);
    report->has_cpu = shares >= 0 && period > 0;
    report->has_memory = memory >= 0;
    report->has_io = io_weight >= 0;
    report->has_pids = pids >= 0;
    report->limits = (LodgeCgroupLimits){
        .cpu_percent = quota > 0 && period > 0 ? (guint)(quota * 100 / period) : 0,
        .cpu_weight = (guint)((MAX(shares, 0) * WEIGHT_DEFAULT + SHARES_DEFAULT / 2) /
                              SHARES_DEFAULT),
        .memory_max_bytes = (guint64)memory < NO_MEMORY_LIMIT ? (guint64)memory : 0,
        .io_weight = (guint)MAX(io_weight, 0),
        .pids_max = (guint)MAX(pids, 0),
    };
    report->cpu_usage_us = nanoseconds_to_us(read_number(cgroup, "cpuacct", "cpuacct.usage", NULL));
    report->cpu_periods = number_in(stat, "nr_periods");
    report->cpu_throttled = number_in(stat, "nr_throttled");
    report->cpu_throttled_us = nanoseconds_to_us(number_in(stat, "throttled_time"));
    report->memory_bytes = read_number(cgroup, "memory", "memory.usage_in_bytes", NULL);
    report->memory_limit_hits = read_number(cgroup, "memory", "memory.failcnt", NULL);
    report->memory_oom_kills = read_number(cgroup, "memory", "memory.oom_control", "oom_kill");
    report->pids = read_number(cgroup, "pids", "pids.current", NULL);
}

void
lodge_cgroup_report(const LodgeCgroup *cgroup, LodgeCgroupReport *out_report)
{
    *out_report = (LodgeCgroupReport){0};
    switch (cgroup->version) {
    case LODGE_CGROUP_V1:
        report_v1(cgroup, out_report);
        break;
    case LODGE_CGROUP_V2:
        report_v2(cgroup, out_report);
        break;
    }
}

gint64
lodge_cgroup_throttled_us(const LodgeCgroup *cgroup)
{
    gboolean is_v2 = cgroup->version == LODGE_CGROUP_V2;
    gint64 number = read_number(cgroup, "cpu", "cpu.stat",
                                is_v2 ? "throttled_usec" : "throttled_time");
    return is_v2 ? number : nanoseconds_to_us(number);
}
