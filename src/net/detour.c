/* Theory of operation: frames pass nftables' ingress hook before the kernel asks whether their link
 * is a port of a bridge. There they are forwarded into one end of a pair of links, the other end
 * of which is a port of the bridge, with a MAC of its own. So the bridge is running too: one
 * without ports at work sends nothing.
 *
 * The table and the pair have fixed names: a host has one change of this kind at a time, and
 * whoever finishes a killed one finds them. Only frames for the host go this way. What is
 * for all would leave the bridge by the uplink again. */
#include "config.h"

#include "net/detour.h"

#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"
#include "net/link.h"

enum {
    SENDING_MS = 2000,
    PASSING_MS = 500,
    STATISTICS_LIMIT_BYTES = 1 << 20,
    WAITING_FIELD = 11, /* in the kernel's table of what processors received */
};

#define INTO "lodge-detour0"
#define OUT "lodge-detour1"
#define TABLE "lodge-detour"

static gboolean
is_sending(LodgeNet *net, const char *link)
{
    LodgeLinkInfo info;
    return lodge_link_look(net->netlink, link, &info) && info.state == IF_OPER_UP;
}

gboolean
lodge_detour_await_bridge(LodgeNet *net, const char *bridge)
{
    gint64 deadline = lodge_deadline_in(SENDING_MS);
    while (!is_sending(net, bridge) && !lodge_deadline_passed(deadline)) {
        poll(NULL, 0, 1);
    }
    return is_sending(net, bridge);
}

/* The bridge is to send nothing to this port: not what it floods, nor what it learns from it. */
static void
silence(LodgeNet *net, const char *link, int index)
{
    static const int flags[] = {IFLA_BRPORT_LEARNING, IFLA_BRPORT_UNICAST_FLOOD,
                                IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_BCAST_FLOOD};
    struct ifinfomsg head = {.ifi_family = AF_BRIDGE, .ifi_index = index};
    struct nl_msg *message = lodge_netlink_message(net->netlink, RTM_SETLINK, 0, "Silencing %s",
                                                   link);
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    struct nlattr *port = nla_nest_start(message, IFLA_PROTINFO | NLA_F_NESTED);
    for (gsize i = 0; i < G_N_ELEMENTS(flags); i++) {
        nla_put_u8(message, flags[i], 0);
    }
    nla_nest_end(message, port);
}

static gboolean
make_pair(LodgeNet *net, const LodgeLinkInfo *bridge)
{
    LodgePairSpec pair = {.outer = INTO, .inner = OUT};
    lodge_link_add_pair(net->netlink, &pair);
    if (!lodge_netlink_send(net->netlink, NULL)) {
        return FALSE;
    }
    /* A bridge's MTU becomes that of its smallest port. */
    LodgePortSpec into = {.name = INTO, .index = lodge_link_index(INTO), .mtu = bridge->mtu};
    LodgePortSpec out = {
        .name = OUT, .index = lodge_link_index(OUT), .master = bridge->index, .mtu = bridge->mtu};
    lodge_link_enslave(net->netlink, &out);
    silence(net, OUT, out.index);
    lodge_link_set_up(net->netlink, OUT, out.index, TRUE);
    /* Last, so that it sends at once: one that waits for its other end waits for a worker, too. */
    lodge_link_begin_routed(net->netlink, &into);
    return lodge_netlink_send(net->netlink, NULL);
}

static gboolean
install_rules(LodgeNet *net, const char *uplink, const char *mac)
{
    g_autofree char *rules = g_strdup_printf(
        "table netdev " TABLE " {\n"
        "    chain around {\n"
        "        type filter hook ingress device \"%s\" priority 0\n"
        "        ether daddr %s ether type { ip, ip6, arp } fwd to \"" INTO "\"\n"
        "    }\n"
        "}\n",
        uplink, mac);
    return lodge_net_nft(net, rules, NULL);
}

/* Tick off the processors that have no frames waiting just now. TRUE: all have been. */
static gboolean
tick_off_idle(GHashTable *idle)
{
    g_autofree char *text = lodge_file_read("/proc/net/softnet_stat", STATISTICS_LIMIT_BYTES, NULL,
                                            NULL);
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", -1);
    guint processors = 0;
    for (; lines[processors] != NULL && *lines[processors] != '\0'; processors++) {
        g_auto(GStrv) fields = g_strsplit(lines[processors], " ", -1);
        if (g_strv_length(fields) <= WAITING_FIELD ||
            g_ascii_strtoull(fields[WAITING_FIELD], NULL, 16) == 0) {
            g_hash_table_add(idle, GUINT_TO_POINTER(processors));
        }
    }
    return g_hash_table_size(idle) >= processors;
}

void
lodge_detour_let_pass(void)
{
    g_autoptr(GHashTable) idle = g_hash_table_new(NULL, NULL);
    gint64 deadline = lodge_deadline_in(PASSING_MS);
    syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
    while (!tick_off_idle(idle) && !lodge_deadline_passed(deadline)) {
        poll(NULL, 0, 1);
    }
}

gboolean
lodge_detour_begin(LodgeNet *net, const char *uplink, const char *bridge)
{
    LodgeLinkInfo info;
    lodge_detour_end(net);
    gboolean fine = lodge_link_look(net->netlink, bridge, &info) && make_pair(net, &info) &&
                    lodge_detour_await_bridge(net, bridge) && install_rules(net, uplink, info.mac);
    if (!fine) {
        lodge_detour_end(net);
    }
    lodge_detour_let_pass();
    return fine;
}

void
lodge_detour_end(LodgeNet *net)
{
    int into = lodge_link_index(INTO);
    if (into != 0) {
        lodge_net_nft(net, "add table netdev " TABLE "; delete table netdev " TABLE, NULL);
        lodge_detour_let_pass();
        lodge_link_delete(net->netlink, INTO, into);
        lodge_netlink_send(net->netlink, NULL);
    }
}
