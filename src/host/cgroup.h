/* A guest's own control group: where it may be, what is written into it, what it counts.
 *
 * Version 2 where it has controllers, else version 1 with a folder in each controller's hierarchy.
 * Nothing here starts a process or waits.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef enum { LODGE_CGROUP_V1, LODGE_CGROUP_V2 } LodgeCgroupVersion;

/* 0 is "no limit"; a weight of 100 is what everybody has. */
typedef struct {
    guint cpu_percent; /* of one CPU */
    guint cpu_weight;  /* 1 to 10000 */
    guint64 memory_max_bytes;
    guint io_weight; /* 1 to 10000 */
    guint pids_max;
} LodgeCgroupLimits;

/* One value for one file. */
typedef struct {
    const char *controller; /* "cpu", as this version calls it */
    const char *file;       /* "cpu.max" */
    char *value;
} LodgeCgroupSetting;

/* What to write for @limits, in order: an array of LodgeCgroupSetting *. Pure. With @all also what
 * takes a limit away; else only what differs from a new group's. Free with g_ptr_array_unref. */
GPtrArray *lodge_cgroup_render(const LodgeCgroupLimits *limits, LodgeCgroupVersion version,
                               gboolean all);

/* A folder of the group: one for version 2, one a controller for version 1. */
typedef struct {
    char *controller; /* "cpu"; "unified" for version 2 */
    char *folder;
} LodgeCgroupPlace;

typedef struct {
    LodgeCgroupVersion version;
    GPtrArray *places; /* LodgeCgroupPlace * */
    GPtrArray *enable; /* version 2: folders whose children shall have the controllers, top first */
    char *own;         /* version 2: where this process must go first, as only leaves may hold any;
                        * NULL: it may stay */
} LodgeCgroup;

/* Where a group called @label ("web1") with @limits goes, found from @sysroot's /proc (NULL or "":
 * this system's): inside this process's unit if systemd delegated it, below the user's manager for
 * an ordinary @uid, for root else below the hierarchy's top. Version 1: below the own group, so
 * that no outer limit is escaped; where that is not the top, it is somebody's, and gets a child
 * only for what is asked for. Touches nothing. UNSUPPORTED, saying why, if there is no place that
 * this user may use. */
LodgeCgroup *lodge_cgroup_plan(const char *sysroot, const char *label,
                               const LodgeCgroupLimits *limits, uid_t uid, GError **error);

/* Has it a folder for each limit that is asked for? */
gboolean lodge_cgroup_covers(const LodgeCgroup *cgroup, const LodgeCgroupLimits *limits);

/* Make the group, if it isn't there, with these limits, and move the process @pid into it. What a
 * controller that is absent would have limited is left out; lodge_cgroup_report() shows what holds.
 * UNSUPPORTED if @pid could be moved into none of its folders. */
gboolean lodge_cgroup_enter(const LodgeCgroup *cgroup, const LodgeCgroupLimits *limits, pid_t pid,
                            GError **error);

/* Write all limits into a group that is there. FAILED names the first that the kernel refuses; the
 * others are written all the same. A limit that was not asked for may lack its controller. */
gboolean lodge_cgroup_apply(const LodgeCgroup *cgroup, const LodgeCgroupLimits *limits,
                            GError **error);

/* Remove its folders; with them other guests' that nobody has been in for a minute (their stores
 * were removed), and the folder that all stand in if it is empty then. Processes that live in them
 * keep them. */
void lodge_cgroup_remove(const LodgeCgroup *cgroup);

/* The folders as text, a line each, and back; NULL if the text names none. Free both. */
char *lodge_cgroup_format(const LodgeCgroup *cgroup);
LodgeCgroup *lodge_cgroup_parse(const char *text);

/* What the kernel says. -1: it doesn't. */
typedef struct {
    LodgeCgroupLimits limits;                       /* that hold */
    gboolean has_cpu, has_memory, has_io, has_pids; /* whether they could be read */
    gint64 cpu_usage_us;
    gint64 cpu_periods;       /* of 100 ms in which it wanted to run */
    gint64 cpu_throttled;     /* of them those in which it was held back */
    gint64 cpu_throttled_us;  /* for how long in all */
    gint64 memory_bytes;      /* now */
    gint64 memory_limit_hits; /* how often it came to the limit */
    gint64 memory_oom_kills;
    gint64 pids;
} LodgeCgroupReport;

void lodge_cgroup_report(const LodgeCgroup *cgroup, LodgeCgroupReport *out_report);

/* Only how long its CPUs were held back so far, in microseconds; -1 unknown. One file is read. */
gint64 lodge_cgroup_throttled_us(const LodgeCgroup *cgroup);

void lodge_cgroup_free(LodgeCgroup *cgroup);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeCgroup, lodge_cgroup_free)
