#include "config.h"

#include "ops/forward.h"

#include <string.h>

#include "base/base.h"
#include "net/define.h"
#include "ops/set.h"

static void
view_free(gpointer data)
{
    LodgeForwardView *view = data;
    g_free(view->guest);
    g_free(view->nic);
    g_free(view->network);
    g_free(view->spelling);
    g_free(view->address);
    g_free(view->target);
    g_free(view);
}

static gboolean
is_user(const LodgeNic *nic)
{
    return g_str_equal(nic->network, LODGE_NETWORK_USER);
}

static void
add_views(GPtrArray *views, const LodgeGuest *guest, const LodgeNic *nic)
{
    g_autoptr(GPtrArray) forwards = nic->forward != NULL ? lodge_forwards_parse(nic->forward, NULL)
                                                         : NULL;
    for (guint i = 0; forwards != NULL && i < forwards->len; i++) {
        const LodgeForward *forward = forwards->pdata[i];
        gboolean is_ipv6 = strchr(forward->address, ':') != NULL;
        LodgeForwardView *view = g_new0(LodgeForwardView, 1);
        view->guest = g_strdup(guest->name);
        view->nic = g_strdup(nic->name);
        view->network = g_strdup(nic->network);
        view->spelling = lodge_forward_format(forward);
        /* Unsaid, user-mode networking means the loopback address, and the others all. */
        view->address = forward->address_given || is_user(nic) ? g_strdup(forward->address) : NULL;
        view->host_port = forward->host_port;
        view->guest_port = forward->guest_port;
        view->udp = forward->udp;
        view->target = g_strdup(is_ipv6 || nic->address == NULL ? nic->address6 : nic->address);
        g_ptr_array_add(views, view);
    }
}

GPtrArray *
lodge_forward_list(const LodgeStore *store, const char *name, const char *network, GError **error)
{
    g_autoptr(GPtrArray) views = g_ptr_array_new_with_free_func(view_free);
    g_auto(GStrv) names = NULL;
    if (name != NULL) {
        g_autoptr(LodgeGuest) guest = lodge_store_guest(store, name, error);
        names = guest != NULL ? g_strdupv((char *[]){(char *)name, NULL}) : NULL;
    } else {
        names = lodge_store_guests(store, error);
    }
    for (gsize i = 0; names != NULL && names[i] != NULL; i++) {
        g_autoptr(LodgeGuest) guest = lodge_store_guest(store, names[i], NULL);
        for (guint n = 0; guest != NULL && n < guest->nics->len; n++) {
            const LodgeNic *nic = guest->nics->pdata[n];
            if (network == NULL || g_str_equal(nic->network, network)) {
                add_views(views, guest, nic);
            }
        }
    }
    return names != NULL ? g_steal_pointer(&views) : NULL;
}

/* --- Changing ----------------------------------------------------------------------------------
 */

static gboolean
can_forward(const LodgeStore *store, const LodgeNic *nic)
{
    g_autoptr(LodgeNetwork) network = is_user(nic) ? NULL
                                                   : lodge_store_network(store, nic->network, NULL);
    return is_user(nic) || (network != NULL && network->mode == LODGE_NETWORK_NAT);
}

static const LodgeNic *
choose_nic(const LodgeStore *store, const LodgeGuest *guest, const char *name, GError **error)
{
    for (guint i = 0; i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        gboolean fits = name != NULL ? g_str_equal(nic->name, name) : can_forward(store, nic);
        if (fits && can_forward(store, nic)) {
            return nic;
        }
        if (fits) {
            lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                            "guest %s: nic %s is on network %s, which forwards no ports (those in "
                            "mode nat do)",
                            guest->name, nic->name, nic->network);
            return NULL;
        }
    }
    lodge_error_set(error, LODGE_ERROR_NOT_FOUND,
                    name != NULL ? "guest %s has no nic %s"
                                 : "guest %s has no nic on a network that forwards ports (nat or "
                                   "user)",
                    guest->name, name);
    return NULL;
}

/* Does @forward mean this one? A bare host port means any that has it. */
static gboolean
means(const char *text, const LodgeForward *wanted, const LodgeForward *one)
{
    gboolean is_bare = strchr(text, ':') == NULL;
    return wanted->udp == one->udp && wanted->host_port == one->host_port &&
           (is_bare ||
            (wanted->guest_port == one->guest_port && g_str_equal(wanted->address, one->address)));
}

/* The NIC's forwards with @text added or removed. Free with g_free. */
static char *
changed(const LodgeNic *nic, const char *text, gboolean remove, GError **error)
{
    g_autoptr(GPtrArray) wanted = lodge_forwards_parse(text, error);
    g_autoptr(GPtrArray)
        present = lodge_forwards_parse(nic->forward != NULL ? nic->forward : "", error);
    g_autoptr(GString) list = g_string_new(NULL);
    gboolean found = FALSE;
    if (wanted == NULL || present == NULL) {
        return NULL;
    }
    if (wanted->len != 1) {
        lodge_error_set(error, LODGE_ERROR_USAGE, "“%s”: one port at a time", text);
        return NULL;
    }
    for (guint i = 0; i < present->len; i++) {
        gboolean same = means(remove ? text : ":", wanted->pdata[0], present->pdata[i]);
        g_autofree char *spelling = lodge_forward_format(present->pdata[i]);
        found = found || same;
        if (!same || !remove) {
            g_string_append_printf(list, "%s%s", list->len > 0 ? " " : "", spelling);
        }
    }
    if (found != remove) {
        lodge_error_set(error, remove ? LODGE_ERROR_NOT_FOUND : LODGE_ERROR_EXISTS,
                        remove ? "%s is not forwarded to nic %s" : "%s is forwarded to nic %s",
                        text, nic->name);
        return NULL;
    }
    if (!remove) {
        g_autofree char *spelling = lodge_forward_format(wanted->pdata[0]);
        g_string_append_printf(list, "%s%s", list->len > 0 ? " " : "", spelling);
    }
    return g_string_free(g_steal_pointer(&list), FALSE);
}

/* Store it, or if the running guest could not have it leave all as it was. */
static gboolean
set_forward(const LodgeStore *store, const LodgeGuest *guest, const LodgeNic *nic,
            const char *value, GError **error)
{
    g_autofree char *assignment = g_strdup_printf("nic.%s.forward=%s", nic->name, value);
    const char *const assignments[] = {assignment, NULL};
    g_autoptr(GPtrArray) changes = lodge_set(store, guest->name, assignments, error);
    if (changes == NULL) {
        return FALSE;
    }
    const LodgeChange *change = changes->len > 0 ? changes->pdata[0] : NULL;
    if (change == NULL || change->outcome != LODGE_SET_PENDING || change->why == NULL) {
        return TRUE;
    }
    g_autofree char *undo = g_strdup_printf("nic.%s.forward=%s", nic->name,
                                            nic->forward != NULL ? nic->forward : "");
    const char *const undoing[] = {undo, NULL};
    g_autoptr(GPtrArray) undone = lodge_set(store, guest->name, undoing, NULL);
    return lodge_error_set(error, LODGE_ERROR_BUSY, "guest %s: %s", guest->name, change->why);
}

gboolean
lodge_forward_change(const LodgeStore *store, const char *name, const char *nic_name,
                     const char *forward, gboolean remove, GError **error)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, name, error);
    const LodgeNic *nic = guest != NULL ? choose_nic(store, guest, nic_name, error) : NULL;
    if (nic == NULL) {
        return FALSE;
    }
    g_autofree char *value = changed(nic, forward, remove, error);
    if (value == NULL) {
        return lodge_error_prefix(error, "guest %s", name);
    }
    return set_forward(store, guest, nic, value, error);
}
