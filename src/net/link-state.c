#include "config.h"

#include "net/link-state.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

enum { DEFERRED_METRIC = 0x7fffffff };

void
lodge_link_state_free(LodgeLinkState *state)
{
    if (state != NULL) {
        g_ptr_array_unref(state->addresses);
        g_ptr_array_unref(state->routes);
        g_ptr_array_unref(state->neighbours);
        g_free(state);
    }
}

static LodgeLinkState *
state_new(void)
{
    LodgeLinkState *state = g_new0(LodgeLinkState, 1);
    state->addresses = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    state->routes = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    state->neighbours = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    return state;
}

/* --- Hearing -------------------------------------------------------------------------------------
 */

typedef struct {
    LodgeLinkState *state;
    int index;
    gboolean wants_kernel_routes; /* somebody else than the kernel made the prefixes' routes */
} Capture;

static GBytes *
body_of(struct nlmsghdr *message)
{
    return g_bytes_new(nlmsg_data(message), (gsize)nlmsg_datalen(message));
}

static void
take_address(struct nlmsghdr *message, gpointer data)
{
    Capture *capture = data;
    struct ifaddrmsg *head = nlmsg_data(message);
    struct nlattr *flags = nlmsg_find_attr(message, sizeof *head, IFA_FLAGS);
    if (message->nlmsg_type == RTM_NEWADDR && (int)head->ifa_index == capture->index) {
        g_ptr_array_add(capture->state->addresses, body_of(message));
        capture->wants_kernel_routes = capture->wants_kernel_routes ||
                                       (flags != NULL && nla_get_u32(flags) & IFA_F_NOPREFIXROUTE);
    }
}

static gboolean
has_hop_on(struct nlattr *hops, int index)
{
    int left = nla_len(hops);
    for (struct rtnexthop *hop = nla_data(hops); RTNH_OK(hop, left);) {
        if (hop->rtnh_ifindex == index) {
            return TRUE;
        }
        left -= (int)RTNH_ALIGN(hop->rtnh_len);
        hop = RTNH_NEXT(hop);
    }
    return FALSE;
}

static void
take_route(struct nlmsghdr *message, gpointer data)
{
    Capture *capture = data;
    struct rtmsg *head = nlmsg_data(message);
    struct nlattr *parts[RTA_MAX + 1];
    if (message->nlmsg_type != RTM_NEWROUTE || head->rtm_table == RT_TABLE_LOCAL ||
        head->rtm_type != RTN_UNICAST || head->rtm_flags & RTM_F_CLONED ||
        nlmsg_parse(message, sizeof *head, parts, RTA_MAX, NULL) < 0) {
        return;
    }
    if (parts[RTA_MULTIPATH] != NULL) {
        capture->state->has_multipath = capture->state->has_multipath ||
                                        has_hop_on(parts[RTA_MULTIPATH], capture->index);
        return;
    }
    gboolean is_ours = parts[RTA_OIF] != NULL && (int)nla_get_u32(parts[RTA_OIF]) == capture->index;
    if (!is_ours || (head->rtm_protocol == RTPROT_KERNEL && !capture->wants_kernel_routes)) {
        return;
    }
    gboolean has_gateway = parts[RTA_GATEWAY] != NULL || parts[RTA_VIA] != NULL;
    g_ptr_array_insert(capture->state->routes, has_gateway ? -1 : 0, body_of(message));
}

static void
take_neighbour(struct nlmsghdr *message, gpointer data)
{
    Capture *capture = data;
    struct ndmsg *head = nlmsg_data(message);
    gboolean is_known = head->ndm_state &
                        (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT);
    if (message->nlmsg_type == RTM_NEWNEIGH && head->ndm_ifindex == capture->index && is_known &&
        !(head->ndm_flags & NTF_PROXY) &&
        nlmsg_find_attr(message, sizeof *head, NDA_LLADDR) != NULL) {
        g_ptr_array_add(capture->state->neighbours, body_of(message));
    }
}

LodgeLinkState *
lodge_link_state_capture(LodgeNetlink *netlink, int index, GError **error)
{
    g_autoptr(LodgeLinkState) state = state_new();
    Capture capture = {.state = state, .index = index};
    static const int families[] = {AF_INET, AF_INET6};
    for (gsize i = 0; i < G_N_ELEMENTS(families); i++) {
        if (!lodge_netlink_dump(netlink, RTM_GETADDR, families[i], take_address, &capture, error)) {
            return NULL;
        }
    }
    for (gsize i = 0; i < G_N_ELEMENTS(families); i++) {
        if (!lodge_netlink_dump(netlink, RTM_GETROUTE, families[i], take_route, &capture, error) ||
            !lodge_netlink_dump(netlink, RTM_GETNEIGH, families[i], take_neighbour, &capture,
                                error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&state);
}

/* --- Keeping -------------------------------------------------------------------------------------
 */

static json_t *
list_json(const GPtrArray *list)
{
    json_t *value = json_array();
    for (guint i = 0; i < list->len; i++) {
        gsize length = 0;
        const guchar *bytes = g_bytes_get_data(list->pdata[i], &length);
        g_autofree char *text = g_base64_encode(bytes, length);
        json_array_append_new(value, json_string(text));
    }
    return value;
}

static gboolean
list_from_json(const json_t *value, gsize least, GPtrArray *list)
{
    for (gsize i = 0; i < json_array_size(value); i++) {
        const char *text = json_string_value(json_array_get(value, i));
        gsize length = 0;
        guchar *bytes = text != NULL ? g_base64_decode(text, &length) : NULL;
        if (bytes == NULL || length < least) {
            g_free(bytes);
            return FALSE;
        }
        g_ptr_array_add(list, g_bytes_new_take(bytes, length));
    }
    return json_is_array(value);
}

json_t *
lodge_link_state_json(const LodgeLinkState *state)
{
    return json_pack("{s:o, s:o, s:o}", "addresses", list_json(state->addresses), "routes",
                     list_json(state->routes), "neighbours", list_json(state->neighbours));
}

LodgeLinkState *
lodge_link_state_from_json(const json_t *value, GError **error)
{
    g_autoptr(LodgeLinkState) state = state_new();
    if (!list_from_json(json_object_get(value, "addresses"), sizeof(struct ifaddrmsg),
                        state->addresses) ||
        !list_from_json(json_object_get(value, "routes"), sizeof(struct rtmsg), state->routes) ||
        !list_from_json(json_object_get(value, "neighbours"), sizeof(struct ndmsg),
                        state->neighbours)) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "not the state of a link");
        return NULL;
    }
    return g_steal_pointer(&state);
}

/* --- Saying --------------------------------------------------------------------------------------
 */

/* The attributes behind a body's header of @head bytes. */
static struct nlattr *
attributes_of(GBytes *body, gsize head, int *out_length)
{
    gsize length = 0;
    const char *bytes = g_bytes_get_data(body, &length);
    gsize aligned = NLMSG_ALIGN(head);
    *out_length = length > aligned ? (int)(length - aligned) : 0;
    return (struct nlattr *)(gpointer)(bytes + MIN(aligned, length));
}

static struct nlattr *
attribute(GBytes *body, gsize head, int type)
{
    int length = 0;
    struct nlattr *first = attributes_of(body, head, &length);
    return nla_find(first, length, type);
}

static void
copy_but(struct nl_msg *message, GBytes *body, gsize head, const int *excepted, gsize count)
{
    int left = 0;
    for (struct nlattr *one = attributes_of(body, head, &left); nla_ok(one, left);
         one = nla_next(one, &left)) {
        gboolean skipped = FALSE;
        for (gsize i = 0; i < count; i++) {
            skipped = skipped || nla_type(one) == excepted[i];
        }
        if (!skipped) {
            nla_put(message, one->nla_type, nla_len(one), nla_data(one));
        }
    }
}

static char *
describe(int family, struct nlattr *address, guint length)
{
    char text[INET6_ADDRSTRLEN] = "default";
    if (address == NULL) {
        return g_strdup(text);
    }
    inet_ntop(family, nla_data(address), text, sizeof text);
    return g_strdup_printf("%s/%u", text, length);
}

static char *
describe_address(GBytes *body)
{
    const struct ifaddrmsg *head = g_bytes_get_data(body, NULL);
    struct nlattr *local = attribute(body, sizeof *head, IFA_LOCAL);
    return describe(head->ifa_family,
                    local != NULL ? local : attribute(body, sizeof *head, IFA_ADDRESS),
                    head->ifa_prefixlen);
}

char **
lodge_link_state_addresses(const LodgeLinkState *state)
{
    g_autoptr(GStrvBuilder) lines = g_strv_builder_new();
    for (guint i = 0; i < state->addresses->len; i++) {
        const struct ifaddrmsg *head = g_bytes_get_data(state->addresses->pdata[i], NULL);
        g_autofree char *text = describe_address(state->addresses->pdata[i]);
        if (head->ifa_scope != RT_SCOPE_LINK) {
            g_strv_builder_add(lines, text);
        }
    }
    return g_strv_builder_end(lines);
}

gboolean
lodge_link_state_is_dynamic(const LodgeLinkState *state)
{
    for (guint i = 0; i < state->addresses->len; i++) {
        const struct ifaddrmsg *head = g_bytes_get_data(state->addresses->pdata[i], NULL);
        if (head->ifa_family == AF_INET && !(head->ifa_flags & IFA_F_PERMANENT)) {
            return TRUE;
        }
    }
    return FALSE;
}

static char *
describe_route(GBytes *body)
{
    const struct rtmsg *head = g_bytes_get_data(body, NULL);
    struct nlattr *gateway = attribute(body, sizeof *head, RTA_GATEWAY);
    g_autofree char *target = describe(head->rtm_family, attribute(body, sizeof *head, RTA_DST),
                                       head->rtm_dst_len);
    char via[INET6_ADDRSTRLEN] = "";
    if (gateway != NULL) {
        inet_ntop(head->rtm_family, nla_data(gateway), via, sizeof via);
    }
    return g_strconcat(target, gateway != NULL ? " via " : "", via, NULL);
}

char **
lodge_link_state_routes(const LodgeLinkState *state)
{
    g_autoptr(GStrvBuilder) lines = g_strv_builder_new();
    for (guint i = 0; i < state->routes->len; i++) {
        const struct rtmsg *head = g_bytes_get_data(state->routes->pdata[i], NULL);
        g_autofree char *line = describe_route(state->routes->pdata[i]);
        if (head->rtm_protocol != RTPROT_KERNEL) {
            g_strv_builder_add(lines, line);
        }
    }
    return g_strv_builder_end(lines);
}

static void
add_address(LodgeNetlink *netlink, GBytes *body, int index, guint32 added, guint32 metric)
{
    /* A label begins with the old link's name. */
    static const int excepted[] = {IFA_LABEL, IFA_FLAGS};
    static const int deferred[] = {IFA_LABEL, IFA_FLAGS, IFA_RT_PRIORITY};
    const guint32 kept = IFA_F_NOPREFIXROUTE | IFA_F_MANAGETEMPADDR | IFA_F_HOMEADDRESS |
                         IFA_F_MCAUTOJOIN;
    struct ifaddrmsg head = *(const struct ifaddrmsg *)g_bytes_get_data(body, NULL);
    struct nlattr *flags = attribute(body, sizeof head, IFA_FLAGS);
    g_autofree char *text = describe_address(body);
    head.ifa_index = (guint32)index;
    head.ifa_flags = 0;
    struct nl_msg *message = lodge_netlink_message(
        netlink, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, "Adding address %s", text);
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    if (metric == 0) {
        copy_but(message, body, sizeof head, excepted, G_N_ELEMENTS(excepted));
    } else {
        copy_but(message, body, sizeof head, deferred, G_N_ELEMENTS(deferred));
        nla_put_u32(message, IFA_RT_PRIORITY, metric);
    }
    nla_put_u32(message, IFA_FLAGS, (flags != NULL ? nla_get_u32(flags) & kept : 0) | added);
    lodge_netlink_tolerate(netlink, EEXIST);
}

void
lodge_link_state_add_addresses(LodgeNetlink *netlink, const LodgeLinkState *state, int index,
                               gboolean bare)
{
    const guint32 added = IFA_F_NODAD | (bare ? IFA_F_NOPREFIXROUTE : 0);
    for (guint i = 0; i < state->addresses->len; i++) {
        GBytes *body = state->addresses->pdata[i];
        const struct ifaddrmsg *head = g_bytes_get_data(body, NULL);
        add_address(netlink, body, index, head->ifa_family == AF_INET6 ? added : 0, 0);
    }
}

void
lodge_link_state_defer_prefixes(LodgeNetlink *netlink, const LodgeLinkState *state, int index)
{
    for (guint i = 0; i < state->addresses->len; i++) {
        GBytes *body = state->addresses->pdata[i];
        const struct ifaddrmsg *head = g_bytes_get_data(body, NULL);
        if (head->ifa_family == AF_INET) {
            add_address(netlink, body, index, 0, DEFERRED_METRIC);
        }
    }
}

typedef struct {
    const LodgeLinkState *state;
    int index;
    guint found;
} Search;

static void
take_local(struct nlmsghdr *message, gpointer data)
{
    Search *search = data;
    struct rtmsg *head = nlmsg_data(message);
    struct nlattr *target = nlmsg_find_attr(message, sizeof *head, RTA_DST);
    struct nlattr *link = nlmsg_find_attr(message, sizeof *head, RTA_OIF);
    if (message->nlmsg_type != RTM_NEWROUTE || head->rtm_type != RTN_LOCAL || target == NULL ||
        link == NULL || (int)nla_get_u32(link) != search->index) {
        return;
    }
    for (guint i = 0; i < search->state->addresses->len; i++) {
        GBytes *body = search->state->addresses->pdata[i];
        const struct ifaddrmsg *address = g_bytes_get_data(body, NULL);
        struct nlattr *local = attribute(body, sizeof *address, IFA_LOCAL);
        local = local != NULL ? local : attribute(body, sizeof *address, IFA_ADDRESS);
        if (address->ifa_family == AF_INET6 && local != NULL && nla_len(target) == nla_len(local) &&
            memcmp(nla_data(target), nla_data(local), (gsize)nla_len(local)) == 0) {
            search->found++;
        }
    }
}

gboolean
lodge_link_state_is_at_work(LodgeNetlink *netlink, const LodgeLinkState *state, int index)
{
    Search search = {state, index, 0};
    guint wanted = 0;
    for (guint i = 0; i < state->addresses->len; i++) {
        const struct ifaddrmsg *head = g_bytes_get_data(state->addresses->pdata[i], NULL);
        wanted += head->ifa_family == AF_INET6;
    }
    return wanted == 0 ||
           (lodge_netlink_dump(netlink, RTM_GETROUTE, AF_INET6, take_local, &search, NULL) &&
            search.found >= wanted);
}

void
lodge_link_state_delete_addresses(LodgeNetlink *netlink, const LodgeLinkState *state, int index,
                                  int family)
{
    /* Backwards: without its primary address, the kernel drops secondary ones by itself. */
    for (guint i = state->addresses->len; i > 0; i--) {
        GBytes *body = state->addresses->pdata[i - 1];
        struct ifaddrmsg head = *(const struct ifaddrmsg *)g_bytes_get_data(body, NULL);
        struct nlattr *local = attribute(body, sizeof head, IFA_LOCAL);
        struct nlattr *address = attribute(body, sizeof head, IFA_ADDRESS);
        g_autofree char *text = describe_address(body);
        if (family != AF_UNSPEC && head.ifa_family != family) {
            continue;
        }
        head.ifa_index = (guint32)index;
        head.ifa_flags = 0;
        struct nl_msg *message = lodge_netlink_message(netlink, RTM_DELADDR, 0,
                                                       "Removing address %s", text);
        nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
        if (local != NULL) {
            nla_put(message, IFA_LOCAL, nla_len(local), nla_data(local));
        }
        if (address != NULL) {
            nla_put(message, IFA_ADDRESS, nla_len(address), nla_data(address));
        }
        lodge_netlink_tolerate(netlink, EADDRNOTAVAIL);
    }
}

void
lodge_link_state_add_neighbours(LodgeNetlink *netlink, const LodgeLinkState *state, int index)
{
    static const int excepted[] = {NDA_CACHEINFO, NDA_PROBES};
    for (guint i = 0; i < state->neighbours->len; i++) {
        GBytes *body = state->neighbours->pdata[i];
        struct ndmsg head = *(const struct ndmsg *)g_bytes_get_data(body, NULL);
        struct nlattr *address = attribute(body, sizeof head, NDA_DST);
        g_autofree char *text = describe(head.ndm_family, address,
                                         head.ndm_family == AF_INET ? 32 : 128);
        head.ndm_ifindex = index;
        head.ndm_state = head.ndm_state & NUD_PERMANENT ? NUD_PERMANENT : NUD_STALE;
        struct nl_msg *message = lodge_netlink_message(
            netlink, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, "Copying neighbour %s", text);
        nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
        copy_but(message, body, sizeof head, excepted, G_N_ELEMENTS(excepted));
    }
}

/* What is left of an IPv6 route's life is told in clock ticks, and asked for in seconds. */
static void
put_expiry(struct nl_msg *message, GBytes *body)
{
    struct nlattr *cache = attribute(body, sizeof(struct rtmsg), RTA_CACHEINFO);
    long ticks = sysconf(_SC_CLK_TCK);
    if (cache != NULL && nla_len(cache) >= (int)sizeof(struct rta_cacheinfo) && ticks > 0) {
        const struct rta_cacheinfo *info = nla_data(cache);
        if (info->rta_expires > 0) {
            nla_put_u32(message, RTA_EXPIRES, (guint32)(info->rta_expires / ticks) + 1);
        }
    }
}

void
lodge_link_state_replace_routes(LodgeNetlink *netlink, const LodgeLinkState *state, int index)
{
    static const int excepted[] = {RTA_OIF, RTA_CACHEINFO, RTA_EXPIRES};
    for (guint i = 0; i < state->routes->len; i++) {
        GBytes *body = state->routes->pdata[i];
        struct rtmsg head = *(const struct rtmsg *)g_bytes_get_data(body, NULL);
        g_autofree char *text = describe_route(body);
        head.rtm_flags &= RTNH_F_ONLINK;
        struct nl_msg *message = lodge_netlink_message(
            netlink, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, "Moving route %s", text);
        nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
        copy_but(message, body, sizeof head, excepted, G_N_ELEMENTS(excepted));
        nla_put_u32(message, RTA_OIF, (guint32)index);
        if (head.rtm_family == AF_INET6) {
            put_expiry(message, body);
        }
        lodge_netlink_tolerate(netlink, EEXIST);
    }
}
