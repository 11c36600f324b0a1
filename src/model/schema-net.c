#include "config.h"

#include "model/schema-net.h"

#include <net/if.h>
#include <string.h>

#include "base/base.h"
#include "model/prefix.h"
#include "model/vlan.h"

static gboolean
check_link(const char *value, GError **error)
{
    gboolean good = *value != '\0' && strlen(value) < IFNAMSIZ && !g_str_equal(value, ".") &&
                    !g_str_equal(value, "..");
    for (const char *c = value; good && *c != '\0'; c++) {
        good = g_ascii_isalnum(*c) || strchr("-_.@", *c) != NULL;
    }
    return good || lodge_error_set(error, LODGE_ERROR_USAGE,
                                   "“%s” can't be an interface's name (at most 15 letters, digits, "
                                   "“-”, “_”, “.” and “@”)",
                                   value);
}

static gboolean
check_domain(const char *value, GError **error)
{
    g_auto(GStrv) labels = g_strsplit(value, ".", -1);
    gboolean good = strlen(value) <= 200 && labels[0] != NULL;
    for (gsize i = 0; good && labels[i] != NULL; i++) {
        good = lodge_name_check("domain", labels[i], NULL);
    }
    return good ||
           lodge_error_set(error, LODGE_ERROR_USAGE,
                           "“%s” is not a domain (a-z, 0-9 and “-”, divided by dots)", value);
}

static gboolean
check_family(const LodgePrefix *prefix, int family, const char *value, GError **error)
{
    return prefix->family == family ||
           lodge_error_set(error, LODGE_ERROR_USAGE, "“%s” is not of IPv%d", value,
                           family == AF_INET ? 4 : 6);
}

static gboolean
parse_address(const char *value, int family, char **out_text, GError **error)
{
    LodgePrefix address;
    if (!lodge_address_parse(value, &address, error) ||
        !check_family(&address, family, value, error)) {
        return FALSE;
    }
    *out_text = lodge_prefix_format(&address);
    return TRUE;
}

static gboolean
parse_prefix(const char *value, int family, char **out_text, GError **error)
{
    LodgePrefix prefix;
    if (!lodge_prefix_parse(value, &prefix, error) ||
        !check_family(&prefix, family, value, error)) {
        return FALSE;
    }
    *out_text = lodge_prefix_format(&prefix);
    return TRUE;
}

static gboolean
parse_addresses(const char *value, char **out_text, GError **error)
{
    g_auto(GStrv) words = g_strsplit_set(value, " ,;", -1);
    g_autoptr(GString) text = g_string_new(NULL);
    for (gsize i = 0; words[i] != NULL; i++) {
        LodgePrefix address;
        if (*words[i] == '\0') {
            continue;
        }
        if (!lodge_address_parse(words[i], &address, error)) {
            return FALSE;
        }
        g_autofree char *canonical = lodge_prefix_format(&address);
        g_string_append_printf(text, "%s%s", text->len > 0 ? " " : "", canonical);
    }
    *out_text = g_string_free(g_steal_pointer(&text), FALSE);
    return TRUE;
}

static gboolean
parse_prefixes(const char *value, char **out_text, GError **error)
{
    g_autoptr(GArray) prefixes = lodge_prefixes_parse(value, error);
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; prefixes != NULL && i < prefixes->len; i++) {
        g_autofree char *word = lodge_prefix_format(&g_array_index(prefixes, LodgePrefix, i));
        g_string_append_printf(text, "%s%s", i > 0 ? " " : "", word);
    }
    *out_text = prefixes != NULL ? g_string_free(g_steal_pointer(&text), FALSE) : NULL;
    return prefixes != NULL;
}

static gboolean
parse_range(const char *value, char **out_text, GError **error)
{
    g_auto(GStrv) ends = g_strsplit(value, "-", 2);
    LodgePrefix first;
    LodgePrefix last;
    if (g_strv_length(ends) != 2) {
        return lodge_error_set(error, LODGE_ERROR_USAGE,
                               "“%s” is not a range (like 10.77.0.10-10.77.0.250)", value);
    }
    if (!lodge_address_parse(ends[0], &first, error) ||
        !lodge_address_parse(ends[1], &last, error) ||
        !check_family(&first, AF_INET, ends[0], error) ||
        !check_family(&last, AF_INET, ends[1], error)) {
        return FALSE;
    }
    if (memcmp(first.bytes, last.bytes, 4) > 0) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "“%s” ends before it begins", value);
    }
    *out_text = g_strdup(value);
    return TRUE;
}

static gboolean
parse_vlans(const char *value, char **out_text, GError **error)
{
    g_autoptr(GArray) ranges = lodge_vlans_parse(value, error);
    if (ranges == NULL) {
        return FALSE;
    }
    *out_text = lodge_vlans_format(ranges);
    return TRUE;
}

gboolean
lodge_schema_net_value(LodgeValueType type, const char *value, char **out_text, GError **error)
{
    switch ((int)type) {
    case LODGE_TYPE_LINK:
        return check_link(value, error);
    case LODGE_TYPE_DOMAIN:
        return check_domain(value, error);
    case LODGE_TYPE_ADDRESS4:
        return parse_address(value, AF_INET, out_text, error);
    case LODGE_TYPE_ADDRESS6:
        return parse_address(value, AF_INET6, out_text, error);
    case LODGE_TYPE_ADDRESSES:
        return parse_addresses(value, out_text, error);
    case LODGE_TYPE_PREFIX4:
        return parse_prefix(value, AF_INET, out_text, error);
    case LODGE_TYPE_PREFIX6:
        return parse_prefix(value, AF_INET6, out_text, error);
    case LODGE_TYPE_PREFIXES:
        return parse_prefixes(value, out_text, error);
    case LODGE_TYPE_RANGE4:
        return parse_range(value, out_text, error);
    case LODGE_TYPE_VLANS:
        return parse_vlans(value, out_text, error);
    default:
        return lodge_error_set(error, LODGE_ERROR_USAGE, "not a value of the network's kind");
    }
}
