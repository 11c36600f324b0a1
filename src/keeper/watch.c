/* Theory of operation: three timers, of which none runs without need.
 *
 *   poll     2 s   while somebody watches; 10 s with balloon=auto. Sends three commands and never
 *                  waits: the last reply publishes. While replies are missing (a hung QEMU) nothing
 *                  more is sent, and stats.json keeps the time of its last truth.
 *   merging  30 s  while `lodge host ksm auto` is asked for, in every keeper; the one that holds
 *                  ksm.lock decides.
 *
 * A byte into the FIFO `watch` wakes the keeper: lodge_store_watch(). An inotify descriptor would
 * make the keeper's end, and so `lodge kill`, 15 ms longer: closing one waits for all of the
 * kernel's readers of marks.
 */
#include "config.h"

#include "keeper/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "host/ksm.h"
#include "keeper/balloon.h"

enum {
    WATCHED_MS = 10000,
    POLL_S = 2,
    BALLOON_S = 10,
    MERGING_S = 30,
};
#define BALLOON_PATH "/machine/peripheral/balloon"

struct Watch {
    const LodgeStore *store;
    char *name;
    void (*sent)(gpointer data);
    gpointer data;

    int wake_fd;
    guint wake_source;
    LodgeQmp *qmp;
    gint64 watched_until; /* monotonic µs */
    guint poll_source;
    guint poll_s;
    guint merging_source;
    int merging_lock;

    gboolean is_auto; /* balloon=auto */
    gboolean is_copy; /* its memory began as another's, which QEMU can't give back */
    guint64 memory_bytes;
    guint64 floor_bytes;

    guint awaited;  /* replies */
    json_t *sample; /* what came so far */
    guint stats_s;  /* how often the guest's driver reports; 0: not */
};

static char *
path_of(const Watch *watch, const char *file)
{
    return lodge_store_run_path(watch->store, watch->name, file);
}

static gboolean
is_watched(const Watch *watch)
{
    return g_get_monotonic_time() < watch->watched_until;
}

/* --- Polling --------------------------------------------------------------------------------- */

static void
mind_balloon(Watch *watch)
{
    const json_t *balloon = json_object_get(watch->sample, "balloon");
    BalloonSight sight = {
        .most_bytes = watch->memory_bytes,
        .least_bytes = watch->floor_bytes,
        .now_bytes = (guint64)lodge_json_int(balloon, "actual_bytes", 0),
        .available_bytes = lodge_json_int(balloon, "available_bytes", -1),
    };
    lodge_memory_read("", &sight.host);
    guint64 target = balloon_target(&sight);
    if (target != sight.now_bytes && watch->qmp != NULL) {
        lodge_qmp_send(watch->qmp, "balloon", json_pack("{s:I}", "value", (json_int_t)target), -1,
                       NULL, NULL, NULL);
        lodge_event_append(watch->store, watch->name, "balloon",
                           json_pack("{s:I, s:I}", "from_bytes", (json_int_t)sight.now_bytes,
                                     "to_bytes", (json_int_t)target));
        watch->sent(watch->data);
    }
}

/* One reply less to wait for; with the last the sample is published. */
static void
arrived(Watch *watch)
{
    if (--watch->awaited > 0) {
        return;
    }
    g_autofree char *path = path_of(watch, "stats.json");
    json_object_set_new(watch->sample, "time_ms", json_integer(g_get_real_time() / 1000));
    lodge_json_publish(path, watch->sample, NULL);
    if (watch->is_auto && !watch->is_copy) {
        mind_balloon(watch);
    }
}

static void
on_disks(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    (void)qmp;
    Watch *watch = data;
    json_t *disks = json_array();
    gsize index;
    const json_t *device;
    json_array_foreach (error == NULL ? result : NULL, index, device) {
        const json_t *stats = json_object_get(device, "stats");
        const char *name = lodge_json_string(device, "qdev", "");
        /* "/machine/peripheral/disk-root/virtio-backend" */
        g_auto(GStrv) parts = g_strsplit(name, "/", -1);
        const char *id = *name == '/' && g_strv_length(parts) > 3 ? parts[3] : name;
        if (*id == '\0') {
            continue;
        }
        json_array_append_new(disks,
                              json_pack("{s:s, s:I, s:I, s:I, s:I}", "device", id, "read_bytes",
                                        lodge_json_int(stats, "rd_bytes", 0), "written_bytes",
                                        lodge_json_int(stats, "wr_bytes", 0), "reads",
                                        lodge_json_int(stats, "rd_operations", 0), "writes",
                                        lodge_json_int(stats, "wr_operations", 0)));
    }
    json_object_set_new(watch->sample, "disks", disks);
    arrived(watch);
}

static json_t *
balloon_of(Watch *watch)
{
    json_t *balloon = json_object_get(watch->sample, "balloon");
    if (balloon == NULL) {
        balloon = json_object();
        json_object_set_new(watch->sample, "balloon", balloon);
    }
    return balloon;
}

static void
on_balloon(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    (void)qmp;
    Watch *watch = data;
    if (error == NULL) {
        json_object_set_new(balloon_of(watch), "actual_bytes",
                            json_integer(lodge_json_int(result, "actual", 0)));
    }
    arrived(watch);
}

/* The driver's statistics are foreign: -1 where it says nothing, and 2^64 - 1 is what QEMU says
 * then. */
static void
on_guest_stats(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    (void)qmp;
    Watch *watch = data;
    static const struct {
        const char *theirs;
        const char *ours;
    } fields[] = {
        {"stat-total-memory", "total_bytes"},
        {"stat-free-memory", "free_bytes"},
        {"stat-available-memory", "available_bytes"},
    };
    const json_t *stats = json_object_get(result, "stats");
    gboolean is_fresh = error == NULL && lodge_json_int(result, "last-update", 0) != 0;
    for (gsize i = 0; is_fresh && i < G_N_ELEMENTS(fields); i++) {
        json_int_t value = lodge_json_int(stats, fields[i].theirs, -1);
        if (value >= 0) {
            json_object_set_new(balloon_of(watch), fields[i].ours, json_integer(value));
        }
    }
    arrived(watch);
}

static void
send_one(Watch *watch, const char *command, json_t *arguments, LodgeQmpReplyFunc reply)
{
    if (lodge_qmp_send(watch->qmp, command, arguments, -1, reply, watch, NULL) != 0 &&
        reply != NULL) {
        watch->awaited++;
    }
}

/* How often the guest's driver shall report, in seconds. */
static void
set_guest_stats(Watch *watch, guint interval_s)
{
    if (watch->stats_s != interval_s && watch->qmp != NULL) {
        watch->stats_s = interval_s;
        send_one(watch, "qom-set",
                 json_pack("{s:s, s:s, s:i}", "path", BALLOON_PATH, "property",
                           "guest-stats-polling-interval", "value", (int)interval_s),
                 NULL);
        watch->sent(watch->data);
    }
}

static void
poll_once(Watch *watch)
{
    if (watch->qmp == NULL || watch->awaited > 0) {
        return;
    }
    g_clear_pointer(&watch->sample, json_decref);
    watch->sample = json_object();
    set_guest_stats(watch, watch->poll_s);
    send_one(watch, "query-blockstats", NULL, on_disks);
    send_one(watch, "query-balloon", NULL, on_balloon);
    send_one(watch, "qom-get",
             json_pack("{s:s, s:s}", "path", BALLOON_PATH, "property", "guest-stats"),
             on_guest_stats);
    watch->sent(watch->data);
}

static void schedule(Watch *watch);

static gboolean
on_poll(gpointer data)
{
    Watch *watch = data;
    watch->poll_source = 0;
    schedule(watch);
    if (watch->poll_source != 0) {
        poll_once(watch);
    }
    return G_SOURCE_REMOVE;
}

/* Have the next poll when it is due: soon, late, or never. */
static void
schedule(Watch *watch)
{
    guint wanted_s = is_watched(watch) ? POLL_S : watch->is_auto ? BALLOON_S : 0;
    if (watch->qmp == NULL) {
        wanted_s = 0;
    }
    if (watch->poll_source != 0) {
        g_source_remove(watch->poll_source);
        watch->poll_source = 0;
    }
    watch->poll_s = wanted_s;
    if (wanted_s != 0) {
        watch->poll_source = g_timeout_add_seconds(wanted_s, on_poll, watch);
    } else {
        set_guest_stats(watch, 0);
    }
}

/* --- Merging --------------------------------------------------------------------------------- */

static guint
running_guests(const LodgeStore *store)
{
    guint count = 0;
    g_auto(GStrv) names = lodge_store_guests(store, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autofree char *lock = lodge_store_run_path(store, names[i], "qemu.lock");
        count += lodge_lock_is_held(lock) ? 1 : 0;
    }
    return count;
}

static gboolean
on_merging(gpointer data)
{
    Watch *watch = data;
    if (lodge_ksm_mode(watch->store->root) != LODGE_KSM_AUTO) {
        lodge_fd_clear(&watch->merging_lock);
        watch->merging_source = 0;
        return G_SOURCE_REMOVE;
    }
    if (watch->merging_lock < 0) {
        g_autofree char *path = g_build_filename(watch->store->run, "ksm.lock", NULL);
        watch->merging_lock = lodge_lock_take(path, NULL);
    }
    if (watch->merging_lock >= 0) {
        lodge_ksm_review("", watch->store->root, running_guests(watch->store));
    }
    return G_SOURCE_CONTINUE;
}

static void
look_at_merging(Watch *watch)
{
    if (watch->merging_source == 0 && geteuid() == 0 &&
        lodge_ksm_mode(watch->store->root) == LODGE_KSM_AUTO) {
        watch->merging_source = g_timeout_add_seconds(MERGING_S, on_merging, watch);
        on_merging(watch);
    }
}

/* --- Being woken ----------------------------------------------------------------------------- */

static gboolean
on_woken(gint fd, GIOCondition condition, gpointer data)
{
    (void)condition;
    Watch *watch = data;
    char buffer[4096];
    while (read(fd, buffer, sizeof buffer) > 0) {
    }
    gboolean was_watched = is_watched(watch);
    watch->watched_until = lodge_deadline_in(WATCHED_MS);
    if (!was_watched) {
        schedule(watch);
        poll_once(watch);
    }
    look_at_merging(watch);
    return G_SOURCE_CONTINUE;
}

/* Open for writing too, so that it has no end when the last writer leaves. */
static void
listen_for_wakes(Watch *watch)
{
    g_autofree char *path = path_of(watch, "watch");
    unlink(path);
    watch->wake_fd = mkfifo(path, 0644) == 0
                         ? open(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC)
                         : -1;
    if (watch->wake_fd >= 0) {
        watch->wake_source = g_unix_fd_add(watch->wake_fd, G_IO_IN, on_woken, watch);
    }
}

Watch *
watch_new(const LodgeStore *store, const char *guest, void (*sent)(gpointer data), gpointer data)
{
    Watch *watch = g_new0(Watch, 1);
    watch->store = store;
    watch->name = g_strdup(guest);
    watch->sent = sent;
    watch->data = data;
    watch->merging_lock = -1;
    listen_for_wakes(watch);
    return watch;
}

void
watch_begin(Watch *watch, const LodgeGuest *guest)
{
    watch->is_auto = guest->balloon == LODGE_BALLOON_AUTO;
    watch->memory_bytes = guest->memory_bytes;
    watch->floor_bytes = lodge_guest_memory_floor(guest);
    look_at_merging(watch);
}

static void
on_memory_file(LodgeQmp *qmp, const json_t *result, const GError *error, gpointer data)
{
    (void)qmp;
    (void)result;
    ((Watch *)data)->is_copy = error == NULL;
}

void
watch_use(Watch *watch, LodgeQmp *qmp)
{
    watch->qmp = qmp;
    watch->is_copy = FALSE;
    if (qmp != NULL) {
        lodge_qmp_send(qmp, "qom-get",
                       json_pack("{s:s, s:s}", "path", "/objects/ram", "property", "mem-path"), -1,
                       on_memory_file, watch, NULL);
    }
    watch->awaited = 0;
    watch->stats_s = 0;
    schedule(watch);
}

void
watch_end(Watch *watch)
{
    g_autofree char *path = path_of(watch, "stats.json");
    watch_use(watch, NULL);
    unlink(path);
}

void
watch_free(Watch *watch)
{
    if (watch == NULL) {
        return;
    }
    watch_use(watch, NULL);
    if (watch->merging_source != 0) {
        g_source_remove(watch->merging_source);
    }
    if (watch->wake_source != 0) {
        g_source_remove(watch->wake_source);
    }
    lodge_fd_clear(&watch->wake_fd);
    lodge_fd_clear(&watch->merging_lock);
    json_decref(watch->sample);
    g_free(watch->name);
    g_free(watch);
}
