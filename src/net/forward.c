/* Theory of operation: who may have which port of the host.
 *
 * Forwards are elements of nftables maps, and come into effect before any socket: a forward of port
 * 22 would take the host's own SSH server off the network. So what somebody listens on is refused,
 * as is what another guest has, before a rule is written. */
#include "config.h"

#include "net/forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "net/attach.h"
#include "net/net-private.h"

static gboolean
is_any(const LodgeForward *forward)
{
    return !forward->address_given || g_str_equal(forward->address, "0.0.0.0") ||
           g_str_equal(forward->address, "::");
}

/* Could nobody listen there, because somebody does? What can't be tried (an address that is not
 * this host's yet) is nobody's. */
static gboolean
is_listened_on(const LodgeForward *forward, gboolean ipv6)
{
    struct sockaddr_in6 wanted6 = {.sin6_family = AF_INET6,
                                   .sin6_port = htons((guint16)forward->host_port)};
    struct sockaddr_in wanted4 = {.sin_family = AF_INET,
                                  .sin_port = htons((guint16)forward->host_port)};
    if (!is_any(forward)) {
        inet_pton(ipv6 ? AF_INET6 : AF_INET, forward->address,
                  ipv6 ? (void *)&wanted6.sin6_addr : (void *)&wanted4.sin_addr);
    }
    const struct sockaddr *wanted = ipv6 ? (struct sockaddr *)&wanted6
                                         : (struct sockaddr *)&wanted4;
    int kind = (forward->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC;
    lodge_autofd fd = socket(wanted->sa_family, kind, 0);
    int yes = 1;
    if (fd < 0) {
        return FALSE;
    }
    if (!forward->udp) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes); /* past connections are fine */
    }
    if (ipv6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
    }
    return (bind(fd, wanted, ipv6 ? sizeof wanted6 : sizeof wanted4) < 0 && errno == EADDRINUSE) ||
           (!forward->udp && listen(fd, 1) < 0 && errno == EADDRINUSE);
}

static gboolean
check_host(const LodgeForward *forward, GError **error)
{
    gboolean is_ipv6 = strchr(forward->address, ':') != NULL;
    gboolean any = !forward->address_given;
    if ((any || !is_ipv6 ? is_listened_on(forward, FALSE) : FALSE) ||
        (any || is_ipv6 ? is_listened_on(forward, TRUE) : FALSE)) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "port %u%s of this host is in use by a program of its own, which "
                               "would be cut off (`ss -lnp sport = :%u` shows which)",
                               forward->host_port, forward->udp ? "/udp" : "", forward->host_port);
    }
    return TRUE;
}

static gboolean
clash(const LodgeForward *a, const LodgeForward *b)
{
    return a->host_port == b->host_port && a->udp == b->udp &&
           (is_any(a) ? is_any(b) : !is_any(b) && g_str_equal(a->address, b->address));
}

static gboolean
check_other(const LodgeForward *forward, const LodgePort *other, GError **error)
{
    g_autoptr(GPtrArray) taken = other->forward != NULL ? lodge_forwards_parse(other->forward, NULL)
                                                        : NULL;
    for (guint i = 0; taken != NULL && i < taken->len; i++) {
        if (clash(forward, taken->pdata[i])) {
            return lodge_error_set(error, LODGE_ERROR_BUSY,
                                   "port %u%s of this host is forwarded to guest %s already",
                                   forward->host_port, forward->udp ? "/udp" : "", other->guest);
        }
    }
    return TRUE;
}

static gboolean
check_others(const LodgeStore *store, const LodgePort *port, const LodgeForward *forward,
             GError **error)
{
    g_autofree char *folder = g_build_filename(store->run, "networks", NULL);
    g_auto(GStrv) networks = lodge_dir_names(folder, NULL);
    for (gsize n = 0; networks != NULL && networks[n] != NULL; n++) {
        g_autoptr(GPtrArray) ports = lodge_net_ports(store, networks[n]);
        for (guint i = 0; i < ports->len; i++) {
            const LodgePort *other = ports->pdata[i];
            if (!g_str_equal(other->link, port->link) && !check_other(forward, other, error)) {
                return FALSE;
            }
        }
    }
    return TRUE;
}

gboolean
lodge_net_check_forwards(const LodgeStore *store, const LodgePort *port, GError **error)
{
    g_autoptr(GPtrArray)
        forwards = lodge_forwards_parse(port->forward != NULL ? port->forward : "", error);
    for (guint i = 0; forwards != NULL && i < forwards->len; i++) {
        if (!check_others(store, port, forwards->pdata[i], error) ||
            !check_host(forwards->pdata[i], error)) {
            return FALSE;
        }
    }
    return forwards != NULL;
}

gboolean
lodge_net_set_forward(LodgeNet *net, const char *network_name, const char *link,
                      const char *forward, GError **error)
{
    lodge_autofd lock = lodge_net_lock(net->store, network_name, error);
    g_autoptr(LodgeNetwork) network = lodge_net_running(net->store, network_name);
    g_autoptr(LodgePort) port = lodge_net_read_port(net->store, network_name, link);
    if (lock < 0) {
        return FALSE;
    }
    if (network == NULL || port == NULL) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "network %s does not have it",
                               network_name);
    }
    g_free(port->forward);
    port->forward = g_strdup(forward);
    return lodge_net_check_forwards(net->store, port, error) &&
           lodge_net_admit(net, network, port, error) &&
           lodge_net_connect_tap(net, network, port, error);
}
