/* Theory of operation: one write of the definition makes a snapshot.
 *
 *   snapshots/.new-NAME/   is made: the definition as it was, UEFI variables, who is parent
 *   layers/DISK-N.qcow2    are written down as given up, then made, on top of the present ones
 *   guest.conf             names them, and the snapshot: what was on top is written no more
 *   (QEMU turns to them, if the guest runs)
 *   snapshots/NAME/        gets its name
 *
 * The definition comes before QEMU: an empty layer on top of one that is still written shows the
 * same, while the reverse would lose what QEMU wrote last. A command that dies in between leaves
 * .new-NAME; the next one undoes what it stands for (snapshot_mend), which merges what is too much.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/capture.h"
#include "ops/memory-reader.h"
#include "ops/merge.h"
#include "ops/rest.h"
#include "ops/snapshot-mend.h"
#include "ops/snapshot-private.h"
#include "qemu/img-bitmap.h"
#include "store/snapshots.h"

enum {
    MONITOR_TIMEOUT_MS = 10000,
    FULL_BELOW_BYTES = 64 << 10,
};

typedef struct {
    const Session *session;
    const LodgeSnapshotWish *wish;
    LodgeProgress *progress;
    LodgeSnapshot *snapshot;
    GPtrArray *fresh;
    char *staging;      /* the folder's name, ".new-NAME" */
    const char *begins; /* a bitmap that new layers begin; NULL: none */
} Creation;

static char *
staging_path(const Creation *creation, const char *file)
{
    return lodge_store_snapshot_path(creation->session->store, creation->session->guest->name,
                                     creation->staging, file);
}

static gboolean
write_conf(const Creation *creation, GError **error)
{
    return lodge_store_snapshot_write(creation->session->store, creation->session->guest->name,
                                      creation->staging, creation->snapshot, error);
}

/* The definition as it was: of a running guest, what its QEMU has taken. */
static gboolean
keep_definition(const Creation *creation, GError **error)
{
    const Session *session = creation->session;
    const char *guest = session->guest->name;
    g_autofree char *path = staging_path(creation, SNAPSHOT_DEFINITION);
    g_autofree char *text = NULL;
    g_autoptr(GKeyFile) file = lodge_store_guest_file(session->store, guest, &text, error);
    if (file == NULL) {
        return FALSE;
    }
    g_autoptr(GKeyFile) started = session->state->has_qemu
                                      ? lodge_store_guest_started(session->store, guest)
                                      : NULL;
    g_autofree char *taken = started != NULL ? g_key_file_to_data(started, NULL, NULL) : NULL;
    const char *kept = taken != NULL ? taken : text;
    return lodge_file_write(path, kept, strlen(kept), 0600, LODGE_WRITE_DEFAULT, error);
}

/* QEMU has written what it holds when the guest stands still; a stopped guest's are at rest. */
static gboolean
keep_variables(const Creation *creation, GError **error)
{
    const LodgeGuest *guest = creation->session->guest;
    if (!lodge_guest_is_uefi(guest)) {
        return TRUE;
    }
    g_autofree char *to = staging_path(creation, SNAPSHOT_VARIABLES);
    g_autofree char *from = lodge_store_guest_path(creation->session->store, guest->name,
                                                   guest->variables);
    if (!g_file_test(from, G_FILE_TEST_EXISTS)) {
        return TRUE; /* it has not been started since it has UEFI */
    }
    creation->snapshot->variables = g_strdup(SNAPSHOT_VARIABLES);
    return snapshot_copy_file(from, to, error);
}

/* Without a command of the guest's at work in it. With memory QEMU asks swtpm for all of its state;
 * this is what stays when nothing runs. */
static gboolean
keep_tpm(const Creation *creation, GError **error)
{
    const LodgeGuest *guest = creation->session->guest;
    g_autofree char *file = lodge_guest_tpm_file(guest->tpm_state);
    g_autofree char *from = lodge_store_guest_path(creation->session->store, guest->name, file);
    g_autofree char *to = staging_path(creation, SNAPSHOT_TPM);
    if (!lodge_guest_has_tpm(guest) || !g_file_test(from, G_FILE_TEST_EXISTS)) {
        return TRUE;
    }
    creation->snapshot->tpm = g_strdup(SNAPSHOT_TPM);
    return snapshot_copy_file(from, to, error);
}

static gboolean
begin_bitmap(const Creation *creation, GError **error)
{
    const Session *session = creation->session;
    for (guint i = 0; creation->begins != NULL && i < creation->fresh->len; i++) {
        const FreshLayer *layer = creation->fresh->pdata[i];
        g_autofree char *path = lodge_store_guest_path(session->store, session->guest->name,
                                                       layer->file);
        if (!lodge_img_bitmap_add(path, creation->begins, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
prepare(Creation *creation, GError **error)
{
    g_autofree char *folder = staging_path(creation, NULL);
    lodge_progress_stage(creation->progress, "new layers are made");
    if (!lodge_dir_make(folder, 0755, error)) {
        return FALSE;
    }
    lodge_fault("create-begun");
    if (!keep_definition(creation, error) ||
        !fresh_layers_make(creation->session, creation->fresh, NULL, error) ||
        !begin_bitmap(creation, error)) {
        return FALSE;
    }
    return write_conf(creation, error);
}

/* From here on the definition, and with it the next start, has the new layers on top. */
static gboolean
name_layers(const Creation *creation, GError **error)
{
    lodge_fault("create-prepared");
    gboolean fine = fresh_layers_store(creation->session, creation->fresh, creation->snapshot->name,
                                       error);
    lodge_fault("create-named");
    return fine;
}

/* --- A guest that runs ------------------------------------------------------------------------ */

/* UEFI's variables are written by QEMU when it stops; so for them the guest must stand still. */
static gboolean
take_disks(const Creation *creation, LiveSnapshot *live, GError **error)
{
    lodge_fault("create-stopped");
    if (!keep_variables(creation, error) || !keep_tpm(creation, error) ||
        !write_conf(creation, error) || !name_layers(creation, error) ||
        !live_snapshot_switch(live, error)) {
        return FALSE;
    }
    lodge_fault("create-switched");
    return TRUE;
}

static int
open_file(const Creation *creation, GError **error)
{
    g_autofree char *path = staging_path(creation, SNAPSHOT_MEMORY);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        lodge_error_errno(error, errno, "%s", path);
    }
    return fd;
}

/* Where memory goes: a file of the snapshot's, or whoever asked for it. */
static int
open_memory(const Creation *creation, GError **error)
{
    return creation->wish->capture != NULL
               ? capture_begin(creation->wish->capture, creation->session->guest->memory_bytes,
                               error)
               : open_file(creation, error);
}

/* Under KVM the guest runs while most of its memory is written. Emulated, it stands still for it:
 * QEMU's emulation loses sight of some pages that are written meanwhile. Compared with 7.2: of a
 * busy guest up to 19 pages of its stream were not what its memory was, and kernels in its forks
 * fell over. QEMU 9.0 mends one cause (its commit 03bfc2188f, never in 7.2); its author suspected
 * another, so no version is trusted with it. */
static gboolean
begin_memory(const Creation *creation, LiveSnapshot *live, int fd, GError **error)
{
    return (creation->session->state->is_kvm || live_snapshot_stop(live, error)) &&
           live_snapshot_write_memory(live, fd, error);
}

/* QEMU does not always say why. */
static gboolean
explain_memory(const Creation *creation, GError **error)
{
    g_autofree char *path = staging_path(creation, SNAPSHOT_MEMORY);
    if (creation->wish->capture != NULL || lodge_file_system_free(path) >= FULL_BELOW_BYTES ||
        !g_error_matches(*error, LODGE_ERROR, LODGE_ERROR_FAILED)) {
        return FALSE;
    }
    g_clear_error(error);
    return lodge_error_errno(error, ENOSPC, "Writing %s", path);
}

static gboolean
take_from_qemu(const Creation *creation, LiveSnapshot *live, GError **error)
{
    lodge_autofd fd = open_memory(creation, error);
    gboolean begun = fd >= 0 && begin_memory(creation, live, fd, error);
    lodge_fd_clear(&fd); /* it is QEMU's: who reads it hears when QEMU is done */
    if (!begun) {
        return explain_memory(creation, error);
    }
    return take_disks(creation, live, error) &&
           (live_snapshot_finish_memory(live, error) || explain_memory(creation, error)) &&
           live_snapshot_resume(live, error);
}

/* The guest goes on before what was read is written. */
static gboolean
take_by_reading(const Creation *creation, LiveSnapshot *live, MemoryReader *reader, GError **error)
{
    if (!memory_reader_read(reader, error)) {
        return FALSE;
    }
    lodge_fault("create-migrating");
    if (!live_snapshot_stop(live, error) || !memory_reader_read_rest(reader, error) ||
        !take_disks(creation, live, error) || !memory_reader_ask_devices(reader, error) ||
        !memory_reader_await(reader, error) || !live_snapshot_resume(live, error)) {
        return FALSE;
    }
    const Capture *capture = creation->wish->capture;
    lodge_autofd file = capture == NULL ? open_file(creation, error) : -1;
    return (capture != NULL || file >= 0) &&
           memory_reader_write(reader, capture != NULL ? capture->state_fd : file, capture == NULL,
                               error);
}

static gboolean
take_with_memory(const Creation *creation, LiveSnapshot *live, GError **error)
{
    g_autoptr(GError) obstacle = NULL;
    g_auto(Capture) own = CAPTURE_NONE;
    g_auto(MemoryReader) reader = MEMORY_READER_NONE;
    Capture *capture = creation->wish->capture != NULL ? creation->wish->capture : &own;
    const Session *session = creation->session;
    lodge_progress_stage(creation->progress, "memory is written");
    if (capture_prepare(capture, session->guest->memory_bytes, &obstacle) &&
        memory_reader_find(&reader, &live->hotplug, session, capture->memory_fd, &obstacle)) {
        return take_by_reading(creation, live, &reader, error);
    }
    g_debug("%s: QEMU writes its memory: %s", session->guest->name, obstacle->message);
    return take_from_qemu(creation, live, error);
}

static gboolean
take_disks_only(const Creation *creation, LiveSnapshot *live, GError **error)
{
    lodge_progress_stage(creation->progress, "file systems come to rest");
    g_auto(Rest) rest = {0};
    g_autoptr(GError) problem = NULL;
    gboolean frozen = rest_begin(&rest, creation->session, &problem);
    if (!frozen) {
        lodge_progress_stage(creation->progress, "file systems are not at rest: %s",
                             problem->message);
    }
    creation->snapshot->kind = frozen ? LODGE_SNAPSHOT_FROZEN : LODGE_SNAPSHOT_PLUG;
    lodge_fault("create-frozen");
    gboolean fine = live_snapshot_stop(live, error) && take_disks(creation, live, error);
    fine = live_snapshot_resume(live, fine ? error : NULL) && fine;
    g_clear_error(&problem);
    if (rest_end(&rest, &problem)) {
        return fine;
    }
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
        creation->snapshot->kind = LODGE_SNAPSHOT_PLUG;
    }
    lodge_progress_stage(creation->progress, "file systems were to go on: %s", problem->message);
    return fine;
}

/* The file's content before its name: a snapshot that is there is whole. */
static gboolean
sync_memory(const Creation *creation, GError **error)
{
    struct stat info;
    g_autofree char *path = staging_path(creation, SNAPSHOT_MEMORY);
    lodge_autofd fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fdatasync(fd) < 0 || fstat(fd, &info) < 0) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    creation->snapshot->memory_bytes = (guint64)info.st_size;
    return TRUE;
}

static gboolean
take_running(const Creation *creation, GError **error)
{
    const Session *session = creation->session;
    gboolean with_memory = !creation->wish->disks_only;
    LodgeSnapshot *snapshot = creation->snapshot;
    g_autoptr(LodgeQmp) qmp = session_monitor(session, MONITOR_TIMEOUT_MS, error);
    g_auto(LiveSnapshot) live = {0};
    if (qmp == NULL || !live_snapshot_begin(&live, session, qmp, with_memory, error)) {
        return FALSE;
    }
    gboolean keeps_memory = with_memory && creation->wish->capture == NULL;
    snapshot->kind = keeps_memory ? LODGE_SNAPSHOT_RUNNING : LODGE_SNAPSHOT_PLUG;
    snapshot->paused = !live.was_running;
    snapshot->layout = g_strdup(live.layout);
    snapshot->qemu = live_snapshot_qemu(qmp);
    snapshot->kvm = session->state->is_kvm;
    if (!prepare((Creation *)creation, error) ||
        !live_snapshot_add_layers(&live, creation->fresh, error) ||
        !(with_memory ? take_with_memory(creation, &live, error)
                      : take_disks_only(creation, &live, error))) {
        return FALSE;
    }
    if (live.stopped_us != 0 && live.resumed_us > live.stopped_us) {
        snapshot->pause_ms = (guint)((live.resumed_us - live.stopped_us + 999) / 1000);
    }
    lodge_fault("create-resumed");
    if (creation->wish->capture != NULL) {
        return capture_finish(creation->wish->capture, error);
    }
    lodge_progress_stage(creation->progress, "it is put on disk");
    return !with_memory || sync_memory(creation, error);
}

static gboolean
take_stopped(const Creation *creation, GError **error)
{
    creation->snapshot->kind = LODGE_SNAPSHOT_STOPPED;
    return prepare((Creation *)creation, error) && keep_variables(creation, error) &&
           keep_tpm(creation, error) && write_conf(creation, error) && name_layers(creation, error);
}

/* --- Both ------------------------------------------------------------------------------------- */

static gboolean
check_wish(const Session *session, const char *name, gboolean with_memory, GError **error)
{
    g_autofree char *path = lodge_store_snapshot_path(session->store, session->guest->name, name,
                                                      NULL);
    if (!lodge_name_check("snapshot", name, error)) {
        return FALSE;
    }
    if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "it has a snapshot %s already", name);
    }
    /* Written at most: all of its memory. */
    guint64 needed = with_memory ? session->guest->memory_bytes : 0;
    guint64 there = lodge_file_system_free(path);
    if (there != 0 && needed > there) {
        g_autofree char *wanted = lodge_size_human(needed);
        g_autofree char *free_there = lodge_size_human(there);
        return lodge_error_set(error, LODGE_ERROR_FAILED,
                               "its memory may take %s of disk space, and %s are free (free some, "
                               "or take --disks-only)",
                               wanted, free_there);
    }
    return TRUE;
}

static gboolean
publish(const Creation *creation, GError **error)
{
    const Session *session = creation->session;
    g_autofree char *staging = staging_path(creation, NULL);
    g_autofree char *final = lodge_store_snapshot_path(session->store, session->guest->name,
                                                       creation->snapshot->name, NULL);
    if (!write_conf(creation, error)) {
        return FALSE;
    }
    lodge_fault("create-whole");
    if (rename(staging, final) < 0) {
        return lodge_error_errno(error, errno, "%s", final);
    }
    lodge_fault("create-published");
    lodge_event_append(session->store, session->guest->name, "snapshot-created",
                       json_pack("{s:s}", "snapshot", creation->snapshot->name));
    return TRUE;
}

static LodgeSnapshot *
describe(const Session *session, const LodgeSnapshotWish *wish, const char *name)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    LodgeSnapshot *snapshot = lodge_snapshot_new(name);
    snapshot->made = g_date_time_format_iso8601(now);
    snapshot->description = g_strdup(wish->description);
    snapshot->parent = g_strdup(session->guest->snapshot);
    return snapshot;
}

static GPtrArray *
plan_layers(const Session *session, LodgeSnapshot *snapshot, gboolean elsewhere, GError **error)
{
    GPtrArray *fresh = fresh_layers_plan(session->store, session->guest, elsewhere, error);
    for (guint i = 0; fresh != NULL && i < fresh->len; i++) {
        const FreshLayer *layer = fresh->pdata[i];
        /* Of those elsewhere the definition says what is below (covers=). */
        if (g_path_is_absolute(layer->below)) {
            continue;
        }
        lodge_snapshot_add_disk(snapshot, layer->disk->name, layer->below, layer->below_format);
    }
    return fresh;
}

LodgeSnapshot *
snapshot_cover(Session *session, const char *name, const char *begins, LodgeProgress *progress,
               GError **error)
{
    const LodgeSnapshotWish wish = {.guest = session->guest->name, .disks_only = TRUE};
    g_autoptr(LodgeSnapshot) snapshot = describe(session, &wish, name);
    g_autoptr(GPtrArray) fresh = check_wish(session, name, FALSE, error)
                                     ? plan_layers(session, snapshot, TRUE, error)
                                     : NULL;
    g_autofree char *staging = snapshot_staging_name(name);
    const Creation creation = {session, &wish, progress, snapshot, fresh, staging, begins};
    gboolean fine = fresh != NULL && (session->state->has_qemu ? take_running(&creation, error)
                                                               : take_stopped(&creation, error));
    /* Who mends it shall not have a guest go on that somebody paused meanwhile. */
    snapshot->paused = TRUE;
    if (!fine || !write_conf(&creation, error)) {
        lodge_interrupt_forget();
        session_refresh(session, NULL);
        snapshot_mend(session, NULL);
        return NULL;
    }
    return g_steal_pointer(&snapshot);
}

LodgeSnapshot *
lodge_snapshot_create(const LodgeStore *store, const LodgeSnapshotWish *wish,
                      LodgeProgress *progress, GError **error)
{
    const char *verb = wish->verb != NULL ? wish->verb : "snapshot create";
    g_autoptr(Session) session = session_begin(store, wish->guest, verb, error);
    if (session == NULL) {
        return NULL;
    }
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *name = wish->name != NULL ? g_strdup(wish->name)
                                               : g_date_time_format(now, "%Y%m%d-%H%M%S");
    g_autoptr(LodgeSnapshot) snapshot = describe(session, wish, name);
    gboolean with_memory = session->state->has_qemu && !wish->disks_only && wish->capture == NULL;
    g_autoptr(GPtrArray) fresh = check_wish(session, name, with_memory, error)
                                     ? plan_layers(session, snapshot, FALSE, error)
                                     : NULL;
    g_autofree char *staging = snapshot_staging_name(name);
    const Creation creation = {
        session, wish, lodge_job_progress(session->job, progress), snapshot, fresh, staging, NULL};
    gboolean fine = fresh != NULL &&
                    (session->state->has_qemu ? take_running(&creation, error)
                                              : take_stopped(&creation, error)) &&
                    publish(&creation, error);
    if (!fine) {
        lodge_error_prefix(error, "guest %s: snapshot %s", wish->guest, name);
        lodge_interrupt_forget();
        session_refresh(session, NULL);
        snapshot_mend(session, NULL);
        return NULL;
    }
    merge_given_up(session, NULL, NULL);
    return g_steal_pointer(&snapshot);
}
