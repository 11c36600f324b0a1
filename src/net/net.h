/* The net layer's public header: networks come up and go down, guests are attached and detached.
 *
 * Everything here is done again without harm: what is there already is kept, what is missing is
 * made, so the same call that starts a network also repairs one whose start was killed half way. */
#pragma once

#include <glib.h>

#include "net/port.h"
#include "store/networks.h"
#include "store/store.h"

/* The kernel's side of a store's networks. */
typedef struct LodgeNet LodgeNet;

/* Open it. UNSUPPORTED without root's powers over the network. */
LodgeNet *lodge_net_open(const LodgeStore *store, GError **error);
void lodge_net_free(LodgeNet *net);

/* --- Networks --- */

typedef enum {
    LODGE_NET_DOWN,
    LODGE_NET_UP,
    LODGE_NET_HALF, /* a start or stop was killed: either finishes it */
} LodgeNetState;

const char *lodge_net_state_word(LodgeNetState state);
/* Looks at files and one link: never waits. */
LodgeNetState lodge_net_state(const LodgeStore *store, const char *name);

/* The definition a network was started with; NULL if it is down. */
LodgeNetwork *lodge_net_running(const LodgeStore *store, const char *name);

/* Would the prefixes of @network overlap the host's, or another network's? EXISTS error that names
 * both. */
gboolean lodge_net_check_overlap(LodgeNet *net, const LodgeNetwork *network, GError **error);

/* Fill in a subnet and a prefix that overlap nothing, where @file (a definition being made) lacks
 * them and its mode needs them. */
gboolean lodge_net_choose_prefixes(LodgeNet *net, const char *name, GKeyFile *file, GError **error);

/* Make bridge, addresses, sysctls and rules; write dnsmasq's files. Services are started by
 * lodge_net_serve(). A network that is up is repaired. */
gboolean lodge_net_up(LodgeNet *net, const LodgeNetwork *network, GError **error);

/* Start the network's keeper, which starts dnsmasq, unless it has one; return when it serves. */
gboolean lodge_net_serve(const LodgeStore *store, const LodgeNetwork *network, GError **error);

/* Undo all of it, in whatever state it is. BUSY, naming them, if guests are attached, unless
 * @force. */
gboolean lodge_net_down(LodgeNet *net, const char *name, gboolean force, GError **error);

/* --- Addresses --- */

/* Choose and reserve the addresses of a guest's NIC. Once reserved, the same call gives the same.
 * @mac passed LODGE_TYPE_MAC. Guests made at the same time get different ones. */
gboolean lodge_net_reserve(const LodgeStore *store, const LodgeNetwork *network,
                           const LodgePort *port, LodgeNetworkLease *out_lease, GError **error);
/* Give back what was reserved for a guest on any network. Absent is fine. */
void lodge_net_release(const LodgeStore *store, const char *guest);

/* --- Guests --- */

/* Open a tap for the port, filtered, forwarded to, and on the network, which is up: returns its
 * descriptor, which keeps it alive; -1 on error. No process is started. */
int lodge_net_attach(LodgeNet *net, const LodgeNetwork *network, const LodgePort *port,
                     GError **error);
/* A tap on no network, down, that goes with its descriptor: for a machine that is none's yet. Its
 * name is the kernel's choice, lodge-park0 and so on. -1 on error. */
int lodge_net_tap_alone(GError **error);
/* What has the kernel itself carry packets between a tap and a virtio NIC: /dev/vhost-net, open.
 * -1, without error, where there is none. */
int lodge_net_vhost(void);
/* Move an attached tap from the network @from to @to, which is up; the guest holds it all the
 * while. What fails leaves it where it was. */
gboolean lodge_net_move(LodgeNet *net, const char *from, const LodgeNetwork *to,
                        const LodgePort *port, GError **error);
/* Take its rules away. The tap is gone when its last descriptor is. */
gboolean lodge_net_detach(LodgeNet *net, const char *network, const char *link, GError **error);

/* Forward other ports to an attached port: @forward is LODGE_TYPE_FORWARDS or NULL. BUSY, naming
 * whose it is, if one of them is taken; then all stays as it was. */
gboolean lodge_net_set_forward(LodgeNet *net, const char *network, const char *link,
                               const char *forward, GError **error);

/* Hold an attached port to other rates, in bytes a second; 0: none. */
gboolean lodge_net_set_rates(LodgeNet *net, const char *network, const char *link, guint64 in_bytes,
                             guint64 out_bytes, GError **error);

/* The ports that are attached to a network, of LodgePort *. */
GPtrArray *lodge_net_ports(const LodgeStore *store, const char *network);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeNet, lodge_net_free)
