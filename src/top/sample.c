#include "config.h"

#include "top/sample.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "keeper/group.h"

enum {
    SMALL_BYTES = 64 << 10,
    FRESH_MS = 15000, /* what a keeper published is believed for so long */
    FEW_GUESTS = 20,  /* reading each thread's file is too dear for more */
    FIELDS_BEFORE_CPU = 11,
};

static char *
read_process(pid_t pid, const char *file)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, file);
    return lodge_file_read(path, SMALL_BYTES, NULL, NULL);
}

/* The number behind "name" in a text of lines; -1. */
static gint64
field(const char *text, const char *name)
{
    const char *found = text != NULL ? strstr(text, name) : NULL;
    return found != NULL ? g_ascii_strtoll(found + strlen(name), NULL, 10) : -1;
}

gint64
top_parse_cpu_ticks(const char *text)
{
    const char *at = strrchr(text, ')');
    gint64 ticks = 0;
    for (guint i = 0; at != NULL && i < FIELDS_BEFORE_CPU + 2; i++) {
        at = strchr(at + 1, ' ');
        if (at != NULL && i >= FIELDS_BEFORE_CPU) {
            ticks += g_ascii_strtoll(at + 1, NULL, 10);
        }
    }
    return at != NULL ? ticks : -1;
}

static gint64
waited_us(pid_t pid)
{
    gint64 sum = 0;
    g_autofree char *folder = g_strdup_printf("/proc/%d/task", (int)pid);
    g_autoptr(GDir) tasks = g_dir_open(folder, 0, NULL);
    const char *task;
    while (tasks != NULL && (task = g_dir_read_name(tasks)) != NULL) {
        g_autofree char *path = g_build_filename(folder, task, "schedstat", NULL);
        g_autofree char *text = lodge_file_read(path, SMALL_BYTES, NULL, NULL);
        const char *space = text != NULL ? strchr(text, ' ') : NULL;
        sum += space != NULL ? g_ascii_strtoll(space, NULL, 10) / 1000 : 0;
    }
    return tasks != NULL ? sum : -1;
}

/* The tap that a QEMU holds open; only root may look. */
static char *
find_tap(pid_t pid)
{
    g_autofree char *folder = g_strdup_printf("/proc/%d/fdinfo", (int)pid);
    g_autoptr(GDir) descriptors = g_dir_open(folder, 0, NULL);
    const char *name;
    while (descriptors != NULL && (name = g_dir_read_name(descriptors)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *text = lodge_file_read(path, SMALL_BYTES, NULL, NULL);
        const char *found = text != NULL ? strstr(text, "\niff:\t") : NULL;
        if (found != NULL) {
            found += strlen("\niff:\t");
            return g_strndup(found, strcspn(found, "\n/"));
        }
    }
    return NULL;
}

static gint64
link_counter(const char *link, const char *counter)
{
    g_autofree char *path = g_strdup_printf("/sys/class/net/%s/statistics/%s", link, counter);
    g_autofree char *text = lodge_file_read(path, SMALL_BYTES, NULL, NULL);
    return text != NULL ? g_ascii_strtoll(text, NULL, 10) : -1;
}

static void
add_process(TopGuest *guest)
{
    pid_t pid = guest->state->qemu_pid;
    g_autofree char *stat = read_process(pid, "stat");
    g_autofree char *pages = read_process(pid, "statm");
    g_autofree char *io = read_process(pid, "io");
    gint64 ticks = stat != NULL ? top_parse_cpu_ticks(stat) : -1;
    const char *resident = pages != NULL ? strchr(pages, ' ') : NULL;
    guest->cpu_us = ticks >= 0 ? ticks * G_USEC_PER_SEC / sysconf(_SC_CLK_TCK) : -1;
    guest->rss_bytes = resident != NULL
                           ? g_ascii_strtoll(resident, NULL, 10) * sysconf(_SC_PAGESIZE)
                           : -1;
    guest->read_bytes = field(io, "read_bytes: ");
    guest->written_bytes = field(io, "\nwrite_bytes: ");
}

/* What its keeper published, if that is fresh. */
static void
add_published(const LodgeStore *store, TopGuest *guest)
{
    g_autofree char *path = lodge_store_run_path(store, guest->name, "stats.json");
    g_autoptr(json_t) stats = lodge_json_read(path, SMALL_BYTES, NULL);
    gint64 age_ms = g_get_real_time() / 1000 - lodge_json_int(stats, "time_ms", 0);
    if (stats == NULL || age_ms > FRESH_MS) {
        return;
    }
    const json_t *disks = json_object_get(stats, "disks");
    const json_t *balloon = json_object_get(stats, "balloon");
    guest->is_guest_io = json_array_size(disks) > 0;
    gsize index;
    const json_t *disk;
    gint64 read = 0, written = 0;
    json_array_foreach (disks, index, disk) {
        read += lodge_json_int(disk, "read_bytes", 0);
        written += lodge_json_int(disk, "written_bytes", 0);
    }
    if (guest->is_guest_io) {
        guest->read_bytes = read;
        guest->written_bytes = written;
    }
    gint64 total = lodge_json_int(balloon, "total_bytes", -1);
    gint64 available = lodge_json_int(balloon, "available_bytes", -1);
    guest->balloon_bytes = lodge_json_int(balloon, "actual_bytes", -1);
    guest->guest_used_bytes = total >= 0 && available >= 0 ? MAX(total - available, 0) : -1;
}

static const TopGuest *
find_guest(const TopSample *sample, const char *name)
{
    for (guint i = 0; sample != NULL && i < sample->guests->len; i++) {
        const TopGuest *guest = sample->guests->pdata[i];
        if (g_str_equal(guest->name, name)) {
            return guest;
        }
    }
    return NULL;
}

static gboolean
is_on_network(const LodgeGuest *definition)
{
    for (guint i = 0; i < definition->nics->len; i++) {
        const LodgeNic *nic = definition->nics->pdata[i];
        if (!g_str_equal(nic->network, "user")) {
            return TRUE;
        }
    }
    return FALSE;
}

/* What stands in the definition; an unchanged guest keeps what was known before. */
static void
add_definition(const LodgeStore *store, TopGuest *guest, const TopGuest *before)
{
    if (before != NULL && before->cpus != 0 && before->state->qemu_pid == guest->state->qemu_pid) {
        guest->cpus = before->cpus;
        guest->memory_bytes = before->memory_bytes;
        guest->tap = g_strdup(before->tap);
        return;
    }
    g_autoptr(LodgeGuest) definition = lodge_store_guest(store, guest->name, NULL);
    if (definition != NULL) {
        guest->cpus = definition->cpus;
        guest->memory_bytes = definition->memory_bytes;
        if (guest->state->has_qemu && is_on_network(definition)) {
            guest->tap = find_tap(guest->state->qemu_pid);
        }
    }
}

static double
rate(gint64 now, gint64 before, double span_s, double scale)
{
    return now < 0 || before < 0 || now < before || span_s <= 0
               ? -1
               : (double)(now - before) / span_s * scale;
}

static void
add_rates(TopGuest *guest, const TopGuest *before, gint64 span_us)
{
    static const TopGuest nothing = {.name = NULL};
    gboolean same = before != NULL && before->state->qemu_pid == guest->state->qemu_pid;
    gint64 age_us = g_get_real_time() - guest->state->started_ms * 1000;
    const TopGuest *from = same ? before : &nothing;
    double span_s = (double)(same ? span_us : MAX(age_us, 1)) / G_USEC_PER_SEC;
    double percent = 100.0 / G_USEC_PER_SEC;
    guest->cpu_percent = rate(guest->cpu_us, from->cpu_us, span_s, percent);
    guest->throttled_percent = rate(guest->throttled_us, from->throttled_us, span_s, percent);
    guest->waited_percent = rate(guest->waited_us, from->waited_us, span_s, percent);
    gboolean comparable = !same || before->is_guest_io == guest->is_guest_io;
    guest->read_rate = comparable ? rate(guest->read_bytes, from->read_bytes, span_s, 1) : -1;
    guest->write_rate = comparable ? rate(guest->written_bytes, from->written_bytes, span_s, 1)
                                   : -1;
    guest->receive_rate = rate(guest->received_bytes, from->received_bytes, span_s, 1);
    guest->send_rate = rate(guest->sent_bytes, from->sent_bytes, span_s, 1);
}

static TopGuest *
look_at(const LodgeStore *store, const char *name, const TopSample *before, gint64 time_us,
        gboolean few)
{
    const TopGuest *last = find_guest(before, name);
    TopGuest *guest = g_new0(TopGuest, 1);
    guest->name = g_strdup(name);
    guest->state = lodge_store_state(store, name);
    guest->cpu_us = guest->throttled_us = guest->waited_us = guest->rss_bytes = -1;
    guest->guest_used_bytes = guest->balloon_bytes = guest->read_bytes = guest->written_bytes = -1;
    guest->received_bytes = guest->sent_bytes = -1;
    add_definition(store, guest, last);
    if (guest->state->has_qemu) {
        lodge_store_watch(store, name);
        add_process(guest);
        add_published(store, guest);
        g_autoptr(LodgeCgroup) cgroup = lodge_limits_cgroup(store, name, NULL);
        guest->throttled_us = cgroup != NULL ? lodge_cgroup_throttled_us(cgroup) : -1;
        guest->waited_us = few ? waited_us(guest->state->qemu_pid) : -1;
        if (guest->tap != NULL) {
            /* What the host sends into the tap is what the guest receives. */
            guest->received_bytes = link_counter(guest->tap, "tx_bytes");
            guest->sent_bytes = link_counter(guest->tap, "rx_bytes");
        }
    }
    add_rates(guest, last, before != NULL ? time_us - before->time_us : 0);
    return guest;
}

static void
guest_free(gpointer data)
{
    TopGuest *guest = data;
    lodge_guest_state_free(guest->state);
    g_free(guest->name);
    g_free(guest->tap);
    g_free(guest);
}

TopSample *
top_sample(const LodgeStore *store, const char *const *names, const TopSample *before,
           GError **error)
{
    g_auto(GStrv) all = lodge_store_guests(store, error);
    if (all == NULL) {
        return NULL;
    }
    TopSample *sample = g_new0(TopSample, 1);
    sample->guests = g_ptr_array_new_with_free_func(guest_free);
    sample->time_us = g_get_monotonic_time();
    sample->host_cpus = g_get_num_processors();
    lodge_memory_read("", &sample->memory);
    lodge_ksm_read("", &sample->ksm);
    gboolean few = g_strv_length(all) <= FEW_GUESTS;
    for (gsize i = 0; all[i] != NULL; i++) {
        if (names != NULL && *names != NULL && !g_strv_contains(names, all[i])) {
            continue;
        }
        TopGuest *guest = look_at(store, all[i], before, sample->time_us, few);
        g_ptr_array_add(sample->guests, guest);
        if (guest->balloon_bytes >= 0 && (guint64)guest->balloon_bytes < guest->memory_bytes) {
            sample->ballooned_bytes += guest->memory_bytes - (guint64)guest->balloon_bytes;
        }
    }
    return sample;
}

void
top_sample_free(TopSample *sample)
{
    if (sample != NULL) {
        g_ptr_array_unref(sample->guests);
        g_free(sample);
    }
}
