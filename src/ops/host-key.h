/* SSH host keys that are made on this host for a guest. Private to this layer. */
#pragma once

#include <glib.h>

#include "qmp/agent.h"

typedef struct {
    char *private_key; /* as the server in the guest wants it */
    gsize private_length;
    char *public_key; /* "ssh-ed25519 AAAA…" */
} HostKey;

/* Where the guest's SSH server has its key; NULL: nowhere that is known. Free with g_free. */
char *host_key_find(LodgeAgent *agent, gint64 deadline);

/* Make one, for the server that has its key at @place: OpenSSH, or dropbear where that is in the
 * name. @folder is for files that are gone again when it returns. */
gboolean host_key_make(const char *folder, const char *place, HostKey *out_key, GError **error);
void host_key_clear(HostKey *key);

/* OpenSSH's private key file, not encrypted, as dropbear has it. INVALID if it is none. Pure; free
 * with g_free. */
char *host_key_for_dropbear(const char *text, gsize *out_length, GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(HostKey, host_key_clear)
