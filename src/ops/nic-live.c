/* Theory of operation: QEMU can't give a card another network, so the card goes and comes back. The
 * new network is tried first (it may be stopped, or its addresses taken); then the guest is asked
 * to let go of the card, which one that has not booted does not; then network and card are made
 * anew, on the same port, so that the guest finds the same card in the same place, and asks for an
 * address as after a boot. */
#include "config.h"

#include "ops/nic-live.h"

#include <string.h>

#include "base/base.h"
#include "net/define.h"
#include "ops/hotplug.h"

enum {
    MONITOR_TIMEOUT_MS = 5000,
    REPLUG_TIMEOUT_MS = 20000,
};

typedef struct {
    const LiveChange *change;
    const Hotplug *hotplug;
    const char *id;     /* of the device */
    const char *netdev; /* "n0" */
} Replug;

static gboolean
is_user(const LodgeNic *nic)
{
    return g_str_equal(nic->network, LODGE_NETWORK_USER);
}

/* A property of the device; free with g_free. */
static char *
property(const Replug *replug, const char *name, GError **error)
{
    g_autofree char *path = g_strconcat("/machine/peripheral/", replug->id, NULL);
    g_autoptr(json_t)
        value = lodge_qmp_ask(replug->hotplug->qmp, replug->hotplug->deadline, error, "qom-get",
                              "{s:s, s:s}", "path", path, "property", name);
    if (value == NULL) {
        return NULL;
    }
    if (!json_is_string(value)) {
        lodge_error_set(error, LODGE_ERROR_FAILED, "QEMU does not tell the %s of %s", name,
                        replug->id);
        return NULL;
    }
    return g_strdup(json_string_value(value));
}

static json_t *
user_netdev(const Replug *replug, const LodgeNic *nic, GError **error)
{
    g_autoptr(GPtrArray)
        forwards = lodge_forwards_parse(nic->forward != NULL ? nic->forward : "", error);
    if (forwards == NULL) {
        return NULL;
    }
    json_t *list = json_array();
    for (guint i = 0; i < forwards->len; i++) {
        const LodgeForward *forward = forwards->pdata[i];
        g_autofree char *text = g_strdup_printf("%s:%s:%u-:%u", forward->udp ? "udp" : "tcp",
                                                forward->address, forward->host_port,
                                                forward->guest_port);
        json_array_append_new(list, json_pack("{s:s}", "str", text));
    }
    return json_pack("{s:s, s:s, s:o}", "type", "user", "id", replug->netdev, "hostfwd", list);
}

static gboolean
hand_over(const Hotplug *hotplug, const char *name, int fd, GError **error)
{
    g_autoptr(json_t) taken = lodge_qmp_call_fd(
        hotplug->qmp, "getfd", json_pack("{s:s}", "fdname", name), fd, hotplug->deadline, error);
    return taken != NULL;
}

static json_t *
tap_netdev(const Replug *replug, const LodgeNic *nic, gboolean is_virtio, GError **error)
{
    const LiveChange *change = replug->change;
    const LodgeStore *store = change->session->store;
    const Hotplug *hotplug = replug->hotplug;
    g_autofree char *link = lodge_port_link(store->root, change->fresh->name, nic->name);
    LodgePort port = lodge_port_of_nic(change->fresh, nic, link);
    g_autoptr(LodgeNet) net = lodge_net_open(store, error);
    g_autoptr(LodgeNetwork) network = net != NULL ? lodge_net_running(store, nic->network) : NULL;
    lodge_autofd tap = network != NULL ? lodge_net_attach(net, network, &port, error) : -1;
    if (tap < 0 || !hand_over(hotplug, link, tap, error)) {
        return NULL;
    }
    json_t *netdev = json_pack("{s:s, s:s, s:s}", "type", "tap", "id", replug->netdev, "fd", link);
    lodge_autofd vhost = is_virtio && change->session->state->is_kvm ? lodge_net_vhost() : -1;
    if (vhost >= 0 && hand_over(hotplug, "vhost-net", vhost, NULL)) {
        json_object_set_new(netdev, "vhost", json_true());
        json_object_set_new(netdev, "vhostfd", json_string("vhost-net"));
    }
    return netdev;
}

/* Make the network, then the card. */
static gboolean
plug(const Replug *replug, const LodgeNic *nic, json_t *device, GError **error)
{
    const Hotplug *hotplug = replug->hotplug;
    gboolean is_virtio = g_str_has_prefix(lodge_json_string(device, "driver", ""), "virtio-net");
    json_t *netdev = is_user(nic) ? user_netdev(replug, nic, error)
                                  : tap_netdev(replug, nic, is_virtio, error);
    g_autoptr(json_t) made = netdev != NULL ? lodge_qmp_call(hotplug->qmp, "netdev_add", netdev,
                                                             hotplug->deadline, error)
                                            : NULL;
    return made != NULL && hotplug_add_device(hotplug, json_incref(device), error);
}

/* Drop the network, whose card is gone, and what the host has of it. */
static void
drop(const Replug *replug, const LodgeNic *nic)
{
    const Hotplug *hotplug = replug->hotplug;
    const LodgeStore *store = replug->change->session->store;
    lodge_qmp_run(hotplug->qmp, hotplug->deadline, NULL, "netdev_del", "{s:s}", "id",
                  replug->netdev);
    g_autoptr(LodgeNet) net = is_user(nic) ? NULL : lodge_net_open(store, NULL);
    if (net != NULL) {
        g_autofree char *link = lodge_port_link(store->root, replug->change->fresh->name,
                                                nic->name);
        lodge_net_detach(net, nic->network, link, NULL);
    }
}

static gboolean
check_network(const Replug *replug, const LodgeNic *nic, GError **error)
{
    const LodgeStore *store = replug->change->session->store;
    return is_user(nic) || lodge_net_state(store, nic->network) == LODGE_NET_UP ||
           lodge_network_start(store, nic->network, error);
}

static gboolean
replug(const Replug *replug, const LodgeNic *old, const LodgeNic *nic, GError **error)
{
    g_autofree char *driver = property(replug, "type", error);
    g_autofree char *bus_path = driver != NULL ? property(replug, "parent_bus", error) : NULL;
    if (bus_path == NULL || !check_network(replug, nic, error)) {
        return FALSE;
    }
    g_autofree char *bus = g_path_get_basename(bus_path);
    g_autoptr(json_t)
        device = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "driver", driver, "id", replug->id,
                           "netdev", replug->netdev, "mac", old->mac, "bus", bus, "romfile", "");
    if (!hotplug_remove_device(replug->hotplug, replug->id, error)) {
        return FALSE;
    }
    drop(replug, old);
    if (plug(replug, nic, device, error)) {
        return TRUE;
    }
    drop(replug, nic);
    plug(replug, old, device, NULL);
    return FALSE;
}

gboolean
nic_replug(const LiveChange *change, const LodgeNic *old, const LodgeNic *nic, guint index,
           GError **error)
{
    g_autofree char *id = g_strconcat("nic-", nic->name, NULL);
    g_autofree char *netdev = g_strdup_printf("n%u", index);
    g_autoptr(LodgeQmp) qmp = session_monitor(change->session, MONITOR_TIMEOUT_MS, error);
    const Hotplug hotplug = {qmp, change->fresh, lodge_deadline_in(REPLUG_TIMEOUT_MS)};
    const Replug what = {change, &hotplug, id, netdev};
    /* These have rows of their own in live.c. */
    LodgeNic moved = *nic;
    moved.mac = old->mac;
    moved.forward = old->forward;
    moved.rate_in_bytes = old->rate_in_bytes;
    moved.rate_out_bytes = old->rate_out_bytes;
    return qmp != NULL && replug(&what, old, &moved, error);
}
