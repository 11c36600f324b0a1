/* Theory of operation: what a guest is put on that names no network.
 *
 * For root that is the network `default`, which is made, started and thereby tried when it is first
 * wanted: whether a host (or a container) lets bridges, rules and sysctls be made is known only
 * when they were. Where it does not come up the guest gets user-mode networking, and the reason is
 * told. Nothing is left of a `default` that was made in vain.
 *
 * A store elsewhere (LODGE_DIR) is somebody's experiment: the host's network is touched for it only
 * once somebody defined a network of that name there. */
#include "config.h"

#include <unistd.h>

#include "base/base.h"
#include "net/define.h"

static gboolean
is_defined(const LodgeStore *store)
{
    g_autofree char *path = lodge_store_network_path(store, LODGE_NETWORK_DEFAULT);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static gboolean
has_users(const LodgeStore *store)
{
    g_auto(GStrv) users = lodge_store_network_users(store, LODGE_NETWORK_DEFAULT, NULL);
    return users == NULL || users[0] != NULL;
}

static gboolean
try_default(const LodgeStore *store, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gboolean was_defined = is_defined(store);
    if (lodge_network_start(store, LODGE_NETWORK_DEFAULT, &problem)) {
        return TRUE;
    }
    gboolean overlaps = g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_EXISTS);
    if ((!was_defined || overlaps) && !has_users(store)) {
        lodge_network_delete(store, LODGE_NETWORK_DEFAULT, NULL);
        /* The host's addresses changed since its prefix was chosen: another will do. */
        if (was_defined && lodge_network_start(store, LODGE_NETWORK_DEFAULT, NULL)) {
            return TRUE;
        }
    }
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

const char *
lodge_network_default(const LodgeStore *store, char **out_why)
{
    g_autoptr(GError) problem = NULL;
    *out_why = NULL;
    if (geteuid() != 0 || !(lodge_store_is_system(store) || is_defined(store))) {
        return LODGE_NETWORK_USER;
    }
    if (lodge_net_state(store, LODGE_NETWORK_DEFAULT) == LODGE_NET_UP ||
        try_default(store, &problem)) {
        return LODGE_NETWORK_DEFAULT;
    }
    *out_why = g_strdup(problem->message);
    return LODGE_NETWORK_USER;
}
