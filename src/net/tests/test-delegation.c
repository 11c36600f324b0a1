/* The client that has prefixes delegated, against servers made up here, by a clock made up here. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/delegation.h"

static const guint8 server_id[] = {0, 3, 0, 1, 0x52, 0x54, 0, 0, 0, 1};
static const guint8 other_id[] = {0, 3, 0, 1, 0x52, 0x54, 0, 0, 0, 2};

static LodgeDelegationClient
make_client(void)
{
    LodgeDelegationClient client = {.iaid = 0x6c616e21};
    client.duid = (LodgeDuid){{0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, 18};
    return client;
}

typedef struct {
    guint8 type;
    const guint8 *server;
    guint8 preference;
    const char *prefix; /* NULL: none is left */
    guint32 preferred_s, valid_s, renew_s, rebind_s;
} Said;

static void
put(GByteArray *bytes, guint width, guint32 value)
{
    for (guint i = width; i > 0; i--) {
        guint8 byte = (guint8)(value >> (i - 1) * 8);
        g_byte_array_append(bytes, &byte, 1);
    }
}

static GByteArray *
answer_of(const LodgeDelegationClient *client, const Said *said)
{
    GByteArray *bytes = g_byte_array_new();
    LodgePrefix prefix = {0};
    put(bytes, 4, (guint32)said->type << 24 | client->transaction);
    put(bytes, 4, 1 << 16 | (guint32)client->duid.length);
    g_byte_array_append(bytes, client->duid.bytes, (guint)client->duid.length);
    put(bytes, 4, 2 << 16 | sizeof server_id);
    g_byte_array_append(bytes, said->server != NULL ? said->server : server_id, sizeof server_id);
    put(bytes, 4, 7 << 16 | 1);
    put(bytes, 1, said->preference);
    put(bytes, 4, 25 << 16 | (12 + (said->prefix != NULL ? 29 : 6)));
    put(bytes, 4, client->iaid);
    put(bytes, 4, said->renew_s);
    put(bytes, 4, said->rebind_s);
    if (said->prefix == NULL) {
        put(bytes, 4, 13 << 16 | 2);
        put(bytes, 2, 6);
        return bytes;
    }
    g_assert_true(lodge_prefix_parse(said->prefix, &prefix, NULL));
    put(bytes, 4, 26 << 16 | 25);
    put(bytes, 4, said->preferred_s);
    put(bytes, 4, said->valid_s);
    put(bytes, 1, prefix.length);
    g_byte_array_append(bytes, prefix.bytes, 16);
    return bytes;
}

static gboolean
hear(LodgeDelegationClient *client, gint64 now, Said said)
{
    g_autoptr(GByteArray) bytes = answer_of(client, &said);
    return lodge_delegation_hear(client, bytes->data, bytes->len, now);
}

/* What it says at @now: the type of its message, or 0. */
static int
act(LodgeDelegationClient *client, gint64 now, gboolean *out_lost)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    gboolean lost = lodge_delegation_act(client, now, bytes);
    if (out_lost != NULL) {
        *out_lost = lost;
    }
    return bytes->len > 0 ? bytes->data[0] : 0;
}

static void
assert_prefix(const LodgeDelegation *lease, const char *expected)
{
    g_autofree char *text = lease->prefix.family != 0 ? lodge_prefix_format(&lease->prefix) : NULL;
    g_assert_cmpstr(text, ==, expected);
}

#define OFFER(prefix_, preference_)                                                                \
    ((Said){.type = LODGE_DHCP6_ADVERTISE,                                                         \
            .prefix = (prefix_),                                                                   \
            .preference = (preference_),                                                           \
            .preferred_s = 1000,                                                                   \
            .valid_s = 2000})
#define LEASE(prefix_)                                                                             \
    ((Said){.type = LODGE_DHCP6_REPLY,                                                             \
            .prefix = (prefix_),                                                                   \
            .preferred_s = 1000,                                                                   \
            .valid_s = 2000,                                                                       \
            .renew_s = 500,                                                                        \
            .rebind_s = 800})

/* Have it lease @prefix at time 0. */
static LodgeDelegationClient
make_bound(const char *prefix)
{
    LodgeDelegationClient client = make_client();
    lodge_delegation_begin(&client, 0);
    g_assert_cmpint(act(&client, 0, NULL), ==, LODGE_DHCP6_SOLICIT);
    g_assert_false(hear(&client, 0, OFFER(prefix, 255)));
    g_assert_cmpint(act(&client, 0, NULL), ==, LODGE_DHCP6_REQUEST);
    g_assert_true(hear(&client, 0, LEASE(prefix)));
    g_assert_cmpint(act(&client, 0, NULL), ==, 0);
    assert_prefix(&client.lease, prefix);
    return client;
}

static void
test_wire(void)
{
    static const guint8 expected[] = {
        1,  0xab, 0xcd, 0xef, 0,    1,    0, 18, 0, 4,  1, 2, 3, 4, 5, 6,  7, 8,  9, 10, 11, 12,
        13, 14,   15,   16,   0,    8,    0, 2,  0, 99, 0, 6, 0, 2, 0, 82, 0, 14, 0, 0,  0,  25,
        0,  41,   0x6c, 0x61, 0x6e, 0x21, 0, 0,  0, 0,  0, 0, 0, 0, 0, 26, 0, 25, 0, 0,  0,  0,
        0,  0,    0,    0,    64,   0,    0, 0,  0, 0,  0, 0, 0, 0, 0, 0,  0, 0,  0, 0,  0,
    };
    LodgeDelegationClient client = make_client();
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    LodgeDhcp6Question question = {.type = LODGE_DHCP6_SOLICIT,
                                   .transaction = 0xabcdef,
                                   .iaid = client.iaid,
                                   .elapsed_cs = 99,
                                   .client = &client.duid};
    lodge_dhcp6_put(bytes, &question);
    g_assert_cmpmem(bytes->data, bytes->len, expected, sizeof expected);
}

/* The best offer of the first second is requested; one who says it is the best, at once. */
static void
test_offers(void)
{
    LodgeDelegationClient client = make_client();
    lodge_delegation_begin(&client, 0);
    g_assert_cmpint(act(&client, 0, NULL), ==, LODGE_DHCP6_SOLICIT);
    hear(&client, 10, OFFER("2001:db8:1::/64", 5));
    hear(&client, 20, OFFER("2001:db8:2::/64", 9));
    hear(&client, 30, OFFER("2001:db8:3::/64", 7));
    g_assert_cmpint(act(&client, 30, NULL), ==, 0);
    g_assert_cmpint(client.next, >=, 1000);
    g_assert_cmpint(act(&client, client.next, NULL), ==, LODGE_DHCP6_REQUEST);
    assert_prefix(&client.offer, "2001:db8:2::/64");
    g_assert_true(hear(&client, 1200, LEASE("2001:db8:2::/64")));
    g_assert_cmpint(client.state, ==, LODGE_DELEGATION_BOUND);
    g_assert_cmpint(client.next, ==, 1200 + 500 * 1000);
}

/* What is not to be used is not taken. */
static void
test_unusable(void)
{
    static const char *const prefixes[] = {"fe80::/64", "ff00::/16", "::/0", "2001:db8::/65"};
    LodgeDelegationClient client = make_client();
    lodge_delegation_begin(&client, 0);
    act(&client, 0, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        hear(&client, 1, OFFER(prefixes[i], 255));
    }
    Said brief = OFFER("2001:db8:1::/64", 255);
    brief.preferred_s = 5;
    hear(&client, 1, brief);
    g_assert_cmpint(client.state, ==, LODGE_DELEGATION_SOLICITING);
    client.transaction ^= 1; /* somebody else's */
    g_autoptr(GByteArray) strange = answer_of(&client, &OFFER("2001:db8:1::/64", 255));
    client.transaction ^= 1;
    lodge_delegation_hear(&client, strange->data, strange->len, 1);
    g_assert_cmpint(client.state, ==, LODGE_DELEGATION_SOLICITING);
    hear(&client, 1, OFFER("2001:db8:1::/56", 255));
    g_assert_cmpint(client.state, ==, LODGE_DELEGATION_REQUESTING);
}

static void
test_renewal(void)
{
    LodgeDelegationClient client = make_bound("2001:db8:1::/64");
    gboolean lost = TRUE;
    g_assert_cmpint(act(&client, 499999, NULL), ==, 0);
    g_assert_cmpint(act(&client, 500000, NULL), ==, LODGE_DHCP6_RENEW);
    g_assert_true(hear(&client, 500001, LEASE("2001:db8:2::/64")));
    assert_prefix(&client.lease, "2001:db8:2::/64");
    /* Its server is silent: any may prolong it, then nobody did. */
    g_assert_cmpint(act(&client, 1000001, NULL), ==, LODGE_DHCP6_RENEW);
    g_assert_cmpint(act(&client, 1300001, &lost), ==, LODGE_DHCP6_REBIND);
    Said refusal = {.type = LODGE_DHCP6_REPLY, .server = other_id};
    g_assert_false(hear(&client, 1300002, refusal));
    g_assert_cmpint(client.state, ==, LODGE_DELEGATION_REBINDING);
    g_assert_false(lost);
    g_assert_cmpint(act(&client, 2500001, &lost), ==, LODGE_DHCP6_SOLICIT);
    g_assert_true(lost);
    assert_prefix(&client.lease, NULL);
}

/* Its server does not know it any more: what it has is good until another is there. */
static void
test_refusal(void)
{
    LodgeDelegationClient client = make_bound("2001:db8:1::/64");
    g_assert_cmpint(act(&client, 500000, NULL), ==, LODGE_DHCP6_RENEW);
    g_assert_false(hear(&client, 500001, (Said){.type = LODGE_DHCP6_REPLY}));
    g_assert_cmpint(act(&client, 500001, NULL), ==, LODGE_DHCP6_SOLICIT);
    assert_prefix(&client.lease, "2001:db8:1::/64");
}

/* It is given back, and asked for again. */
static void
test_release(void)
{
    LodgeDelegationClient client = make_bound("2001:db8:1::/60");
    for (guint i = 0; i < 2; i++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        g_assert_true(lodge_delegation_release(&client, 1000, bytes));
        g_assert_cmpint(bytes->data[0], ==, LODGE_DHCP6_RELEASE);
        assert_prefix(&client.lease, "2001:db8:1::/60");
    }
    g_assert_false(hear(&client, 1001, (Said){.type = LODGE_DHCP6_REPLY}));
    assert_prefix(&client.lease, NULL);
    assert_prefix(&client.hint, "2001:db8:1::/60");
    g_autoptr(GByteArray) none = g_byte_array_new();
    g_assert_false(lodge_delegation_release(&client, 1002, none));
    g_assert_cmpuint(none->len, ==, 0);
    lodge_delegation_begin(&client, 2000);
    g_autoptr(GByteArray) asked = g_byte_array_new();
    lodge_delegation_act(&client, 2000, asked);
    g_assert_cmpint(asked->data[0], ==, LODGE_DHCP6_SOLICIT);
    LodgePrefix wanted;
    g_assert_true(lodge_prefix_parse("2001:db8:1::/60", &wanted, NULL));
    g_assert_cmpmem(asked->data + asked->len - 16, 16, wanted.bytes, 16);
}

/* Nobody answers: pauses grow, up to two minutes and a tenth. */
static void
test_silence(void)
{
    LodgeDelegationClient client = make_client();
    gint64 now = 0;
    guint count = 0;
    lodge_delegation_begin(&client, now);
    while (now < 3600 * 1000) {
        g_assert_cmpint(act(&client, now, NULL), ==, LODGE_DHCP6_SOLICIT);
        g_assert_cmpint(client.next - now, >=, 1000);
        g_assert_cmpint(client.next - now, <=, 132100);
        now = client.next;
        count++;
    }
    g_assert_cmpuint(count, >=, 30);
    g_assert_cmpuint(count, <=, 45);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/net/delegation/wire", test_wire);
    g_test_add_func("/net/delegation/offers", test_offers);
    g_test_add_func("/net/delegation/unusable", test_unusable);
    g_test_add_func("/net/delegation/renewal", test_renewal);
    g_test_add_func("/net/delegation/refusal", test_refusal);
    g_test_add_func("/net/delegation/release", test_release);
    g_test_add_func("/net/delegation/silence", test_silence);
    return g_test_run();
}
