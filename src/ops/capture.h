/* The memory of a guest that runs, for others to begin with. Private to this layer. */
#pragma once

#include <glib.h>

#include "base/child.h"

/* It belongs to no name: its holders' descriptors keep it, ours and the keepers' of who begins with
 * it, and with the last of them it is gone. */
typedef struct Capture {
    int memory_fd; /* what the guest had in memory; sealed, so that nobody can change it */
    int state_fd;  /* the rest of it, as QEMU's migration writes it */
    LodgeChild *reader;
} Capture;

#define CAPTURE_NONE                                                                               \
    (Capture)                                                                                      \
    {                                                                                              \
        .memory_fd = -1, .state_fd = -1                                                            \
    }

/* Make both files, empty, of a guest with @size_bytes of memory, unless they are there.
 * UNSUPPORTED if this host has no memory for it. */
gboolean capture_prepare(Capture *capture, guint64 size_bytes, GError **error);

/* Begin to take QEMU's stream, of a guest with @size_bytes of memory. Returns the descriptor that
 * it is to be written to: close it when QEMU has it; -1 on error. Clear *@capture in any case. */
int capture_begin(Capture *capture, guint64 size_bytes, GError **error);

/* All has come: see that a stream was understood, and seal what came. */
gboolean capture_finish(Capture *capture, GError **error);

void capture_clear(Capture *capture);

/* Where other processes of ours find the memory as long as we live, and where this one finds the
 * state. Free with g_free. */
char *capture_memory_path(const Capture *capture);
char *capture_state_path(const Capture *capture);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Capture, capture_clear)
