#include "config.h"

#include "net/delegation.h"

#include <string.h>

enum {
    FIRST_PAUSE_MS = 1000,
    FIRST_RENEW_PAUSE_MS = 10000,
    /* RFC 8415 allows an hour, in which a router that was off would not be noticed. */
    LONGEST_SOLICIT_PAUSE_MS = 120000,
    LONGEST_REQUEST_PAUSE_MS = 30000,
    LONGEST_RENEW_PAUSE_MS = 600000,
    REQUEST_TRIES = 10,
    BEST_PREFERENCE = 255,
};

static gboolean
has_lease(const LodgeDelegationClient *client)
{
    return client->lease.prefix.family != 0;
}

gint64
lodge_delegation_until(const LodgeDelegationClient *client, guint32 seconds)
{
    return seconds == G_MAXUINT32 ? G_MAXINT64 : client->since + (gint64)seconds * 1000;
}

static void
enter(LodgeDelegationClient *client, LodgeDelegationState state, gint64 now)
{
    client->state = state;
    client->transaction = g_random_int() & 0xffffff;
    client->began = now;
    client->next = now;
    client->tries = 0;
    client->pause = 0;
    if (state == LODGE_DELEGATION_SOLICITING) {
        client->offer = (LodgeDelegation){0};
        client->preference = -1;
    }
}

void
lodge_delegation_begin(LodgeDelegationClient *client, gint64 now)
{
    enter(client, LODGE_DELEGATION_SOLICITING, now);
}

static gboolean
is_renewing(const LodgeDelegationClient *client)
{
    return client->state == LODGE_DELEGATION_RENEWING ||
           client->state == LODGE_DELEGATION_REBINDING;
}

/* Twice as long each time, a tenth more or less, so that many clients don't speak at once. */
static void
lengthen_pause(LodgeDelegationClient *client)
{
    static const gint64 longest[] = {
        [LODGE_DELEGATION_SOLICITING] = LONGEST_SOLICIT_PAUSE_MS,
        [LODGE_DELEGATION_REQUESTING] = LONGEST_REQUEST_PAUSE_MS,
        [LODGE_DELEGATION_BOUND] = 0,
        [LODGE_DELEGATION_RENEWING] = LONGEST_RENEW_PAUSE_MS,
        [LODGE_DELEGATION_REBINDING] = LONGEST_RENEW_PAUSE_MS,
        [LODGE_DELEGATION_RELEASING] = FIRST_PAUSE_MS,
    };
    gint64 first = is_renewing(client) ? FIRST_RENEW_PAUSE_MS : FIRST_PAUSE_MS;
    gint64 plain = client->tries == 0 ? first : MIN(client->pause * 2, longest[client->state]);
    client->pause = plain * g_random_int_range(client->tries == 0 ? 1000 : 900, 1101) / 1000;
}

static void
put_message(LodgeDelegationClient *client, gint64 now, GByteArray *bytes)
{
    static const LodgeDhcp6Type types[] = {
        [LODGE_DELEGATION_SOLICITING] = LODGE_DHCP6_SOLICIT,
        [LODGE_DELEGATION_REQUESTING] = LODGE_DHCP6_REQUEST,
        [LODGE_DELEGATION_BOUND] = LODGE_DHCP6_RENEW,
        [LODGE_DELEGATION_RENEWING] = LODGE_DHCP6_RENEW,
        [LODGE_DELEGATION_REBINDING] = LODGE_DHCP6_REBIND,
        [LODGE_DELEGATION_RELEASING] = LODGE_DHCP6_RELEASE,
    };
    gboolean requests = client->state == LODGE_DELEGATION_REQUESTING;
    LodgeDhcp6Question question = {
        .type = types[client->state],
        .transaction = client->transaction,
        .iaid = client->iaid,
        .elapsed_cs = (guint)MIN((now - client->began) / 10, 0xffff),
        .client = &client->duid,
        .wanted = requests                          ? &client->offer
                  : has_lease(client)               ? &client->lease
                  : client->hint.prefix.family != 0 ? &client->hint
                                                    : NULL,
    };
    lodge_dhcp6_put(bytes, &question);
    lengthen_pause(client);
    client->tries++;
    client->next = now + client->pause;
}

/* What time alone changes: T1, T2, and the end. */
static gboolean
pass_time(LodgeDelegationClient *client, gint64 now)
{
    if (!has_lease(client)) {
        return FALSE;
    }
    if (now >= lodge_delegation_until(client, client->lease.valid_s)) {
        client->lease = (LodgeDelegation){0};
        if (client->state != LODGE_DELEGATION_REQUESTING) {
            enter(client, LODGE_DELEGATION_SOLICITING, now);
        }
        return TRUE;
    }
    if (client->state == LODGE_DELEGATION_BOUND &&
        now >= lodge_delegation_until(client, client->lease.renew_s)) {
        enter(client, LODGE_DELEGATION_RENEWING, now);
    }
    if (client->state == LODGE_DELEGATION_RENEWING &&
        now >= lodge_delegation_until(client, client->lease.rebind_s)) {
        enter(client, LODGE_DELEGATION_REBINDING, now);
    }
    return FALSE;
}

/* The end of the lease, or of the state, may come before the next message. */
static void
mind_ends(LodgeDelegationClient *client)
{
    if (!has_lease(client)) {
        return;
    }
    if (client->state == LODGE_DELEGATION_BOUND) {
        client->next = lodge_delegation_until(client, client->lease.renew_s);
    }
    if (client->state == LODGE_DELEGATION_RENEWING) {
        client->next = MIN(client->next, lodge_delegation_until(client, client->lease.rebind_s));
    }
    client->next = MIN(client->next, lodge_delegation_until(client, client->lease.valid_s));
}

gboolean
lodge_delegation_act(LodgeDelegationClient *client, gint64 now, GByteArray *bytes)
{
    gboolean lost = pass_time(client, now);
    if (client->state == LODGE_DELEGATION_REQUESTING && client->tries >= REQUEST_TRIES &&
        now >= client->next) {
        enter(client, LODGE_DELEGATION_SOLICITING, now);
    }
    if (client->state == LODGE_DELEGATION_SOLICITING && client->offer.prefix.family != 0 &&
        now >= client->next) {
        enter(client, LODGE_DELEGATION_REQUESTING, now);
    }
    if (client->state != LODGE_DELEGATION_BOUND && now >= client->next) {
        put_message(client, now, bytes);
    }
    mind_ends(client);
    return lost;
}

gboolean
lodge_delegation_release(LodgeDelegationClient *client, gint64 now, GByteArray *bytes)
{
    if (!has_lease(client)) {
        return FALSE;
    }
    if (client->state != LODGE_DELEGATION_RELEASING) {
        enter(client, LODGE_DELEGATION_RELEASING, now);
    }
    client->hint = client->lease;
    put_message(client, now, bytes);
    return TRUE;
}

static gboolean
take_lease(LodgeDelegationClient *client, const LodgeDelegation *lease, gint64 now)
{
    client->lease = *lease;
    client->since = now;
    enter(client, LODGE_DELEGATION_BOUND, now);
    mind_ends(client);
    return TRUE;
}

/* An offer that is the best there is, or that comes late, is requested at once. */
static void
take_offer(LodgeDelegationClient *client, const LodgeDhcp6Answer *answer, gint64 now)
{
    if (client->state != LODGE_DELEGATION_SOLICITING || answer->delegation.prefix.family == 0 ||
        answer->preference <= client->preference) {
        return;
    }
    client->offer = answer->delegation;
    client->preference = answer->preference;
    if (answer->preference == BEST_PREFERENCE || client->tries > 1) {
        enter(client, LODGE_DELEGATION_REQUESTING, now);
    }
}

/* Our server does not know the lease any more, or takes the prefix away: asked for another one it
 * may give it. A refusal while others could still prolong it is not the end. */
static void
take_refusal(LodgeDelegationClient *client, const LodgeDhcp6Answer *answer, gint64 now)
{
    gboolean is_ours = answer->server.length == client->lease.server.length &&
                       memcmp(answer->server.bytes, client->lease.server.bytes,
                              answer->server.length) == 0;
    if (client->state == LODGE_DELEGATION_REQUESTING ||
        (is_renewing(client) && answer->has_iaid && is_ours)) {
        enter(client, LODGE_DELEGATION_SOLICITING, now);
    }
}

gboolean
lodge_delegation_hear(LodgeDelegationClient *client, const guint8 *data, gsize size, gint64 now)
{
    LodgeDhcp6Answer answer;
    if (!lodge_dhcp6_parse(data, size, client->iaid, &answer, NULL) ||
        answer.transaction != client->transaction || client->tries == 0 ||
        client->state == LODGE_DELEGATION_BOUND || answer.client.length != client->duid.length ||
        memcmp(answer.client.bytes, client->duid.bytes, client->duid.length) != 0) {
        return FALSE;
    }
    if (answer.type == LODGE_DHCP6_ADVERTISE) {
        take_offer(client, &answer, now);
        return FALSE;
    }
    if (client->state == LODGE_DELEGATION_RELEASING) {
        client->lease = (LodgeDelegation){0};
        return FALSE;
    }
    if (client->state == LODGE_DELEGATION_SOLICITING && !answer.rapid) {
        return FALSE;
    }
    if (answer.delegation.prefix.family != 0) {
        return take_lease(client, &answer.delegation, now);
    }
    take_refusal(client, &answer, now);
    return FALSE;
}
