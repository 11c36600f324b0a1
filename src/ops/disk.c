/* Theory of operation: the definition first, then the running guest.
 *
 * A new disk's file is made under a name of its own (.part) and renamed; then the disk goes into
 * guest.conf; then it is plugged in; then into what the guest is known to have taken. A command
 * that is killed in between leaves a disk that the next start has. What fails is taken back in the
 * reverse order. Detaching goes the other way: first the guest must let go. */
#include "config.h"

#include "ops/disk.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "keeper/chain.h"
#include "ops/disk-tree.h"
#include "ops/edit.h"
#include "ops/hotplug.h"
#include "qemu/img.h"

enum {
    MONITOR_TIMEOUT_MS = 10000,
};

static const LodgeDisk *
find_disk(const LodgeGuest *guest, const char *name)
{
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        if (g_str_equal(disk->name, name)) {
            return disk;
        }
    }
    return NULL;
}

static const LodgeKey *
disk_key(const char *name)
{
    return lodge_section_key(lodge_section_find(lodge_guest_sections(), "disk"), name);
}

/* Is @value a word for @key? USAGE error, naming the option, if not. NULL is fine. */
static gboolean
check_option(const char *key, const char *value, GError **error)
{
    return value == NULL || lodge_schema_value(disk_key(key), value, NULL, error) ||
           lodge_error_prefix(error, "--%s", key);
}

static gboolean
check_wish(const Session *session, const LodgeDiskWish *wish, const char *name, GError **error)
{
    const LodgeGuest *guest = session->guest;
    if (!lodge_name_check("disk", name, error) || !check_option("format", wish->format, error) ||
        !check_option("bus", wish->bus, error) || !check_option("size", wish->size, error)) {
        return FALSE;
    }
    return find_disk(guest, name) == NULL ||
           lodge_error_set(error, LODGE_ERROR_EXISTS, "it has a disk %s already", name);
}

/* Plug in what the definition now says, as far as the guest can take it. */
static gboolean
plug(const Session *session, const char *name, LodgeDiskResult *result, GError **error)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(session->store, session->guest->name, error);
    const LodgeDisk *disk = guest != NULL ? find_disk(guest, name) : NULL;
    if (disk == NULL) {
        return FALSE;
    }
    g_autoptr(GPtrArray)
        chain = lodge_guest_chain(session->store, guest, disk->file, disk->format, error);
    if (chain == NULL) {
        return FALSE;
    }
    result->outcome = LODGE_PLUG_STORED;
    if (!session->state->has_qemu) {
        return TRUE;
    }
    result->outcome = LODGE_PLUG_PENDING;
    result->why = hotplug_obstacle(guest, lodge_drive_bus(guest, disk->bus, FALSE));
    if (result->why != NULL) {
        return TRUE;
    }
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    const Hotplug hotplug = {qmp, guest, lodge_deadline_in(MONITOR_TIMEOUT_MS)};
    if (qmp == NULL || !hotplug_add_disk(&hotplug, disk, chain, error)) {
        return FALSE;
    }
    result->outcome = LODGE_PLUG_LIVE;
    return TRUE;
}

/* Enter the disk into the definition and the running guest; on failure into neither. */
static gboolean
add(const Session *session, const char *name, const char *const *pairs, LodgeDiskResult *result,
    GError **error)
{
    const char *guest = session->guest->name;
    g_autofree char *before = NULL;
    g_autofree char *group = g_strconcat("disk ", name, NULL);
    g_autoptr(GKeyFile) file = lodge_store_guest_file(session->store, guest, &before, error);
    if (file == NULL || !edit_section(session, EDIT_DEFINITION, group, pairs, error)) {
        return FALSE;
    }
    if (!plug(session, name, result, error)) {
        lodge_store_guest_write(session->store, guest, before, NULL);
        return FALSE;
    }
    if (result->outcome == LODGE_PLUG_LIVE) {
        edit_section(session, EDIT_STARTED, group, pairs, NULL);
    }
    result->name = g_strdup(name);
    return TRUE;
}

static gboolean
parse_preallocation(const char *text, LodgePreallocation *out_value, GError **error)
{
    static const char *const words[] = {"off", "metadata", "falloc", "full"};
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        if (g_strcmp0(text != NULL ? text : "off", words[i]) == 0) {
            *out_value = (LodgePreallocation)i;
            return TRUE;
        }
    }
    return lodge_error_set(error, LODGE_ERROR_USAGE,
                           "--preallocation: “%s” is none of off, metadata, falloc, full", text);
}

/* Make @file in the guest's folder, whole or not at all. */
static gboolean
make_file(const Session *session, const LodgeDiskWish *wish, const char *file, const char *format,
          GError **error)
{
    guint64 size_bytes = 0;
    LodgePreallocation preallocation = LODGE_PREALLOCATION_OFF;
    const char *guest = session->guest->name;
    g_autofree char *path = lodge_store_guest_path(session->store, guest, file);
    g_autofree char *part = g_strconcat(path, ".part", NULL);
    if (!parse_preallocation(wish->preallocation, &preallocation, error) ||
        !lodge_size_parse(wish->size, &size_bytes, error)) {
        return FALSE;
    }
    if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS,
                               "its folder has a file %s already (`lodge disk attach %s %s` uses "
                               "it)",
                               file, guest, path);
    }
    unlink(part); /* of a command that was killed */
    if (!lodge_img_create(part, format, size_bytes, preallocation, error)) {
        return FALSE;
    }
    if (rename(part, path) < 0) {
        int saved_errno = errno;
        unlink(part);
        return lodge_error_errno(error, saved_errno, "%s", path);
    }
    return TRUE;
}

gboolean
lodge_disk_create(const LodgeStore *store, const LodgeDiskWish *wish, LodgeProgress *progress,
                  LodgeDiskResult *out_result, GError **error)
{
    g_autoptr(Session) session = session_begin(store, wish->guest, "disk create", error);
    if (session == NULL) {
        return FALSE;
    }
    const char *format = wish->format != NULL ? wish->format : "qcow2";
    g_autofree char *file = g_strconcat(wish->name, g_str_equal(format, "raw") ? ".img" : ".qcow2",
                                        NULL);
    const char *pairs[] = {
        "file",    file, "size", wish->size, "format", format, wish->bus != NULL ? "bus" : NULL,
        wish->bus, NULL};
    if (!check_wish(session, wish, wish->name, error)) {
        return lodge_error_prefix(error, "guest %s", wish->guest);
    }
    lodge_progress_stage(progress, "disk is made");
    if (!make_file(session, wish, file, format, error)) {
        return lodge_error_prefix(error, "guest %s: disk %s", wish->guest, wish->name);
    }
    if (!add(session, wish->name, pairs, out_result, error)) {
        g_autofree char *path = lodge_store_guest_path(store, wish->guest, file);
        unlink(path);
        return lodge_error_prefix(error, "guest %s: disk %s", wish->guest, wish->name);
    }
    return TRUE;
}

/* Refuse a file that another disk has: two writers destroy it. Readers may share. */
static gboolean
check_unused(const LodgeStore *store, const LodgeDiskWish *wish, const char *path, GError **error)
{
    struct stat wanted, info;
    g_autoptr(GPtrArray) views = lodge_disks(store, NULL, error);
    gboolean is_remote = lodge_disk_is_remote(path);
    if (views == NULL || (!is_remote && stat(path, &wanted) < 0)) {
        return views != NULL && lodge_error_errno(error, errno, "%s", path);
    }
    for (guint i = 0; i < views->len; i++) {
        const LodgeDiskView *view = views->pdata[i];
        gboolean is_same = g_str_equal(view->file, path);
        if (!is_remote && stat(view->file, &info) == 0) {
            is_same = S_ISBLK(wanted.st_mode) && S_ISBLK(info.st_mode)
                          ? info.st_rdev == wanted.st_rdev
                          : info.st_dev == wanted.st_dev && info.st_ino == wanted.st_ino;
        }
        if (is_same && !(wish->read_only && view->is_read_only)) {
            return lodge_error_set(error, LODGE_ERROR_BUSY,
                                   "%s is disk %s of guest %s already (both with --read-only may "
                                   "share it)",
                                   path, view->name, view->guest);
        }
    }
    return TRUE;
}

/* A name for a disk, made of its file's. */
static char *
invent_name(const LodgeGuest *guest, const char *file)
{
    g_autofree char *base = g_path_get_basename(file);
    g_autoptr(GString) name = g_string_new(NULL);
    base[strcspn(base, ".:")] = '\0';
    for (const char *c = base; *c != '\0' && name->len < 40; c++) {
        if (g_ascii_isalnum(*c)) {
            g_string_append_c(name, g_ascii_tolower(*c));
        } else if (name->len > 0 && name->str[name->len - 1] != '-') {
            g_string_append_c(name, '-');
        }
    }
    while (name->len > 0 && name->str[name->len - 1] == '-') {
        g_string_truncate(name, name->len - 1);
    }
    g_autofree char *stem = name->len > 0 ? g_strdup(name->str) : g_strdup("disk");
    g_autofree char *found = g_strdup(stem);
    for (guint i = 2; find_disk(guest, found) != NULL; i++) {
        g_free(found);
        found = g_strdup_printf("%s-%u", stem, i);
    }
    return g_steal_pointer(&found);
}

/* A device's content is whatever a guest wrote: only a plain file's is looked at, and once. */
static const char *
recognise(const char *path)
{
    return !lodge_disk_is_remote(path) && g_file_test(path, G_FILE_TEST_IS_REGULAR) &&
                   lodge_qcow2_is(path)
               ? "qcow2"
               : "raw";
}

gboolean
lodge_disk_attach(const LodgeStore *store, const LodgeDiskWish *wish, LodgeProgress *progress,
                  LodgeDiskResult *out_result, GError **error)
{
    (void)progress;
    g_autoptr(Session) session = session_begin(store, wish->guest, "disk attach", error);
    if (session == NULL) {
        return FALSE;
    }
    g_autofree char *path = lodge_disk_is_remote(wish->file)
                                ? g_strdup(wish->file)
                                : g_canonicalize_filename(wish->file, NULL);
    g_autofree char *folder = lodge_store_guest_path(store, wish->guest, NULL);
    g_autofree char *file_folder = g_path_get_dirname(path);
    g_autofree char *name = wish->name != NULL ? g_strdup(wish->name)
                                               : invent_name(session->guest, path);
    const char *format = wish->format != NULL ? wish->format : recognise(path);
    gboolean is_own = g_str_equal(file_folder, folder);
    g_autoptr(GPtrArray) pairs = g_ptr_array_new();
    const char *const all[][2] = {{"file", is_own ? path + strlen(folder) + 1 : path},
                                  {"format", format},
                                  {"bus", wish->bus},
                                  {"read-only", wish->read_only ? "yes" : NULL}};
    for (gsize i = 0; i < G_N_ELEMENTS(all); i++) {
        if (all[i][1] != NULL) {
            g_ptr_array_add(pairs, (gpointer)all[i][0]);
            g_ptr_array_add(pairs, (gpointer)all[i][1]);
        }
    }
    g_ptr_array_add(pairs, NULL);
    return (check_wish(session, wish, name, error) && check_unused(store, wish, path, error) &&
            add(session, name, (const char *const *)pairs->pdata, out_result, error)) ||
           lodge_error_prefix(error, "guest %s", wish->guest);
}

/* Have the running guest let go of the disk, if it has it. */
static gboolean
unplug(const Session *session, const LodgeDisk *disk, gint64 timeout_ms, LodgeDiskResult *result,
       GError **error)
{
    const LodgeGuest *guest = session->guest;
    result->outcome = LODGE_PLUG_STORED;
    if (!session->state->has_qemu) {
        return TRUE;
    }
    if (session->state->state == LODGE_STATE_PAUSED) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "a paused guest can't let go of it (`lodge resume %s` first)",
                               guest->name);
    }
    g_autofree char *id = g_strconcat("disk-", disk->name, NULL);
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    if (qmp == NULL) {
        return FALSE;
    }
    const Hotplug hotplug = {qmp, guest, lodge_deadline_in(timeout_ms)};
    result->why = hotplug_obstacle(guest, lodge_drive_bus(guest, disk->bus, FALSE));
    if (result->why != NULL && hotplug_has_device(&hotplug, id)) {
        result->outcome = LODGE_PLUG_PENDING;
        return TRUE;
    }
    result->outcome = LODGE_PLUG_LIVE;
    return hotplug_remove_device(&hotplug, id, error) &&
           hotplug_drop_disk(&hotplug, disk->name, error);
}

static gboolean
check_detach(const Session *session, const LodgeDisk *disk, gboolean delete, GError **error)
{
    if (session->state->has_qemu && disk == session->guest->disks->pdata[0]) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "the running guest was booted from it (`lodge stop %s` first)",
                               session->guest->name);
    }
    if (!delete) {
        return TRUE;
    }
    if (g_path_is_absolute(disk->file) || lodge_disk_is_remote(disk->file)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "--delete: %s is not in the guest's folder, so it is yours, and "
                               "stays",
                               disk->file);
    }
    const char *name = session->guest->name;
    g_autofree char *path = lodge_disk_path(session->store, name, disk->file);
    return lodge_disk_refuse_needed(session->store, name, disk->name, path, "deleted", error);
}

gboolean
lodge_disk_detach(const LodgeStore *store, const char *guest, const char *name, gboolean delete,
                  gint64 timeout_ms, LodgeDiskResult *out_result, GError **error)
{
    g_autoptr(Session) session = session_begin(store, guest, "disk detach", error);
    g_autoptr(LodgeDiskView) view = session != NULL ? lodge_disk_find(store, guest, name, error)
                                                    : NULL;
    if (view == NULL) {
        return FALSE;
    }
    const LodgeDisk *disk = find_disk(session->guest, name);
    g_autofree char *group = g_strconcat("disk ", name, NULL);
    if (!check_detach(session, disk, delete, error) ||
        !unplug(session, disk, timeout_ms, out_result, error)) {
        return lodge_error_prefix(error, "guest %s: disk %s", guest, name);
    }
    if (delete &&out_result->outcome == LODGE_PLUG_PENDING) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "guest %s: disk %s: stop the guest first: %s", guest, name,
                               out_result->why);
    }
    out_result->name = g_strdup(name);
    if (out_result->outcome == LODGE_PLUG_LIVE) {
        edit_section(session, EDIT_STARTED, group, NULL, NULL);
    }
    if (!edit_section(session, EDIT_DEFINITION, group, NULL, error)) {
        return FALSE;
    }
    return !delete || unlink(view->file) == 0 || lodge_error_errno(error, errno, "%s", view->file);
}
