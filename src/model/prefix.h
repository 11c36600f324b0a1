/* IP addresses and prefixes of both families, as values: nothing here asks the system. */
#pragma once

#include <glib.h>
#include <sys/socket.h>

/* An address is a prefix of full length. Bytes behind the family's width are 0. */
typedef struct {
    int family; /* AF_INET or AF_INET6 */
    guint8 bytes[16];
    guint length; /* of the prefix, in bits */
} LodgePrefix;

/* "10.77.0.0/24", "fd77::/64"; without a length it is one address. Bits behind the length must be
 * 0. USAGE error that gives the prefix that was probably meant. */
gboolean lodge_prefix_parse(const char *text, LodgePrefix *out_prefix, GError **error);

/* Several, divided by spaces or commas, into LodgePrefix; free with g_array_unref. */
GArray *lodge_prefixes_parse(const char *text, GError **error);

/* The same for an address with a prefix length, whose bits are kept: "10.77.0.1/24". */
gboolean lodge_interface_parse(const char *text, LodgePrefix *out_address, GError **error);

/* One address, without a length. */
gboolean lodge_address_parse(const char *text, LodgePrefix *out_address, GError **error);

/* "10.77.0.0/24"; the address alone if the length is full. Free with g_free. */
char *lodge_prefix_format(const LodgePrefix *prefix);
/* The address alone, whatever the length. Free with g_free. */
char *lodge_prefix_format_address(const LodgePrefix *prefix);
/* "255.255.255.0". Free with g_free. */
char *lodge_prefix_format_mask(const LodgePrefix *prefix);

guint lodge_prefix_width(const LodgePrefix *prefix); /* 32 or 128 */
gboolean lodge_prefix_equal(const LodgePrefix *a, const LodgePrefix *b);
gboolean lodge_prefix_overlaps(const LodgePrefix *a, const LodgePrefix *b);
/* Is all of @inner within @outer? */
gboolean lodge_prefix_contains(const LodgePrefix *outer, const LodgePrefix *inner);

/* The network that an interface address lies in: bits behind the length are cleared. */
LodgePrefix lodge_prefix_network(const LodgePrefix *address);

/* Address number @number of the prefix (0: its first), and the reverse for its low 64 bits. */
LodgePrefix lodge_prefix_host(const LodgePrefix *prefix, guint64 number);
guint64 lodge_prefix_number(const LodgePrefix *prefix, const LodgePrefix *address);

/* How many addresses a prefix has, at most G_MAXUINT64. */
guint64 lodge_prefix_size(const LodgePrefix *prefix);

/* The address that a MAC makes of a /64 by itself (RFC 4291, modified EUI-64). @mac passed
 * LODGE_TYPE_MAC. */
LodgePrefix lodge_prefix_eui64(const LodgePrefix *prefix, const char *mac);

/* A prefix and whose it is, "network lan" or "eth0", to be named in an error. */
typedef struct {
    LodgePrefix prefix;
    char *owner;
} LodgeOwnedPrefix;

LodgeOwnedPrefix *lodge_owned_prefix_new(const LodgePrefix *prefix, const char *owner);
void lodge_owned_prefix_free(LodgeOwnedPrefix *owned);

/* Does @prefix overlap any of @taken (of LodgeOwnedPrefix *)? EXISTS error that names both. */
gboolean lodge_prefix_check_free(const LodgePrefix *prefix, const char *owner,
                                 const GPtrArray *taken, GError **error);

/* The first of the /@length prefixes within @pool, beginning with number @start and going round,
 * that overlaps nothing of @taken. FALSE if there is none. */
gboolean lodge_prefix_choose(const LodgePrefix *pool, guint length, guint64 start,
                             const GPtrArray *taken, LodgePrefix *out_prefix);

/* A ULA /64 (RFC 4193) with a random 40-bit global id. */
LodgePrefix lodge_prefix_random_ula(void);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LodgeOwnedPrefix, lodge_owned_prefix_free)
