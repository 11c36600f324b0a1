#include "config.h"

#include "net/dhcp6-message.h"

#include <string.h>

#include "base/base.h"

enum {
    OPTION_CLIENT = 1,
    OPTION_SERVER = 2,
    OPTION_REQUESTED = 6,
    OPTION_PREFERENCE = 7,
    OPTION_ELAPSED = 8,
    OPTION_STATUS = 13,
    OPTION_RAPID = 14,
    OPTION_IA_PD = 25,
    OPTION_PREFIX = 26,
    OPTION_MOST_SOLICIT = 82,
    HEAD_BYTES = 4,
    IA_HEAD_BYTES = 12,
    PREFIX_HEAD_BYTES = 25,
    LONGEST_PREFIX = 64,   /* guests make addresses of nothing longer */
    LEAST_LIFETIME_S = 60, /* less is no time to use it in */
    LEAST_RENEW_S = 10,
};

/* --- Writing -----------------------------------------------------------------------------------
 */

static void
put16(GByteArray *bytes, guint value)
{
    const guint8 raw[] = {(guint8)(value >> 8), (guint8)value};
    g_byte_array_append(bytes, raw, sizeof raw);
}

static void
put32(GByteArray *bytes, guint32 value)
{
    put16(bytes, value >> 16);
    put16(bytes, value & 0xffff);
}

static void
put_option(GByteArray *bytes, guint code, const guint8 *data, gsize length)
{
    put16(bytes, code);
    put16(bytes, (guint)length);
    g_byte_array_append(bytes, data, (guint)length);
}

/* Lifetimes and times are 0: how long is the server's to say. */
static void
put_delegation(GByteArray *bytes, const LodgeDhcp6Question *question)
{
    static const LodgePrefix any = {AF_INET6, {0}, LONGEST_PREFIX};
    const LodgePrefix *prefix = question->wanted != NULL ? &question->wanted->prefix : &any;
    guint8 length = (guint8)prefix->length;
    put16(bytes, OPTION_IA_PD);
    put16(bytes, IA_HEAD_BYTES + 4 + PREFIX_HEAD_BYTES);
    put32(bytes, question->iaid);
    put32(bytes, 0);
    put32(bytes, 0);
    put16(bytes, OPTION_PREFIX);
    put16(bytes, PREFIX_HEAD_BYTES);
    put32(bytes, 0);
    put32(bytes, 0);
    g_byte_array_append(bytes, &length, 1);
    g_byte_array_append(bytes, prefix->bytes, sizeof prefix->bytes);
}

void
lodge_dhcp6_put(GByteArray *bytes, const LodgeDhcp6Question *question)
{
    gboolean has_server = question->type == LODGE_DHCP6_REQUEST ||
                          question->type == LODGE_DHCP6_RENEW ||
                          question->type == LODGE_DHCP6_RELEASE;
    put32(bytes, (guint32)question->type << 24 | (question->transaction & 0xffffff));
    put_option(bytes, OPTION_CLIENT, question->client->bytes, question->client->length);
    if (has_server && question->wanted != NULL) {
        const LodgeDuid *server = &question->wanted->server;
        put_option(bytes, OPTION_SERVER, server->bytes, server->length);
    }
    put16(bytes, OPTION_ELAPSED);
    put16(bytes, 2);
    put16(bytes, MIN(question->elapsed_cs, 0xffff));
    if (question->type != LODGE_DHCP6_RELEASE) {
        put16(bytes, OPTION_REQUESTED);
        put16(bytes, 2);
        put16(bytes, OPTION_MOST_SOLICIT);
    }
    if (question->type == LODGE_DHCP6_SOLICIT) {
        put_option(bytes, OPTION_RAPID, NULL, 0);
    }
    put_delegation(bytes, question);
}

/* --- Reading -----------------------------------------------------------------------------------
 */

static guint
get16(const guint8 *data)
{
    return (guint)data[0] << 8 | data[1];
}

static guint32
get32(const guint8 *data)
{
    return (guint32)get16(data) << 16 | get16(data + 2);
}

typedef struct {
    const guint8 *data;
    gsize left;
} Options;

typedef struct {
    guint code;
    const guint8 *data;
    gsize length;
} Option;

/* The next of a list. FALSE at its end, and at one that is cut short. */
static gboolean
next_option(Options *options, Option *out_option)
{
    if (options->left < 4 || get16(options->data + 2) > options->left - 4) {
        return FALSE;
    }
    *out_option = (Option){get16(options->data), options->data + 4, get16(options->data + 2)};
    options->data += 4 + out_option->length;
    options->left -= 4 + out_option->length;
    return TRUE;
}

static gboolean
is_fine(const Option *status)
{
    return status->length >= 2 && get16(status->data) == 0;
}

static gboolean
is_usable(const LodgeDelegation *delegation)
{
    static const LodgePrefix good[] = {{AF_INET6, {0x20}, 3}, {AF_INET6, {0xfc}, 7}};
    return delegation->preferred_s >= LEAST_LIFETIME_S &&
           delegation->preferred_s <= delegation->valid_s &&
           delegation->prefix.length <= LONGEST_PREFIX &&
           (lodge_prefix_contains(&good[0], &delegation->prefix) ||
            lodge_prefix_contains(&good[1], &delegation->prefix));
}

static gboolean
read_prefix(const Option *option, LodgeDelegation *out_delegation)
{
    if (option->length < PREFIX_HEAD_BYTES || option->data[8] > 128) {
        return FALSE;
    }
    Options inner = {option->data + PREFIX_HEAD_BYTES, option->length - PREFIX_HEAD_BYTES};
    Option one;
    gboolean fine = TRUE;
    while (next_option(&inner, &one)) {
        fine = fine && (one.code != OPTION_STATUS || is_fine(&one));
    }
    LodgePrefix prefix = {.family = AF_INET6, .length = option->data[8]};
    memcpy(prefix.bytes, option->data + 9, sizeof prefix.bytes);
    out_delegation->preferred_s = get32(option->data);
    out_delegation->valid_s = get32(option->data + 4);
    out_delegation->prefix = lodge_prefix_network(&prefix);
    return fine && is_usable(out_delegation);
}

/* Times that the server leaves to us (0), or that make no sense, are half and four fifths. */
static void
settle_times(LodgeDelegation *delegation, guint32 renew_s, guint32 rebind_s)
{
    guint32 preferred = delegation->preferred_s;
    gboolean sane = renew_s >= LEAST_RENEW_S && renew_s <= rebind_s &&
                    rebind_s <= delegation->valid_s;
    delegation->renew_s = sane ? renew_s : preferred / 2;
    delegation->rebind_s = sane ? rebind_s : preferred / 5 * 4;
    if (preferred == G_MAXUINT32 && !sane) {
        delegation->renew_s = G_MAXUINT32;
        delegation->rebind_s = G_MAXUINT32;
    }
}

static void
read_delegation(const Option *option, guint32 iaid, LodgeDhcp6Answer *answer)
{
    if (option->length < IA_HEAD_BYTES || get32(option->data) != iaid) {
        return;
    }
    Options inner = {option->data + IA_HEAD_BYTES, option->length - IA_HEAD_BYTES};
    Option one;
    answer->has_iaid = TRUE;
    while (next_option(&inner, &one)) {
        LodgeDelegation found = {0};
        if (one.code == OPTION_STATUS && !is_fine(&one)) {
            answer->delegation = (LodgeDelegation){0};
            return;
        }
        if (one.code == OPTION_PREFIX && read_prefix(&one, &found) &&
            found.preferred_s > answer->delegation.preferred_s) {
            settle_times(&found, get32(option->data + 4), get32(option->data + 8));
            answer->delegation = found;
        }
    }
}

static gboolean
read_duid(const Option *option, LodgeDuid *out_duid, GError **error)
{
    if (option->length == 0 || option->length > LODGE_DUID_MOST) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "a DUID of %zu bytes", option->length);
    }
    memcpy(out_duid->bytes, option->data, option->length);
    out_duid->length = option->length;
    return TRUE;
}

static gboolean
take_option(const Option *option, guint32 iaid, LodgeDhcp6Answer *answer, GError **error)
{
    switch (option->code) {
    case OPTION_CLIENT:
        return read_duid(option, &answer->client, error);
    case OPTION_SERVER:
        return read_duid(option, &answer->server, error);
    case OPTION_PREFERENCE:
        answer->preference = option->length > 0 ? option->data[0] : 0;
        return TRUE;
    case OPTION_RAPID:
        answer->rapid = TRUE;
        return TRUE;
    case OPTION_STATUS:
        return is_fine(option) || lodge_error_set(error, LODGE_ERROR_INVALID, "the server refuses");
    case OPTION_IA_PD:
        read_delegation(option, iaid, answer);
        return TRUE;
    default:
        return TRUE;
    }
}

gboolean
lodge_dhcp6_parse(const guint8 *data, gsize size, guint32 iaid, LodgeDhcp6Answer *out_answer,
                  GError **error)
{
    LodgeDhcp6Answer answer = {0};
    if (size < HEAD_BYTES || (data[0] != LODGE_DHCP6_ADVERTISE && data[0] != LODGE_DHCP6_REPLY)) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "no answer of a DHCPv6 server's");
    }
    answer.type = data[0];
    answer.transaction = get32(data) & 0xffffff;
    Options options = {data + HEAD_BYTES, size - HEAD_BYTES};
    Option option;
    while (next_option(&options, &option)) {
        if (!take_option(&option, iaid, &answer, error)) {
            return FALSE;
        }
    }
    if (options.left != 0 || answer.client.length == 0 || answer.server.length == 0) {
        return lodge_error_set(error, LODGE_ERROR_INVALID, "it is cut short, or names nobody");
    }
    answer.delegation.server = answer.server;
    *out_answer = answer;
    return TRUE;
}
