/* Where a guest's backups are: FOLDER/GUEST, with backup.conf and a folder for each point, called
 * by its time. All in it is plain: docs/backups.md. What is in it may come from elsewhere and is
 * checked. Private to this layer. */
#pragma once

#include <glib.h>

#include "model/point.h"

#define PLACE_DEFINITION "guest.conf"
#define PLACE_VARIABLES "variables"
#define PLACE_TPM "tpm"

typedef struct {
    char *folder; /* FOLDER/GUEST, absolute */
    char *guest;
    char *id;          /* eight hexadecimal digits: tells it from other places of the guest's */
    GPtrArray *points; /* LodgePoint *, the oldest first */
    int lock_fd;       /* -1: it is only looked at */
} BackupPlace;

/* Take FOLDER/GUEST for writing, which is made if need be: BUSY if another command has it. What
 * killed ones left is finished or removed. NOT_FOUND if @folder is not there: it may be a file
 * system that is not mounted. */
BackupPlace *backup_place_open(const char *folder, const char *guest, GError **error);

/* Look at the place @folder, a FOLDER/GUEST. NOT_FOUND if it is none. */
BackupPlace *backup_place_look(const char *folder, GError **error);

/* The places that @folder is or contains, sorted: absolute folders. NOT_FOUND if there are none.
 * Free with g_strfreev. */
char **backup_places(const char *folder, GError **error);

void backup_place_free(BackupPlace *place);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BackupPlace, backup_place_free)

/* <folder>/POINT[/FILE]. Free with g_free. */
char *backup_place_path(const BackupPlace *place, const char *point, const char *file);

/* Read one point's point.conf. */
LodgePoint *backup_place_read(const BackupPlace *place, const char *name, GError **error);

/* NULL: there is none. */
const LodgePoint *backup_place_newest(const BackupPlace *place);

/* The point called @name, or by the first letters of its name; NULL: the newest. NOT_FOUND, with a
 * suggestion. */
const LodgePoint *backup_place_find(const BackupPlace *place, const char *name, GError **error);

/* Make a hidden folder for a point that nothing is called like yet, later than all that are there
 * and the one called @after (may be NULL). Its name (without the ".new-" that its folder has so
 * far) is to be freed with g_free. */
char *backup_place_begin(const BackupPlace *place, const char *after, GError **error);
/* <folder>/.new-POINT[/FILE]. Free with g_free. */
char *backup_place_staged(const BackupPlace *place, const char *point, const char *file);
/* Write its point.conf, bring all of it to disk, and give it its name. */
gboolean backup_place_publish(const BackupPlace *place, const LodgePoint *point, GError **error);
/* Remove one that was begun. */
void backup_place_abandon(const BackupPlace *place, const char *point);

/* Write a point.conf anew, at one stroke. */
gboolean backup_place_write(const BackupPlace *place, const char *folder, const LodgePoint *point,
                            GError **error);

/* The file of @disk of @point, checked: each file that it stands on is the parent's of the same
 * disk, and nothing else. Free with g_free. */
char *backup_place_disk(const BackupPlace *place, const LodgePoint *point, const char *disk,
                        GError **error);
