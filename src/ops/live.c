#include "config.h"

#include "ops/live.h"

#include <signal.h>
#include <string.h>

#include "base/base.h"
#include "keeper/pin.h"
#include "net/define.h"
#include "ops/limit.h"
#include "ops/nic-live.h"
#include "ops/disk.h"

enum {
    MONITOR_TIMEOUT_MS = 5000,
};

typedef gboolean (*ApplyFunc)(const LiveChange *change, LodgeQmp *qmp, gint64 deadline,
                              GError **error);

static const LodgeNic *
find_nic(const LodgeGuest *guest, const char *name, guint *out_index)
{
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        if (g_str_equal(nic->name, name)) {
            *out_index = i;
            return nic;
        }
    }
    return NULL;
}

/* Run a command of the human monitor. It has no errors, only words; none means that all went well.
 */
static gboolean
human(LodgeQmp *qmp, gint64 deadline, const char *line, GError **error)
{
    g_autoptr(json_t) words = lodge_qmp_ask(qmp, deadline, error, "human-monitor-command", "{s:s}",
                                            "command-line", line);
    if (words == NULL) {
        return FALSE;
    }
    g_autofree char *said = lodge_text_last_line(
        json_string_value(words) != NULL ? json_string_value(words) : "");
    return *said == '\0' || g_str_has_suffix(said, " removed") ||
           lodge_error_set(error, LODGE_ERROR_FAILED, "%s", said);
}

static gboolean
has_forward(const GPtrArray *forwards, const LodgeForward *wanted)
{
    for (guint i = 0; i < forwards->len; i++) {
        const LodgeForward *other = forwards->pdata[i];
        if (other->host_port == wanted->host_port && other->guest_port == wanted->guest_port &&
            other->udp == wanted->udp && g_str_equal(other->address, wanted->address)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Take away the forwards that went, then add those that came: a port may change hands. */
static gboolean
forward_in_qemu(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    guint index = 0;
    const LodgeNic *old_nic = find_nic(change->old, change->object, &index);
    const LodgeNic *nic = find_nic(change->fresh, change->object, &index);
    const char *old_text = old_nic != NULL && old_nic->forward != NULL ? old_nic->forward : "";
    g_autoptr(GPtrArray) old = lodge_forwards_parse(old_text, error);
    g_autoptr(GPtrArray)
        fresh = lodge_forwards_parse(nic->forward != NULL ? nic->forward : "", error);
    gboolean fine = old != NULL && fresh != NULL;
    for (guint i = 0; fine && i < old->len; i++) {
        const LodgeForward *forward = old->pdata[i];
        if (!has_forward(fresh, forward)) {
            g_autofree char *line = g_strdup_printf("hostfwd_remove n%u %s:%s:%u", index,
                                                    forward->udp ? "udp" : "tcp", forward->address,
                                                    forward->host_port);
            fine = human(qmp, deadline, line, error);
        }
    }
    for (guint i = 0; fine && i < fresh->len; i++) {
        const LodgeForward *forward = fresh->pdata[i];
        if (!has_forward(old, forward)) {
            g_autofree char *line = g_strdup_printf("hostfwd_add n%u %s:%s:%u-:%u", index,
                                                    forward->udp ? "udp" : "tcp", forward->address,
                                                    forward->host_port, forward->guest_port);
            fine = human(qmp, deadline, line, error);
        }
    }
    return fine;
}

static gboolean
forward_on_network(const LiveChange *change, const LodgeNic *nic, GError **error)
{
    const LodgeStore *store = change->session->store;
    g_autoptr(LodgeNet) net = lodge_net_open(store, error);
    g_autofree char *link = lodge_port_link(store->root, change->fresh->name, nic->name);
    return net != NULL && lodge_net_set_forward(net, nic->network, link, nic->forward, error);
}

static gboolean
apply_forwards(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    guint index = 0;
    const LodgeNic *started = find_nic(change->old, change->object, &index);
    const LodgeNic *nic = find_nic(change->fresh, change->object, &index);
    if (started == NULL || !g_str_equal(started->network, nic->network)) {
        return FALSE; /* it waits with its NIC */
    }
    if (!g_str_equal(nic->network, LODGE_NETWORK_USER)) {
        return forward_on_network(change, nic, error);
    }
    (void)qmp;
    (void)deadline;
    if (nic_has_passt(change->session, index)) {
        return nic_forward_by_passt(change, nic, index, error);
    }
    g_autoptr(LodgeQmp) own = session_monitor(change->session, MONITOR_TIMEOUT_MS, error);
    return own != NULL &&
           forward_in_qemu(change, own, lodge_deadline_in(MONITOR_TIMEOUT_MS), error);
}

/* A guest whose link went down and up asks for an address. */
static gboolean
flap_link(const LiveChange *change, const char *nic, GError **error)
{
    g_autofree char *id = g_strconcat("nic-", nic, NULL);
    gint64 deadline = lodge_deadline_in(MONITOR_TIMEOUT_MS);
    g_autoptr(LodgeQmp) qmp = session_monitor(change->session, MONITOR_TIMEOUT_MS, error);
    return qmp != NULL &&
           lodge_qmp_run(qmp, deadline, error, "set_link", "{s:s, s:b}", "name", id, "up", 0) &&
           lodge_qmp_run(qmp, deadline, error, "set_link", "{s:s, s:b}", "name", id, "up", 1);
}

static gboolean
apply_network(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    (void)qmp;
    (void)deadline;
    guint index = 0;
    const LodgeStore *store = change->session->store;
    const LodgeNic *old = find_nic(change->old, change->object, &index);
    const LodgeNic *nic = find_nic(change->fresh, change->object, &index);
    if (old == NULL) {
        return FALSE;
    }
    if (g_str_equal(old->network, LODGE_NETWORK_USER) &&
        g_str_equal(nic->network, LODGE_NETWORK_USER)) {
        return TRUE; /* where it was to go to it never went */
    }
    if (g_str_equal(old->network, LODGE_NETWORK_USER) !=
        g_str_equal(nic->network, LODGE_NETWORK_USER)) {
        gboolean fine = nic_replug(change, old, nic, index, error);
        if (fine) {
            nic_tell_keeper(change->session);
        }
        return fine;
    }
    if (lodge_net_state(store, nic->network) != LODGE_NET_UP &&
        !lodge_network_start(store, nic->network, error)) {
        return FALSE;
    }
    g_autofree char *link = lodge_port_link(store->root, change->fresh->name, nic->name);
    LodgePort port = lodge_port_of_nic(change->fresh, nic, link);
    /* These have rows of their own. */
    port.mac = old->mac;
    port.forward = old->forward;
    port.rate_in_bytes = old->rate_in_bytes;
    port.rate_out_bytes = old->rate_out_bytes;
    g_autoptr(LodgeNet) net = lodge_net_open(store, error);
    g_autoptr(LodgeNetwork) network = lodge_net_running(store, nic->network);
    if (net == NULL || network == NULL ||
        !lodge_net_move(net, old->network, network, &port, error)) {
        return FALSE;
    }
    nic_tell_keeper(change->session);
    return flap_link(change, nic->name, error);
}

/* An address changes live only with the network, which was changed just before. */
static gboolean
apply_address(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    (void)qmp;
    (void)deadline;
    (void)error;
    guint index = 0;
    const LodgeStore *store = change->session->store;
    const LodgeNic *nic = find_nic(change->fresh, change->object, &index);
    if (g_str_equal(nic->network, LODGE_NETWORK_USER)) {
        return TRUE; /* it has none there */
    }
    g_autofree char *link = lodge_port_link(store->root, change->fresh->name, nic->name);
    g_autoptr(GPtrArray) ports = lodge_net_ports(store, nic->network);
    for (guint i = 0; i < ports->len; i++) {
        const LodgePort *port = ports->pdata[i];
        if (g_str_equal(port->link, link)) {
            return g_strcmp0(port->address4, nic->address) == 0 &&
                   g_strcmp0(port->address6, nic->address6) == 0;
        }
    }
    return FALSE;
}

/* Both at once: the second of two keys finds it done. */
static gboolean
apply_rates(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    (void)qmp;
    (void)deadline;
    guint index = 0;
    const LodgeStore *store = change->session->store;
    const LodgeNic *started = find_nic(change->old, change->object, &index);
    const LodgeNic *nic = find_nic(change->fresh, change->object, &index);
    if (started == NULL || !g_str_equal(started->network, nic->network)) {
        return FALSE; /* it waits with its NIC */
    }
    if (g_str_equal(nic->network, LODGE_NETWORK_USER)) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "user-mode networking knows no rates");
    }
    g_autoptr(LodgeNet) net = lodge_net_open(store, error);
    g_autofree char *link = lodge_port_link(store->root, change->fresh->name, nic->name);
    return net != NULL && lodge_net_set_rates(net, nic->network, link, nic->rate_in_bytes,
                                              nic->rate_out_bytes, error);
}

/* Is this place for a CPU free? Then plug one in. */
static gboolean
plug_cpu(LodgeQmp *qmp, gint64 deadline, const json_t *place, GError **error)
{
    g_autoptr(json_t) arguments = json_copy(json_object_get(place, "props"));
    g_autofree char *id = g_strdup_printf("cpu-%d-%d-%d",
                                          (int)lodge_json_int(arguments, "socket-id", 0),
                                          (int)lodge_json_int(arguments, "core-id", 0),
                                          (int)lodge_json_int(arguments, "thread-id", 0));
    json_object_set_new(arguments, "driver", json_string(lodge_json_string(place, "type", "")));
    json_object_set_new(arguments, "id", json_string(id));
    g_autoptr(json_t)
        done = lodge_qmp_call(qmp, "device_add", json_incref(arguments), deadline, error);
    return done != NULL;
}

static gboolean
apply_pin(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    g_autoptr(json_t) cpus = lodge_qmp_ask(qmp, deadline, error, "query-cpus-fast", NULL);
    return cpus != NULL && lodge_pin_apply(change->fresh, cpus, error);
}

static gboolean
apply_cpus(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    guint now = change->old->cpus;
    guint wanted = change->fresh->cpus;
    guint most = MAX(change->old->cpus_max, now);
    if (wanted < now) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "CPUs can be added to a running guest, not taken away");
    }
    if (wanted > most) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "it was started with room for %u CPU%s (cpus-max= makes more)", most,
                               most == 1 ? "" : "s");
    }
    g_autoptr(json_t) places = lodge_qmp_ask(qmp, deadline, error, "query-hotpluggable-cpus", NULL);
    /* The list runs from the highest place down. */
    for (gsize i = json_array_size(places); i > 0 && now < wanted; i--) {
        const json_t *place = json_array_get(places, i - 1);
        if (json_object_get(place, "qom-path") == NULL) {
            if (!plug_cpu(qmp, deadline, place, error)) {
                return FALSE;
            }
            now++;
        }
    }
    if (places == NULL || now < wanted) {
        return places != NULL &&
               lodge_error_set(error, LODGE_ERROR_FAILED, "QEMU has no place for it");
    }
    return change->fresh->pin == NULL || apply_pin(change, qmp, deadline, error);
}

static gboolean
apply_limits(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    const LodgeGuest *guest = change->fresh;
    for (guint i = 0; i < guest->disks->len; i++) {
        const LodgeDisk *disk = guest->disks->pdata[i];
        if (g_str_equal(disk->name, change->object)) {
            return disk_set_limits(qmp, disk, deadline, error);
        }
    }
    return lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "no disk %s", change->object);
}

/* The session as it will be: with the definition that is to hold. */
static Session
session_after(const LiveChange *change)
{
    Session after = *change->session;
    after.guest = (LodgeGuest *)change->fresh;
    return after;
}

static gboolean
apply_memory(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    (void)qmp;
    (void)deadline;
    return lodge_memory_set_live(change->session, change->old->memory_bytes,
                                 change->fresh->memory_bytes, error);
}

static gboolean
apply_group(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    (void)qmp;
    (void)deadline;
    Session after = session_after(change);
    return lodge_limits_apply(&after, error);
}

/* Words that concern Lodge alone, or that are read when they matter. */
static gboolean
apply_nothing(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    (void)change;
    (void)qmp;
    (void)deadline;
    (void)error;
    return TRUE;
}

/* The keeper reads the definition anew. */
static gboolean
apply_schedule(const LiveChange *change, LodgeQmp *qmp, gint64 deadline, GError **error)
{
    (void)qmp;
    (void)deadline;
    (void)error;
    nic_tell_keeper(change->session);
    return TRUE;
}

static const struct {
    const char *section;
    const char *key;
    ApplyFunc apply;
    gboolean needs_monitor;
} rows[] = {
    {"guest", "description", apply_nothing},
    {"guest", "user", apply_nothing},
    {"guest", "autostart", apply_nothing},
    {"guest", "start-order", apply_nothing},
    {"guest", "start-delay", apply_nothing},
    {"guest", "on-crash", apply_nothing}, /* the keeper reads it when the guest ends */
    {"guest", "agent", apply_nothing},
    {"guest", "snapshot", apply_nothing},
    {"guest", "snapshots", apply_schedule},
    {"guest", "cpus", apply_cpus, TRUE},
    {"guest", "memory", apply_memory},
    {"guest", "pin", apply_pin, TRUE},
    {"limits", "cpu", apply_group},
    {"limits", "cpu-weight", apply_group},
    {"limits", "memory-max", apply_group},
    {"limits", "io-weight", apply_group},
    {"limits", "pids-max", apply_group},
    {"backup", "target", apply_nothing},
    {"backup", "keep", apply_nothing},
    {"nic", "network", apply_network},
    {"nic", "address", apply_address},
    {"nic", "address6", apply_address},
    {"nic", "vlan", apply_network}, /* out of the bridge and in again */
    {"nic", "trunk", apply_network},
    {"nic", "route", apply_network},
    {"nic", "rate-in", apply_rates},
    {"nic", "rate-out", apply_rates},
    {"nic", "forward", apply_forwards},
    {"disk", "iops", apply_limits, TRUE},
    {"disk", "iops-read", apply_limits, TRUE},
    {"disk", "iops-write", apply_limits, TRUE},
    {"disk", "bytes", apply_limits, TRUE},
    {"disk", "bytes-read", apply_limits, TRUE},
    {"disk", "bytes-write", apply_limits, TRUE},
};

gboolean
live_apply(const char *section, const char *key, const LiveChange *change, GError **error)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (g_str_equal(rows[i].section, section) && g_str_equal(rows[i].key, key)) {
            if (!rows[i].needs_monitor) {
                return rows[i].apply(change, NULL, 0, error);
            }
            g_autoptr(LodgeQmp) qmp = session_monitor(change->session, MONITOR_TIMEOUT_MS, error);
            return qmp != NULL &&
                   rows[i].apply(change, qmp, lodge_deadline_in(MONITOR_TIMEOUT_MS), error);
        }
    }
    return FALSE;
}
