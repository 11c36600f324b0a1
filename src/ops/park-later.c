/* Parking by itself: what a guest was just made of, cold, is kept for the next one. */
#include "config.h"

#include <unistd.h>

#include "base/base.h"
#include "image/warm.h"
#include "ops/park.h"
#include "ops/parked.h"
#include "ops/session.h"

/* Besides the guest itself, a second one of its size must have room, and its memory on disk. */
#define SPARE_BYTES (G_GUINT64_CONSTANT(4) << 30)

static gboolean
is_wanted(const LodgeImage *image)
{
    const char *wish = g_getenv("LODGE_PARK");
    return g_strcmp0(wish, "off") != 0 && image->park == LODGE_PARK_AUTO;
}

static gboolean
has_room(const LodgeStore *store, const LodgeGuest *guest)
{
    guint64 there = lodge_file_system_free(store->root);
    return (there == 0 || there >= guest->memory_bytes + SPARE_BYTES) &&
           lodge_memory_available() / 2 >= guest->memory_bytes;
}

void
lodge_park_later(const LodgeStore *store, const char *name)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, name, NULL);
    g_autoptr(LodgeImage) image = guest != NULL && guest->image != NULL
                                      ? lodge_store_image(store, guest->image, NULL)
                                      : NULL;
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
    g_auto(ParkedShape) shape = PARKED_SHAPE_NONE;
    if (image == NULL || !is_wanted(image) || state->inside == NULL || !has_room(store, guest) ||
        !parked_shape(store, guest, image, &shape, NULL)) {
        return;
    }
    g_autoptr(LodgeWarm) there = lodge_warm_find(store, image->name, shape.key);
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    if (there != NULL || program == NULL) {
        return;
    }
    g_autofree char *cpus = g_strdup_printf("--cpus=%u", guest->cpus);
    g_autofree char *size = lodge_size_format(guest->memory_bytes);
    g_autofree char *memory = g_strconcat("--memory=", size, NULL);
    const char *argv[] = {program,
                          "image",
                          "park",
                          image->name,
                          cpus,
                          memory,
                          shape.guest.accel == LODGE_ACCEL_TCG ? "--accel=tcg" : "--accel=auto",
                          shape.tap.link != NULL ? "--network=default" : "--network=user",
                          NULL};
    lodge_detached_leave(argv, NULL);
}
