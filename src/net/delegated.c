#include "config.h"

#include "net/delegated.h"

#include <net/if.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "net/link.h"
#include "net/net-private.h"

enum {
    FILE_LIMIT_BYTES = 65536,
    SUBNET_LENGTH = 64,
    UUID_DUID_BYTES = 18,
};

LodgePrefix
lodge_delegated_subnet(const LodgePrefix *prefix)
{
    LodgePrefix subnet = *prefix;
    subnet.length = SUBNET_LENGTH;
    return subnet;
}

/* --- What the network has -----------------------------------------------------------------------
 */

static char *
now_path(const LodgeStore *store, const char *network)
{
    return lodge_store_network_run_path(store, network, "delegated.json");
}

static json_t *
read_now(const LodgeStore *store, const char *network, LodgePrefix *out_prefix)
{
    g_autofree char *path = now_path(store, network);
    g_autoptr(json_t) value = lodge_json_read(path, FILE_LIMIT_BYTES, NULL);
    const char *text = value != NULL ? lodge_json_string(value, "prefix", "") : "";
    return lodge_prefix_parse(text, out_prefix, NULL) && out_prefix->family == AF_INET6 &&
                   out_prefix->length <= SUBNET_LENGTH
               ? g_steal_pointer(&value)
               : NULL;
}

char *
lodge_net_delegated(const LodgeStore *store, const char *network)
{
    LodgePrefix prefix;
    g_autoptr(json_t) value = read_now(store, network, &prefix);
    LodgePrefix subnet = value != NULL ? lodge_delegated_subnet(&prefix) : prefix;
    return value != NULL ? lodge_prefix_format(&subnet) : NULL;
}

/* The kernel counts in seconds, too, and forgets the address should we not come back. */
static guint32
left_s(gint64 until, gint64 now)
{
    return until == G_MAXINT64 ? G_MAXUINT32 : (guint32)(MAX(until - now, 0) / 1000);
}

static void
put_address(LodgeNet *net, int bridge, const LodgePrefix *prefix, guint32 preferred_s,
            guint32 valid_s)
{
    LodgePrefix subnet = lodge_delegated_subnet(prefix);
    LodgePrefix own = lodge_network_gateway(&subnet);
    own.length = SUBNET_LENGTH;
    if (valid_s > 0) {
        lodge_link_lent_address(net->netlink, bridge, &own, MIN(preferred_s, valid_s), valid_s);
        lodge_link_route(net->netlink, bridge, &subnet, NULL, TRUE);
    }
    /* What comes for the other subnets must not go back to where it came from. */
    if (prefix->length < SUBNET_LENGTH) {
        lodge_link_unreachable(net->netlink, prefix, TRUE);
    }
}

static void
remove_address(LodgeNet *net, int bridge, const LodgePrefix *prefix)
{
    LodgePrefix subnet = lodge_delegated_subnet(prefix);
    LodgePrefix own = lodge_network_gateway(&subnet);
    own.length = SUBNET_LENGTH;
    if (bridge != 0) {
        lodge_link_address(net->netlink, bridge, &own, FALSE);
        lodge_link_route(net->netlink, bridge, &subnet, NULL, FALSE);
    }
    if (prefix->length < SUBNET_LENGTH) {
        lodge_link_unreachable(net->netlink, prefix, FALSE);
    }
}

void
lodge_net_put_delegated(LodgeNet *net, const char *network, int bridge)
{
    LodgePrefix prefix;
    g_autoptr(json_t) value = read_now(net->store, network, &prefix);
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    if (value != NULL) {
        gint64 preferred = lodge_json_int(value, "preferred_until", now);
        gint64 valid = lodge_json_int(value, "valid_until", now);
        put_address(net, bridge, &prefix, (guint32)CLAMP(preferred - now, 0, G_MAXUINT32),
                    (guint32)CLAMP(valid - now, 0, G_MAXUINT32));
    }
}

void
lodge_net_remove_delegated(LodgeNet *net, const char *network)
{
    LodgePrefix prefix;
    g_autoptr(json_t) value = read_now(net->store, network, &prefix);
    if (value != NULL) {
        remove_address(net, 0, &prefix);
        lodge_netlink_send(net->netlink, NULL);
    }
}

static gboolean
write_now(LodgeNet *net, const char *network, const LodgePrefix *prefix, const char *uplink,
          const guint32 *lifetimes_s, GError **error)
{
    g_autofree char *path = now_path(net->store, network);
    g_autofree char *text = lodge_prefix_format(prefix);
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    g_autoptr(json_t) value = json_pack("{s:s, s:s, s:I, s:I}", "prefix", text, "uplink", uplink,
                                        "preferred_until", (json_int_t)(now + lifetimes_s[0]),
                                        "valid_until", (json_int_t)(now + lifetimes_s[1]));
    return lodge_json_publish(path, value, error);
}

/* The prefix must not be another's: who delegates is anybody on the uplink's segment. */
static gboolean
check_overlap(LodgeNet *net, const LodgeNetwork *network, const LodgePrefix *prefix, GError **error)
{
    g_autofree char *owner = g_strdup_printf("the prefix delegated to network %s", network->name);
    g_autoptr(GPtrArray)
        taken = lodge_net_taken_prefixes(net, network->name, network->bridge, error);
    return taken != NULL && lodge_prefix_check_free(prefix, owner, taken, error);
}

/* NULL: none was, or is to be. */
static gboolean
change(LodgeNet *net, const LodgeNetwork *network, const LodgePrefix *before,
       const LodgePrefix *after, const guint32 *lifetimes_s, GError **error)
{
    int bridge = lodge_link_index(network->bridge);
    gboolean is_same = before != NULL && after != NULL && lodge_prefix_equal(before, after);
    if (before != NULL && !is_same) {
        remove_address(net, bridge, before);
    }
    if (after != NULL && bridge != 0) {
        put_address(net, bridge, after, lifetimes_s[0], lifetimes_s[1]);
    }
    return lodge_netlink_send(net->netlink, error) &&
           (is_same || lodge_net_reload_firewall(net, NULL, error));
}

gboolean
lodge_net_set_delegated(LodgeNet *net, const LodgeNetwork *network,
                        const LodgeDelegationClient *client, gint64 now, const char *uplink,
                        GError **error)
{
    LodgePrefix old;
    lodge_autofd lock = lodge_net_lock_at_once(net->store, network->name, error);
    if (lock < 0) {
        return FALSE;
    }
    g_autofree char *path = now_path(net->store, network->name);
    g_autoptr(json_t) before = read_now(net->store, network->name, &old);
    const LodgePrefix *prefix = client->lease.prefix.family != 0 ? &client->lease.prefix : NULL;
    const guint32 lifetimes_s[] = {
        left_s(lodge_delegation_until(client, client->lease.preferred_s), now),
        left_s(lodge_delegation_until(client, client->lease.valid_s), now)};
    if (prefix == NULL) {
        unlink(path);
    } else {
        gboolean is_new = before == NULL || !lodge_prefix_equal(&old, prefix);
        if ((is_new && !check_overlap(net, network, prefix, error)) ||
            !write_now(net, network->name, prefix, uplink, lifetimes_s, error)) {
            return FALSE;
        }
    }
    return change(net, network, before != NULL ? &old : NULL, prefix, lifetimes_s, error);
}

/* --- What the client is -------------------------------------------------------------------------
 */

static char *
client_path(const LodgeStore *store, const char *network)
{
    g_autofree char *file = g_strconcat(network, ".delegation", NULL);
    return g_build_filename(store->root, "networks", file, NULL);
}

static char *
hex_of(const LodgeDuid *duid)
{
    GString *text = g_string_new(NULL);
    for (gsize i = 0; i < duid->length; i++) {
        g_string_append_printf(text, "%02x", duid->bytes[i]);
    }
    return g_string_free(text, FALSE);
}

static gboolean
read_duid(const char *text, LodgeDuid *out_duid)
{
    gsize length = strlen(text) / 2;
    if (length == 0 || length > LODGE_DUID_MOST || strspn(text, "0123456789abcdef") != length * 2) {
        return FALSE;
    }
    for (gsize i = 0; i < length; i++) {
        out_duid->bytes[i] = (guint8)(g_ascii_xdigit_value(text[i * 2]) << 4 |
                                      g_ascii_xdigit_value(text[i * 2 + 1]));
    }
    out_duid->length = length;
    return TRUE;
}

/* A UUID (RFC 6355), not of the host's MACs, which its other client may use. */
static void
make_duid(LodgeDuid *out_duid)
{
    *out_duid = (LodgeDuid){{0, 4}, UUID_DUID_BYTES};
    for (gsize i = 2; i < UUID_DUID_BYTES; i++) {
        out_duid->bytes[i] = (guint8)g_random_int_range(0, 256);
    }
}

/* Times on file are of the calendar, the client's are not. */
static void
load_lease(const json_t *value, gint64 now, LodgeDelegationClient *client)
{
    LodgeDelegation lease = {
        .preferred_s = (guint32)lodge_json_int(value, "preferred", 0),
        .valid_s = (guint32)lodge_json_int(value, "valid", 0),
        .renew_s = (guint32)lodge_json_int(value, "renew", 0),
        .rebind_s = (guint32)lodge_json_int(value, "rebind", 0),
    };
    gint64 age_ms = g_get_real_time() / 1000 - lodge_json_int(value, "since", 0) * 1000;
    if (!lodge_prefix_parse(lodge_json_string(value, "prefix", ""), &lease.prefix, NULL) ||
        lease.prefix.family != AF_INET6 || lease.prefix.length > SUBNET_LENGTH ||
        !read_duid(lodge_json_string(value, "server", ""), &lease.server) || age_ms < 0) {
        return;
    }
    client->since = now - age_ms;
    client->hint = lease;
    if (lease.valid_s == G_MAXUINT32 || age_ms < (gint64)lease.valid_s * 1000) {
        client->lease = lease;
    }
}

gboolean
lodge_net_load_delegation(const LodgeStore *store, const char *network, gint64 now,
                          LodgeDelegationClient *out_client, GError **error)
{
    g_autofree char *path = client_path(store, network);
    g_autoptr(json_t) value = lodge_json_read(path, FILE_LIMIT_BYTES, NULL);
    *out_client = (LodgeDelegationClient){.iaid = g_str_hash(network)};
    if (value != NULL && read_duid(lodge_json_string(value, "duid", ""), &out_client->duid)) {
        load_lease(value, now, out_client);
        return TRUE;
    }
    make_duid(&out_client->duid);
    return lodge_net_save_delegation(store, network, now, out_client, error);
}

gboolean
lodge_net_save_delegation(const LodgeStore *store, const char *network, gint64 now,
                          const LodgeDelegationClient *client, GError **error)
{
    g_autofree char *path = client_path(store, network);
    g_autofree char *duid = hex_of(&client->duid);
    g_autoptr(json_t) value = json_pack("{s:s}", "duid", duid);
    const LodgeDelegation given_back = {.prefix = client->hint.prefix,
                                        .server = client->hint.server};
    gboolean has = client->lease.prefix.family != 0;
    if (has || client->hint.prefix.family != 0) {
        const LodgeDelegation *lease = has ? &client->lease : &given_back;
        g_autofree char *prefix = lodge_prefix_format(&lease->prefix);
        g_autofree char *server = hex_of(&lease->server);
        gint64 since = g_get_real_time() / 1000 - (now - client->since);
        g_autoptr(json_t) had = json_pack(
            "{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "prefix", prefix, "server", server, "since",
            (json_int_t)(since / 1000), "preferred", (json_int_t)lease->preferred_s, "valid",
            (json_int_t)lease->valid_s, "renew", (json_int_t)lease->renew_s, "rebind",
            (json_int_t)lease->rebind_s);
        json_object_update(value, had);
    }
    return lodge_json_publish(path, value, error);
}

void
lodge_net_forget_delegation(const LodgeStore *store, const char *network)
{
    g_autofree char *path = client_path(store, network);
    unlink(path);
}

/* --- Where the world is -------------------------------------------------------------------------
 */

typedef struct {
    guint32 index; /* 0: none yet */
    guint32 metric;
    guint32 except;
} Way;

static void
take_route(struct nlmsghdr *message, gpointer data)
{
    Way *way = data;
    struct rtmsg *head = nlmsg_data(message);
    struct nlattr *link = nlmsg_find_attr(message, sizeof *head, RTA_OIF);
    struct nlattr *priority = nlmsg_find_attr(message, sizeof *head, RTA_PRIORITY);
    guint32 metric = priority != NULL ? nla_get_u32(priority) : 0;
    if (message->nlmsg_type == RTM_NEWROUTE && head->rtm_dst_len == 0 && link != NULL &&
        head->rtm_table == RT_TABLE_MAIN && head->rtm_type == RTN_UNICAST &&
        nla_get_u32(link) != way->except && (way->index == 0 || metric < way->metric)) {
        way->index = nla_get_u32(link);
        way->metric = metric;
    }
}

char *
lodge_net_default_link(LodgeNet *net, const char *except)
{
    Way way = {.except = (guint32)lodge_link_index(except)};
    char name[IF_NAMESIZE];
    lodge_netlink_dump(net->netlink, RTM_GETROUTE, AF_INET6, take_route, &way, NULL);
    return way.index != 0 && if_indextoname(way.index, name) != NULL ? g_strdup(name) : NULL;
}
