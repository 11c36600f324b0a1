/* Theory of operation: a child unshares its network and waits; we make a veth pair whose one end is
 * a port of the network's bridge, or routed to as a guest's tap is, and whose other end is born in
 * the child's namespace. The child runs the chain and writes what it found to a pipe. It dies with
 * us, its namespace with it, and the pair with that. */
#include "config.h"

#include "net/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "net/attach.h"
#include "net/link.h"
#include "net/probe-private.h"
#include "net/services.h"
#include "net/sysctl.h"

enum {
    READY_MS = 10000,
    RUN_MS = 90000,
    ANSWER_LIMIT_BYTES = 64 << 10,
};

#define GUEST "lodge-test"
#define INNER "eth0"

void
lodge_probe_step_free(LodgeProbeStep *step)
{
    if (step != NULL) {
        g_free(step->name);
        g_free(step->detail);
        g_free(step);
    }
}

const char *
lodge_probe_state_word(LodgeProbeState state)
{
    switch (state) {
    case LODGE_PROBE_OK:
        return "ok";
    case LODGE_PROBE_FAILED:
        return "failed";
    case LODGE_PROBE_SKIPPED:
        return "skipped";
    }
    return "skipped";
}

/* --- The child -----------------------------------------------------------------------------------
 */

static void
write_steps(int fd, const GPtrArray *steps)
{
    g_autoptr(json_t) list = json_array();
    for (guint i = 0; i < steps->len; i++) {
        const LodgeProbeStep *step = steps->pdata[i];
        json_array_append_new(list, json_pack("{s:s, s:i, s:s}", "name", step->name, "state",
                                              (int)step->state, "detail", step->detail));
    }
    g_autofree char *text = json_dumps(list, 0);
    for (gsize at = 0, length = strlen(text); at < length;) {
        gssize sent = write(fd, text + at, length - at);
        if (sent <= 0) {
            return;
        }
        at += (gsize)sent;
    }
}

static void
be_child(const LodgeProbeRun *run, int begin_fd, int answer_fd)
{
    char go = 'n';
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    g_autoptr(GPtrArray)
        steps = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_probe_step_free);
    if (unshare(CLONE_NEWNET) < 0 || write(answer_fd, "y", 1) != 1 || read(begin_fd, &go, 1) != 1 ||
        go != 'y') {
        _exit(1);
    }
    lodge_probe_run(run, steps);
    write_steps(answer_fd, steps);
    _exit(0);
}

/* --- The parent ----------------------------------------------------------------------------------
 */

static gboolean
make_pair(LodgeNet *net, const char *outer, const char *mac, pid_t pid, GError **error)
{
    LodgePairSpec pair = {.outer = outer, .inner = INNER, .inner_mac = mac, .inner_pid = pid};
    lodge_link_add_pair(net->netlink, &pair);
    return lodge_netlink_send(net->netlink, error);
}

/* On a bridge it is a port as any; where guests are routed to, it needs what they need, and the
 * network must know that it is there. */
static gboolean
connect_port(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port, GError **error)
{
    if (network->mode != LODGE_NETWORK_ROUTED) {
        return lodge_net_enslave(net, network, port, error);
    }
    lodge_autofd lock = lodge_net_lock(net->store, network->name, error);
    return lock >= 0 && lodge_net_admit(net, network, port, error) &&
           lodge_net_connect_tap(net, network, port, error);
}

/* Absent is fine. */
static void
disconnect_port(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port)
{
    if (network->mode == LODGE_NETWORK_ROUTED) {
        lodge_net_detach(net, network->name, port->link, NULL);
    }
    int index = lodge_link_index(port->link);
    if (index != 0) {
        lodge_link_delete(net->netlink, port->link, index);
        lodge_netlink_send(net->netlink, NULL);
    }
}

static gboolean
read_steps(int fd, GPtrArray *steps, GError **error)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    gint64 deadline = lodge_deadline_in(RUN_MS);
    guint8 part[4096];
    for (gssize got = 1; got > 0 && bytes->len < ANSWER_LIMIT_BYTES;) {
        if (!lodge_wait_fd(fd, POLLIN, deadline, error)) {
            return FALSE;
        }
        got = read(fd, part, sizeof part);
        g_byte_array_append(bytes, part, got > 0 ? (guint)got : 0);
    }
    g_autoptr(json_t) list = lodge_json_parse((const char *)bytes->data, bytes->len, "test", error);
    for (gsize i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        lodge_probe_add(steps, (LodgeProbeState)lodge_json_int(one, "state", LODGE_PROBE_FAILED),
                        lodge_json_string(one, "name", ""), "%s",
                        lodge_json_string(one, "detail", ""));
    }
    return list != NULL;
}

static gboolean
run_child(LodgeNet *net, const LodgeProbeRun *run, const LodgePort *port, GPtrArray *steps,
          GError **error)
{
    int begin[2];
    int answer[2];
    if (pipe2(begin, O_CLOEXEC) < 0) {
        return lodge_error_errno(error, errno, "a pipe");
    }
    lodge_autofd begin_read = begin[0];
    lodge_autofd begin_write = begin[1];
    if (pipe2(answer, O_CLOEXEC) < 0) {
        return lodge_error_errno(error, errno, "a pipe");
    }
    lodge_autofd answer_read = answer[0];
    lodge_autofd answer_write = answer[1];
    pid_t pid = fork();
    if (pid < 0) {
        return lodge_error_errno(error, errno, "starting the test");
    }
    if (pid == 0) {
        be_child(run, begin_read, answer_write);
    }
    lodge_fd_clear(&answer_write);
    char ready = 'n';
    gboolean fine = lodge_wait_fd(answer_read, POLLIN, lodge_deadline_in(READY_MS), error);
    if (fine && (read(answer_read, &ready, 1) != 1 || ready != 'y')) {
        fine = lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "this host lets no network namespace be made");
    }
    fine = fine && make_pair(net, port->link, port->mac, pid, error) &&
           connect_port(net, run->network, port, error) && write(begin_write, "y", 1) == 1 &&
           read_steps(answer_read, steps, error);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    disconnect_port(net, run->network, port);
    return fine;
}

/* --- What is outside -----------------------------------------------------------------------------
 */

typedef struct {
    LodgePrefix gateway;
    guint32 metric;
} Way;

static void
take_default(struct nlmsghdr *message, gpointer data)
{
    Way *way = data;
    struct rtmsg *head = nlmsg_data(message);
    struct nlattr *gateway = nlmsg_find_attr(message, sizeof *head, RTA_GATEWAY);
    struct nlattr *priority = nlmsg_find_attr(message, sizeof *head, RTA_PRIORITY);
    guint32 metric = priority != NULL ? nla_get_u32(priority) : 0;
    int width = head->rtm_family == AF_INET ? 4 : 16;
    if (message->nlmsg_type != RTM_NEWROUTE || head->rtm_dst_len != 0 || gateway == NULL ||
        head->rtm_table != RT_TABLE_MAIN || nla_len(gateway) != width ||
        (way->gateway.family != 0 && way->metric <= metric)) {
        return;
    }
    way->gateway.family = head->rtm_family;
    way->gateway.length = (guint)width * 8;
    way->metric = metric;
    memcpy(way->gateway.bytes, nla_data(gateway), (gsize)width);
}

/* Something of the world that answers the host itself: its gateway, if it has an address that
 * guests can use, else a name server. Family 0 if there is none. */
static LodgePrefix
find_outside(LodgeNet *net, int family)
{
    static const LodgePrefix link_local = {AF_INET6, {0xfe, 0x80}, 10};
    static const LodgePrefix loopback = {AF_INET, {127}, 8};
    static const LodgePrefix none = {0};
    Way way = {0};
    gint64 took_us = 0;
    lodge_netlink_dump(net->netlink, RTM_GETROUTE, family, take_default, &way, NULL);
    if (way.gateway.family != 0 && !lodge_prefix_contains(&link_local, &way.gateway) &&
        lodge_probe_ping(&way.gateway, &took_us, NULL)) {
        return way.gateway;
    }
    g_autofree char *text = lodge_file_read("/etc/resolv.conf", 65536, NULL, NULL);
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        LodgePrefix server;
        if (g_str_has_prefix(lines[i], "nameserver ") &&
            lodge_address_parse(g_strstrip(lines[i] + strlen("nameserver ")), &server, NULL) &&
            server.family == family && !lodge_prefix_contains(&link_local, &server) &&
            !lodge_prefix_contains(&loopback, &server) &&
            lodge_probe_ping(&server, &took_us, NULL)) {
            return server;
        }
    }
    return none;
}

static gboolean
choose_outside(LodgeNet *net, const char *outside, LodgeProbeRun *run, GError **error)
{
    LodgePrefix target;
    if (outside == NULL) {
        if (run->network->mode != LODGE_NETWORK_ISOLATED) {
            run->outside4 = find_outside(net, AF_INET);
            run->outside6 = find_outside(net, AF_INET6);
        }
        return TRUE;
    }
    if (!lodge_address_parse(outside, &target, error)) {
        return FALSE;
    }
    *(target.family == AF_INET ? &run->outside4 : &run->outside6) = target;
    return TRUE;
}

/* The host's own part. FALSE: there is nothing to go on from. */
static gboolean
look_at_host(LodgeNet *net, const LodgeNetwork *network, gboolean has_server, GPtrArray *steps)
{
    gboolean is_routed = network->mode == LODGE_NETWORK_ROUTED;
    const char *what = is_routed ? "uplink" : "bridge";
    const char *link = is_routed ? network->uplink : network->bridge;
    LodgeLinkInfo info;
    if (link != NULL && (!lodge_link_look(net->netlink, link, &info) || !(info.flags & IFF_UP))) {
        lodge_probe_add(steps, LODGE_PROBE_FAILED, what, "%s is %s%s%s%s", link,
                        lodge_link_index(link) == 0 ? "gone" : "down",
                        is_routed ? "" : " (`lodge network start ", is_routed ? "" : network->name,
                        is_routed ? "" : "` mends it)");
        return FALSE;
    }
    if (link != NULL) {
        lodge_probe_add(steps, LODGE_PROBE_OK, what, "%s is up", link);
    }
    if (has_server && !lodge_net_is_served(net->store, network)) {
        lodge_probe_add(steps, LODGE_PROBE_FAILED, "dnsmasq",
                        "it does not run (`lodge network start %s` mends it)", network->name);
        return FALSE;
    }
    if (has_server) {
        lodge_probe_add(steps, LODGE_PROBE_OK, "dnsmasq", "it runs");
    }
    return TRUE;
}

/* Lodge turned it on; somebody else may have turned it off since. */
static void
look_at_forwarding(const LodgeNetwork *network, GPtrArray *steps)
{
    const struct {
        const char *name, *key;
        gboolean wanted;
    } families[] = {
        {"forwarding IPv4", "net/ipv4/ip_forward", lodge_network_subnet(network, NULL)},
        {"forwarding IPv6", "net/ipv6/conf/all/forwarding", lodge_network_prefix(network, NULL)},
    };
    for (gsize i = 0; network->mode == LODGE_NETWORK_NAT && i < G_N_ELEMENTS(families); i++) {
        g_autofree char *value = lodge_sysctl_get(families[i].key);
        if (families[i].wanted && g_strcmp0(value, "0") == 0) {
            lodge_probe_add(steps, LODGE_PROBE_FAILED, families[i].name,
                            "somebody set /proc/sys/%s to 0 (`lodge network start %s` mends it)",
                            families[i].key, network->name);
        }
    }
}

static gboolean
probe(LodgeNet *net, const LodgeNetwork *network, const char *outside, GPtrArray *steps,
      GError **error)
{
    static char guest[] = GUEST;
    static char nic[] = "test";
    g_autofree char *outer = lodge_port_link(net->store->root, network->name, GUEST);
    guint hash = g_str_hash(outer);
    g_autofree char *mac = g_strdup_printf("52:54:00:%02x:%02x:%02x", hash >> 16 & 0xff,
                                           hash >> 8 & 0xff, hash & 0xff);
    g_auto(LodgeNetworkLease) lease = {NULL, NULL};
    g_autoptr(GPtrArray) services = lodge_net_services(net->store, network);
    LodgePort port = {.link = outer, .guest = guest, .nic = nic, .mac = mac};
    LodgeProbeRun run = {
        .network = network, .link = INNER, .mac = mac, .has_server = services->len > 0};
    if (!look_at_host(net, network, run.has_server, steps)) {
        return TRUE;
    }
    look_at_forwarding(network, steps);
    if (!choose_outside(net, outside, &run, error) ||
        !lodge_net_reserve(net->store, network, &port, &lease, error)) {
        return FALSE;
    }
    port.address4 = lease.address4;
    port.address6 = lease.address6;
    gboolean fine = run_child(net, &run, &port, steps, error);
    lodge_net_release(net->store, GUEST);
    return fine;
}

GPtrArray *
lodge_net_probe(LodgeNet *net, const char *name, const char *outside, GError **error)
{
    g_autoptr(LodgeNetwork) defined = lodge_store_network(net->store, name, error);
    g_autoptr(LodgeNetwork) network = defined != NULL ? lodge_net_running(net->store, name) : NULL;
    g_autoptr(GPtrArray)
        steps = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_probe_step_free);
    if (defined == NULL) {
        return NULL;
    }
    if (network == NULL) {
        lodge_error_set(error, LODGE_ERROR_BUSY, "network %s is stopped (`lodge network start %s`)",
                        name, name);
        return NULL;
    }
    /* Two would ask with the same MAC. */
    g_autofree char *lock_path = g_strdup_printf("%s/networks/.%s.test.lock", net->store->run,
                                                 name);
    lodge_autofd lock = lodge_lock_take(lock_path, error);
    if (lock < 0) {
        lodge_error_prefix(error, "network %s is being tested already", name);
        return NULL;
    }
    return probe(net, network, outside, steps, error) ? g_steal_pointer(&steps) : NULL;
}
