/* Links and their addresses: messages for a batch, and what is there. Private to the net layer. */
#pragma once

#include <glib.h>

#include "net/netlink.h"

/* The index of a link; 0: there is none. */
int lodge_link_index(const char *name);

/* --- Messages, added to the batch --- */

typedef struct {
    const char *name;
    const char *mac; /* NULL: the kernel's choice */
    guint mtu;       /* 0: the kernel's choice */
    const char *alias;
    gboolean up;
    gboolean vlan_aware; /* a kernel that can't keep VLANs apart makes it all the same */
} LodgeBridgeSpec;

/* A bridge without STP and forwarding delay, whose MAC never changes, with no addresses by itself.
 */
void lodge_link_add_bridge(LodgeNetlink *netlink, const LodgeBridgeSpec *spec);

typedef struct {
    const char *outer, *inner;
    const char *inner_mac; /* NULL: the kernel's choice */
    pid_t inner_pid;       /* the inner one is in this process's network namespace; 0: in ours */
} LodgePairSpec;

/* Two links: what goes out on one comes in on the other. */
void lodge_link_add_pair(LodgeNetlink *netlink, const LodgePairSpec *spec);

typedef struct {
    const char *name;
    int uplink; /* the index of the link whose tagged frames it gets */
    guint id;
    const char *alias;
} LodgeVlanSpec;

/* A link of one VLAN, with no addresses by itself. */
void lodge_link_add_vlan(LodgeNetlink *netlink, const LodgeVlanSpec *spec);
/* What makes it, behind the head of a message. Pure. */
void lodge_link_put_vlan(struct nl_msg *message, const LodgeVlanSpec *spec);

void lodge_link_delete(LodgeNetlink *netlink, const char *name, int index);
void lodge_link_set_up(LodgeNetlink *netlink, const char *name, int index, gboolean up);
void lodge_link_set_master(LodgeNetlink *netlink, const char *name, int index, int master);

typedef struct {
    const char *name;
    int index;
    int master;
    gboolean isolated; /* reaches no other isolated port */
    gboolean hairpin;  /* reaches itself */
    guint mtu;         /* 0: leave it */
    const char *alias;
    guint vlan;          /* where untagged frames belong; 0: the bridge's default */
    const GArray *trunk; /* of LodgeVlanRange, tagged; NULL: none */
} LodgePortSpec;

/* A tap becomes a port of a bridge, without addresses of its own. Up it must go by itself, when it
 * has its VLANs. */
void lodge_link_enslave(LodgeNetlink *netlink, const LodgePortSpec *spec);

/* The same without a bridge, and it goes up: @spec's master and isolated don't count. */
void lodge_link_begin_routed(LodgeNetlink *netlink, const LodgePortSpec *spec);

/* The VLANs of a port of a bridge that keeps them apart, by @spec's vlan and trunk. The port was
 * just made one: what it has else stays. */
void lodge_link_port_vlans(LodgeNetlink *netlink, const LodgePortSpec *spec);

/* Add (or with @add FALSE remove) an address; IPv6 without duplicate detection. Present already or
 * absent already is fine. */
void lodge_link_address(LodgeNetlink *netlink, int index, const LodgePrefix *address, gboolean add);
/* The same for one that others have lent us, for so many seconds from now on. Present already, its
 * times change. Its route the kernel would keep for so long even if the address is removed: it is
 * for lodge_link_route(). */
void lodge_link_lent_address(LodgeNetlink *netlink, int index, const LodgePrefix *address,
                             guint32 preferred_s, guint32 valid_s);
/* The same, with no route to its prefix by that: for addresses that many links have. */
void lodge_link_bare_address(LodgeNetlink *netlink, int index, const LodgePrefix *address);
/* Add or remove a route through a link itself, or through @gateway (NULL: none). */
void lodge_link_route(LodgeNetlink *netlink, int index, const LodgePrefix *target,
                      const LodgePrefix *gateway, gboolean add);
/* Add or remove a route that sends back all that has no better one. */
void lodge_link_unreachable(LodgeNetlink *netlink, const LodgePrefix *target, gboolean add);
/* Answer for @address on a link (proxy ARP and neighbour discovery). */
void lodge_link_proxy(LodgeNetlink *netlink, int index, const LodgePrefix *address, gboolean add);

/* --- What is there --- */

/* Append all prefixes that the host's links and routes have, each as its link's, but those of
 * @except (may be NULL) and default routes. */
gboolean lodge_link_host_prefixes(LodgeNetlink *netlink, const char *except, GPtrArray *prefixes,
                                  GError **error);

/* What is known of a link. */
typedef struct {
    int index;
    int master; /* 0: none */
    guint mtu;
    guint flags; /* IFF_… */
    guint state; /* IF_OPER_…: it is up when the kernel also sends by it */
    char mac[18];
    char kind[16];   /* "bridge", "veth", "tun"; "" for hardware */
    char alias[256]; /* "" if none */
    gboolean vlan_aware;
} LodgeLinkInfo;

/* Look one up by name. FALSE, without error, if there is none. */
gboolean lodge_link_look(LodgeNetlink *netlink, const char *name, LodgeLinkInfo *out_info);

/* The names of a bridge's ports. Free with g_strfreev. */
char **lodge_link_ports(LodgeNetlink *netlink, int bridge, GError **error);
