/* Theory of operation: when the next is due is told by the names of those that are there, so a
 * keeper that is started anew needs no memory. It is made by `lodge snapshot create --scheduled`,
 * which takes the job lock as each command does; where another has it, it is tried again a minute
 * later. The same command removes the oldest ones. */
#include "config.h"

#include "keeper/schedule.h"

#include "base/base.h"
#include "model/schedule.h"
#include "store/snapshots.h"

enum {
    LOOK_S = 60, /* at least so often, as clocks may be set */
};

struct Schedule {
    const LodgeStore *store;
    const char *guest;
    ScheduleMayFunc may;
    gpointer data;
    LodgeSchedule wanted;
    gboolean is_set;
    gint64 since_s;
    guint timer;
    guint child_source;
};

static void plan(Schedule *schedule, gint64 least_s);

static gint64
now_s(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

static void
on_child_end(GPid pid, gint status, gpointer data)
{
    Schedule *schedule = data;
    g_spawn_close_pid(pid);
    schedule->child_source = 0;
    if (!g_spawn_check_wait_status(status, NULL)) {
        lodge_event_append(schedule->store, schedule->guest, "snapshot-failed", NULL);
    }
    plan(schedule, LOOK_S);
}

static void
make(Schedule *schedule)
{
    GPid pid;
    g_autofree char *program = lodge_program_own("lodge", LODGE_BIN_DIR);
    const char *argv[] = {program, "snapshot", "create", schedule->guest, "--scheduled", NULL};
    if (g_spawn_async("/", (char **)argv, NULL,
                      G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL |
                          G_SPAWN_STDERR_TO_DEV_NULL,
                      NULL, NULL, &pid, NULL)) {
        schedule->child_source = g_child_watch_add(pid, on_child_end, schedule);
    } else {
        plan(schedule, LOOK_S);
    }
}

static gint64
due_s(const Schedule *schedule)
{
    g_auto(GStrv) names = lodge_store_snapshots(schedule->store, schedule->guest, NULL);
    static const char *const none[] = {NULL};
    return lodge_schedule_due(&schedule->wanted, names != NULL ? (const char *const *)names : none,
                              schedule->since_s);
}

static gboolean
on_timer(gpointer data)
{
    Schedule *schedule = data;
    schedule->timer = 0;
    if (now_s() < due_s(schedule)) {
        plan(schedule, 1);
    } else if (schedule->may(schedule->data)) {
        make(schedule);
    } else {
        plan(schedule, LOOK_S);
    }
    return G_SOURCE_REMOVE;
}

/* Look again when the next is due, not before @least_s. */
static void
plan(Schedule *schedule, gint64 least_s)
{
    if (schedule->timer != 0 || schedule->child_source != 0 || !schedule->is_set) {
        return;
    }
    gint64 left_s = CLAMP(due_s(schedule) - now_s(), least_s, LOOK_S);
    schedule->timer = g_timeout_add_seconds((guint)left_s, on_timer, schedule);
}

void
schedule_set(Schedule *schedule, const char *text)
{
    LodgeSchedule wanted = {0};
    gboolean is_set = text != NULL && lodge_schedule_parse(text, &wanted, NULL);
    if (is_set && !schedule->is_set) {
        schedule->since_s = now_s();
    }
    schedule->wanted = wanted;
    schedule->is_set = is_set;
    if (schedule->timer != 0) {
        g_source_remove(schedule->timer);
        schedule->timer = 0;
    }
    plan(schedule, 1);
}

Schedule *
schedule_new(const LodgeStore *store, const char *guest, ScheduleMayFunc may, gpointer data)
{
    Schedule *schedule = g_new0(Schedule, 1);
    schedule->store = store;
    schedule->guest = guest;
    schedule->may = may;
    schedule->data = data;
    return schedule;
}

void
schedule_free(Schedule *schedule)
{
    if (schedule == NULL) {
        return;
    }
    if (schedule->timer != 0) {
        g_source_remove(schedule->timer);
    }
    if (schedule->child_source != 0) {
        g_source_remove(schedule->child_source);
    }
    g_free(schedule);
}
