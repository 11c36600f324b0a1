/* Theory of operation: the kernel tells who listens of each change of nftables. When those
 * tables have changed that Lodge has rules in, and then not for half a second, it is looked whether
 * these are there still, and they are put back if not. Putting them back is such a change too, but
 * then there is nothing to do. What another firewall does not yet let be changed, as it is just
 * starting, is tried a few times more. */
#include "config.h"

#include "net/foreign-watch.h"

#include <errno.h>
#include <glib-unix.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/msg.h>
#include <string.h>
#include <sys/socket.h>

#include "base/base.h"
#include "net/foreign.h"

enum {
    QUIET_MS = 500,
    AGAIN_MS = 2000,
    TRIES = 10,
    ROOM_BYTES = 1 << 20,
    MESSAGE_BYTES = 64 << 10,
    TABLE_ATTRIBUTE = 1, /* its name, in messages about tables, chains and rules alike */
};

typedef struct {
    const LodgeStore *store;
    const LodgeNetwork *network;
    char *buffer;
    guint timer;
    guint tries;
    gboolean has_firewalld_changed; /* begun anew, it forgets who is in which of its zones */
} Watch;

/* Returns whether all is done. */
static gboolean
mend(const Watch *watch)
{
    g_autoptr(LodgeNet) net = lodge_net_open(watch->store, NULL);
    lodge_autofd lock = net != NULL ? lodge_net_lock_at_once(net->store, watch->network->name, NULL)
                                    : -1;
    return lock >= 0 && lodge_foreign_keep_open(net, watch->network, watch->has_firewalld_changed);
}

static gboolean
on_quiet(gpointer data)
{
    Watch *watch = data;
    watch->timer = 0;
    if (mend(watch)) {
        watch->has_firewalld_changed = FALSE;
    } else if (++watch->tries < TRIES) {
        watch->timer = g_timeout_add(AGAIN_MS, on_quiet, watch);
    }
    return G_SOURCE_REMOVE;
}

/* Is it a change of what Lodge's rules may stand in, or of who lets it in? */
static gboolean
concerns(Watch *watch, struct nlmsghdr *message)
{
    struct nlattr *table = nlmsg_find_attr(message, sizeof(struct nfgenmsg), TABLE_ATTRIBUTE);
    gboolean is_filter = table != NULL && nla_strcmp(table, "filter") == 0;
    switch (message->nlmsg_type) {
    case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE:
    case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE:
        if (table != NULL && nla_strcmp(table, "firewalld") == 0) {
            watch->has_firewalld_changed = TRUE;
            return TRUE;
        }
        return is_filter;
    case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN:
    case NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELRULE:
        return is_filter;
    default:
        return FALSE;
    }
}

static gboolean
on_change(gint fd, GIOCondition condition, gpointer data)
{
    (void)condition;
    Watch *watch = data;
    gboolean matters = FALSE;
    gssize got;
    while ((got = recv(fd, watch->buffer, MESSAGE_BYTES, MSG_DONTWAIT)) > 0) {
        int left = (int)got;
        struct nlmsghdr *message = (struct nlmsghdr *)(gpointer)watch->buffer;
        for (; nlmsg_ok(message, left); message = nlmsg_next(message, &left)) {
            matters = concerns(watch, message) || matters;
        }
    }
    matters = matters || (got < 0 && errno == ENOBUFS); /* some were more than there was room for */
    if (matters) {
        if (watch->timer != 0) {
            g_source_remove(watch->timer);
        }
        watch->tries = 0;
        watch->timer = g_timeout_add(QUIET_MS, on_quiet, watch);
    }
    return G_SOURCE_CONTINUE;
}

void
lodge_foreign_watch(const LodgeStore *store, const LodgeNetwork *network)
{
    int group = NFNLGRP_NFTABLES;
    int room = ROOM_BYTES;
    lodge_autofd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                             NETLINK_NETFILTER);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    /* Without it, `lodge network start` mends what others undid. */
    if (fd < 0 || network->bridge == NULL ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0) {
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    Watch *watch = g_new0(Watch, 1);
    watch->store = store;
    watch->network = network;
    watch->buffer = g_malloc(MESSAGE_BYTES);
    g_unix_fd_add(lodge_fd_steal(&fd), G_IO_IN, on_change, watch);
}
