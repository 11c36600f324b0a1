/* A guest's snapshots= key: "every 10m keep 6 [disks-only]". */
#pragma once

#include <glib.h>

#define LODGE_SCHEDULED_PREFIX "auto-"

typedef struct {
    gint64 every_ms; /* a minute at least */
    guint keep;      /* 1 to 1000 */
    gboolean disks_only;
} LodgeSchedule;

/* USAGE if it is malformed, with the right form. */
gboolean lodge_schedule_parse(const char *text, LodgeSchedule *out_schedule, GError **error);

/* The name of the scheduled snapshot that is made at @time_s, seconds of the Unix epoch:
 * "auto-20261121-154423", in UTC. Free with g_free. */
char *lodge_schedule_name(gint64 time_s);
/* The reverse; -1 if it is no scheduled snapshot's. */
gint64 lodge_schedule_time(const char *name);

/* When the next is due, seconds of the Unix epoch: @names are a guest's snapshots
 * (NULL-terminated); without a scheduled one among them the first is due one period after
 * @since_s. */
gint64 lodge_schedule_due(const LodgeSchedule *schedule, const char *const *names, gint64 since_s);
