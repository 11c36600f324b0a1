#include "config.h"

#include "net/port.h"

#include "base/base.h"

void
lodge_port_free(LodgePort *port)
{
    if (port != NULL) {
        g_free(port->link);
        g_free(port->guest);
        g_free(port->nic);
        g_free(port->mac);
        g_free(port->address4);
        g_free(port->address6);
        g_free(port->forward);
        g_free(port->route);
        g_free(port->trunk);
        g_free(port);
    }
}

LodgePort *
lodge_port_from_json(const json_t *value, GError **error)
{
    g_autoptr(LodgePort) port = g_new0(LodgePort, 1);
    port->link = g_strdup(lodge_json_string(value, "link", NULL));
    port->guest = g_strdup(lodge_json_string(value, "guest", NULL));
    port->nic = g_strdup(lodge_json_string(value, "nic", NULL));
    port->mac = g_strdup(lodge_json_string(value, "mac", NULL));
    port->address4 = g_strdup(lodge_json_string(value, "address", NULL));
    port->address6 = g_strdup(lodge_json_string(value, "address6", NULL));
    port->forward = g_strdup(lodge_json_string(value, "forward", NULL));
    port->route = g_strdup(lodge_json_string(value, "route", NULL));
    port->filter = lodge_json_bool(value, "filter", TRUE);
    port->vlan = (guint)lodge_json_int(value, "vlan", 0);
    port->trunk = g_strdup(lodge_json_string(value, "trunk", NULL));
    port->rate_in_bytes = (guint64)lodge_json_int(value, "rate_in_bytes", 0);
    port->rate_out_bytes = (guint64)lodge_json_int(value, "rate_out_bytes", 0);
    if (port->link == NULL || port->guest == NULL || port->nic == NULL || port->mac == NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "not the description of a port");
        return NULL;
    }
    return g_steal_pointer(&port);
}

json_t *
lodge_port_json(const LodgePort *port)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:i, s:o, s:I, s:I}", "link",
                     port->link, "guest", port->guest, "nic", port->nic, "mac", port->mac,
                     "address", lodge_json_string_or_null(port->address4), "address6",
                     lodge_json_string_or_null(port->address6), "forward",
                     lodge_json_string_or_null(port->forward), "route",
                     lodge_json_string_or_null(port->route), "filter", port->filter, "vlan",
                     (int)port->vlan, "trunk", lodge_json_string_or_null(port->trunk),
                     "rate_in_bytes", (json_int_t)port->rate_in_bytes, "rate_out_bytes",
                     (json_int_t)port->rate_out_bytes);
}

LodgePort
lodge_port_of_nic(const LodgeGuest *guest, const LodgeNic *nic, char *link)
{
    return (LodgePort){.link = link,
                       .guest = guest->name,
                       .nic = nic->name,
                       .mac = nic->mac,
                       .address4 = nic->address,
                       .address6 = nic->address6,
                       .forward = nic->forward,
                       .route = nic->route,
                       .filter = nic->filter,
                       .vlan = nic->vlan,
                       .trunk = nic->trunk,
                       .rate_in_bytes = nic->rate_in_bytes,
                       .rate_out_bytes = nic->rate_out_bytes};
}

char *
lodge_port_link(const char *store_root, const char *guest, const char *nic)
{
    g_autofree char *names = g_strjoin("/", store_root, guest, nic, NULL);
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, names, -1);
    return g_strdup_printf("lg%.10s", digest);
}
