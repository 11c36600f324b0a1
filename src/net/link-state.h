/* A link's addresses, routes and neighbours as the kernel described them, to be given to another
 * link with everything that belongs to them: metrics, lifetimes, preferred sources. Private to the
 * net layer. */
#pragma once

#include <glib.h>

#include "base/json.h"
#include "net/netlink.h"

typedef struct {
    GPtrArray *addresses; /* GBytes *: the body of a message of the kernel's */
    GPtrArray *routes;    /* GBytes *: those without gateway first */
    GPtrArray *neighbours;
    gboolean has_multipath; /* a route has this link as one of several: it can't be moved */
} LodgeLinkState;

LodgeLinkState *lodge_link_state_capture(LodgeNetlink *netlink, int index, GError **error);
void lodge_link_state_free(LodgeLinkState *state);

/* For people: "192.0.2.2/24", "default via 192.0.2.1". Free with g_strfreev. */
char **lodge_link_state_addresses(const LodgeLinkState *state);
char **lodge_link_state_routes(const LodgeLinkState *state);

/* Has it an IPv4 address that somebody leased? */
gboolean lodge_link_state_is_dynamic(const LodgeLinkState *state);

/* To a file's JSON and back. NULL with INVALID if it is none. */
json_t *lodge_link_state_json(const LodgeLinkState *state);
LodgeLinkState *lodge_link_state_from_json(const json_t *value, GError **error);

/* Add messages to the batch that give all of it to link @index. IPv6 addresses skip duplicate
 * detection: they are not new on the segment. With @bare they bring no route to their prefix yet:
 * the kernel prefers one on the link that a ping came in on, even if nothing goes out there. Given
 * again without, they bring it. */
void lodge_link_state_add_addresses(LodgeNetlink *netlink, const LodgeLinkState *state, int index,
                                    gboolean bare);
/* Add messages that let any other link's route to an IPv4 prefix come before that of link @index,
 * which has the addresses. Adding them again ends it. */
void lodge_link_state_defer_prefixes(LodgeNetlink *netlink, const LodgeLinkState *state, int index);
/* Are all IPv6 addresses at work on link @index? The kernel adds the route by which an address is
 * the host's own later, in a worker. */
gboolean lodge_link_state_is_at_work(LodgeNetlink *netlink, const LodgeLinkState *state, int index);
/* Those of @family; AF_UNSPEC: all. */
void lodge_link_state_delete_addresses(LodgeNetlink *netlink, const LodgeLinkState *state,
                                       int index, int family);
void lodge_link_state_add_neighbours(LodgeNetlink *netlink, const LodgeLinkState *state, int index);
void lodge_link_state_replace_routes(LodgeNetlink *netlink, const LodgeLinkState *state, int index);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeLinkState, lodge_link_state_free)
