#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/address.h"
#include "net/define.h"

enum {
    LEASES_LIMIT_BYTES = 64 << 20,
};

static void
lease_free(gpointer data)
{
    LodgeLease *lease = data;
    g_free(lease->address);
    g_free(lease->mac);
    g_free(lease->name);
    g_free(lease);
}

static char *
read_file(const LodgeStore *store, const char *network)
{
    g_autofree char *file = g_strconcat(network, ".leases", NULL);
    g_autofree char *path = g_build_filename(store->root, "networks", file, NULL);
    return lodge_file_read(path, LEASES_LIMIT_BYTES, NULL, NULL);
}

GPtrArray *
lodge_network_leases(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(LodgeNetwork) network = lodge_store_network(store, name, error);
    if (network == NULL) {
        return NULL;
    }
    g_autofree char *text = read_file(store, name);
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", -1);
    GPtrArray *leases = g_ptr_array_new_with_free_func(lease_free);
    for (gsize i = 0; lines[i] != NULL; i++) {
        /* "EXPIRY MAC-or-IAID ADDRESS NAME CLIENT-ID"; "duid …" is not a lease. */
        g_auto(GStrv) words = g_strsplit(lines[i], " ", 5);
        if (g_strv_length(words) >= 4 && g_ascii_isdigit(words[0][0])) {
            LodgeLease *lease = g_new0(LodgeLease, 1);
            lease->until = g_ascii_strtoll(words[0], NULL, 10);
            lease->address = lodge_text_printable(words[2]);
            lease->mac = strchr(words[1], ':') != NULL ? lodge_text_printable(words[1])
                                                       : g_strdup("");
            lease->name = g_str_equal(words[3], "*") ? g_strdup("")
                                                     : lodge_text_printable(words[3]);
            g_ptr_array_add(leases, lease);
        }
    }
    return leases;
}

char *
lodge_net_former_mac(const LodgeStore *store, const char *network, const LodgePort *port)
{
    g_autofree char *text = port->address4 != NULL ? read_file(store, network) : NULL;
    g_autofree char *address = g_strdup_printf(" %s ", port->address4);
    const char *found = text != NULL ? strstr(text, address) : NULL;
    if (found == NULL) {
        return NULL;
    }
    const char *mac = found;
    while (mac > text && (g_ascii_isxdigit(mac[-1]) || mac[-1] == ':')) {
        mac--;
    }
    g_autofree char *former = g_strndup(mac, (gsize)(found - mac));
    return strlen(former) == strlen(port->mac) && g_ascii_strcasecmp(former, port->mac) != 0
               ? g_steal_pointer(&former)
               : NULL;
}
