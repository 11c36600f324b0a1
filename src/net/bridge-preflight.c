/* Which of the host's interfaces can become a port of a bridge, and why another can't. */
#include "config.h"

#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/base.h"
#include "net/bridge.h"
#include "net/link.h"
#include "net/net-private.h"

#define SIOCGIWNAME 0x8B01

static gboolean
is_wireless(const char *name)
{
    struct ifreq request = {0};
    lodge_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    return fd >= 0 && ioctl(fd, SIOCGIWNAME, &request) == 0;
}

static gboolean
is_ethernet(const char *name)
{
    struct ifreq request = {0};
    lodge_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    return fd >= 0 && ioctl(fd, SIOCGIFHWADDR, &request) == 0 &&
           request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
}

static gboolean
check_kind(const LodgeLinkInfo *info, const char *uplink, GError **error)
{
    static const char routed[] =
        "a network of mode=routed uplink=%s gives guests addresses of their own without a bridge";
    static const char *const unfit[] = {"macvlan", "ipvlan", "macvtap", "tun", "wireguard", NULL};
    g_autofree char *way_out = g_strdup_printf(routed, uplink);
    if (g_str_equal(info->kind, "bridge")) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "%s is a bridge already (lodge network create NAME mode=bridged "
                               "bridge=%s uses it)",
                               uplink, uplink);
    }
    if (is_wireless(uplink)) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s is Wi-Fi, which carries no MAC but its own, so it can't be "
                               "bridged; %s",
                               uplink, way_out);
    }
    if (!is_ethernet(uplink) || g_strv_contains(unfit, info->kind)) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s is no Ethernet interface that could be a port (%s); %s", uplink,
                               *info->kind != '\0' ? info->kind : "its kind", way_out);
    }
    return TRUE;
}

/* What the kernel takes for a link's name, and what no configuration file stumbles over. */
static gboolean
check_name(const char *bridge, GError **error)
{
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    return (*bridge != '\0' && strlen(bridge) < IF_NAMESIZE && *bridge != '-' &&
            strspn(bridge, fine) == strlen(bridge)) ||
           lodge_error_set(error, LODGE_ERROR_USAGE,
                           "“%s” can't be a bridge's name: 1 to 15 letters, digits, '-' and '_'",
                           bridge);
}

gboolean
lodge_bridge_preflight(LodgeNet *net, const char *uplink, const char *bridge, GError **error)
{
    LodgeLinkInfo info;
    LodgeLinkInfo other;
    if (!check_name(bridge, error)) {
        return FALSE;
    }
    if (!lodge_link_look(net->netlink, uplink, &info)) {
        return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "there is no interface %s", uplink);
    }
    if (info.flags & IFF_LOOPBACK) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "%s is the loopback interface", uplink);
    }
    if (info.master != 0) {
        char master[IF_NAMESIZE] = "another";
        if_indextoname((guint)info.master, master);
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "%s is a port of %s already", uplink,
                               master);
    }
    if (!check_kind(&info, uplink, error)) {
        return FALSE;
    }
    if (!(info.flags & IFF_UP)) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "%s is down", uplink);
    }
    return !lodge_link_look(net->netlink, bridge, &other) ||
           lodge_error_set(error, LODGE_ERROR_EXISTS,
                           "there is an interface %s already (--name names the bridge)", bridge);
}
