/* Snapshots on disk: a folder each, <guest>/snapshots/NAME. */
#pragma once

#include <glib.h>

#include "model/snapshot.h"
#include "store/store.h"

/* <guest>/snapshots/NAME[/FILE]. Free with g_free. */
char *lodge_store_snapshot_path(const LodgeStore *store, const char *guest, const char *name,
                                const char *file);

/* Names in order; none is an empty list. Free with g_strfreev. */
char **lodge_store_snapshots(const LodgeStore *store, const char *guest, GError **error);

/* Hidden names beside them: what commands have begun, and what they have given up. Free with
 * g_strfreev. */
char **lodge_store_snapshots_hidden(const LodgeStore *store, const char *guest);

/* Is there something that a command has begun and not finished? The list of what was given up may
 * stay, for layers that several stand on, and does not count. */
gboolean lodge_store_snapshots_unfinished(const LodgeStore *store, const char *guest);

/* Read one. NOT_FOUND, with a suggestion; INVALID. */
LodgeSnapshot *lodge_store_snapshot(const LodgeStore *store, const char *guest, const char *name,
                                    GError **error);

/* Read the snapshot.conf in the folder @folder_name of <guest>/snapshots as that of @name. */
LodgeSnapshot *lodge_store_snapshot_in(const LodgeStore *store, const char *guest,
                                       const char *folder_name, const char *name, GError **error);

/* All of a guest's, sorted by name: an array of LodgeSnapshot * that frees them. INVALID if one
 * can't be read. */
GPtrArray *lodge_store_all_snapshots(const LodgeStore *store, const char *guest, GError **error);

/* Write its snapshot.conf, at one stroke, into the folder @folder_name of <guest>/snapshots. */
gboolean lodge_store_snapshot_write(const LodgeStore *store, const char *guest,
                                    const char *folder_name, const LodgeSnapshot *snapshot,
                                    GError **error);
