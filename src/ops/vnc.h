/* Viewers for a guest's screen. QEMU's VNC server listens nowhere: whoever listens here accepts a
 * viewer's connection and hands it to QEMU. */
#pragma once

#include <glib.h>

#include "store/store.h"

/* VNC's own scheme looks at no more. */
#define LODGE_VNC_PASSWORD_LENGTH 8

/* Has the running guest a screen? UNSUPPORTED tells what to do if not. */
gboolean lodge_vnc_check(const LodgeStore *store, const char *name, GError **error);

/* Listen at <run>/guests/NAME/vnc.sock, for the own user only. Returns the descriptor, and one that
 * holds vnc.lock in @out_lock_fd: keep it as long. -1 with BUSY if another process does. */
int lodge_vnc_listen_unix(const LodgeStore *store, const char *name, int *out_lock_fd,
                          GError **error);

/* Give the connection @fd (which stays the caller's) to QEMU. @vouched: it need not know the
 * password. UNSUPPORTED if the guest has no screen. */
gboolean lodge_vnc_hand_over(const LodgeStore *store, const char *name, int fd, gboolean vouched,
                             GError **error);

/* Set the password for those who are not vouched for; NULL: nobody gets in any more. USAGE if it is
 * empty or too long. */
gboolean lodge_vnc_set_password(const LodgeStore *store, const char *name, const char *password,
                                GError **error);

/* A viewer that is installed, and how it is told where to connect. */
typedef struct {
    const char *program;
    gboolean takes_unix; /* the socket's path */
    const char *before;  /* an option before the place; NULL */
    const char *format;  /* "vnc://127.0.0.1:%u" */
    guint port_less;     /* what is taken from the port: display numbers begin at 5900 */
} LodgeVncViewer;

/* The first of those that Lodge knows; NULL if none is in PATH. */
const LodgeVncViewer *lodge_vnc_viewer(void);
