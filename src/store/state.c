#include "config.h"

#include "store/state.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "store/store.h"

enum {
    STATE_LIMIT_BYTES = 64 << 10,
};

static const char *const words[] = {
    [LODGE_STATE_STOPPED] = "stopped",   [LODGE_STATE_CREATING] = "creating",
    [LODGE_STATE_STARTING] = "starting", [LODGE_STATE_RUNNING] = "running",
    [LODGE_STATE_PAUSED] = "paused",     [LODGE_STATE_STOPPING] = "stopping",
    [LODGE_STATE_CRASHED] = "crashed",
};

const char *
lodge_state_ssh_host(const LodgeGuestState *state)
{
    return state->ssh_port == 0 ? NULL : state->ssh_host != NULL ? state->ssh_host : "127.0.0.1";
}

const char *
lodge_state_word(LodgeState state)
{
    return words[state];
}

gboolean
lodge_state_from_word(const char *word, LodgeState *out_state)
{
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        if (g_strcmp0(word, words[i]) == 0) {
            *out_state = (LodgeState)i;
            return TRUE;
        }
    }
    return FALSE;
}

void
lodge_guest_state_free(LodgeGuestState *state)
{
    if (state != NULL) {
        json_decref(state->inside);
        g_free(state->reason);
        g_free(state->ssh_host);
        g_free(state->job);
        g_free(state->job_stage);
        g_free(state);
    }
}

static gboolean
is_held(const LodgeStore *store, const char *guest, const char *lock)
{
    g_autofree char *path = lodge_store_run_path(store, guest, lock);
    return lodge_lock_is_held(path);
}

/* What state.json says, as far as a dead keeper's words can still be true. */
static LodgeState
believable(LodgeState published, gboolean has_qemu, gboolean has_keeper)
{
    if (has_qemu) {
        return published == LODGE_STATE_STOPPED || published == LODGE_STATE_CRASHED
                   ? LODGE_STATE_RUNNING
                   : published;
    }
    if (published == LODGE_STATE_STARTING && has_keeper) {
        return LODGE_STATE_STARTING;
    }
    return published == LODGE_STATE_CRASHED || published == LODGE_STATE_STOPPED
               ? published
               : LODGE_STATE_STOPPED;
}

static void
add_job(const LodgeStore *store, const char *guest, LodgeGuestState *state)
{
    /* A backup lets other verbs work beside it: these are shown, as they come and go. */
    const char *file = is_held(store, guest, "job.lock")      ? "job.json"
                       : is_held(store, guest, "backup.lock") ? "backup.json"
                                                              : NULL;
    if (file == NULL) {
        return;
    }
    g_autofree char *path = lodge_store_run_path(store, guest, file);
    g_autoptr(json_t) job = lodge_json_read(path, STATE_LIMIT_BYTES, NULL);
    const char *stage = lodge_json_string(job, "stage", "");
    state->job = g_strdup(lodge_json_string(job, "verb", "…"));
    state->job_stage = *stage != '\0' ? g_strdup(stage) : NULL;
    state->job_pid = (pid_t)lodge_json_int(job, "pid", 0);
}

/* What the run folder of a guest tells. */
static void
read_run(const LodgeStore *store, const char *guest, LodgeGuestState *state)
{
    state->has_qemu = is_held(store, guest, "qemu.lock");
    state->has_keeper = is_held(store, guest, "keeper.lock");
    g_autofree char *path = lodge_store_run_path(store, guest, "state.json");
    g_autoptr(json_t) value = lodge_json_read(path, STATE_LIMIT_BYTES, NULL);
    LodgeState published = LODGE_STATE_STOPPED;
    lodge_state_from_word(lodge_json_string(value, "state", ""), &published);
    state->state = believable(published, state->has_qemu, state->has_keeper);
    state->reason = g_strdup(lodge_json_string(value, "reason", NULL));
    if (state->has_qemu) {
        state->qemu_pid = (pid_t)lodge_json_int(value, "pid", 0);
        state->started_ms = lodge_json_int(value, "started_ms", 0);
        state->agent = lodge_json_bool(value, "agent", FALSE);
        state->ports = (guint)lodge_json_int(value, "ports", 0);
        json_t *inside = json_object_get(value, "inside");
        state->inside = json_is_object(inside) ? json_incref(inside) : NULL;
        state->ssh_port = (guint)lodge_json_int(value, "ssh_port", 0);
        state->ssh_host = g_strdup(lodge_json_string(value, "ssh_host", NULL));
        state->is_kvm = lodge_json_bool(value, "kvm", FALSE);
    }
    add_job(store, guest, state);
}

static LodgeGuestState *
look(const LodgeStore *store, const char *guest, gboolean is_creating, gboolean has_run)
{
    LodgeGuestState *state = g_new0(LodgeGuestState, 1);
    if (has_run) {
        read_run(store, guest, state);
    }
    if (is_creating) {
        state->state = LODGE_STATE_CREATING;
    }
    return state;
}

LodgeGuestState *
lodge_store_state(const LodgeStore *store, const char *guest)
{
    g_autofree char *folder = lodge_store_run_path(store, guest, NULL);
    /* In this order: a `create` that ends in between is seen as one that goes on. */
    gboolean is_creating = lodge_store_is_creating(store, guest);
    return look(store, guest, is_creating, g_file_test(folder, G_FILE_TEST_IS_DIR));
}

/* Is @name among the sorted names from @at on? @at goes there. */
static gboolean
advance(char ***at, const char *name)
{
    char **here = *at;
    while (here != NULL && *here != NULL && strcmp(*here, name) < 0) {
        here++;
    }
    *at = here;
    return here != NULL && *here != NULL && g_str_equal(*here, name);
}

GPtrArray *
lodge_store_states(const LodgeStore *store, const char *const *guests)
{
    GPtrArray *states = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_guest_state_free);
    g_autofree char *folder = g_build_filename(store->run, "guests", NULL);
    g_auto(GStrv) creating = lodge_store_creating(store);
    g_auto(GStrv) running = lodge_dir_names(folder, NULL);
    char **created = creating;
    char **run = running;
    for (gsize i = 0; guests[i] != NULL; i++) {
        gboolean is_creating = advance(&created, guests[i]);
        gboolean has_run = advance(&run, guests[i]);
        g_ptr_array_add(states, look(store, guests[i], is_creating, has_run));
    }
    return states;
}

void
lodge_store_watch(const LodgeStore *store, const char *guest)
{
    g_autofree char *path = lodge_store_run_path(store, guest, "watch");
    lodge_autofd fd = open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && write(fd, "", 1) < 0) {
        g_debug("guest %s: its keeper is told often enough", guest);
    }
}
