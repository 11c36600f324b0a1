/* Which parked machine a guest can begin as. Private to this layer. */
#pragma once

#include <glib.h>

#include "qemu/command.h"
#include "store/store.h"

/* A guest as a parked machine is one: the definition without what each guest has of its own. */
typedef struct {
    LodgeGuest guest; /* its parts are borrowed from the guest it was made of, but for these */
    LodgeNic nic;
    GPtrArray *nics;
    LodgeTap tap; /* link NULL: its NIC is a user-mode one. fd is -1 until there is one */
    gboolean kvm;
    char *program; /* QEMU's */
    char *qemu;    /* its version */
    char *key;     /* what must be the same: QEMU, the CPU, the image and the command line */
} ParkedShape;

#define PARKED_SHAPE_NONE                                                                          \
    {                                                                                              \
        .tap = {.fd = -1, .vhost_fd = -1 }                                                         \
    }

/* The shape of @guest, which was made of @image. UNSUPPORTED says why nothing can be parked, or
 * forked, for it. Clear it on failure too; it begins as PARKED_SHAPE_NONE. */
gboolean parked_shape(const LodgeStore *store, const LodgeGuest *guest, const LodgeImage *image,
                      ParkedShape *out_shape, GError **error);
void parked_shape_clear(ParkedShape *shape);

/* The command that runs the machine of that shape in @folder, which has its root.qcow2 and
 * seed.txt: it begins paused, and its memory goes into the file that is open as @memory_fd. */
LodgeCommand *parked_command(const ParkedShape *shape, const char *folder, int memory_fd,
                             LodgeBegin begin, GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ParkedShape, parked_shape_clear)
