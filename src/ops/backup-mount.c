#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/backup.h"
#include "ops/backup-place.h"
#include "qemu/qcow2.h"
#include "qemu/storage.h"

#define SOCKET ".lodge-backup.qmp"
#define NBD_SOCKET "nbd.sock"
#define SUFFIX ".raw"

enum {
    LET_GO_MS = 10000,
    LOOK_MS = 20,
};

static BackupPlace *
find_place(const char *target, GError **error)
{
    g_auto(GStrv) places = backup_places(target, error);
    if (places != NULL && places[1] != NULL) {
        lodge_error_set(error, LODGE_ERROR_USAGE,
                        "%s holds backups of several guests: write %s, or another", target,
                        places[0]);
        return NULL;
    }
    return places != NULL ? backup_place_look(places[0], error) : NULL;
}

static gboolean
check_empty(const char *folder, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autoptr(GDir) content = g_dir_open(folder, 0, &problem);
    if (content == NULL) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "%s", problem->message);
    }
    return g_dir_read_name(content) == NULL ||
           lodge_error_set(error, LODGE_ERROR_EXISTS, "%s is not empty", folder);
}

static gboolean
make_file(const char *path, GError **error)
{
    lodge_autofd fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd >= 0 || lodge_error_errno(error, errno, "%s", path);
}

/* The files that were covered, and the sockets; what is not Lodge's stays. */
static void
clear(const char *folder)
{
    g_autofree char *socket = g_build_filename(folder, SOCKET, NULL);
    g_autofree char *nbd = g_build_filename(folder, NBD_SOCKET, NULL);
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(folder, names[i], NULL);
        if (g_str_has_suffix(names[i], SUFFIX)) {
            unlink(path);
        }
    }
    unlink(nbd);
    unlink(socket);
}

/* What there is to see: its paths, or URIs. */
static char **
list_views(const LodgeStorageView *views, gsize count, const char *nbd)
{
    g_autoptr(GPtrArray) seen = g_ptr_array_new();
    for (gsize i = 0; i < count; i++) {
        g_autofree char *escaped = g_uri_escape_string(nbd != NULL ? nbd : "", "/", FALSE);
        g_ptr_array_add(
            seen, nbd != NULL ? g_strdup_printf("nbd+unix:///%s?socket=%s", views[i].name, escaped)
                              : g_strdup(views[i].file));
    }
    g_ptr_array_add(seen, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&seen), FALSE);
}

static char **
show(const BackupPlace *place, const LodgePoint *point, const char *folder, const char *nbd,
     GError **error)
{
    g_autofree char *socket = g_build_filename(folder, SOCKET, NULL);
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    g_autofree LodgeStorageView *views = g_new0(LodgeStorageView, point->disks->len + 1);
    gboolean fine = TRUE;
    for (guint i = 0; fine && i < point->disks->len; i++) {
        const LodgePointDisk *disk = point->disks->pdata[i];
        g_autofree char *name = g_strconcat(disk->name, SUFFIX, NULL);
        char *file = g_build_filename(folder, name, NULL);
        char *path = backup_place_disk(place, point, disk->name, error);
        g_ptr_array_add(texts, file);
        g_ptr_array_add(texts, path);
        views[i] = (LodgeStorageView){path, place->folder, disk->name, file};
        fine = path != NULL && (nbd != NULL || make_file(file, error));
    }
    return fine && lodge_storage_show(views, point->disks->len, socket, nbd, error)
               ? list_views(views, point->disks->len, nbd)
               : NULL;
}

char **
lodge_backup_mount(const LodgeBackupMount *wish, GError **error)
{
    g_autofree char *folder = g_canonicalize_filename(wish->at, NULL);
    g_autofree char *nbd = wish->nbd || !lodge_storage_can_fuse(NULL)
                               ? g_build_filename(folder, NBD_SOCKET, NULL)
                               : NULL;
    g_autoptr(BackupPlace) place = find_place(wish->folder, error);
    const LodgePoint *point = place != NULL ? backup_place_find(place, wish->point, error) : NULL;
    if (point == NULL || !check_empty(folder, error)) {
        return NULL;
    }
    char **seen = show(place, point, folder, nbd, error);
    if (seen == NULL) {
        clear(folder);
    }
    return seen;
}

/* A daemon that was killed leaves mounts that nobody serves. */
static void
let_go(const char *folder)
{
    g_auto(GStrv) names = lodge_dir_names(folder, NULL);
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(folder, names[i], NULL);
        const char *const argv[] = {"fusermount3", "-u", "-z", path, NULL};
        if (g_str_has_suffix(names[i], SUFFIX) && umount2(path, MNT_DETACH) < 0 && errno == EPERM) {
            lodge_process_run_argv(argv, LET_GO_MS, NULL, NULL);
        }
    }
}

static gboolean
is_mounted(const char *folder)
{
    g_autofree char *mounts = lodge_file_read("/proc/self/mounts", 16 << 20, NULL, NULL);
    g_autofree char *real = lodge_path_real(folder);
    g_autofree char *wanted = g_strconcat(" ", real, "/", NULL);
    return mounts != NULL && strstr(mounts, wanted) != NULL;
}

/* One that is just being killed may take a connection and answer nothing: asked again it is gone.
 */
static gboolean
hide(const char *socket, GError **error)
{
    for (int attempt = 0;; attempt++) {
        g_autoptr(GError) problem = NULL;
        if (lodge_storage_hide(socket, &problem) ||
            g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
            return TRUE;
        }
        if (attempt > 0 || g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
    }
}

gboolean
lodge_backup_unmount(const char *given, GError **error)
{
    g_autofree char *folder = g_canonicalize_filename(given, NULL);
    g_autofree char *socket = g_build_filename(folder, SOCKET, NULL);
    if (!g_file_test(socket, G_FILE_TEST_EXISTS)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "%s has no backup mounted", folder);
    }
    if (!hide(socket, error)) {
        return FALSE;
    }
    let_go(folder);
    gint64 deadline = lodge_deadline_in(LET_GO_MS);
    while (is_mounted(folder)) {
        if (lodge_deadline_passed(deadline)) {
            return lodge_error_set(error, LODGE_ERROR_BUSY, "%s is in use", folder);
        }
        if (!lodge_wait_for(LOOK_MS, error)) {
            return FALSE;
        }
    }
    clear(folder);
    return TRUE;
}
