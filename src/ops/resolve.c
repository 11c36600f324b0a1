/* Which addresses a guest has. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/define.h"
#include "ops/forward.h"
#include "qmp/guest-agent.h"

enum {
    AGENT_TIMEOUT_MS = 3000,
};

static void
address_free(gpointer data)
{
    LodgeAddress *address = data;
    g_free(address->nic);
    g_free(address->network);
    g_free(address->address);
    g_free(address);
}

static void
add(GPtrArray *addresses, const LodgeNic *nic, const char *text)
{
    if (text != NULL) {
        LodgeAddress *address = g_new0(LodgeAddress, 1);
        address->nic = g_strdup(nic->name);
        address->network = g_strdup(nic->network);
        address->address = g_strdup(text);
        g_ptr_array_add(addresses, address);
    }
}

/* What its tap was admitted with. */
static void
add_of_port(GPtrArray *addresses, const LodgeStore *store, const LodgeGuest *guest,
            const LodgeNic *nic)
{
    g_autofree char *link = lodge_port_link(store->root, guest->name, nic->name);
    g_autoptr(GPtrArray) ports = lodge_net_ports(store, nic->network);
    for (guint i = 0; i < ports->len; i++) {
        const LodgePort *port = ports->pdata[i];
        if (g_str_equal(port->link, link)) {
            add(addresses, nic, port->address4);
            add(addresses, nic, port->address6);
        }
    }
}

static gboolean
is_lasting(const char *address)
{
    return !g_str_has_prefix(address, "fe80:") && !g_str_has_prefix(address, "169.254.");
}

static void
add_of_interface(GPtrArray *addresses, const LodgeNic *nic, const json_t *interface)
{
    gsize i = 0;
    const json_t *one = NULL;
    if (g_ascii_strcasecmp(lodge_json_string(interface, "mac", ""), nic->mac) != 0) {
        return;
    }
    json_array_foreach (json_object_get(interface, "addresses"), i, one) {
        const char *text = lodge_json_string(one, "address", "");
        LodgePrefix parsed;
        if (lodge_address_parse(text, &parsed, NULL) && is_lasting(text)) {
            add(addresses, nic, text);
        }
    }
}

/* Others give addresses on a bridged network: the guest's agent is asked. */
static void
add_of_agent(GPtrArray *addresses, const LodgeStore *store, const LodgeGuest *guest)
{
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, guest->name);
    if (!state->has_qemu || !state->agent || state->state == LODGE_STATE_PAUSED) {
        return;
    }
    g_autofree char *lock_path = lodge_store_run_path(store, guest->name, "agent.lock");
    g_autofree char *path = lodge_store_run_path(store, guest->name, "agent.sock");
    gint64 deadline = lodge_deadline_in(AGENT_TIMEOUT_MS);
    lodge_autofd lock = lodge_lock_take_within(lock_path, AGENT_TIMEOUT_MS, NULL);
    g_autoptr(LodgeGuestAgent) agent = lock >= 0 ? lodge_guest_agent_connect(path, deadline, NULL)
                                                 : NULL;
    g_autoptr(json_t)
        interfaces = agent != NULL ? lodge_guest_agent_interfaces(agent, deadline, NULL) : NULL;
    gsize i = 0;
    const json_t *interface = NULL;
    json_array_foreach (interfaces, i, interface) {
        for (guint n = 0; n < guest->nics->len; n++) {
            const LodgeNic *nic = guest->nics->pdata[n];
            if (!g_str_equal(nic->network, LODGE_NETWORK_USER)) {
                add_of_interface(addresses, nic, interface);
            }
        }
    }
}

/* "web1", or "web1.lodge" if that is the domain of a network it is on. */
static LodgeGuest *
find_guest(const LodgeStore *store, const char *name, GError **error)
{
    const char *dot = strchr(name, '.');
    g_autofree char *first = dot != NULL ? g_strndup(name, (gsize)(dot - name)) : g_strdup(name);
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, first, error);
    gboolean fits = dot == NULL;
    for (guint i = 0; guest != NULL && !fits && i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        g_autoptr(LodgeNetwork) network = lodge_store_network(store, nic->network, NULL);
        fits = network != NULL && g_ascii_strcasecmp(network->domain, dot + 1) == 0;
    }
    if (guest != NULL && !fits) {
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND, "guest %s is on no network with domain %s",
                        first, dot + 1);
        return NULL;
    }
    return g_steal_pointer(&guest);
}

GPtrArray *
lodge_resolve(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(GPtrArray) addresses = g_ptr_array_new_with_free_func(address_free);
    g_autoptr(LodgeGuest) guest = find_guest(store, name, error);
    if (guest == NULL) {
        return NULL;
    }
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        add(addresses, nic, nic->address);
        add(addresses, nic, nic->address6);
        if (nic->address == NULL && nic->address6 == NULL) {
            add_of_port(addresses, store, guest, nic);
        }
    }
    if (addresses->len == 0) {
        add_of_agent(addresses, store, guest);
    }
    if (addresses->len == 0) {
        lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                        "guest %s: no address is known (user-mode networking gives none that the "
                        "host reaches; elsewhere a running guest's agent tells it)",
                        guest->name);
        return NULL;
    }
    return g_steal_pointer(&addresses);
}
