#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/define.h"
#include "net/net.h"
#include "ops/backup.h"
#include "ops/backup-files.h"
#include "ops/backup-place.h"
#include "ops/session.h"
#include "qemu/img.h"
#include "store/networks.h"

enum {
    TEXT_LIMIT_BYTES = 4 << 20,
};

/* The one place that is meant. */
static BackupPlace *
find_place(const char *folder, GError **error)
{
    g_auto(GStrv) places = backup_places(folder, error);
    if (places == NULL) {
        return NULL;
    }
    if (places[1] != NULL) {
        lodge_error_set(error, LODGE_ERROR_USAGE,
                        "%s holds backups of several guests: write %s, or another", folder,
                        places[0]);
        return NULL;
    }
    return backup_place_look(places[0], error);
}

gboolean
lodge_restore_look(const LodgeStore *store, const LodgeRestore *wish, char **out_guest,
                   char **out_point, gboolean *out_exists, GError **error)
{
    g_autoptr(BackupPlace) place = find_place(wish->folder, error);
    const LodgePoint *point = place != NULL ? backup_place_find(place, wish->point, error) : NULL;
    const char *name = point == NULL || wish->name != NULL ? wish->name : place->guest;
    if (point == NULL || !lodge_name_check("guest", name, error)) {
        return FALSE;
    }
    g_autofree char *path = lodge_store_guest_path(store, name, NULL);
    *out_exists = g_file_test(path, G_FILE_TEST_EXISTS);
    *out_guest = g_strdup(name);
    *out_point = g_strdup(point->name);
    return TRUE;
}

typedef struct {
    const LodgeStore *store;
    const BackupPlace *place;
    const LodgePoint *point;
    const char *name;
    const char *folder; /* of the guest to be */
    LodgeProgress *progress;
} Restoring;

static char *
file_of(const LodgePointDisk *disk, const char *format)
{
    return g_strconcat(disk->name, ".", format, NULL);
}

/* In the definition: @format "qcow2" or "raw". Free with g_free. */
static char *
format_of(GKeyFile *file, const char *disk)
{
    g_autofree char *group = g_strconcat("disk ", disk, NULL);
    char *format = g_key_file_get_string(file, group, "format", NULL);
    return format != NULL ? format : g_strdup("qcow2");
}

/* Where its disks and variables are now. */
static void
set_files(const Restoring *restoring, GKeyFile *file)
{
    for (guint i = 0; i < restoring->point->disks->len; i++) {
        const LodgePointDisk *disk = restoring->point->disks->pdata[i];
        g_autofree char *group = g_strconcat("disk ", disk->name, NULL);
        g_autofree char *format = format_of(file, disk->name);
        g_autofree char *name = file_of(disk, format);
        if (g_key_file_has_group(file, group)) {
            g_key_file_set_string(file, group, "file", name);
        }
    }
    g_key_file_remove_key(file, "guest", "snapshot", NULL);
    g_key_file_remove_key(file, "guest", "variables", NULL);
    g_key_file_remove_key(file, "guest", "tpm-state", NULL);
}

/* Addresses anew, of the network there is; one that is not here is for `start` to say. */
static void
set_addresses(const Restoring *restoring, GKeyFile *file, const LodgeNic *nic, const char *mac)
{
    g_autofree char *group = g_strconcat("nic ", nic->name, NULL);
    const LodgePort port = {.guest = (char *)restoring->name, .nic = nic->name, .mac = (char *)mac};
    g_auto(LodgeNetworkLease) lease = {NULL, NULL};
    g_autoptr(LodgeNetwork)
        network = g_str_equal(nic->network, LODGE_NETWORK_USER)
                      ? NULL
                      : lodge_network_find(restoring->store, nic->network, NULL);
    g_key_file_set_string(file, group, "mac", mac);
    g_key_file_remove_key(file, group, "address", NULL);
    g_key_file_remove_key(file, group, "address6", NULL);
    if (network == NULL || !lodge_net_reserve(restoring->store, network, &port, &lease, NULL)) {
        return;
    }
    if (lease.address4 != NULL) {
        g_key_file_set_string(file, group, "address", lease.address4);
    }
    if (lease.address6 != NULL) {
        g_key_file_set_string(file, group, "address6", lease.address6);
    }
}

/* It may run beside the one that it was: nothing that only one can have stays. */
static void
set_identity(const Restoring *restoring, GKeyFile *file, const LodgeGuest *guest)
{
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        g_autofree char *group = g_strconcat("nic ", nic->name, NULL);
        g_autofree char *mac = lodge_mac_random();
        set_addresses(restoring, file, nic, mac);
        g_key_file_remove_key(file, group, "forward", NULL);
        g_key_file_remove_key(file, group, "ssh-port", NULL);
    }
    g_key_file_remove_key(file, "guest", "autostart", NULL);
}

static gboolean
write_text(const Restoring *restoring, const char *file, const char *text, GError **error)
{
    g_autofree char *path = g_build_filename(restoring->folder, file, NULL);
    return lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error);
}

/* What told it its name: the name is in it. */
static gboolean
restore_seed(const Restoring *restoring, GError **error)
{
    const char *seed = restoring->point->seed;
    if (seed == NULL) {
        return TRUE;
    }
    g_autofree char *from = backup_place_path(restoring->place, restoring->point->name, seed);
    g_autofree char *to = g_build_filename(restoring->folder, seed, NULL);
    g_autofree char *sum = backup_file_keep(from, to, error);
    if (sum == NULL || !g_str_equal(seed, "seed.txt") ||
        g_str_equal(restoring->name, restoring->place->guest)) {
        return sum != NULL;
    }
    g_autofree char *text = lodge_file_read(to, TEXT_LIMIT_BYTES, NULL, error);
    if (text == NULL) {
        return FALSE;
    }
    g_autofree char *old = g_strdup_printf("hostname=%s\n", restoring->place->guest);
    g_autofree char *fresh = g_strdup_printf("hostname=%s\n", restoring->name);
    g_auto(GStrv) parts = g_strsplit(text, old, 2);
    g_autofree char *named = g_strjoinv(fresh, parts);
    return write_text(restoring, seed, named, error);
}

/* One that lay outside of the guest's folder comes into it: what is there now may be somebody's. */
static void
say_disk(const Restoring *restoring, const LodgePointDisk *disk, GKeyFile *file, const char *name)
{
    g_autofree char *group = g_strconcat("disk ", disk->name, NULL);
    g_autofree char *was = g_key_file_get_string(file, group, "file", NULL);
    if (was != NULL && g_path_is_absolute(was)) {
        lodge_progress_stage(restoring->progress, "disk %s is written as %s (%s stays as it is)",
                             disk->name, name, was);
    } else {
        lodge_progress_stage(restoring->progress, "disk %s is written", disk->name);
    }
}

static gboolean
restore_disk(const Restoring *restoring, const LodgePointDisk *disk, GKeyFile *file, GError **error)
{
    g_autofree char *format = format_of(file, disk->name);
    g_autofree char *name = file_of(disk, format);
    g_autofree char *to = g_build_filename(restoring->folder, name, NULL);
    g_autofree char *from = backup_place_disk(restoring->place, restoring->point, disk->name,
                                              error);
    const char *const only[] = {restoring->place->folder, NULL};
    const LodgeImgConversion conversion = {.source = from,
                                           .source_format = "qcow2",
                                           .target = to,
                                           .target_format = format,
                                           .trusted = TRUE, /* its chain was looked at */
                                           .only = only};
    say_disk(restoring, disk, file, name);
    return from != NULL && lodge_img_convert(&conversion, restoring->progress, error);
}

static gboolean
restore_file(const Restoring *restoring, const char *sum, const char *file, const char *to,
             GError **error)
{
    if (sum == NULL) {
        return TRUE;
    }
    g_autofree char *from = backup_place_path(restoring->place, restoring->point->name, file);
    g_autofree char *path = g_build_filename(restoring->folder, to, NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *copied = lodge_dir_make(folder, 0700, error)
                                  ? backup_file_keep(from, path, error)
                                  : NULL;
    return copied != NULL;
}

static GKeyFile *
read_definition(const Restoring *restoring, LodgeGuest **out_guest, GError **error)
{
    gsize length = 0;
    g_autoptr(GError) problem = NULL;
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *path = backup_place_path(restoring->place, restoring->point->name,
                                              PLACE_DEFINITION);
    g_autofree char *text = lodge_file_read(path, TEXT_LIMIT_BYTES, &length, error);
    g_autoptr(LodgeGuest)
        guest = text != NULL ? lodge_guest_parse(restoring->name, text, length, error) : NULL;
    if (guest == NULL) {
        return NULL;
    }
    if (!g_key_file_load_from_data(file, text, length, G_KEY_FILE_KEEP_COMMENTS, &problem)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "%s: %s", path, problem->message);
        return NULL;
    }
    *out_guest = g_steal_pointer(&guest);
    return g_steal_pointer(&file);
}

static gboolean
fill_folder(const Restoring *restoring, GError **error)
{
    g_autoptr(LodgeGuest) guest = NULL;
    g_autoptr(GKeyFile) file = read_definition(restoring, &guest, error);
    for (guint i = 0; file != NULL && i < restoring->point->disks->len; i++) {
        if (!restore_disk(restoring, restoring->point->disks->pdata[i], file, error)) {
            return FALSE;
        }
    }
    const LodgePoint *point = restoring->point;
    g_autofree char *tpm = lodge_guest_tpm_file("tpm");
    if (file == NULL ||
        !restore_file(restoring, point->variables, PLACE_VARIABLES, "nvram.qcow2", error) ||
        !restore_file(restoring, point->tpm, PLACE_TPM, tpm, error) ||
        !restore_seed(restoring, error)) {
        return FALSE;
    }
    set_files(restoring, file);
    if (!g_str_equal(restoring->name, restoring->place->guest)) {
        set_identity(restoring, file, guest);
    }
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    g_autoptr(LodgeGuest) again = lodge_guest_parse(restoring->name, text, strlen(text), error);
    return again != NULL && write_text(restoring, "guest.conf", text, error);
}

static gboolean
check_target(const LodgeStore *store, const LodgeRestore *wish, const char *name, GError **error)
{
    g_autofree char *folder = lodge_store_guest_path(store, name, NULL);
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
    if (!g_file_test(folder, G_FILE_TEST_EXISTS)) {
        return TRUE;
    }
    if (!wish->replace) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS,
                               "guest %s exists already (--as gives the restored one another name)",
                               name);
    }
    return !(state->has_qemu || state->has_keeper) ||
           lodge_error_set(error, LODGE_ERROR_BUSY, "guest %s is %s: `lodge stop %s` first", name,
                           lodge_state_word(state->state), name);
}

static gboolean
restore(const Restoring *given, const LodgeRestore *wish, GError **error)
{
    Restoring restoring = *given;
    g_autoptr(LodgeStaging)
        staging = wish->replace
                      ? lodge_staging_begin_over(given->store, LODGE_STORE_GUESTS, given->name,
                                                 error)
                      : lodge_staging_begin(given->store, LODGE_STORE_GUESTS, given->name, error);
    if (staging == NULL) {
        return FALSE;
    }
    restoring.folder = lodge_staging_folder(staging);
    if (!backup_files_verify(given->place, given->point, TRUE, given->progress, error) ||
        !fill_folder(&restoring, error) || !lodge_interrupt_check(error)) {
        return FALSE;
    }
    lodge_fault("restore-filled");
    return lodge_staging_commit(staging, wish->replace, error);
}

gboolean
lodge_restore(const LodgeStore *store, const LodgeRestore *wish, LodgeProgress *progress,
              GError **error)
{
    g_autoptr(BackupPlace) place = find_place(wish->folder, error);
    const LodgePoint *point = place != NULL ? backup_place_find(place, wish->point, error) : NULL;
    const char *name = point == NULL || wish->name != NULL ? wish->name : place->guest;
    if (point == NULL || !lodge_name_check("guest", name, error)) {
        return FALSE;
    }
    g_autoptr(LodgeJob) job = lodge_job_begin(store, name, "restore", error);
    if (job == NULL || !check_target(store, wish, name, error)) {
        return FALSE;
    }
    const Restoring restoring = {.store = store,
                                 .place = place,
                                 .point = point,
                                 .name = name,
                                 .progress = lodge_job_progress(job, progress)};
    lodge_job_remove_run_folder(job, !wish->replace);
    if (!restore(&restoring, wish, error)) {
        if (!wish->replace) {
            lodge_net_release(store, name);
        }
        return lodge_error_prefix(error, "restoring %s", name);
    }
    lodge_job_remove_run_folder(job, FALSE);
    lodge_event_append(store, name, "restored",
                       json_pack("{s:s, s:s}", "folder", place->folder, "point", point->name));
    return TRUE;
}
