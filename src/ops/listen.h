/* TCP sockets that commands listen on, and who it is that connects. */
#pragma once

#include <glib.h>

/* Listen at @text: "ADDRESS", "ADDRESS:PORT", "[ADDRESS]:PORT", numbers only. Without a port the
 * first free one from @first to @last (0: a port must be given); port 0 any. @out_port: which it
 * is. Returns the descriptor or -1: USAGE, BUSY. */
int lodge_listen_tcp(const char *text, guint first, guint last, guint *out_port, GError **error);

/* Does @fd listen on an IPv4 loopback address? */
gboolean lodge_listen_is_loopback(int fd);

/* Was the accepted IPv4 loopback connection @fd made by a process of our own user? On loopback all
 * users of a host can knock. */
gboolean lodge_peer_is_own_user(int fd);

/* Which user has the socket that is bound to @local and connected to @remote (addresses and ports
 * in host order), as a /proc/net/tcp of @text says? FALSE if it says nothing. Pure. */
gboolean lodge_peer_find_user(const char *text, guint32 local, guint local_port, guint32 remote,
                              guint remote_port, guint *out_uid);
