#include "config.h"

#include "model/forward.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/base.h"

static void
forward_free(gpointer data)
{
    LodgeForward *forward = data;
    g_free(forward->address);
    g_free(forward);
}

static gboolean
is_address(const char *text)
{
    unsigned char buffer[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, text, buffer) == 1 || inet_pton(AF_INET6, text, buffer) == 1;
}

/* Take "ADDRESS:" off the front of *@rest. */
static gboolean
take_address(char **rest, LodgeForward *forward)
{
    if (**rest == '[') {
        char *end = strstr(*rest, "]:");
        if (end == NULL) {
            return FALSE;
        }
        *end = '\0';
        forward->address_given = TRUE;
        forward->address = g_strdup(*rest + 1);
        *rest = end + 2;
        return is_address(forward->address);
    }
    char *first = strchr(*rest, ':');
    if (first == NULL || strchr(first + 1, ':') == NULL) {
        forward->address = g_strdup("127.0.0.1");
        return TRUE;
    }
    *first = '\0';
    forward->address_given = TRUE;
    forward->address = g_strdup(*rest);
    *rest = first + 1;
    return is_address(forward->address);
}

static gboolean
take_port(const char *text, guint *out_port)
{
    guint64 number = 0;
    if (!g_ascii_string_to_unsigned(text, 10, 1, 65535, &number, NULL)) {
        return FALSE;
    }
    *out_port = (guint)number;
    return TRUE;
}

static gboolean
parse_one(const char *word, LodgeForward *forward)
{
    g_autofree char *copy = g_strdup(word);
    char *rest = copy;
    char *slash = strchr(rest, '/');
    if (slash != NULL) {
        forward->udp = g_str_equal(slash, "/udp");
        if (!forward->udp && !g_str_equal(slash, "/tcp")) {
            return FALSE;
        }
        *slash = '\0';
    }
    if (!take_address(&rest, forward)) {
        return FALSE;
    }
    char *colon = strchr(rest, ':');
    if (colon != NULL) {
        *colon = '\0';
    }
    return take_port(rest, &forward->host_port) &&
           take_port(colon != NULL ? colon + 1 : rest, &forward->guest_port);
}

static gboolean
is_taken(const GPtrArray *forwards, const LodgeForward *wanted)
{
    for (guint i = 0; i < forwards->len; i++) {
        const LodgeForward *other = forwards->pdata[i];
        if (other->host_port == wanted->host_port && other->udp == wanted->udp &&
            g_str_equal(other->address, wanted->address)) {
            return TRUE;
        }
    }
    return FALSE;
}

GPtrArray *
lodge_forwards_parse(const char *text, GError **error)
{
    g_autoptr(GPtrArray) forwards = g_ptr_array_new_with_free_func(forward_free);
    g_auto(GStrv) words = g_strsplit_set(text, " ,;", -1);
    for (gsize i = 0; words[i] != NULL; i++) {
        if (*words[i] == '\0') {
            continue;
        }
        LodgeForward *forward = g_new0(LodgeForward, 1);
        gboolean good = parse_one(words[i], forward) && !is_taken(forwards, forward);
        g_ptr_array_add(forwards, forward);
        if (!good) {
            lodge_error_set(error, LODGE_ERROR_USAGE,
                            "“%s” is not a port to forward, or stands twice (write [ADDRESS:]HOST:"
                            "GUEST[/udp], like 8080:80 or 0.0.0.0:2222:22)",
                            words[i]);
            return NULL;
        }
    }
    return g_steal_pointer(&forwards);
}

char *
lodge_forward_format(const LodgeForward *forward)
{
    gboolean is_ipv6 = strchr(forward->address, ':') != NULL;
    g_autofree char *address = !forward->address_given ? g_strdup("")
                               : is_ipv6               ? g_strdup_printf("[%s]:", forward->address)
                                                       : g_strdup_printf("%s:", forward->address);
    return g_strdup_printf("%s%u:%u%s", address, forward->host_port, forward->guest_port,
                           forward->udp ? "/udp" : "");
}
