/* What anybody on the uplink's segment may say to the client that has prefixes delegated. */
#include "config.h"

#include "base/tests/fuzz.h"
#include "net/delegation.h"

static void
fuzz_one(const guint8 *data, gsize size)
{
    LodgeDelegationClient client = {.iaid = 0x6c616e21, .duid = {{0, 4, 1, 2}, 4}};
    g_autoptr(GByteArray) sent = g_byte_array_new();
    lodge_delegation_begin(&client, 0);
    for (gint64 now = 0; now < 3; now++) {
        lodge_delegation_act(&client, now, sent);
        client.transaction = 0xabcdef; /* the seed's */
        lodge_delegation_hear(&client, data, size, now);
    }
    if (client.lease.prefix.family != 0) {
        g_assert_cmpuint(client.lease.prefix.length, <=, 64);
        g_assert_cmpuint(client.lease.renew_s, <=, client.lease.rebind_s);
        g_assert_cmpuint(client.lease.rebind_s, <=, client.lease.valid_s);
    }
}
