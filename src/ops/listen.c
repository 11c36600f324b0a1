#include "config.h"

#include "ops/listen.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/base.h"

enum {
    BACKLOG = 8,
    TABLE_LIMIT_BYTES = 64 << 20,
};

/* "[::1]:5901" -> "::1" and "5901"; the port is NULL if there is none. */
static void
split_address(const char *text, char **out_host, char **out_port)
{
    const char *colon = strrchr(text, ':');
    const char *bracket = strchr(text, ']');
    gboolean is_bare_ipv6 = bracket == NULL && colon != NULL && strchr(text, ':') != colon;
    if (is_bare_ipv6 || (bracket != NULL && colon < bracket)) {
        colon = NULL;
    }
    *out_host = colon != NULL ? g_strndup(text, (gsize)(colon - text)) : g_strdup(text);
    *out_port = colon != NULL ? g_strdup(colon + 1) : NULL;
    if (**out_host == '[' && g_str_has_suffix(*out_host, "]")) {
        (*out_host)[strlen(*out_host) - 1] = '\0';
        memmove(*out_host, *out_host + 1, strlen(*out_host));
    }
}

static int
listen_at(const struct addrinfo *info, guint port)
{
    struct sockaddr_storage address;
    memcpy(&address, info->ai_addr, info->ai_addrlen);
    if (info->ai_family == AF_INET6) {
        ((struct sockaddr_in6 *)&address)->sin6_port = htons((guint16)port);
    } else {
        ((struct sockaddr_in *)&address)->sin_port = htons((guint16)port);
    }
    const int yes = 1;
    lodge_autofd fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(fd, (struct sockaddr *)&address, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        return -1;
    }
    return lodge_fd_steal(&fd);
}

static guint
port_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &length);
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

int
lodge_listen_tcp(const char *text, guint first, guint last, guint *out_port, GError **error)
{
    g_autofree char *host = NULL, *port_text = NULL;
    split_address(text, &host, &port_text);
    guint64 port = first;
    if (port_text != NULL && !g_ascii_string_to_unsigned(port_text, 10, 0, 65535, &port, NULL)) {
        lodge_error_set(error, LODGE_ERROR_USAGE, "“%s” is no port", port_text);
        return -1;
    }
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_PASSIVE};
    struct addrinfo *info = NULL;
    gboolean lacks_port = port_text == NULL && first == 0;
    if (*host != '\0' && lacks_port) {
        lodge_error_set(error, LODGE_ERROR_USAGE, "“%s”: write ADDRESS:PORT", text);
        return -1;
    }
    if (*host == '\0' || getaddrinfo(host, NULL, &hints, &info) != 0) {
        lodge_error_set(error, LODGE_ERROR_USAGE,
                        "“%s” is no address of this host: write 192.0.2.1, 0.0.0.0 or [::], and "
                        ":PORT behind it if you like",
                        host);
        return -1;
    }
    last = port_text != NULL ? (guint)port : last;
    int fd = -1;
    for (guint at = (guint)port; fd < 0 && at <= last; at++) {
        fd = listen_at(info, at);
    }
    int saved_errno = errno;
    freeaddrinfo(info);
    if (fd < 0) {
        lodge_error_errno(error, saved_errno == EADDRINUSE ? EBUSY : saved_errno, "Listening on %s",
                          text);
        return -1;
    }
    *out_port = port_of(fd);
    return fd;
}

gboolean
lodge_listen_is_loopback(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
        return FALSE;
    }
    return address.ss_family == AF_INET &&
           ntohl(((struct sockaddr_in *)&address)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

gboolean
lodge_peer_find_user(const char *text, guint32 local, guint local_port, guint32 remote,
                     guint remote_port, guint *out_uid)
{
    g_autofree char *wanted = g_strdup_printf(" %08X:%04X %08X:%04X ", htonl(local), local_port,
                                              htonl(remote), remote_port);
    const char *found = strstr(text, wanted);
    /* Then: state, queues, timer, retransmits, user. */
    return found != NULL &&
           sscanf(found + strlen(wanted), "%*x %*x:%*x %*x:%*x %*x %u", out_uid) == 1;
}

gboolean
lodge_peer_is_own_user(int fd)
{
    struct sockaddr_in own = {0}, peer = {0};
    socklen_t own_length = sizeof own, peer_length = sizeof peer;
    if (getsockname(fd, (struct sockaddr *)&own, &own_length) < 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_length) < 0 || own.sin_family != AF_INET) {
        return FALSE;
    }
    guint uid = 0;
    g_autofree char *text = lodge_file_read("/proc/net/tcp", TABLE_LIMIT_BYTES, NULL, NULL);
    return text != NULL &&
           lodge_peer_find_user(text, ntohl(peer.sin_addr.s_addr), ntohs(peer.sin_port),
                                ntohl(own.sin_addr.s_addr), ntohs(own.sin_port), &uid) &&
           uid == geteuid();
}
