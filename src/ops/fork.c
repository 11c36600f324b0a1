/* Theory of operation: a fork is a snapshot that others stand on.
 *
 *   snapshot of the source's disks, and at the same moment its memory if it runs (capture.c) ─ for
 *   each, several at a time: a folder with layers on the snapshot's, and a definition of its own ─
 *   started with that memory, its own writes private ─ its own identity ─ the snapshot is forgotten
 *
 * So the source is safe at each step as it is for a snapshot. The layers that the forks stand on
 * are given up when the snapshot is forgotten: they go, or merge, when the last fork has gone.
 * Killed in between, the snapshot is there to be seen, and deleted; the memory is gone with the
 * last who holds it. Of several, each is made by a process of its own (base/child.h), so that each
 * holds its own job lock and unwinds by itself. */
#include "config.h"

#include "ops/fork.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "net/define.h"
#include "ops/fork-private.h"
#include "ops/forking.h"
#include "ops/ops.h"
#include "ops/snapshot-private.h"
#include "store/snapshots.h"

enum {
    DEFINITION_LIMIT_BYTES = 256 << 10,
    AGENT_TIMEOUT_MS = 10000,
    LOOK_MS = 20,
};

static void
forking_clear(Forking *forking)
{
    capture_clear(&forking->capture);
    g_clear_pointer(&forking->snapshot, lodge_snapshot_free);
    g_clear_pointer(&forking->text, g_free);
    g_clear_pointer(&forking->guest, lodge_guest_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Forking, forking_clear)

/* --- One fork --------------------------------------------------------------------------------- */

static gboolean
start(const Forking *forking, Session *session, const char *name, GError **error)
{
    g_autofree char *memory = forking->shares ? capture_memory_path(&forking->capture) : NULL;
    g_autofree char *state = forking->shares
                                 ? capture_state_path(&forking->capture)
                                 : lodge_store_snapshot_path(forking->store, forking->what->source,
                                                             forking->snapshot->name,
                                                             SNAPSHOT_MEMORY);
    const ForkingSource source = {.memory = memory,
                                  .state = state,
                                  .layout = forking->snapshot->layout,
                                  .was = forking->guest};
    if (!session_refresh(session, error) ||
        !forking_start(session, &source, forking->progress, error)) {
        return FALSE;
    }
    lodge_store_creating_end(forking->store, name);
    return forking->what->timeout_ms == 0 ||
           lodge_wait_ready(forking->store, name, forking->what->timeout_ms, forking->progress,
                            error);
}

gboolean
fork_one(const Forking *forking, const char *name, GError **error)
{
    g_autoptr(Session) session = g_new0(Session, 1);
    session->store = forking->store;
    session->guest = lodge_guest_parse(name, "", 0, NULL);
    session->job = lodge_job_begin(forking->store, name, "fork", error);
    if (session->job == NULL) {
        return FALSE;
    }
    lodge_job_remove_run_folder(session->job, TRUE);
    lodge_progress_stage(forking->progress, "%s: disks and definition", name);
    g_autoptr(LodgeStaging)
        staging = lodge_staging_begin(forking->store, LODGE_STORE_GUESTS, name, error);
    if (staging == NULL || !fork_folder(forking, name, lodge_staging_folder(staging), error) ||
        !lodge_staging_commit(staging, FALSE, error)) {
        lodge_net_release(forking->store, name);
        return FALSE;
    }
    lodge_fault("forked");
    lodge_job_remove_run_folder(session->job, FALSE);
    lodge_event_append(forking->store, name, "forked",
                       json_pack("{s:s}", "from", forking->what->source));
    if (!forking->runs || start(forking, session, name, error)) {
        return TRUE;
    }
    lodge_interrupt_hold(); /* one more Ctrl-C must not leave half a guest */
    session_delete(session, TRUE, NULL, NULL);
    lodge_interrupt_release();
    return FALSE;
}

void
fork_remove_unfinished(const Forking *forking, const char *name)
{
    g_autofree char *folder = lodge_store_guest_path(forking->store, name, NULL);
    if (!lodge_store_is_creating(forking->store, name) ||
        !g_file_test(folder, G_FILE_TEST_EXISTS)) {
        return;
    }
    g_autoptr(Session) session = session_begin_any(forking->store, name, "fork", NULL);
    if (session != NULL) {
        session_delete(session, TRUE, NULL, NULL);
    }
}

/* --- All of them ------------------------------------------------------------------------------ */

static gboolean
check_names(const LodgeStore *store, const LodgeFork *what, GError **error)
{
    for (gsize i = 0; what->names[i] != NULL; i++) {
        g_autofree char *folder = lodge_store_guest_path(store, what->names[i], NULL);
        if (!lodge_name_check("guest", what->names[i], error)) {
            return FALSE;
        }
        if (g_file_test(folder, G_FILE_TEST_EXISTS)) {
            return lodge_error_set(error, LODGE_ERROR_EXISTS, "guest %s exists already",
                                   what->names[i]);
        }
    }
    return TRUE;
}

/* A guest that answered by SSH just now, or whose agent began anew, has its agent in a moment. */
static LodgeGuestState *
await_agent(const Forking *forking, const LodgeGuest *guest, GError **error)
{
    gint64 deadline = lodge_deadline_in(AGENT_TIMEOUT_MS);
    for (;;) {
        g_autoptr(LodgeGuestState) state = lodge_store_state(forking->store, guest->name);
        if (!guest->agent || state->state != LODGE_STATE_RUNNING || state->inside != NULL ||
            lodge_deadline_passed(deadline)) {
            return g_steal_pointer(&state);
        }
        if (!lodge_wait_for(LOOK_MS, error)) {
            return NULL;
        }
    }
}

/* A guest that runs must be told that it is another; only lodge-agent can. */
static gboolean
check_source(Forking *forking, GError **error)
{
    const char *name = forking->what->source;
    g_autoptr(LodgeGuest) guest = lodge_store_guest(forking->store, name, error);
    g_autoptr(LodgeGuestState) state = guest != NULL ? await_agent(forking, guest, error) : NULL;
    if (state == NULL) {
        return FALSE;
    }
    forking->runs = state->has_qemu;
    if (forking->runs && state->state != LODGE_STATE_RUNNING) {
        return lodge_refuse_state(name, state, error);
    }
    if (forking->runs && state->inside == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "guest %s runs without lodge-agent, which tells a fork who it is "
                               "(`lodge agent install %s` brings it, or fork it when it is "
                               "stopped)",
                               name, name);
    }
    forking->shares = forking->runs && !guest->huge_pages; /* huge pages are no file's */
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        if (disk->read_only && !g_path_is_absolute(disk->file)) {
            return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                                   "disk %s is read-only, and in the guest's folder (detach it)",
                                   disk->name);
        }
    }
    return TRUE;
}

static gboolean
take_snapshot(Forking *forking, GError **error)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *time = g_date_time_format(now, "%Y%m%d-%H%M%S");
    g_autofree char *name = g_strdup_printf("fork-%s-%04x", time, g_random_int() & 0xffff);
    const LodgeSnapshotWish wish = {.guest = forking->what->source,
                                    .name = name,
                                    .description = "what its forks are made of",
                                    .verb = "fork",
                                    .capture = forking->shares ? &forking->capture : NULL};
    forking->snapshot = lodge_snapshot_create(forking->store, &wish, forking->progress, error);
    if (forking->snapshot == NULL) {
        return FALSE;
    }
    lodge_fault("fork-captured");
    g_autofree char *path = lodge_store_snapshot_path(forking->store, forking->what->source, name,
                                                      SNAPSHOT_DEFINITION);
    forking->text = lodge_file_read(path, DEFINITION_LIMIT_BYTES, NULL, error);
    forking->guest = forking->text != NULL ? lodge_guest_parse(forking->what->source, forking->text,
                                                               strlen(forking->text), error)
                                           : NULL;
    return forking->guest != NULL;
}

static gboolean
make_all(const Forking *forking, GError **error)
{
    const char *const *names = forking->what->names;
    return names[1] != NULL ? fork_several(forking, error)
                            : fork_one(forking, names[0], error) ||
                                  lodge_error_prefix(error, "guest %s", names[0]);
}

gboolean
lodge_fork(const LodgeStore *store, const LodgeFork *what, guint *out_pause_ms,
           LodgeProgress *progress, GError **error)
{
    g_auto(Forking)
        forking = {.store = store, .what = what, .progress = progress, .capture = CAPTURE_NONE};
    if (!check_names(store, what, error) || !check_source(&forking, error)) {
        return FALSE;
    }
    gboolean fine = take_snapshot(&forking, error) && make_all(&forking, error);
    if (forking.snapshot != NULL) {
        *out_pause_ms = forking.snapshot->pause_ms;
        lodge_interrupt_forget();
        if (!fine) {
            lodge_progress_failed(progress);
        }
        lodge_progress_stage(progress, "%s: what was kept for it is forgotten", what->source);
        fine = snapshot_forget(store, what->source, forking.snapshot->name, fine ? error : NULL) &&
               fine;
    }
    return fine;
}
