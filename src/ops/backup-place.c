#include "config.h"

#include "ops/backup-place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/backup-merge.h"
#include "qemu/qcow2.h"

#define CONF "backup.conf"
#define POINT_CONF "point.conf"
#define STAGING ".new-"

enum {
    CONF_LIMIT_BYTES = 256 << 10,
    LOCK_WAIT_MS = 2000,
};

char *
backup_place_path(const BackupPlace *place, const char *point, const char *file)
{
    return g_build_filename(place->folder, point, file, NULL);
}

char *
backup_place_staged(const BackupPlace *place, const char *point, const char *file)
{
    g_autofree char *name = g_strconcat(STAGING, point, NULL);
    return g_build_filename(place->folder, name, file, NULL);
}

void
backup_place_free(BackupPlace *place)
{
    if (place != NULL) {
        lodge_fd_clear(&place->lock_fd);
        g_clear_pointer(&place->points, g_ptr_array_unref);
        g_free(place->folder);
        g_free(place->guest);
        g_free(place->id);
        g_free(place);
    }
}

static gboolean
is_id(const char *id)
{
    return strlen(id) == 8 && strspn(id, "0123456789abcdef") == 8;
}

/* Read backup.conf; FALSE without error: there is none. */
static gboolean
read_conf(BackupPlace *place, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autofree char *path = g_build_filename(place->folder, CONF, NULL);
    gsize length = 0;
    g_autofree char *text = lodge_file_read(path, CONF_LIMIT_BYTES, &length, &problem);
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        return FALSE;
    }
    if (text == NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    g_autoptr(LodgeKeyFile) file = lodge_key_file_parse(path, text, length, error);
    if (file == NULL) {
        return FALSE;
    }
    const char *guest = lodge_key_file_value(file, "backup", "guest");
    const char *id = lodge_key_file_value(file, "backup", "id");
    if (guest == NULL || id == NULL || !is_id(id) || !lodge_name_check("guest", guest, NULL)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID,
                               "%s: it must say guest=NAME and id=, eight hexadecimal digits",
                               path);
    }
    place->guest = g_strdup(guest);
    place->id = g_strdup(id);
    return TRUE;
}

static gboolean
write_conf(BackupPlace *place, const char *guest, GError **error)
{
    g_autofree char *path = g_build_filename(place->folder, CONF, NULL);
    g_autofree char *text = NULL;
    place->guest = g_strdup(guest);
    place->id = g_strdup_printf("%08x", g_random_int());
    text = g_strdup_printf("# Backups of a guest of Lodge's; each folder is a point in time. What "
                           "they are, and how to get at them\n# without Lodge: docs/backups.md.\n"
                           "[backup]\nguest=%s\nid=%s\n",
                           guest, place->id);
    return lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error);
}

LodgePoint *
backup_place_read(const BackupPlace *place, const char *name, GError **error)
{
    gsize length = 0;
    g_autofree char *path = backup_place_path(place, name, POINT_CONF);
    g_autofree char *text = lodge_file_read(path, CONF_LIMIT_BYTES, &length, error);
    LodgePoint *point = text != NULL ? lodge_point_parse(name, text, length, error) : NULL;
    if (point == NULL) {
        lodge_error_prefix(error, "%s", place->folder);
    }
    return point;
}

/* Names are times, so their order is the points'. */
static gboolean
read_points(BackupPlace *place, GError **error)
{
    g_auto(GStrv) names = lodge_dir_names(place->folder, error);
    place->points = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_point_free);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        if (lodge_point_time(names[i]) < 0) {
            continue;
        }
        LodgePoint *point = backup_place_read(place, names[i], error);
        if (point == NULL) {
            return FALSE;
        }
        g_ptr_array_add(place->points, point);
    }
    return names != NULL;
}

/* What killed commands left: begun points, points that were to go. */
static gboolean
sweep(const BackupPlace *place, GError **error)
{
    g_autoptr(GDir) folder = g_dir_open(place->folder, 0, NULL);
    for (const char *name; folder != NULL && (name = g_dir_read_name(folder)) != NULL;) {
        g_autofree char *path = g_build_filename(place->folder, name, NULL);
        if ((g_str_has_prefix(name, STAGING) || g_str_has_prefix(name, ".gone-")) &&
            !lodge_tree_remove(path, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
take(BackupPlace *place, const char *guest, GError **error)
{
    g_autofree char *path = g_build_filename(place->folder, "lock", NULL);
    place->lock_fd = lodge_lock_take_within(path, LOCK_WAIT_MS, error);
    if (place->lock_fd < 0) {
        return lodge_error_prefix(error, "%s is in use by another command", place->folder);
    }
    g_autoptr(GError) problem = NULL;
    if (!read_conf(place, &problem) && problem == NULL) {
        write_conf(place, guest, &problem);
    }
    if (problem != NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (!g_str_equal(place->guest, guest)) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "%s holds backups of %s", place->folder,
                               place->guest);
    }
    return backup_merge_mend(place, error) && sweep(place, error);
}

BackupPlace *
backup_place_open(const char *folder, const char *guest, GError **error)
{
    g_autoptr(BackupPlace) place = g_new0(BackupPlace, 1);
    g_autofree char *top = g_canonicalize_filename(folder, NULL);
    place->lock_fd = -1;
    place->folder = g_build_filename(top, guest, NULL);
    if (!g_file_test(top, G_FILE_TEST_IS_DIR)) {
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                        "there is no folder %s (make it; or is a file system not mounted?)", top);
        return NULL;
    }
    if (!lodge_dir_make(place->folder, 0700, error) || !take(place, guest, error) ||
        !read_points(place, error)) {
        return NULL;
    }
    return g_steal_pointer(&place);
}

BackupPlace *
backup_place_look(const char *folder, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autoptr(BackupPlace) place = g_new0(BackupPlace, 1);
    place->lock_fd = -1;
    place->folder = g_canonicalize_filename(folder, NULL);
    if (!read_conf(place, &problem)) {
        if (problem == NULL) {
            lodge_error_set(&problem, LODGE_ERROR_NOT_FOUND, "%s holds no backups of a guest",
                            place->folder);
        }
        g_propagate_error(error, g_steal_pointer(&problem));
        return NULL;
    }
    if (!read_points(place, error)) {
        return NULL;
    }
    backup_merge_hide(place);
    return g_steal_pointer(&place);
}

static gboolean
is_place(const char *folder)
{
    g_autofree char *path = g_build_filename(folder, CONF, NULL);
    return g_file_test(path, G_FILE_TEST_IS_REGULAR);
}

char **
backup_places(const char *folder, GError **error)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *top = g_canonicalize_filename(folder, NULL);
    g_auto(GStrv) names = lodge_dir_names(top, error);
    if (names == NULL) {
        return NULL;
    }
    if (is_place(top)) {
        g_ptr_array_add(found, g_strdup(top));
    }
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(top, names[i], NULL);
        if (is_place(path)) {
            g_ptr_array_add(found, g_steal_pointer(&path));
        }
    }
    if (found->len == 0) {
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                        "%s holds no backups (`lodge backup GUEST %s`)", top, folder);
        return NULL;
    }
    g_ptr_array_add(found, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&found), FALSE);
}

const LodgePoint *
backup_place_newest(const BackupPlace *place)
{
    return place->points->len > 0 ? place->points->pdata[place->points->len - 1] : NULL;
}

const LodgePoint *
backup_place_find(const BackupPlace *place, const char *name, GError **error)
{
    const LodgePoint *found = name == NULL ? backup_place_newest(place) : NULL;
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    guint matches = found != NULL;
    for (guint i = 0; name != NULL && i < place->points->len; i++) {
        const LodgePoint *point = place->points->pdata[i];
        g_ptr_array_add(names, point->name);
        if (g_str_has_prefix(point->name, name)) {
            found = point;
            matches++;
        }
    }
    if (matches == 1) {
        return found;
    }
    g_ptr_array_add(names, NULL);
    g_autofree char *hint = name != NULL
                                ? lodge_text_suggestion(name, (const char *const *)names->pdata)
                                : g_strdup("");
    if (matches > 1) {
        lodge_error_set(error, LODGE_ERROR_USAGE,
                        "%s: %u points begin with “%s” (write more of it)", place->folder, matches,
                        name);
    } else if (name == NULL) {
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "%s: there is no point yet", place->folder);
    } else {
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                        "%s: there is no point “%s”%s (`lodge backup --list %s` shows them)",
                        place->folder, name, hint, place->folder);
    }
    return NULL;
}

char *
backup_place_begin(const BackupPlace *place, const char *after, GError **error)
{
    const LodgePoint *newest = backup_place_newest(place);
    gint64 time_s = g_get_real_time() / G_USEC_PER_SEC;
    if (newest != NULL) {
        /* Clocks go back, points don't. */
        time_s = MAX(time_s, lodge_point_time(newest->name) + 1);
    }
    if (after != NULL) {
        time_s = MAX(time_s, lodge_point_time(after) + 1);
    }
    g_autofree char *name = lodge_point_name(time_s);
    g_autofree char *path = backup_place_staged(place, name, NULL);
    return lodge_dir_make(path, 0700, error) ? g_steal_pointer(&name) : NULL;
}

void
backup_place_abandon(const BackupPlace *place, const char *point)
{
    g_autofree char *path = backup_place_staged(place, point, NULL);
    lodge_tree_remove(path, NULL);
}

gboolean
backup_place_write(const BackupPlace *place, const char *folder, const LodgePoint *point,
                   GError **error)
{
    g_autofree char *path = g_build_filename(place->folder, folder, POINT_CONF, NULL);
    g_autofree char *text = lodge_point_format(point);
    return lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error);
}

static gboolean
sync_folder(const char *path, GError **error)
{
    lodge_autofd fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return (fd >= 0 && fsync(fd) == 0) || lodge_error_errno(error, errno, "%s", path);
}

gboolean
backup_place_publish(const BackupPlace *place, const LodgePoint *point, GError **error)
{
    g_autofree char *hidden = g_strconcat(STAGING, point->name, NULL);
    g_autofree char *staged = backup_place_staged(place, point->name, NULL);
    g_autofree char *final = backup_place_path(place, point->name, NULL);
    if (!backup_place_write(place, hidden, point, error) || !sync_folder(staged, error)) {
        return FALSE;
    }
    lodge_fault("backup-whole");
    if (rename(staged, final) < 0) {
        return lodge_error_errno(error, errno, "%s", final);
    }
    return sync_folder(place->folder, error);
}

/* The layer @layer of the chain must be the file of @disk of @point. */
static gboolean
check_layer(const BackupPlace *place, const LodgePoint *point, const LodgePointDisk *disk,
            const LodgeLayer *layer, GError **error)
{
    g_autofree char *path = backup_place_path(place, point->name, disk->file);
    g_autofree char *real = lodge_path_real(path);
    if (!g_file_test(path, G_FILE_TEST_IS_REGULAR) || g_file_test(path, G_FILE_TEST_IS_SYMLINK)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s is no plain file", path);
    }
    return g_str_equal(real, layer->path) ||
           lodge_error_set(error, LODGE_ERROR_INVALID, "%s stands on %s, not on %s", place->folder,
                           layer->path, real);
}

char *
backup_place_disk(const BackupPlace *place, const LodgePoint *point, const char *name,
                  GError **error)
{
    const LodgePointDisk *disk = lodge_point_disk(point, name);
    if (disk == NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "point %s: it has no disk %s", point->name,
                        name);
        return NULL;
    }
    g_autofree char *path = backup_place_path(place, point->name, disk->file);
    g_autoptr(GPtrArray) chain = lodge_disk_chain(path, "qcow2", error);
    for (guint i = 0; chain != NULL && i < chain->len; i++) {
        if (!check_layer(place, point, disk, chain->pdata[i], error)) {
            return NULL;
        }
        gboolean is_last = i + 1 == chain->len;
        if (disk->full != is_last) {
            lodge_error_set(error, LODGE_ERROR_INVALID, "point %s: disk %s %s", point->name, name,
                            disk->full ? "stands on another" : "stands on nothing");
            return NULL;
        }
        if (!is_last) {
            point = backup_place_find(place, point->parent, error);
            disk = point != NULL ? lodge_point_disk(point, name) : NULL;
        }
        if (disk == NULL) {
            return NULL;
        }
    }
    return chain != NULL ? g_steal_pointer(&path) : NULL;
}
