/* Theory of operation: who holds the guest's job lock, or backs it up, is waited for by a pid
 * descriptor. When it
 * has ended, what it left unfinished has a name (lodge_store_snapshots_unfinished). To let QEMU
 * simply go on would not do: a guest that writes a layer which the definition does not name yet
 * would lose that. So it is mended by the command that everybody else would use, which takes the
 * job lock as each command does; one that comes meanwhile waits for it (lodge_job_begin). If
 * another command was quicker, that one mends, and it is looked at again. */
#include "config.h"

#include "keeper/mend.h"

#include <glib-unix.h>

#include "base/base.h"
#include "store/snapshots.h"

enum {
    AGAIN_S = 1,
    ATTEMPTS = 5, /* then something is wrong that trying does not cure */
};

struct Mend {
    const LodgeStore *store;
    const char *guest;
    int holder_fd;
    guint holder_source;
    guint again_source;
    guint child_source;
    GPid child;
    guint attempts;
};

static gboolean
on_holder_end(gint fd, GIOCondition condition, gpointer data)
{
    (void)fd;
    (void)condition;
    Mend *mend = data;
    mend->holder_source = 0;
    lodge_fd_clear(&mend->holder_fd);
    mend_look(mend);
    return G_SOURCE_REMOVE;
}

static gboolean
on_again(gpointer data)
{
    Mend *mend = data;
    mend->again_source = 0;
    mend_look(mend);
    return G_SOURCE_REMOVE;
}

static void
look_again(Mend *mend)
{
    if (mend->attempts < ATTEMPTS && mend->again_source == 0) {
        mend->again_source = g_timeout_add_seconds(AGAIN_S, on_again, mend);
    }
}

static void
on_child_end(GPid pid, gint status, gpointer data)
{
    (void)status;
    Mend *mend = data;
    g_spawn_close_pid(pid);
    mend->child_source = 0;
    if (lodge_store_snapshots_unfinished(mend->store, mend->guest)) {
        look_again(mend);
    }
}

static void
repair(Mend *mend)
{
    g_autofree char *program = lodge_program_own("lodge", LODGE_BIN_DIR);
    const char *argv[] = {program, "check", mend->guest, "--repair", NULL};
    mend->attempts++;
    lodge_event_append(mend->store, mend->guest, "mending", NULL);
    if (g_spawn_async("/", (char **)argv, NULL,
                      G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL |
                          G_SPAWN_STDERR_TO_DEV_NULL,
                      NULL, NULL, &mend->child, NULL)) {
        mend->child_source = g_child_watch_add(mend->child, on_child_end, mend);
    } else {
        look_again(mend);
    }
}

void
mend_look(Mend *mend)
{
    if (mend->holder_source != 0 || mend->child_source != 0 || mend->again_source != 0) {
        return;
    }
    g_autofree char *lock = lodge_store_run_path(mend->store, mend->guest, "job.lock");
    g_autofree char *backup = lodge_store_run_path(mend->store, mend->guest, "backup.lock");
    mend->holder_fd = lodge_lock_open_holder(lock, NULL);
    if (mend->holder_fd < 0) {
        mend->holder_fd = lodge_lock_open_holder(backup, NULL);
    }
    if (mend->holder_fd >= 0) {
        mend->holder_source = g_unix_fd_add(mend->holder_fd, G_IO_IN, on_holder_end, mend);
        return;
    }
    if (!lodge_store_snapshots_unfinished(mend->store, mend->guest)) {
        mend->attempts = 0;
    } else if (lodge_lock_is_held(lock) || lodge_lock_is_held(backup)) {
        look_again(mend); /* taken just now: the holder's id is not there yet */
    } else if (mend->attempts < ATTEMPTS) {
        repair(mend);
    }
}

Mend *
mend_new(const LodgeStore *store, const char *guest)
{
    Mend *mend = g_new0(Mend, 1);
    mend->store = store;
    mend->guest = guest;
    mend->holder_fd = -1;
    return mend;
}

void
mend_free(Mend *mend)
{
    if (mend == NULL) {
        return;
    }
    const guint sources[] = {mend->holder_source, mend->again_source, mend->child_source};
    for (gsize i = 0; i < G_N_ELEMENTS(sources); i++) {
        if (sources[i] != 0) {
            g_source_remove(sources[i]);
        }
    }
    lodge_fd_clear(&mend->holder_fd);
    g_free(mend);
}
