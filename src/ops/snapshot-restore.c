/* Theory of operation: going back.
 *
 * New, empty layers are made on top of those that the snapshot keeps; QEMU ends; one write of the
 * definition names them, and everything else as it was then; what was on top before is given up. So
 * until that write nothing is changed, and after it the guest starts as the snapshot left it. Its
 * memory is read by a new QEMU that waits for it; `.loading` marks it until it has all. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "host/check.h"
#include "host/kvm.h"
#include "keeper/keeper.h"
#include "ops/given-up.h"
#include "ops/merge.h"
#include "ops/snapshot-mend.h"
#include "ops/snapshot-private.h"
#include "qemu/memory-stream.h"
#include "qmp/guest-agent.h"
#include "store/snapshots.h"

enum {
    CONF_LIMIT_BYTES = 256 << 10,
    MONITOR_TIMEOUT_MS = 10000,
    CLOCK_TIMEOUT_MS = 2000,
    TAIL_BYTES = 1 << 20, /* of a memory's file: enough for QEMU's description of it */
};

typedef struct {
    Session *session;
    const LodgeSnapshot *snapshot;
    LodgeProgress *progress;
    GKeyFile *file; /* the definition of then */
    LodgeGuest *guest;
} Restoration;

static void
restoration_clear(Restoration *restoration)
{
    g_clear_pointer(&restoration->file, g_key_file_unref);
    g_clear_pointer(&restoration->guest, lodge_guest_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Restoration, restoration_clear)

/* Another QEMU may have changed what devices write of themselves. */
static gboolean
check_qemu(const LodgeStore *store, const LodgeSnapshot *snapshot, GError **error)
{
    g_autofree char *program = lodge_program_find("qemu-system-x86_64");
    g_autofree char *version = program != NULL ? lodge_qemu_version(program, store->run) : NULL;
    if (g_strcmp0(version, snapshot->qemu) != 0) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "its memory was written by QEMU %s, and this is %s (--cold goes "
                               "back to its disks only)",
                               snapshot->qemu, version != NULL ? version : "none");
    }
    return TRUE;
}

static gboolean
read_definition(Restoration *restoration, GError **error)
{
    const Session *session = restoration->session;
    gsize length = 0;
    g_autoptr(GError) problem = NULL;
    g_autofree char *path = lodge_store_snapshot_path(
        session->store, session->guest->name, restoration->snapshot->name, SNAPSHOT_DEFINITION);
    g_autofree char *text = lodge_file_read(path, CONF_LIMIT_BYTES, &length, error);
    if (text == NULL) {
        return FALSE;
    }
    restoration->file = g_key_file_new();
    if (!g_key_file_load_from_data(restoration->file, text, length, G_KEY_FILE_KEEP_COMMENTS,
                                   &problem)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "%s: %s", path, problem->message);
    }
    restoration->guest = lodge_guest_parse(session->guest->name, text, length, error);
    return restoration->guest != NULL;
}

/* New layers on those that the snapshot names now: merges may have moved them since. */
static GPtrArray *
plan_layers(const Restoration *restoration, GError **error)
{
    const LodgeGuest *guest = restoration->guest;
    g_autoptr(GPtrArray) all = fresh_layers_new();
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        const LodgeSnapshotDisk *kept = lodge_snapshot_disk(restoration->snapshot, disk->name);
        if (kept == NULL && !disk->read_only) {
            lodge_error_set(error, LODGE_ERROR_INVALID, "it does not say where disk %s is",
                            disk->name);
            return NULL;
        }
        if (kept != NULL) {
            g_autofree char *file = snapshot_layer_name(restoration->session->store, guest->name,
                                                        disk->name);
            fresh_layers_add(all, disk, kept->file, kept->format, file, LODGE_FORMAT_QCOW2);
        }
    }
    return g_steal_pointer(&all);
}

/* What is written now is given up, if Lodge made it; a disk that came since stays where it is. */
static gboolean
give_up_present(const Restoration *restoration, GError **error)
{
    const LodgeGuest *now = restoration->session->guest;
    g_autoptr(GPtrArray) files = g_ptr_array_new();
    for (guint i = 0; i < now->disks->len; i++) {
        const LodgeDisk *disk = now->disks->pdata[i];
        if (g_str_has_prefix(disk->file, "layers/")) {
            g_ptr_array_add(files, disk->file);
        } else if (lodge_snapshot_disk(restoration->snapshot, disk->name) == NULL) {
            lodge_progress_stage(restoration->progress, "disk %s came later; its file %s stays",
                                 disk->name, disk->file);
        }
    }
    if (g_str_has_prefix(now->variables, "layers/")) {
        g_ptr_array_add(files, now->variables);
    }
    if (lodge_guest_has_tpm(now)) {
        g_ptr_array_add(files, now->tpm_state);
    }
    g_ptr_array_add(files, NULL);
    return given_up_add(restoration->session->store, now->name, (const char *const *)files->pdata,
                        error);
}

static gboolean
restore_variables(const Restoration *restoration, const char *variables, GError **error)
{
    const Session *session = restoration->session;
    if (variables == NULL) {
        return TRUE;
    }
    g_autofree char *from = lodge_store_snapshot_path(session->store, session->guest->name,
                                                      restoration->snapshot->name,
                                                      restoration->snapshot->variables);
    g_autofree char *to = lodge_store_guest_path(session->store, session->guest->name, variables);
    return snapshot_copy_file(from, to, error);
}

/* In a folder of its own: what its TPM is now counts until the definition names that. A guest that
 * had none yet gets a new one. */
static gboolean
restore_tpm(const Restoration *restoration, GError **error)
{
    const LodgeStore *store = restoration->session->store;
    const char *guest = restoration->guest->name;
    const LodgeSnapshot *snapshot = restoration->snapshot;
    if (!lodge_guest_has_tpm(restoration->guest)) {
        return TRUE;
    }
    g_autofree char *name = snapshot_tpm_name(store, guest);
    g_autofree char *folder = lodge_store_guest_path(store, guest, name);
    const char *const given_up[] = {name, NULL};
    g_key_file_set_string(restoration->file, "guest", "tpm-state", name);
    if (!given_up_add(store, guest, given_up, error) || !lodge_dir_make(folder, 0700, error)) {
        return FALSE;
    }
    g_autofree char *to = lodge_guest_tpm_file(folder);
    g_autofree char *from = lodge_store_snapshot_path(store, guest, snapshot->name, snapshot->tpm);
    return snapshot->tpm == NULL || snapshot_copy_file(from, to, error);
}

/* From the end of what is now until the definition names what was then: not to be interrupted, or
 * the guest would be ended for nothing. */
static gboolean
turn(const Restoration *restoration, const char *text, GError **error)
{
    Session *session = restoration->session;
    gboolean fine = TRUE;
    lodge_interrupt_hold();
    if (session->state->has_qemu) {
        lodge_progress_stage(restoration->progress, "QEMU ends");
        fine = session_kill(session, error);
    }
    lodge_fault("restore-killed");
    fine = fine && (lodge_store_guest_write(session->store, session->guest->name, text, error) ||
                    lodge_error_prefix(error, "it is stopped, its disks are as they were"));
    lodge_fault("restore-named");
    lodge_interrupt_release();
    return session_refresh(session, fine ? error : NULL) && fine;
}

/* Disks and definition. */
static gboolean
go_back(const Restoration *restoration, GError **error)
{
    Session *session = restoration->session;
    const char *guest = session->guest->name;
    const LodgeSnapshot *snapshot = restoration->snapshot;
    g_autoptr(GPtrArray) fresh = plan_layers(restoration, error);
    g_autofree char *variables = snapshot->variables != NULL
                                     ? snapshot_layer_name(session->store, guest, "variables")
                                     : NULL;
    if (fresh == NULL) {
        return FALSE;
    }
    lodge_progress_stage(restoration->progress, "new layers are made");
    if (!fresh_layers_make(session, fresh, variables, error) ||
        !restore_variables(restoration, variables, error) || !restore_tpm(restoration, error) ||
        !give_up_present(restoration, error)) {
        return FALSE;
    }
    fresh_layers_name(restoration->file, fresh, snapshot->name, variables);
    g_autofree char *text = g_key_file_to_data(restoration->file, NULL, NULL);
    lodge_fault("restore-prepared");
    return lodge_interrupt_check(error) && turn(restoration, text, error);
}

/* The guest's clock stood still; who has an agent learns what time it is. */
static void
set_clock(const Restoration *restoration)
{
    const Session *session = restoration->session;
    g_autofree char *path = lodge_store_run_path(session->store, session->guest->name,
                                                 "agent.sock");
    gint64 deadline = lodge_deadline_in(CLOCK_TIMEOUT_MS);
    g_autoptr(LodgeGuestAgent)
        agent = session->guest->agent ? lodge_guest_agent_connect(path, deadline, NULL) : NULL;
    if (agent != NULL) {
        lodge_progress_stage(restoration->progress, "its clock is set");
        lodge_guest_agent_set_time(agent, deadline, NULL);
    }
}

static gboolean
go_on(const Restoration *restoration, GError **error)
{
    gint64 deadline = lodge_deadline_in(MONITOR_TIMEOUT_MS);
    g_autoptr(LodgeQmp) qmp = session_monitor(restoration->session, MONITOR_TIMEOUT_MS, error);
    if (qmp == NULL || !lodge_qmp_run(qmp, deadline, error, "cont", NULL)) {
        return FALSE;
    }
    session_await_state(restoration->session, LODGE_STATE_RUNNING);
    return TRUE;
}

/* A guest that was saved with QEMU's own user-mode network finds that again: QEMU reads no state of
 * what it has not. The other way round nothing is amiss. */
static gboolean
choose_network(const Session *session, const char *memory, GError **error)
{
    struct stat info;
    g_autofree char *mark = lodge_store_run_path(session->store, session->guest->name,
                                                 LODGE_KEEPER_OWN_NETWORK);
    g_autoptr(GByteArray) tail = g_byte_array_new();
    lodge_autofd fd = open(memory, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &info) < 0) {
        return lodge_error_errno(error, errno, "%s", memory);
    }
    g_byte_array_set_size(tail, (guint)MIN(info.st_size, TAIL_BYTES));
    if (pread(fd, tail->data, tail->len, info.st_size - tail->len) != (gssize)tail->len) {
        return lodge_error_errno(error, errno, "%s", memory);
    }
    unlink(mark);
    return !lodge_memory_stream_has(tail, "slirp") ||
           lodge_file_write(mark, "", 0, 0600, LODGE_WRITE_NO_SYNC, error);
}

static gboolean
load(const Restoration *restoration, GError **error)
{
    Session *session = restoration->session;
    const char *guest = session->guest->name;
    g_autofree char *mark = lodge_store_snapshot_path(session->store, guest, SNAPSHOT_LOADING,
                                                      NULL);
    g_autofree char *memory = lodge_store_snapshot_path(
        session->store, guest, restoration->snapshot->name, SNAPSHOT_MEMORY);
    lodge_progress_stage(restoration->progress, "memory is read");
    if (!lodge_file_write(mark, "", 0, 0600, LODGE_WRITE_NO_SYNC, error)) {
        return FALSE;
    }
    lodge_fault("restore-marked");
    gboolean fine = choose_network(session, memory, error) &&
                    lodge_keeper_tell_layout(session->store, guest, restoration->snapshot->layout,
                                             error) &&
                    lodge_keeper_start(session->store, guest,
                                       LODGE_KEEPER_PAUSED | LODGE_KEEPER_INCOMING, error) &&
                    session_refresh(session, error) && live_snapshot_load(session, memory, error);
    if (!fine) {
        lodge_error_prefix(error, "its disks are restored, its memory is not, so it is stopped");
        lodge_interrupt_forget();
        session_refresh(session, NULL);
        session_kill(session, NULL);
        unlink(mark);
        session_refresh(session, NULL);
        return FALSE;
    }
    lodge_interrupt_hold(); /* it is whole: who is interrupted now has it go on first */
    lodge_fault("restore-loaded");
    unlink(mark);
    fine = restoration->snapshot->paused || go_on(restoration, error);
    lodge_interrupt_release();
    if (!fine || restoration->snapshot->paused) {
        return fine;
    }
    set_clock(restoration);
    return TRUE;
}

static gboolean
restore(Restoration *restoration, gboolean with_memory, GError **error)
{
    Session *session = restoration->session;
    if ((with_memory && !check_qemu(session->store, restoration->snapshot, error)) ||
        !read_definition(restoration, error)) {
        return FALSE;
    }
    if (!go_back(restoration, error)) {
        lodge_interrupt_forget();
        snapshot_mend(session, NULL);
        return FALSE;
    }
    gboolean fine = !with_memory || load(restoration, error);
    lodge_progress_stage(restoration->progress, "what was given up is removed");
    return merge_given_up(session, restoration->progress, fine ? error : NULL) && fine;
}

gboolean
lodge_snapshot_restore(const LodgeStore *store, const char *guest, const char *name, gboolean cold,
                       LodgeProgress *progress, GError **error)
{
    g_autoptr(Session) session = session_begin(store, guest, "snapshot restore", error);
    g_autoptr(LodgeSnapshot)
        snapshot = session != NULL ? lodge_store_snapshot(store, guest, name, error) : NULL;
    if (snapshot == NULL) {
        return FALSE;
    }
    g_auto(Restoration) restoration = {.session = session,
                                       .snapshot = snapshot,
                                       .progress = lodge_job_progress(session->job, progress)};
    if (!restore(&restoration, snapshot->memory_bytes != 0 && !cold, error)) {
        return lodge_error_prefix(error, "guest %s: snapshot %s", guest, name);
    }
    lodge_event_append(store, guest, "snapshot-restored", json_pack("{s:s}", "snapshot", name));
    return TRUE;
}
