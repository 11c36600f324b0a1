/* Theory of operation: a fork is a snapshot that others stand on.
 *
 *   snapshot of the source (with memory, if it runs) ─ for each: a folder with layers on the
 *   snapshot's, and a definition of its own ─ started with that memory ─ its own identity
 *   ─ the snapshot is forgotten
 *
 * So the source is safe at each step as it is for a snapshot. The layers that the forks stand on
 * are given up when the snapshot is forgotten: they go, or merge, when the last fork has gone.
 * Killed in between, the snapshot is there to be seen, and deleted. */
#include "config.h"

#include "ops/fork.h"

#include <string.h>

#include "base/base.h"
#include "image/image.h"
#include "net/define.h"
#include "ops/definition.h"
#include "ops/forking.h"
#include "ops/snapshot-private.h"
#include "qemu/img.h"
#include "store/snapshots.h"

enum {
    DEFINITION_LIMIT_BYTES = 256 << 10,
    SEED_LIMIT_BYTES = 1 << 20,
};

typedef struct {
    const LodgeStore *store;
    const LodgeFork *what;
    LodgeProgress *progress;
    LodgeSnapshot *snapshot;
    char *text;        /* the source's definition of then */
    LodgeGuest *guest; /* the same, read */
    gboolean runs;
} Forking;

static void
forking_clear(Forking *forking)
{
    g_clear_pointer(&forking->snapshot, lodge_snapshot_free);
    g_clear_pointer(&forking->text, g_free);
    g_clear_pointer(&forking->guest, lodge_guest_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Forking, forking_clear)

/* --- One fork's folder ------------------------------------------------------------------------ */

static gboolean
make_disks(const Forking *forking, GKeyFile *file, const char *folder, GString *from,
           GError **error)
{
    const char *source = forking->what->source;
    for (guint i = 0; i < forking->snapshot->disks->len; i++) {
        const LodgeSnapshotDisk *disk = forking->snapshot->disks->pdata[i];
        const char *format = disk->format == LODGE_FORMAT_RAW ? "raw" : "qcow2";
        g_autofree char *group = g_strconcat("disk ", disk->name, NULL);
        g_autofree char *name = g_strconcat(disk->name, ".qcow2", NULL);
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *below = lodge_store_guest_path(forking->store, source, disk->file);
        const LodgeImgConversion copy = {
            .source = below, .source_format = format, .target = path, .trusted = TRUE};
        if (!(forking->what->full ? lodge_img_convert(&copy, forking->progress, error)
                                  : lodge_img_create_overlay(path, below, format, 0, error))) {
            return lodge_error_prefix(error, "disk %s", disk->name);
        }
        g_key_file_set_string(file, group, "file", name);
        g_key_file_remove_key(file, group, "format", NULL);
        g_string_append_printf(from, "%s%s/%s", from->len > 0 ? " " : "", source, disk->file);
    }
    return TRUE;
}

static gboolean
make_nics(const Forking *forking, GKeyFile *file, const char *name, GError **error)
{
    for (guint i = 0; i < forking->guest->nics->len; i++) {
        const LodgeNic *nic = forking->guest->nics->pdata[i];
        static const char *const own[] = {"address", "address6", "forward", "ssh-port"};
        g_autofree char *group = g_strconcat("nic ", nic->name, NULL);
        g_autofree char *mac = lodge_mac_random();
        LodgePort port = {.guest = (char *)name, .nic = nic->name, .mac = mac};
        g_key_file_set_string(file, group, "mac", mac);
        for (gsize j = 0; j < G_N_ELEMENTS(own); j++) {
            g_key_file_remove_key(file, group, own[j], NULL);
        }
        if (g_str_equal(nic->network, LODGE_NETWORK_USER)) {
            continue;
        }
        g_auto(LodgeNetworkLease) lease = {NULL, NULL};
        g_autoptr(LodgeNetwork) network = lodge_network_find(forking->store, nic->network, error);
        if (network == NULL || !lodge_net_reserve(forking->store, network, &port, &lease, error)) {
            return lodge_error_prefix(error, "nic %s", nic->name);
        }
        if (lease.address4 != NULL) {
            g_key_file_set_string(file, group, "address", lease.address4);
        }
        if (lease.address6 != NULL) {
            g_key_file_set_string(file, group, "address6", lease.address6);
        }
    }
    return TRUE;
}

static gboolean
make_variables(const Forking *forking, GKeyFile *file, const char *folder, GError **error)
{
    static const char name[] = "nvram.qcow2";
    if (forking->snapshot->variables == NULL) {
        return TRUE;
    }
    g_autofree char *from = lodge_store_snapshot_path(forking->store, forking->what->source,
                                                      forking->snapshot->name,
                                                      forking->snapshot->variables);
    g_autofree char *to = g_build_filename(folder, name, NULL);
    g_key_file_set_string(file, "guest", "variables", name);
    return snapshot_copy_file(from, to, error);
}

/* What the guest sealed by it can be read in the fork, too. */
static gboolean
make_tpm(const Forking *forking, GKeyFile *file, const char *folder, GError **error)
{
    g_key_file_remove_key(file, "guest", "tpm-state", NULL);
    if (forking->snapshot->tpm == NULL) {
        return TRUE;
    }
    g_autofree char *from = lodge_store_snapshot_path(
        forking->store, forking->what->source, forking->snapshot->name, forking->snapshot->tpm);
    g_autofree char *state = g_build_filename(folder, "tpm", NULL);
    g_autofree char *to = lodge_guest_tpm_file(state);
    return lodge_dir_make(state, 0700, error) && snapshot_copy_file(from, to, error);
}

/* The source's, with another name; and, where no agent will say it, that it is another guest. */
static gboolean
make_lodge_seed(const Forking *forking, const char *name, const char *folder, GError **error)
{
    g_autofree char *from = lodge_store_guest_path(forking->store, forking->what->source,
                                                   "seed.txt");
    g_autofree char *to = g_build_filename(folder, "seed.txt", NULL);
    g_autofree char *text = lodge_file_read(from, SEED_LIMIT_BYTES, NULL, error);
    if (text == NULL) {
        return FALSE;
    }
    g_auto(GStrv) lines = g_strsplit(g_strchomp(text), "\n", -1);
    g_autoptr(GString) seed = g_string_new(NULL);
    g_string_append_printf(seed, "hostname=%s\n", name);
    if (!forking->runs) {
        g_autofree char *token = g_uuid_string_random();
        g_string_append_printf(seed, "identity=%s\n", token);
    }
    for (gsize i = 0; lines[i] != NULL; i++) {
        if (!g_str_has_prefix(lines[i], "hostname=") && !g_str_has_prefix(lines[i], "identity=")) {
            g_string_append_printf(seed, "%s\n", lines[i]);
        }
    }
    return lodge_file_write(to, seed->str, seed->len, 0600, LODGE_WRITE_DEFAULT, error);
}

/* Another instance: cloud-init makes keys and names anew. */
static gboolean
make_cloud_seed(const Forking *forking, const LodgeGuest *guest, const char *folder, GError **error)
{
    const LodgeCreate nothing = {.name = guest->name};
    g_autofree char *instance = g_uuid_string_random();
    g_auto(GStrv) keys = definition_keys(forking->store, &nothing, error);
    g_autoptr(LodgeImage)
        image = guest->image != NULL ? lodge_store_image(forking->store, guest->image, NULL) : NULL;
    LodgeSeed seed = {.kind = guest->provision,
                      .hostname = guest->name,
                      .instance_id = instance,
                      .user = guest->user,
                      .groups = image != NULL ? image->groups : NULL,
                      .shell = image != NULL ? image->shell : NULL,
                      .authorized_keys = (const char *const *)keys};
    return keys != NULL && lodge_seed_write(folder, &seed, error);
}

static gboolean
make_seed(const Forking *forking, const LodgeGuest *guest, const char *folder, GError **error)
{
    switch ((LodgeProvision)guest->provision) {
    case LODGE_PROVISION_NONE:
        return TRUE;
    case LODGE_PROVISION_LODGE:
        return make_lodge_seed(forking, guest->name, folder, error);
    case LODGE_PROVISION_NOCLOUD:
        return make_cloud_seed(forking, guest, folder, error);
    }
    return TRUE;
}

static gboolean
make_folder(const Forking *forking, const char *name, const char *folder, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GString) from = g_string_new(NULL);
    g_autofree char *path = g_build_filename(folder, "guest.conf", NULL);
    if (!g_key_file_load_from_data(file, forking->text, strlen(forking->text),
                                   G_KEY_FILE_KEEP_COMMENTS, error) ||
        !make_disks(forking, file, folder, from, error) || !make_nics(forking, file, name, error) ||
        !make_variables(forking, file, folder, error) || !make_tpm(forking, file, folder, error)) {
        return FALSE;
    }
    if (forking->guest->forked_from != NULL) {
        g_string_append_printf(from, " %s", forking->guest->forked_from);
    }
    g_key_file_remove_key(file, "guest", "snapshot", NULL);
    g_key_file_remove_key(file, "guest", "autostart", NULL);
    if (forking->what->full) {
        g_key_file_remove_key(file, "guest", "forked-from", NULL);
    } else {
        g_key_file_set_string(file, "guest", "forked-from", from->str);
    }
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    g_autoptr(LodgeGuest) guest = lodge_guest_parse(name, text, strlen(text), error);
    return guest != NULL && make_seed(forking, guest, folder, error) &&
           (!forking->runs || lodge_store_creating_begin(forking->store, name, error)) &&
           lodge_file_write(path, text, strlen(text), 0600, LODGE_WRITE_DEFAULT, error);
}

/* --- One fork --------------------------------------------------------------------------------- */

static gboolean
start(const Forking *forking, Session *session, const char *name, GError **error)
{
    g_autofree char *memory = lodge_store_snapshot_path(forking->store, forking->what->source,
                                                        forking->snapshot->name, SNAPSHOT_MEMORY);
    const ForkingSource source = {.state = memory, .was = forking->guest};
    if (!session_refresh(session, error) ||
        !forking_start(session, &source, forking->progress, error)) {
        return FALSE;
    }
    lodge_store_creating_end(forking->store, name);
    return forking->what->timeout_ms == 0 ||
           lodge_wait_ready(forking->store, name, forking->what->timeout_ms, forking->progress,
                            error);
}

static gboolean
make_one(const Forking *forking, const char *name, GError **error)
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
    if (staging == NULL || !make_folder(forking, name, lodge_staging_folder(staging), error) ||
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
    lodge_interrupt_forget();
    session_delete(session, TRUE, NULL, NULL);
    return FALSE;
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

/* A guest that runs must be told that it is another; only lodge-agent can. */
static gboolean
check_source(Forking *forking, GError **error)
{
    const char *name = forking->what->source;
    g_autoptr(LodgeGuest) guest = lodge_store_guest(forking->store, name, error);
    g_autoptr(LodgeGuestState) state = lodge_store_state(forking->store, name);
    if (guest == NULL) {
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
    const LodgeSnapshotWish wish = {
        .guest = forking->what->source, .name = name, .description = "what its forks are made of"};
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

gboolean
lodge_fork(const LodgeStore *store, const LodgeFork *what, guint *out_pause_ms,
           LodgeProgress *progress, GError **error)
{
    g_auto(Forking) forking = {.store = store, .what = what, .progress = progress};
    if (!check_names(store, what, error) || !check_source(&forking, error)) {
        return FALSE;
    }
    gboolean fine = take_snapshot(&forking, error);
    for (gsize i = 0; fine && what->names[i] != NULL; i++) {
        fine = make_one(&forking, what->names[i], error) ||
               lodge_error_prefix(error, "guest %s", what->names[i]);
    }
    if (forking.snapshot != NULL) {
        *out_pause_ms = forking.snapshot->pause_ms;
        lodge_interrupt_forget();
        lodge_progress_stage(progress, "%s: what was kept for it is forgotten", what->source);
        fine = snapshot_forget(store, what->source, forking.snapshot->name, fine ? error : NULL) &&
               fine;
    }
    return fine;
}
