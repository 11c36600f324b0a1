/* Viewers that speak TLS: lodge-vnc-tls stands between each of them and QEMU. */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "store/store.h"

/* A certificate and its key, PEM files. */
typedef struct {
    char *certificate;
    char *key;
} LodgeVncTls;

void lodge_vnc_tls_clear(LodgeVncTls *tls);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LodgeVncTls, lodge_vnc_tls_clear)

/* server-cert.pem and server-key.pem in @folder, as QEMU and others call them; NULL: this host's
 * own, which are made the first time (signed by themselves, for ten years). NOT_FOUND if the folder
 * lacks one; UNSUPPORTED if openssl is needed and absent. */
gboolean lodge_vnc_tls_find(const LodgeStore *store, const char *folder, LodgeVncTls *out_tls,
                            GError **error);

/* The certificate's SHA-256 fingerprint, "AB:CD:…", as viewers show it; NULL if it can't be told.
 * Free with g_free. */
char *lodge_vnc_tls_fingerprint(const LodgeVncTls *tls);

/* Serve the connection @fd (which stays the caller's) by a process of its own, which outlives us.
 * Its id, a child of ours. */
gboolean lodge_vnc_tls_hand_over(const LodgeStore *store, const char *name, int fd,
                                 const LodgeVncTls *tls, pid_t *out_pid, GError **error);
