/* Snapshots that a guest's definition asks for from time to time. Private to the keeper. */
#pragma once

#include <glib.h>

#include "store/store.h"

typedef struct Schedule Schedule;

/* Is the guest such that one can be made of it now? */
typedef gboolean (*ScheduleMayFunc)(gpointer data);

/* For the guest; @store and @guest are borrowed. Nothing is made before schedule_set(). */
Schedule *schedule_new(const LodgeStore *store, const char *guest, ScheduleMayFunc may,
                       gpointer data);
void schedule_free(Schedule *schedule);

/* What the definition says in snapshots=; NULL: none are to be made. */
void schedule_set(Schedule *schedule, const char *text);
