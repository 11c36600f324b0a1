#include "config.h"

#include "host/cgroup.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"

static char *folder;

static void
put(const char *path, const char *text)
{
    g_autofree char *full = g_build_filename(folder, path, NULL);
    g_autofree char *parent = g_path_get_dirname(full);
    g_assert_true(lodge_dir_make(parent, 0755, NULL));
    g_assert_true(lodge_file_write(full, text, strlen(text), 0644, LODGE_WRITE_NO_SYNC, NULL));
}

static void
assert_text(const char *path, const char *text)
{
    g_autofree char *full = g_build_filename(folder, path, NULL);
    g_autofree char *found = lodge_file_read(full, 4096, NULL, NULL);
    g_assert_cmpstr(found, ==, text);
}

/* "controller/file=value" a line. */
static char *
rendered(const LodgeCgroupLimits *limits, LodgeCgroupVersion version, gboolean all)
{
    g_autoptr(GPtrArray) settings = lodge_cgroup_render(limits, version, all);
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < settings->len; i++) {
        const LodgeCgroupSetting *setting = settings->pdata[i];
        g_string_append_printf(text, "%s/%s=%s\n", setting->controller, setting->file,
                               setting->value);
    }
    return g_string_free(text, FALSE);
}

static const LodgeCgroupLimits nothing = {.cpu_weight = 100, .io_weight = 100};
static const LodgeCgroupLimits much = {.cpu_percent = 150,
                                       .cpu_weight = 50,
                                       .memory_max_bytes = G_GUINT64_CONSTANT(1) << 30,
                                       .io_weight = 20,
                                       .pids_max = 200};

static void
test_render(void)
{
    static const struct {
        const LodgeCgroupLimits *limits;
        LodgeCgroupVersion version;
        gboolean all;
        const char *text;
    } cases[] = {
        {&nothing, LODGE_CGROUP_V1, FALSE, ""},
        {&nothing, LODGE_CGROUP_V2, FALSE, ""},
        {&nothing, LODGE_CGROUP_V2, TRUE,
         "cpu/cpu.max=max 100000\ncpu/cpu.weight=100\nmemory/memory.max=max\n"
         "io/io.weight=default 100\npids/pids.max=max\n"},
        {&nothing, LODGE_CGROUP_V1, TRUE,
         "cpu/cpu.cfs_quota_us=-1\ncpu/cpu.shares=1024\nmemory/memory.limit_in_bytes=-1\n"
         "blkio/blkio.bfq.weight=100\npids/pids.max=max\n"},
        {&much, LODGE_CGROUP_V2, FALSE,
         "cpu/cpu.max=150000 100000\ncpu/cpu.weight=50\nmemory/memory.max=1073741824\n"
         "io/io.weight=default 20\npids/pids.max=200\n"},
        {&much, LODGE_CGROUP_V1, FALSE,
         "cpu/cpu.cfs_period_us=100000\ncpu/cpu.cfs_quota_us=150000\ncpu/cpu.shares=512\n"
         "memory/memory.limit_in_bytes=1073741824\nblkio/blkio.bfq.weight=20\npids/pids.max=200\n"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = rendered(cases[i].limits, cases[i].version, cases[i].all);
        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

#define V1_MOUNTS                                                                                  \
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"                                            \
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"                  \
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"                            \
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
#define V2_MOUNTS "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"

/* Where a group goes: mounts, own groups, user; what the plan says as text, or the error. */
static void
test_plan(void)
{
    static const struct {
        const char *mounts;
        const char *own;
        uid_t uid;
        const LodgeCgroupLimits *limits;
        const char *places; /* '~' is the fake root */
        const char *enable;
    } cases[] = {
        {V1_MOUNTS, "3:memory:/box/7\n2:cpu,cpuacct:/\n0::/\n", 0, &much,
         "cpu ~/sys/fs/cgroup/cpu,cpuacct/lodge/web1\n"
         "cpuacct ~/sys/fs/cgroup/cpu,cpuacct/lodge/web1\n"
         "memory ~/sys/fs/cgroup/memory/box/7/lodge/web1\n",
         ""},
        {V1_MOUNTS, "3:memory:/box/7\n2:cpu,cpuacct:/\n0::/\n", 0, &nothing,
         "cpu ~/sys/fs/cgroup/cpu,cpuacct/lodge/web1\n"
         "cpuacct ~/sys/fs/cgroup/cpu,cpuacct/lodge/web1\n",
         ""},
        {V1_MOUNTS, "3:memory:/box/7\n2:cpu,cpuacct:/box/7\n0::/\n", 0, &nothing, NULL, NULL},
        {V2_MOUNTS, "0::/user.slice/user-0.slice/session-1.scope\n", 0, &much,
         "unified ~/sys/fs/cgroup/lodge/web1\n", "~/sys/fs/cgroup ~/sys/fs/cgroup/lodge "},
        {V2_MOUNTS, "0::/lodge.slice/lodge-guest@web1.service\n", 0, &much,
         "unified ~/sys/fs/cgroup/lodge.slice/lodge-guest@web1.service/guest\n",
         "~/sys/fs/cgroup/lodge.slice/lodge-guest@web1.service "},
        {V2_MOUNTS, "0::/lodge.slice/lodge-guest@web1.service/keeper\n", 0, &much,
         "unified ~/sys/fs/cgroup/lodge.slice/lodge-guest@web1.service/guest\n",
         "~/sys/fs/cgroup/lodge.slice/lodge-guest@web1.service "},
        {V2_MOUNTS, "0::/user.slice/user-7.slice/user@7.service/app.slice/run-1.scope\n", 7, &much,
         "unified ~/sys/fs/cgroup/user.slice/user-7.slice/user@7.service/lodge/web1\n",
         "~/sys/fs/cgroup/user.slice/user-7.slice/user@7.service "
         "~/sys/fs/cgroup/user.slice/user-7.slice/user@7.service/lodge "},
        {"41 31 0:38 /docker/1 /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
         "2:cpu:/docker/1/mine\n", 0, &much, "cpu ~/sys/fs/cgroup/cpu/mine/lodge/web1\n", ""},
        {V1_MOUNTS, "0::/\n", 7, &much, NULL, NULL},
        {V2_MOUNTS, "0::/user.slice/user-7.slice/session-2.scope\n", 7, &much, NULL, NULL},
        {"", "", 0, &much, NULL, NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        put("proc/self/mountinfo", cases[i].mounts);
        put("proc/self/cgroup", cases[i].own);
        g_autoptr(LodgeCgroup)
            cgroup = lodge_cgroup_plan(folder, "web1", cases[i].limits, cases[i].uid, &error);
        if (cases[i].places == NULL) {
            g_assert_error(error, LODGE_ERROR, LODGE_ERROR_UNSUPPORTED);
            continue;
        }
        g_assert_no_error(error);
        g_autofree char *text = lodge_cgroup_format(cgroup);
        g_autoptr(GString) places = g_string_new(cases[i].places);
        g_string_replace(places, "~", folder, 0);
        g_assert_cmpstr(text, ==, places->str);
        g_autoptr(GString) enable = g_string_new(cases[i].enable);
        g_string_replace(enable, "~", folder, 0);
        for (guint k = 0; k < cgroup->enable->len; k++) {
            const char *path = cgroup->enable->pdata[k];
            g_assert_true(g_str_has_prefix(enable->str, path));
            g_string_erase(enable, 0, (gssize)strlen(path) + 1);
        }
        g_assert_cmpstr(enable->str, ==, "");
        g_autoptr(LodgeCgroup) again = lodge_cgroup_parse(text);
        g_autofree char *same = lodge_cgroup_format(again);
        g_assert_cmpint(again->version, ==, cgroup->version);
        g_assert_cmpstr(same, ==, text);
    }
}

static void
test_covers(void)
{
    g_autoptr(LodgeCgroup) part = lodge_cgroup_parse("cpu /sys/fs/cgroup/cpu/lodge/web1\n");
    g_autoptr(LodgeCgroup) whole = lodge_cgroup_parse("unified /sys/fs/cgroup/lodge/web1\n");
    const LodgeCgroupLimits cpu = {.cpu_percent = 50, .cpu_weight = 100, .io_weight = 100};
    g_assert_true(lodge_cgroup_covers(part, &nothing));
    g_assert_true(lodge_cgroup_covers(part, &cpu));
    g_assert_false(lodge_cgroup_covers(part, &much));
    g_assert_true(lodge_cgroup_covers(whole, &much));
}

static void
test_parse_refuses(void)
{
    g_assert_null(lodge_cgroup_parse(""));
    g_assert_null(lodge_cgroup_parse("none an ordinary user has no control groups\n"));
}

/* A group whose files are there already: everything that enter and report touch. */
static void
test_enter_v2(void)
{
    static const char *const files[] = {"cgroup.procs", "cpu.max",  "cpu.weight",
                                        "memory.max",   "pids.max", "io.weight"};
    g_autoptr(GError) error = NULL;
    put("proc/self/mountinfo", V2_MOUNTS);
    put("proc/self/cgroup", "0::/lodge.slice/lodge-guest@web1.service\n");
    g_autoptr(LodgeCgroup) cgroup = lodge_cgroup_plan(folder, "web1", &much, 0, &error);
    g_assert_no_error(error);
#define UNIT "sys/fs/cgroup/lodge.slice/lodge-guest@web1.service/"
    put(UNIT "cgroup.subtree_control", "");
    put(UNIT "keeper/cgroup.procs", "");
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_strconcat(UNIT "guest/", files[i], NULL);
        put(path, "");
    }
    put(UNIT "guest/cpu.stat", "usage_usec 5000000\nnr_periods 40\nnr_throttled 12\n"
                               "throttled_usec 345678\n");
    put(UNIT "guest/memory.events", "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n");
    put(UNIT "guest/memory.current", "123456\n");
    put(UNIT "guest/pids.current", "9\n");
    g_assert_true(lodge_cgroup_enter(cgroup, &much, 4711, &error));
    g_assert_no_error(error);
    g_autofree char *self = g_strdup_printf("%d", (int)getpid());
    assert_text(UNIT "keeper/cgroup.procs", self);
    assert_text(UNIT "guest/cgroup.procs", "4711");
    assert_text(UNIT "guest/cpu.max", "150000 100000");
    LodgeCgroupReport report;
    lodge_cgroup_report(cgroup, &report);
    g_assert_cmpuint(report.limits.cpu_percent, ==, 150);
    g_assert_cmpuint(report.limits.cpu_weight, ==, 50);
    g_assert_cmpuint(report.limits.memory_max_bytes, ==, much.memory_max_bytes);
    g_assert_cmpuint(report.limits.io_weight, ==, 20);
    g_assert_cmpuint(report.limits.pids_max, ==, 200);
    g_assert_true(report.has_cpu && report.has_memory && report.has_io && report.has_pids);
    g_assert_cmpint(report.cpu_usage_us, ==, 5000000);
    g_assert_cmpint(report.cpu_throttled, ==, 12);
    g_assert_cmpint(report.cpu_throttled_us, ==, 345678);
    g_assert_cmpint(report.memory_limit_hits, ==, 7);
    g_assert_cmpint(report.memory_oom_kills, ==, 1);
    g_assert_cmpint(lodge_cgroup_throttled_us(cgroup), ==, 345678);
    /* A kernel without a controller: said only if it was asked for. */
    g_autofree char *io = g_build_filename(folder, UNIT "guest/io.weight", NULL);
    unlink(io);
    g_assert_true(lodge_cgroup_apply(cgroup, &nothing, &error));
    g_assert_false(lodge_cgroup_apply(cgroup, &much, &error));
    g_assert_error(error, LODGE_ERROR, LODGE_ERROR_FAILED);
    g_assert_true(strstr(error->message, "io.weight") != NULL);
}

static void
test_enter_v1(void)
{
    g_autoptr(GError) error = NULL;
    put("proc/self/mountinfo", "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                               "33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n"
                               "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    put("proc/self/cgroup", "2:cpu:/\n");
    g_autoptr(LodgeCgroup) cgroup = lodge_cgroup_plan(folder, "web1", &much, 0, &error);
#define V1(controller, file) "sys/fs/cgroup/" controller "/lodge/web1/" file
    put(V1("cpu", "cgroup.procs"), "");
    put(V1("cpu", "cpu.cfs_quota_us"), "-1\n");
    put(V1("cpu", "cpu.cfs_period_us"), "100000\n");
    put(V1("cpu", "cpu.shares"), "1024\n");
    put(V1("cpu", "cpu.stat"), "nr_periods 10\nnr_throttled 3\nthrottled_time 4000000\n");
    put(V1("cpuacct", "cpuacct.usage"), "7000000\n");
    put(V1("memory", "memory.limit_in_bytes"), "9223372036854771712\n");
    put(V1("memory", "memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    LodgeCgroupReport report;
    lodge_cgroup_report(cgroup, &report);
    g_assert_cmpuint(report.limits.cpu_percent, ==, 0);
    g_assert_cmpuint(report.limits.cpu_weight, ==, 100);
    g_assert_cmpuint(report.limits.memory_max_bytes, ==, 0);
    g_assert_cmpint(report.cpu_usage_us, ==, 7000);
    g_assert_cmpint(report.cpu_throttled_us, ==, 4000);
    g_assert_cmpint(report.memory_oom_kills, ==, 2);
    g_assert_false(report.has_io);
    g_assert_cmpint(report.pids, ==, -1);
    g_assert_true(lodge_cgroup_enter(cgroup, &much, 12, &error));
    assert_text(V1("cpu", "cpu.cfs_quota_us"), "150000");
    assert_text(V1("cpu", "cgroup.procs"), "12");
    lodge_cgroup_report(cgroup, &report);
    g_assert_cmpuint(report.limits.cpu_percent, ==, 150);
    g_assert_cmpuint(report.limits.cpu_weight, ==, 50);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    folder = g_dir_make_tmp("lodge-cgroup-XXXXXX", NULL);
    g_test_add_func("/host/cgroup/render", test_render);
    g_test_add_func("/host/cgroup/plan", test_plan);
    g_test_add_func("/host/cgroup/covers", test_covers);
    g_test_add_func("/host/cgroup/parse-refuses", test_parse_refuses);
    g_test_add_func("/host/cgroup/enter-v2", test_enter_v2);
    g_test_add_func("/host/cgroup/enter-v1", test_enter_v1);
    int status = g_test_run();
    lodge_tree_remove(folder, NULL);
    g_free(folder);
    return status;
}
