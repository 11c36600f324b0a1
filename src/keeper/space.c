/* Theory of operation: QEMU stops a guest whose write meets a full host (werror=enospc, its
 * default), and does the write again when it is told to go on, so that the guest never hears of it.
 * File systems tell nobody when they have room, so they are asked: one statvfs each, every two
 * seconds, only while the guest stands still. Going on with a few KiB would end in the next stop,
 * so some room must be there, and more each time that it was not enough. */
#include "config.h"

#include "keeper/space.h"

#include <sys/statvfs.h>

#include "base/base.h"

enum {
    LOOK_S = 2,
    PART_OF_WHOLE = 50, /* small file systems need not have all of ENOUGH_BYTES */
    STEPS = 5,
    CALM_US = 60 * G_USEC_PER_SEC, /* a guest that ran as long begins anew */
};

#define ENOUGH_BYTES (G_GUINT64_CONSTANT(64) << 20)

struct Space {
    const LodgeStore *store;
    const char *guest;
    SpaceContinueFunc go_on;
    gpointer data;
    guint source;
    guint steps; /* how often it was not enough */
    gint64 continued_us;
};

static gboolean
has_room(const Space *space, const char *path)
{
    struct statvfs info;
    if (statvfs(path, &info) < 0) {
        return TRUE; /* nothing that waiting could be for */
    }
    guint64 whole = (guint64)info.f_blocks * info.f_frsize;
    guint64 wanted = MIN(ENOUGH_BYTES, whole / PART_OF_WHOLE) << space->steps;
    return (guint64)info.f_bavail * info.f_frsize >= MIN(wanted, whole / 2);
}

static gboolean
is_enough(const Space *space)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(space->store, space->guest, NULL);
    g_autofree char *folder = lodge_store_guest_path(space->store, space->guest, NULL);
    if (!has_room(space, folder)) {
        return FALSE;
    }
    for (guint i = 0; guest != NULL && i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        if (!disk->read_only && g_path_is_absolute(disk->file) && !has_room(space, disk->file)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
on_look(gpointer data)
{
    Space *space = data;
    g_autofree char *lock = lodge_store_run_path(space->store, space->guest, "job.lock");
    /* A command at work knows best when its guest shall go on. */
    if (lodge_lock_is_held(lock) || !is_enough(space)) {
        return G_SOURCE_CONTINUE;
    }
    space->source = 0;
    space->continued_us = g_get_monotonic_time();
    space->go_on(space->data);
    return G_SOURCE_REMOVE;
}

void
space_wait(Space *space)
{
    if (space->source != 0) {
        return;
    }
    gboolean is_again = space->continued_us != 0 &&
                        g_get_monotonic_time() - space->continued_us < CALM_US;
    space->steps = is_again ? MIN(space->steps + 1, STEPS) : 0;
    space->source = g_timeout_add_seconds(LOOK_S, on_look, space);
}

void
space_forget(Space *space)
{
    if (space->source != 0) {
        g_source_remove(space->source);
        space->source = 0;
    }
}

Space *
space_new(const LodgeStore *store, const char *guest, SpaceContinueFunc go_on, gpointer data)
{
    Space *space = g_new0(Space, 1);
    *space = (Space){.store = store, .guest = guest, .go_on = go_on, .data = data};
    return space;
}

void
space_free(Space *space)
{
    if (space != NULL) {
        space_forget(space);
        g_free(space);
    }
}
