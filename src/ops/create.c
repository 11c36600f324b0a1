/* Theory of operation: a guest is made in hiding, named at one stroke, and its own only when it
 * answers.
 *
 *   check values ─ image here (built, pulled) ─ staging folder ─ commit ─ start ─ answers
 *
 * Until the commit nothing has the guest's name. From there to the answer a file `creating` in its
 * folder says that it is not finished: a `create` that fails removes the guest, one that is killed
 * leaves the mark, and whoever comes next sees it (`list` says so, `start` finishes it, `create` of
 * the same name begins anew). */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "image/image.h"
#include "ops/definition.h"
#include "ops/forking.h"
#include "net/define.h"
#include "ops/ops.h"
#include "ops/park.h"
#include "ops/session.h"
#include "qemu/qcow2.h"

/* A guest that another `create` left unfinished gives way; any other keeps its name. */
static gboolean
clear_name(const Session *session, GError **error)
{
    const char *name = session->guest->name;
    g_autofree char *folder = lodge_store_guest_path(session->store, name, NULL);
    if (g_file_test(folder, G_FILE_TEST_EXISTS) && lodge_store_is_creating(session->store, name)) {
        return session_delete(session, TRUE, NULL, error);
    }
    return !g_file_test(folder, G_FILE_TEST_EXISTS) ||
           lodge_error_set(error, LODGE_ERROR_EXISTS, "guest %s exists already", name);
}

static gboolean
is_disk(const char *path, GError **error)
{
    struct stat info;
    if (stat(path, &info) < 0 || access(path, R_OK) < 0) {
        return lodge_error_errno(error, errno, "--disk: %s", path);
    }
    return S_ISREG(info.st_mode) || S_ISBLK(info.st_mode) ||
           lodge_error_set(error, LODGE_ERROR_USAGE,
                           "--disk: %s is neither a file nor a block device", path);
}

/* A disk of the user's own: it must be there, and name no file outside its own folder. */
static gboolean
check_disk(const LodgeCreate *what, GError **error)
{
    if (what->disk == NULL) {
        return TRUE;
    }
    g_autofree char *path = g_canonicalize_filename(what->disk, NULL);
    if (!is_disk(path, error)) {
        return FALSE;
    }
    if (!lodge_qcow2_is(path)) {
        return TRUE;
    }
    g_autoptr(GPtrArray) chain = lodge_qcow2_chain(path, error);
    g_autofree char *folder = g_path_get_dirname(path);
    for (guint i = 1; chain != NULL && i < chain->len; i++) {
        const LodgeLayer *layer = chain->pdata[i];
        g_autofree char *its_folder = g_path_get_dirname(layer->path);
        if (!g_str_equal(folder, its_folder)) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "--disk: %s stands on %s, outside its folder; if you know it, "
                                   "`lodge image import` makes one disk of both",
                                   path, layer->path);
        }
    }
    return chain != NULL || lodge_error_prefix(error, "--disk");
}

/* Where the default network can't be, its guests have another, and their user is told why. */
static const char *
choose_network(const LodgeStore *store, LodgeProgress *progress)
{
    g_autofree char *why = NULL;
    if (lodge_net_state(store, LODGE_NETWORK_DEFAULT) != LODGE_NET_UP) {
        lodge_progress_stage(progress, "network");
    }
    const char *name = lodge_network_default(store, &why);
    if (why != NULL) {
        lodge_progress_stage(progress, "network: user-mode, as the default can't be here: %s", why);
    }
    return name;
}

static gboolean
build(const LodgeStore *store, const LodgeCreate *what, LodgeProgress *progress,
      LodgeWarm **out_warm, GError **error)
{
    g_auto(GStrv) keys = definition_keys(store, what, error);
    if (keys == NULL) {
        return FALSE;
    }
    const char *chosen[] = {NULL, NULL};
    if (what->networks == NULL) {
        chosen[0] = choose_network(store, progress);
    }
    lodge_progress_stage(progress, "disk and definition");
    g_autoptr(LodgeStaging)
        staging = lodge_staging_begin(store, LODGE_STORE_GUESTS, what->name, error);
    if (staging == NULL) {
        return FALSE;
    }
    Definition definition = {.store = store,
                             .what = what,
                             .image_name = what->os != NULL ? what->os : what->image,
                             .keys = keys,
                             .networks = what->networks != NULL ? what->networks : chosen,
                             .may_fork = what->start && !what->cold && what->password_file == NULL};
    const char *folder = lodge_staging_folder(staging);
    return definition_write(&definition, folder, out_warm, error) &&
           (!what->start || lodge_store_creating_begin(store, what->name, error)) &&
           lodge_interrupt_check(error) && lodge_staging_commit(staging, FALSE, error);
}

/* A copy of the parked machine, or, where that can't be, booted: the disk is good for both. */
static gboolean
start_qemu(Session *session, const LodgeWarm *warm, LodgeProgress *progress, GError **error)
{
    g_autoptr(GError) problem = NULL;
    if (warm == NULL) {
        return session_start(session, FALSE, progress, error);
    }
    g_autofree char *memory = g_build_filename(warm->folder, LODGE_WARM_MEMORY, NULL);
    g_autofree char *state = g_build_filename(warm->folder, LODGE_WARM_STATE, NULL);
    const LodgeDisk *disk = session->guest->disks->pdata[0];
    const ForkingSource source = {
        .memory = memory,
        .state = state,
        .host_key = warm->host_key,
        .disk_bytes = disk->size_bytes != warm->disk_bytes ? disk->size_bytes : 0,
        .asks_anew = warm->asks_anew};
    if (forking_start(session, &source, progress, &problem)) {
        return TRUE;
    }
    /* What somebody else uses (a port) a boot would not have either. */
    if (g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_INTERRUPTED) ||
        g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_BUSY)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    lodge_progress_failed(progress);
    lodge_progress_stage(progress, "it boots instead: %s", problem->message);
    return session_refresh(session, error) && session_start(session, FALSE, progress, error);
}

static gboolean
start(Session *session, const LodgeCreate *what, const LodgeWarm *warm, LodgeProgress *progress,
      GError **error)
{
    const LodgeStore *store = session->store;
    g_clear_pointer(&session->guest, lodge_guest_free);
    session->guest = lodge_store_guest(store, what->name, error);
    if (session->guest == NULL) {
        session->guest = lodge_guest_parse(what->name, "", 0, NULL);
        return FALSE;
    }
    session->state = lodge_store_state(store, what->name);
    return start_qemu(session, warm, progress, error) &&
           (!what->wait || lodge_wait_ready(store, what->name, what->timeout_ms, progress, error));
}

/* From the definition that has its name to the guest that answers; undone if it doesn't. */
static gboolean
bring_up(Session *session, const LodgeCreate *what, const LodgeWarm *warm, LodgeProgress *progress,
         GError **error)
{
    if (!what->start || start(session, what, warm, progress, error)) {
        lodge_store_creating_end(session->store, what->name);
        if (warm == NULL && what->start && what->wait && !what->cold) {
            lodge_park_later(session->store, what->name);
        }
        return TRUE;
    }
    if (what->keep) {
        lodge_store_creating_end(session->store, what->name);
        return lodge_error_prefix(error, "kept for a look");
    }
    /* One more Ctrl-C must not leave half a guest. */
    lodge_interrupt_hold();
    lodge_progress_failed(progress);
    lodge_progress_stage(progress, "what was made is removed");
    session_delete(session, TRUE, NULL, NULL);
    lodge_interrupt_release();
    return FALSE;
}

gboolean
lodge_create(const LodgeStore *store, const LodgeCreate *what, LodgeProgress *progress,
             GError **error)
{
    if (!definition_check(store, what, error) || !check_disk(what, error)) {
        return FALSE;
    }
    g_autoptr(Session) session = g_new0(Session, 1);
    session->store = store;
    session->guest = lodge_guest_parse(what->name, "", 0, NULL);
    session->job = lodge_job_begin(store, what->name, "create", error);
    if (session->job == NULL || !clear_name(session, error)) {
        return FALSE;
    }
    progress = lodge_job_progress(session->job, progress);
    lodge_job_sweep(store);
    /* Until it has a folder, what its job leaves in the run folder goes with the job. */
    lodge_job_remove_run_folder(session->job, TRUE);
    g_autoptr(LodgeWarm) warm = NULL;
    if ((what->os != NULL && !lodge_image_ensure(store, what->os, progress, error)) ||
        !build(store, what, progress, &warm, error)) {
        lodge_net_release(store, what->name);
        return FALSE;
    }
    lodge_job_remove_run_folder(session->job, FALSE);
    lodge_event_append(store, what->name, "created", NULL);
    return bring_up(session, what, warm, progress, error);
}
