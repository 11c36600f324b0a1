/* The layers of a guest's disks as they are on disk, and merging them. Private to this layer. */
#pragma once

#include <glib.h>

#include "ops/layers.h"
#include "ops/session.h"

/* All layers in the guest's folder that its definition, as it is on disk now, its snapshots or the
 * list of what was given up name, and what those stand on. Other guests that stand on one are
 * noted. NULL on error: a snapshot or a chain can't be read. */
GPtrArray *layer_files_gather(const LodgeStore *store, const char *guest, GError **error);

/* Have all that names @from name @into instead: snapshots, the definition, what stands on it. Then
 * @from goes. Both hold the same for the guest. Can be repeated after an interruption. */
gboolean layer_files_repoint(const Session *session, const Layer *from, const Layer *into,
                             GError **error);

/* The file's name below the guest's folder; NULL if it is not there. Borrowed from @path. */
const char *layer_files_relative(const char *folder, const char *path);
/* As definitions and the journal name a file: relative, or the path of one elsewhere. Borrowed. */
const char *layer_files_name(const char *folder, const char *path);
/* The reverse. Free with g_free. */
char *layer_files_path(const char *folder, const char *name);

/* The guest's folder as chains spell it, without links. Free with g_free. */
char *layer_files_folder(const LodgeStore *store, const char *guest);
