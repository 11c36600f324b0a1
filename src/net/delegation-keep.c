/* Theory of operation: the client's messages go through a raw socket, as the port of DHCPv6 clients
 * may be the host's own one's: the kernel hands a copy of what comes for it to each, and neither
 * notices the other. The uplink is looked for anew with each message, as it may appear late, or
 * become a port of a bridge. The kernel answers a server that nobody listens where it writes to, if
 * the host has no client of its own; servers ignore that. */
#include "config.h"

#include "net/delegation-keep.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "net/delegated.h"
#include "net/link.h"
#include "net/net-private.h"

enum {
    CLIENT_PORT = 546,
    SERVER_PORT = 547,
    LONGEST_WAIT_MS = 60000, /* clocks that stand still in sleep are looked at so often */
    NO_UPLINK_WAIT_MS = 3000,
    BUSY_WAIT_MS = 250,
    MESSAGE_MOST_BYTES = 4096,
    RELEASE_TRIES = 2,
    RELEASE_WAIT_MS = 300, /* who stops the network waits, too */
    SILENCE_TRIES = 4,     /* after 15 s without an offer it is told */
};

struct LodgeDelegationKeep {
    const LodgeStore *store;
    const LodgeNetwork *network;
    LodgeNet *net;
    LodgeDelegationClient client;
    char *uplink; /* whose socket is open; NULL: none */
    int index;
    int socket;
    guint source;
    guint timer;
    gboolean is_applied; /* the host has what the client has */
    char *complaint;     /* what was told last, so that it is told once */
};

typedef LodgeDelegationKeep Keep;

static gint64
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (gint64)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
tell(Keep *keep, const char *kind, const char *key, const char *value)
{
    if (g_strcmp0(keep->complaint, value) != 0) {
        g_free(keep->complaint);
        keep->complaint = g_strdup(value);
        lodge_event_append(keep->store, NULL, kind,
                           json_pack("{s:s, s:s}", "network", keep->network->name, key, value));
    }
}

/* Only what is for a client's port: a raw socket would get everybody's UDP. */
static gboolean
set_filter(int fd)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct udphdr, dest)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLIENT_PORT, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, G_MAXUINT32),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {G_N_ELEMENTS(code), code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

static int
open_socket(const char *uplink, GError **error)
{
    int checksum_at = offsetof(struct udphdr, check);
    lodge_autofd fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP);
    if (fd < 0 || !set_filter(fd) ||
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, uplink, (socklen_t)strlen(uplink)) < 0 ||
        setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &checksum_at, sizeof checksum_at) < 0) {
        lodge_error_errno(error, errno, "opening a socket on %s", uplink);
        return -1;
    }
    return lodge_fd_steal(&fd);
}

static void
close_uplink(Keep *keep)
{
    if (keep->source != 0) {
        g_source_remove(keep->source);
        keep->source = 0;
    }
    lodge_fd_clear(&keep->socket);
    g_clear_pointer(&keep->uplink, g_free);
}

static gboolean on_message(gint fd, GIOCondition condition, gpointer data);

/* The uplink that leads outside now. One that became a port of a bridge has lost its addresses to
 * that bridge. NULL: none. */
static char *
find_uplink(const Keep *keep)
{
    LodgeLinkInfo info;
    char bridge[IF_NAMESIZE];
    const char *named = keep->network->uplink;
    if (named == NULL) {
        return lodge_net_default_link(keep->net, keep->network->bridge);
    }
    gboolean is_port = lodge_link_look(keep->net->netlink, named, &info) && info.master != 0 &&
                       if_indextoname((guint)info.master, bridge) != NULL;
    return g_strdup(is_port ? bridge : named);
}

/* The socket is open on it. */
static gboolean
ensure_uplink(Keep *keep, gint64 now, GError **error)
{
    g_autofree char *uplink = find_uplink(keep);
    int index = uplink != NULL ? lodge_link_index(uplink) : 0;
    if (index == 0) {
        close_uplink(keep);
        return uplink != NULL
                   ? lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "there is no uplink %s", uplink)
                   : lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                                     "the host has no IPv6 default route (uplink= names "
                                     "the interface that leads outside)");
    }
    if (g_strcmp0(uplink, keep->uplink) == 0 && index == keep->index) {
        return TRUE;
    }
    close_uplink(keep);
    keep->socket = open_socket(uplink, error);
    if (keep->socket < 0) {
        return FALSE;
    }
    keep->uplink = g_steal_pointer(&uplink);
    keep->index = index;
    keep->source = g_unix_fd_add(keep->socket, G_IO_IN, on_message, keep);
    lodge_delegation_begin(&keep->client, now); /* there may be another router */
    return TRUE;
}

static gboolean
send_message(Keep *keep, const GByteArray *message, GError **error)
{
    struct sockaddr_in6 servers = {.sin6_family = AF_INET6, .sin6_scope_id = (guint32)keep->index};
    inet_pton(AF_INET6, "ff02::1:2", &servers.sin6_addr);
    struct udphdr head = {
        .source = htons(CLIENT_PORT),
        .dest = htons(SERVER_PORT),
        .len = htons((guint16)(sizeof head + message->len)),
    };
    struct iovec parts[] = {{&head, sizeof head}, {message->data, message->len}};
    struct msghdr whole = {.msg_name = &servers,
                           .msg_namelen = sizeof servers,
                           .msg_iov = parts,
                           .msg_iovlen = G_N_ELEMENTS(parts)};
    return sendmsg(keep->socket, &whole, 0) >= 0 ||
           lodge_error_errno(error, errno, "asking on %s", keep->uplink);
}

/* The host gets what the client has. Returns how long to wait before it is tried again; 0: done. */
static gint64
apply(Keep *keep, gint64 now)
{
    g_autoptr(GError) error = NULL;
    if (keep->is_applied) {
        return 0;
    }
    const char *uplink = keep->uplink != NULL ? keep->uplink : "";
    if (lodge_net_set_delegated(keep->net, keep->network, &keep->client, now, uplink, &error)) {
        gboolean has = keep->client.lease.prefix.family != 0;
        g_autofree char *prefix = has ? lodge_prefix_format(&keep->client.lease.prefix) : NULL;
        lodge_net_save_delegation(keep->store, keep->network->name, now, &keep->client, NULL);
        tell(keep, has ? "network-delegated" : "network-delegation-lost", "prefix",
             has ? prefix : "none");
        keep->is_applied = TRUE;
        return 0;
    }
    if (!g_error_matches(error, LODGE_ERROR, LODGE_ERROR_BUSY)) {
        tell(keep, "network-delegation-failed", "reason", error->message);
    }
    return g_error_matches(error, LODGE_ERROR, LODGE_ERROR_BUSY) ? BUSY_WAIT_MS : LONGEST_WAIT_MS;
}

static void go_on(Keep *keep);

static gboolean
on_timer(gpointer data)
{
    Keep *keep = data;
    keep->timer = 0;
    go_on(keep);
    return G_SOURCE_REMOVE;
}

static gint64
speak(Keep *keep, gint64 now)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) message = g_byte_array_new();
    gboolean has_uplink = ensure_uplink(keep, now, &error);
    keep->is_applied = !lodge_delegation_act(&keep->client, now, message) && keep->is_applied;
    if (!has_uplink || (message->len > 0 && !send_message(keep, message, &error))) {
        tell(keep, "network-delegation-failed", "reason", error->message);
        if (keep->client.state == LODGE_DELEGATION_SOLICITING) {
            lodge_delegation_begin(&keep->client, now + NO_UPLINK_WAIT_MS);
        }
        return NO_UPLINK_WAIT_MS;
    }
    if (keep->client.state == LODGE_DELEGATION_SOLICITING && keep->client.tries == SILENCE_TRIES) {
        g_autofree char *reason = g_strdup_printf("no router on %s delegates a prefix, or the "
                                                  "host's firewall keeps its answers (UDP to port "
                                                  "546) from here",
                                                  keep->uplink);
        tell(keep, "network-delegation-failed", "reason", reason);
    }
    return MAX(keep->client.next - now, 0);
}

static void
go_on(Keep *keep)
{
    gint64 now = now_ms();
    gint64 wait = MIN(speak(keep, now), LONGEST_WAIT_MS);
    gint64 again = apply(keep, now);
    if (keep->timer != 0) {
        g_source_remove(keep->timer);
    }
    keep->timer = g_timeout_add((guint)(again != 0 ? MIN(wait, again) : wait) + 1, on_timer, keep);
}

static gboolean
on_message(gint fd, GIOCondition condition, gpointer data)
{
    (void)condition;
    Keep *keep = data;
    guint8 bytes[MESSAGE_MOST_BYTES];
    gssize got = recv(fd, bytes, sizeof bytes, 0);
    if (got > (gssize)sizeof(struct udphdr)) {
        gboolean is_new = lodge_delegation_hear(&keep->client, bytes + sizeof(struct udphdr),
                                                (gsize)got - sizeof(struct udphdr), now_ms());
        keep->is_applied = !is_new && keep->is_applied;
        guint source = keep->source;
        go_on(keep);
        return keep->source == source;
    }
    return G_SOURCE_CONTINUE;
}

LodgeDelegationKeep *
lodge_delegation_keep(const LodgeStore *store, const LodgeNetwork *network)
{
    if (!network->delegation) {
        return NULL;
    }
    g_autoptr(GError) error = NULL;
    Keep *keep = g_new0(Keep, 1);
    gint64 now = now_ms();
    keep->store = store;
    keep->network = network;
    keep->socket = -1;
    keep->net = lodge_net_open(store, &error);
    if (keep->net == NULL ||
        !lodge_net_load_delegation(store, network->name, now, &keep->client, &error)) {
        tell(keep, "network-delegation-failed", "reason", error->message);
        return NULL;
    }
    g_autofree char *had = lodge_net_delegated(store, network->name);
    keep->is_applied = had == NULL && keep->client.lease.prefix.family == 0;
    lodge_delegation_begin(&keep->client, now);
    keep->timer = g_timeout_add(0, on_timer, keep);
    return keep;
}

void
lodge_delegation_give_back(LodgeDelegationKeep *keep)
{
    guint8 bytes[MESSAGE_MOST_BYTES];
    for (guint try = 0; keep != NULL && keep->socket >= 0 && try < RELEASE_TRIES; try++) {
        g_autoptr(GByteArray) message = g_byte_array_new();
        if (!lodge_delegation_release(&keep->client, now_ms(), message) ||
            !send_message(keep, message, NULL)) {
            break;
        }
        gint64 deadline = lodge_deadline_in(RELEASE_WAIT_MS);
        while (keep->client.lease.prefix.family != 0 &&
               lodge_wait_fd(keep->socket, POLLIN, deadline, NULL)) {
            gssize got = recv(keep->socket, bytes, sizeof bytes, 0);
            if (got > (gssize)sizeof(struct udphdr)) {
                lodge_delegation_hear(&keep->client, bytes + sizeof(struct udphdr),
                                      (gsize)got - sizeof(struct udphdr), now_ms());
            }
        }
    }
    /* Whether it was heard or not, it is ours no more. */
    if (keep != NULL && keep->client.hint.prefix.family != 0) {
        keep->client.lease = (LodgeDelegation){0};
        lodge_net_save_delegation(keep->store, keep->network->name, now_ms(), &keep->client, NULL);
    }
}
