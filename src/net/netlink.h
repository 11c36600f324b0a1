/* A conversation with the kernel about links, addresses and routes, in batches of messages: one
 * system call sends them all, and each acknowledgement is looked at. Private to the net layer.
 *
 * Messages are built with libnl's functions; sending is ours, as libnl sends one at a time. */
#pragma once

#include <glib.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include "model/model.h"

typedef struct LodgeNetlink LodgeNetlink;

LodgeNetlink *lodge_netlink_open(GError **error);
void lodge_netlink_free(LodgeNetlink *netlink);

/* Begin a message of the batch; fill it with nlmsg_append() and nla_put…(). Borrowed. NLM_F_REQUEST
 * and NLM_F_ACK are added. @what names it in an error: "Adding address 10.77.0.1". */
struct nl_msg *lodge_netlink_message(LodgeNetlink *netlink, int type, int flags, const char *what,
                                     ...) G_GNUC_PRINTF(4, 5);
/* The last message may fail with this errno value and count as done. */
void lodge_netlink_tolerate(LodgeNetlink *netlink, int error_number);

/* What the batch would do, a line each, and empty it. Free with g_strfreev. */
char **lodge_netlink_describe(LodgeNetlink *netlink);

/* Send the batch and wait for every acknowledgement. The first failure is the error; the kernel
 * carries out the messages behind it all the same. The batch is empty afterwards. */
gboolean lodge_netlink_send(LodgeNetlink *netlink, GError **error);

/* Ask for a table; @take is called with each message of the answer. @family: AF_UNSPEC for all. */
typedef void (*LodgeNetlinkFunc)(struct nlmsghdr *message, gpointer data);
gboolean lodge_netlink_dump(LodgeNetlink *netlink, int type, int family, LodgeNetlinkFunc take,
                            gpointer data, GError **error);
/* The same of one link alone: a host may have hundreds. An error if there is none. */
gboolean lodge_netlink_link(LodgeNetlink *netlink, int index, LodgeNetlinkFunc take, gpointer data,
                            GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeNetlink, lodge_netlink_free)
