/* Points that go: what the next one does not have goes into that one. Private to this layer. */
#pragma once

#include <glib.h>

#include "ops/backup-place.h"

/* Remove a point, not the newest. What stands on it keeps its content. The place's list is
 * shortened. */
gboolean backup_merge_remove(BackupPlace *place, const char *point, GError **error);

/* Finish what a killed one left. */
gboolean backup_merge_mend(BackupPlace *place, GError **error);

/* For those who only look: take the point that is being removed off the list. */
void backup_merge_hide(BackupPlace *place);
