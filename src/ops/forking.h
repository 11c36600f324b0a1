/* Guests that begin as a machine that is there already. Private to this layer. */
#pragma once

#include <glib.h>

#include "image/warm.h"
#include "ops/session.h"

/* The parked machine that @guest, made of @image, can begin as; NULL: none, so it boots. */
LodgeWarm *forking_find(const LodgeStore *store, const LodgeGuest *guest, const LodgeImage *image);

/* What it begins as. */
typedef struct {
    const char *memory;    /* what holds its memory; NULL: that is in the state */
    const char *state;     /* its devices', as QEMU's migration writes it */
    const char *host_key;  /* where its SSH server has its key; NULL: it is looked for */
    guint64 disk_bytes;    /* its disk is larger than the machine knows; 0: it isn't */
    gboolean asks_anew;    /* its DHCP client asks for another lease only when told to */
    const char *layout;    /* where it had its devices (LodgeSnapshot); NULL: as all have */
    const LodgeGuest *was; /* whose NICs the machine has; NULL: a parked machine's only one */
} ForkingSource;

/* Start the session's guest as that machine, and make it its own: until then its network is down.
 * What fails leaves it stopped. Its disk is a copy of the machine's; a parked one's has nobody's
 * identity on it, so the guest can boot from it then. */
gboolean forking_start(Session *session, const ForkingSource *source, LodgeProgress *progress,
                       GError **error);

/* Did somebody die who was starting it so? Then its QEMU must end: it is nobody yet. */
gboolean forking_is_unfinished(const LodgeStore *store, const char *guest);
gboolean forking_end(const Session *session, GError **error);
