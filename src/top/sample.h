/* What guests use, at one moment, and the rates between two. Reads files only: nothing here can be
 * made to wait by a guest, a QEMU or a job. */
#pragma once

#include <glib.h>

#include "host/ksm.h"
#include "store/store.h"

/* Counters and sizes of -1 and rates below 0 are unknown. */
typedef struct {
    char *name;
    LodgeGuestState *state;
    guint cpus;           /* 0: its definition can't be read */
    guint64 memory_bytes; /* by its definition */
    char *tap;            /* of its first NIC on a network; NULL */

    gint64 cpu_us;           /* of QEMU, all threads */
    gint64 throttled_us;     /* held back by its limit, summed over CPUs */
    gint64 waited_us;        /* its threads wanted to run, and others ran: what a guest calls steal;
                              * only asked where few guests run */
    gint64 rss_bytes;        /* of QEMU */
    gint64 guest_used_bytes; /* what the guest itself says, by its balloon */
    gint64 balloon_bytes;    /* what its balloon leaves it */
    gint64 read_bytes, written_bytes;
    gboolean is_guest_io; /* the guest's own requests; else QEMU's as a process */
    gint64 received_bytes, sent_bytes;

    double cpu_percent, throttled_percent, waited_percent; /* of one CPU */
    double read_rate, write_rate, receive_rate, send_rate; /* bytes a second */
} TopGuest;

typedef struct {
    gint64 time_us;    /* monotonic */
    GPtrArray *guests; /* TopGuest *, by name */
    LodgeMemory memory;
    LodgeKsm ksm;
    guint host_cpus;
    guint64 ballooned_bytes; /* taken back from all guests by their balloons */
} TopSample;

/* Look at the guests of @store, or only those that @names (NULL: all) lists; a name that is none is
 * left out. Keepers are told that somebody watches. @before (may be NULL) gives the rates; without
 * it they are averages since each guest's start. */
TopSample *top_sample(const LodgeStore *store, const char *const *names, const TopSample *before,
                      GError **error);

/* Fields of /proc/PID/stat that follow the name, which may hold anything: utime + stime in ticks;
 * -1 if @text is malformed. */
gint64 top_parse_cpu_ticks(const char *text);

void top_sample_free(TopSample *sample);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TopSample, top_sample_free)

/* Order @guests by "cpu", "memory", "disk", "net", "uptime", "state" or "name"; greatest first but
 * for names. FALSE if @key is none of them. */
gboolean top_sort(GPtrArray *guests, const char *key, gboolean reverse);

/* @values (oldest first, percent of @most) as @width blocks of eight heights. Free with g_free. */
char *top_sparkline(const double *values, gsize count, gsize width, double most);
