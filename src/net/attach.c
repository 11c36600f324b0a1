#include "config.h"

#include "net/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/base.h"
#include "net/address.h"
#include "net/firewall.h"
#include "net/forward.h"
#include "net/link.h"
#include "net/net-private.h"
#include "net/routed.h"

static char *
port_path(const LodgeStore *store, const char *network, const char *link)
{
    g_autofree char *folder = lodge_store_network_run_path(store, network, "ports");
    return g_build_filename(folder, link, NULL);
}

LodgePort *
lodge_net_read_port(const LodgeStore *store, const char *network, const char *link)
{
    g_autofree char *path = port_path(store, network, link);
    g_autoptr(json_t) value = lodge_json_read(path, 65536, NULL);
    return value != NULL ? lodge_port_from_json(value, NULL) : NULL;
}

static gboolean
write_port(const LodgeStore *store, const char *network, const LodgePort *port, GError **error)
{
    g_autofree char *path = port_path(store, network, port->link);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autoptr(json_t) value = lodge_port_json(port);
    return lodge_dir_make(folder, 0755, error) && lodge_json_publish(path, value, error);
}

static gboolean
run_rules(LodgeNet *net, const char *rules, GError **error)
{
    lodge_autofd lock = *rules != '\0' ? lodge_net_lock_host(net->store, error) : -1;
    return *rules == '\0' || (lock >= 0 && lodge_net_nft(net, rules, error));
}

static int
open_tap(const char *link, GError **error)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    g_strlcpy(request.ifr_name, link, sizeof request.ifr_name);
    lodge_autofd fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        lodge_error_errno(error, errno, "Opening /dev/net/tun");
        return -1;
    }
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        lodge_error_errno(error, errno, "Making tap %s", link);
        return -1;
    }
    return lodge_fd_steal(&fd);
}

int
lodge_net_tap_alone(GError **error)
{
    return open_tap("lodge-park%d", error);
}

int
lodge_net_vhost(void)
{
    return open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
}

/* The bridge's index, which must keep VLANs apart if the port shall be in one. */
static int
find_bridge(LodgeNet *net, const LodgeNetwork *network, gboolean by_vlan, GError **error)
{
    LodgeLinkInfo info;
    if (!lodge_link_look(net->netlink, network->bridge, &info)) {
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "there is no bridge %s", network->bridge);
        return 0;
    }
    if (by_vlan && !info.vlan_aware) {
        lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                        "bridge %s does not keep VLANs apart, as vlan= and trunk= want it "
                        "(vlan-aware=yes of a network with mode=bridged and uplink= does)",
                        network->bridge);
        return 0;
    }
    return info.index;
}

gboolean
lodge_net_enslave(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port, GError **error)
{
    g_autoptr(GArray) trunk = port->trunk != NULL ? lodge_vlans_parse(port->trunk, error) : NULL;
    if (port->trunk != NULL && trunk == NULL) {
        return FALSE;
    }
    guint vlan = port->vlan == 0 && network->uplink == NULL ? network->vlan : port->vlan;
    g_autofree char *alias = g_strdup_printf("lodge guest %s nic %s", port->guest, port->nic);
    LodgePortSpec spec = {.name = port->link,
                          .index = lodge_link_index(port->link),
                          .master = find_bridge(net, network, vlan != 0 || trunk != NULL, error),
                          .isolated = network->isolation,
                          .hairpin = port->forward != NULL,
                          .mtu = network->mtu,
                          .alias = alias,
                          .vlan = vlan,
                          .trunk = trunk};
    if (spec.master == 0) {
        return FALSE;
    }
    lodge_link_enslave(net->netlink, &spec);
    if (vlan != 0 || trunk != NULL) {
        lodge_link_port_vlans(net->netlink, &spec);
    }
    lodge_link_set_up(net->netlink, spec.name, spec.index, TRUE);
    return lodge_netlink_send(net->netlink, error);
}

gboolean
lodge_net_connect_tap(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port,
                      GError **error)
{
    if (network->mode != LODGE_NETWORK_ROUTED) {
        return lodge_net_enslave(net, network, port, error);
    }
    if (port->vlan != 0 || port->trunk != NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "vlan= and trunk= are for bridged networks, not routed ones");
    }
    return lodge_net_route_tap(net, network, port, error);
}

/* The rules go first, so that no frame ever passes unfiltered; what an earlier life of the port
 * left goes with the same transaction. */
gboolean
lodge_net_admit(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port, GError **error)
{
    /* What is delegated to it may have changed since the caller looked. */
    g_autoptr(LodgeNetwork) now = network->delegation ? lodge_net_running(net->store, network->name)
                                                      : NULL;
    network = now != NULL ? now : network;
    g_autoptr(LodgePort) old = lodge_net_read_port(net->store, network->name, port->link);
    g_autofree char *gone = old != NULL ? lodge_firewall_render_delete(net->table, network, old)
                                        : g_strdup("");
    g_autofree char *added = lodge_firewall_render_add(net->table, network, port);
    g_autofree char *rules = g_strconcat(gone, added, NULL);
    return write_port(net->store, network->name, port, error) && run_rules(net, rules, error);
}

static gboolean
check_forwards(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port, GError **error)
{
    if (port->forward == NULL || network->mode == LODGE_NETWORK_NAT) {
        return lodge_net_check_forwards(net->store, port, error);
    }
    return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                           "forward=%s: a network in mode %s forwards no ports (nat does; an "
                           "empty forward= clears it)",
                           port->forward, lodge_network_mode_word(network));
}

/* DHCP and DNS know it, under the name and addresses that it has now. */
static gboolean
announce(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port, GError **error)
{
    return (port->address4 == NULL && port->address6 == NULL) ||
           lodge_net_write_entry(net->store, network, port, error);
}

gboolean
lodge_net_check_port(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port,
                     GError **error)
{
    g_autofree char *marker = lodge_store_network_run_path(net->store, network->name,
                                                           "network.conf");
    if (!g_file_test(marker, G_FILE_TEST_EXISTS)) {
        return lodge_error_set(error, LODGE_ERROR_BUSY,
                               "network %s is stopped (`lodge network start %s`)", network->name,
                               network->name);
    }
    return check_forwards(net, network, port, error) &&
           lodge_net_check_routes(net, network, port, error) && announce(net, network, port, error);
}

int
lodge_net_attach(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port, GError **error)
{
    lodge_net_release_elsewhere(net->store, network->name, port);
    lodge_autofd lock = lodge_net_lock(net->store, network->name, error);
    if (lock < 0) {
        return -1;
    }
    lodge_autofd fd = -1;
    if (!lodge_net_check_port(net, network, port, error)) {
        lodge_error_prefix(error, "network %s", network->name);
        return -1;
    }
    if (lodge_net_admit(net, network, port, error)) {
        fd = open_tap(port->link, error);
    }
    if (fd >= 0 && lodge_net_connect_tap(net, network, port, error)) {
        return lodge_fd_steal(&fd);
    }
    lodge_fd_clear(&fd);
    g_autofree char *gone = lodge_firewall_render_delete(net->table, network, port);
    g_autofree char *path = port_path(net->store, network->name, port->link);
    run_rules(net, gone, NULL);
    unlink(path);
    lodge_error_prefix(error, "network %s", network->name);
    return -1;
}

gboolean
lodge_net_detach(LodgeNet *net, const char *network_name, const char *link, GError **error)
{
    lodge_autofd lock = lodge_net_lock(net->store, network_name, error);
    if (lock < 0) {
        return FALSE;
    }
    g_autoptr(LodgeNetwork) network = lodge_net_running(net->store, network_name);
    g_autoptr(LodgePort) port = lodge_net_read_port(net->store, network_name, link);
    if (network == NULL || port == NULL) {
        return TRUE;
    }
    g_autofree char *rules = lodge_firewall_render_delete(net->table, network, port);
    g_autofree char *path = port_path(net->store, network_name, link);
    if (!run_rules(net, rules, error)) {
        return lodge_error_prefix(error, "network %s", network_name);
    }
    if (network->mode == LODGE_NETWORK_ROUTED) {
        lodge_net_forget_routed(net, network, port);
    }
    unlink(path);
    return TRUE;
}

gboolean
lodge_net_set_rates(LodgeNet *net, const char *network_name, const char *link, guint64 in_bytes,
                    guint64 out_bytes, GError **error)
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
    port->rate_in_bytes = in_bytes;
    port->rate_out_bytes = out_bytes;
    return lodge_net_admit(net, network, port, error);
}
