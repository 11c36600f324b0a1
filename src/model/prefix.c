#include "config.h"

#include "model/prefix.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/base.h"

guint
lodge_prefix_width(const LodgePrefix *prefix)
{
    return prefix->family == AF_INET ? 32 : 128;
}

gboolean
lodge_address_parse(const char *text, LodgePrefix *out_address, GError **error)
{
    LodgePrefix address = {.family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET};
    if (inet_pton(address.family, text, address.bytes) != 1) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "“%s” is not an IP address", text);
    }
    address.length = lodge_prefix_width(&address);
    *out_address = address;
    return TRUE;
}

GArray *
lodge_prefixes_parse(const char *text, GError **error)
{
    g_autoptr(GArray) prefixes = g_array_new(FALSE, FALSE, sizeof(LodgePrefix));
    g_auto(GStrv) words = g_strsplit_set(text, " ,;", -1);
    for (gsize i = 0; words[i] != NULL; i++) {
        LodgePrefix prefix;
        if (*words[i] == '\0') {
            continue;
        }
        if (!lodge_prefix_parse(words[i], &prefix, error)) {
            return NULL;
        }
        g_array_append_val(prefixes, prefix);
    }
    return g_steal_pointer(&prefixes);
}

gboolean
lodge_interface_parse(const char *text, LodgePrefix *out_address, GError **error)
{
    const char *slash = strchr(text, '/');
    g_autofree char *address = slash != NULL ? g_strndup(text, (gsize)(slash - text))
                                             : g_strdup(text);
    LodgePrefix parsed;
    guint64 length = 0;
    if (!lodge_address_parse(address, &parsed, error)) {
        return FALSE;
    }
    if (slash != NULL) {
        if (!g_ascii_string_to_unsigned(slash + 1, 10, 0, lodge_prefix_width(&parsed), &length,
                                        NULL)) {
            return lodge_error_set(error, LODGE_ERROR_USAGE,
                                   "“%s”: the prefix length must be 0 to %u", text,
                                   lodge_prefix_width(&parsed));
        }
        parsed.length = (guint)length;
    }
    *out_address = parsed;
    return TRUE;
}

LodgePrefix
lodge_prefix_network(const LodgePrefix *address)
{
    LodgePrefix network = *address;
    for (guint bit = network.length; bit < 128; bit++) {
        network.bytes[bit / 8] &= (guint8) ~(0x80 >> bit % 8);
    }
    return network;
}

gboolean
lodge_prefix_parse(const char *text, LodgePrefix *out_prefix, GError **error)
{
    LodgePrefix parsed;
    if (!lodge_interface_parse(text, &parsed, error)) {
        return FALSE;
    }
    LodgePrefix network = lodge_prefix_network(&parsed);
    if (!lodge_prefix_equal(&network, &parsed)) {
        g_autofree char *meant = lodge_prefix_format(&network);
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s” has bits behind its length (did you mean “%s”?)", text, meant);
    }
    *out_prefix = parsed;
    return TRUE;
}

char *
lodge_prefix_format_address(const LodgePrefix *prefix)
{
    char text[INET6_ADDRSTRLEN];
    return g_strdup(inet_ntop(prefix->family, prefix->bytes, text, sizeof text));
}

char *
lodge_prefix_format(const LodgePrefix *prefix)
{
    g_autofree char *address = lodge_prefix_format_address(prefix);
    return prefix->length == lodge_prefix_width(prefix)
               ? g_steal_pointer(&address)
               : g_strdup_printf("%s/%u", address, prefix->length);
}

char *
lodge_prefix_format_mask(const LodgePrefix *prefix)
{
    LodgePrefix mask = {.family = prefix->family, .length = prefix->length};
    memset(mask.bytes, 0xff, lodge_prefix_width(prefix) / 8);
    mask = lodge_prefix_network(&mask);
    return lodge_prefix_format_address(&mask);
}

gboolean
lodge_prefix_equal(const LodgePrefix *a, const LodgePrefix *b)
{
    return a->family == b->family && a->length == b->length &&
           memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

gboolean
lodge_prefix_contains(const LodgePrefix *outer, const LodgePrefix *inner)
{
    LodgePrefix cut = *inner;
    cut.length = outer->length;
    cut = lodge_prefix_network(&cut);
    LodgePrefix network = lodge_prefix_network(outer);
    return inner->length >= outer->length && lodge_prefix_equal(&cut, &network);
}

gboolean
lodge_prefix_overlaps(const LodgePrefix *a, const LodgePrefix *b)
{
    return a->length <= b->length ? lodge_prefix_contains(a, b) : lodge_prefix_contains(b, a);
}

LodgePrefix
lodge_prefix_host(const LodgePrefix *prefix, guint64 number)
{
    LodgePrefix host = lodge_prefix_network(prefix);
    host.length = lodge_prefix_width(prefix);
    guint carry = 0;
    for (gsize i = host.length / 8; i > 0 && (number != 0 || carry != 0); i--) {
        guint sum = host.bytes[i - 1] + (guint)(number & 0xff) + carry;
        host.bytes[i - 1] = (guint8)sum;
        carry = sum >> 8;
        number >>= 8;
    }
    return host;
}

static guint64
low_bits(const LodgePrefix *prefix)
{
    guint64 value = 0;
    gsize width = lodge_prefix_width(prefix) / 8;
    for (gsize i = width > 8 ? width - 8 : 0; i < width; i++) {
        value = value << 8 | prefix->bytes[i];
    }
    return value;
}

guint64
lodge_prefix_number(const LodgePrefix *prefix, const LodgePrefix *address)
{
    LodgePrefix network = lodge_prefix_network(prefix);
    return low_bits(address) - low_bits(&network);
}

guint64
lodge_prefix_size(const LodgePrefix *prefix)
{
    guint bits = lodge_prefix_width(prefix) - prefix->length;
    return bits >= 64 ? G_MAXUINT64 : G_GUINT64_CONSTANT(1) << bits;
}

LodgePrefix
lodge_prefix_eui64(const LodgePrefix *prefix, const char *mac)
{
    LodgePrefix host = lodge_prefix_network(prefix);
    guint8 octets[6];
    for (gsize i = 0; i < sizeof octets; i++) {
        octets[i] = (guint8)g_ascii_strtoull(mac + 3 * i, NULL, 16);
    }
    const guint8 tail[8] = {octets[0] ^ 2, octets[1], octets[2], 0xff,
                            0xfe,          octets[3], octets[4], octets[5]};
    memcpy(host.bytes + 8, tail, sizeof tail);
    host.length = 128;
    return host;
}

LodgeOwnedPrefix *
lodge_owned_prefix_new(const LodgePrefix *prefix, const char *owner)
{
    LodgeOwnedPrefix *owned = g_new0(LodgeOwnedPrefix, 1);
    owned->prefix = *prefix;
    owned->owner = g_strdup(owner);
    return owned;
}

void
lodge_owned_prefix_free(LodgeOwnedPrefix *owned)
{
    if (owned != NULL) {
        g_free(owned->owner);
        g_free(owned);
    }
}

static const LodgeOwnedPrefix *
find_overlap(const LodgePrefix *prefix, const GPtrArray *taken)
{
    for (guint i = 0; i < taken->len; i++) {
        const LodgeOwnedPrefix *other = taken->pdata[i];
        if (lodge_prefix_overlaps(prefix, &other->prefix)) {
            return other;
        }
    }
    return NULL;
}

gboolean
lodge_prefix_check_free(const LodgePrefix *prefix, const char *owner, const GPtrArray *taken,
                        GError **error)
{
    const LodgeOwnedPrefix *other = find_overlap(prefix, taken);
    if (other == NULL) {
        return TRUE;
    }
    g_autofree char *mine = lodge_prefix_format(prefix);
    g_autofree char *theirs = lodge_prefix_format(&other->prefix);
    return lodge_error_set(error, LODGE_ERROR_EXISTS, "%s of %s overlaps %s of %s", mine, owner,
                           theirs, other->owner);
}

gboolean
lodge_prefix_choose(const LodgePrefix *pool, guint length, guint64 start, const GPtrArray *taken,
                    LodgePrefix *out_prefix)
{
    guint64 count = G_GUINT64_CONSTANT(1) << MIN(length - pool->length, 16);
    for (guint64 i = 0; i < count; i++) {
        guint64 number = (start + i) % count << (lodge_prefix_width(pool) - length);
        LodgePrefix candidate = lodge_prefix_host(pool, number);
        candidate.length = length;
        if (find_overlap(&candidate, taken) == NULL) {
            *out_prefix = candidate;
            return TRUE;
        }
    }
    return FALSE;
}

LodgePrefix
lodge_prefix_random_ula(void)
{
    LodgePrefix prefix = {.family = AF_INET6, .length = 64, .bytes = {0xfd}};
    for (gsize i = 1; i < 6; i++) {
        prefix.bytes[i] = (guint8)g_random_int_range(0, 256);
    }
    prefix.bytes[7] = 1;
    return prefix;
}
