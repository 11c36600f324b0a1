#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "net/net.h"
#include "ops/forward.h"
#include "ops/ops.h"
#include "ops/session.h"

enum {
    KEYGEN_TIMEOUT_MS = 30000,
    CONNECT_TIMEOUT_S = 30, /* until the server's banner; emulated guests may be slow */
    KEY_LIMIT_BYTES = 16384,
    SSH_PORT = 22,
};

static char *
key_path(const LodgeStore *store)
{
    return g_build_filename(store->root, "ssh", "id_ed25519", NULL);
}

/* Made beside its final name, the private half renamed last: whoever sees it sees both. */
static gboolean
make_key(const char *path, GError **error)
{
    g_autofree char *fresh = g_strconcat(path, ".new", NULL);
    g_autofree char *fresh_public = g_strconcat(fresh, ".pub", NULL);
    g_autofree char *public = g_strconcat(path, ".pub", NULL);
    if (!lodge_tree_remove(fresh, error) || !lodge_tree_remove(fresh_public, error)) {
        return FALSE;
    }
    const char *argv[] = {"ssh-keygen", "-q",    "-t", "ed25519", "-N", "",
                          "-C",         "lodge", "-f", fresh,     NULL};
    if (!lodge_process_run_argv(argv, KEYGEN_TIMEOUT_MS, NULL, error)) {
        return FALSE;
    }
    if (rename(fresh_public, public) < 0 || rename(fresh, path) < 0) {
        return lodge_error_errno(error, errno, "%s", path);
    }
    return TRUE;
}

char *
lodge_ssh_key(const LodgeStore *store, GError **error)
{
    g_autofree char *path = key_path(store);
    g_autofree char *public = g_strconcat(path, ".pub", NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *lock_path = g_build_filename(folder, "lock", NULL);
    if (!lodge_dir_make(store->root, 0755, error) || !lodge_dir_make(folder, 0700, error)) {
        return NULL;
    }
    lodge_autofd lock = lodge_lock_take_within(lock_path, KEYGEN_TIMEOUT_MS, error);
    if (lock < 0 || (!g_file_test(path, G_FILE_TEST_EXISTS) && !make_key(path, error))) {
        lodge_error_prefix(error, "Lodge's SSH key");
        return NULL;
    }
    char *text = lodge_file_read(public, KEY_LIMIT_BYTES, NULL, error);
    return text != NULL ? g_strchomp(text) : NULL;
}

/* Where the keeper knows no address the guest's agent may: others give them on a bridged network.
 */
static char *
find_host(const LodgeStore *store, const char *name)
{
    g_autoptr(GPtrArray) addresses = lodge_resolve(store, name, NULL);
    for (guint i = 0; addresses != NULL && i < addresses->len; i++) {
        const LodgeAddress *address = addresses->pdata[i];
        g_autoptr(LodgeNetwork) network = lodge_net_running(store, address->network);
        if (network != NULL && (network->mode != LODGE_NETWORK_ISOLATED || network->host)) {
            return g_strdup(address->address);
        }
    }
    return NULL;
}

char **
lodge_ssh_command(const LodgeStore *store, const char *name, const char *user,
                  const char *const *arguments, GError **error)
{
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, name, error);
    if (guest == NULL) {
        return NULL;
    }
    g_autoptr(LodgeGuestState) state = lodge_store_state(store, name);
    g_autofree char *host = state->ssh_port != 0 ? g_strdup(lodge_state_ssh_host(state))
                            : state->has_qemu    ? find_host(store, name)
                                                 : NULL;
    if (host == NULL) {
        lodge_error_set(error, LODGE_ERROR_BUSY,
                        state->has_qemu
                            ? "guest %s has no address that this host reaches (`lodge exec %s` "
                              "needs none)"
                            : "guest %s is not running (`lodge start %s`)",
                        name, name);
        return NULL;
    }
    if (state->state == LODGE_STATE_PAUSED) {
        lodge_refuse_state(name, state, error);
        return NULL;
    }
    g_autofree char *key = key_path(store);
    g_autofree char *hosts = lodge_store_guest_path(store, name, "known_hosts");
    GPtrArray *argv = g_ptr_array_new();
    g_ptr_array_add(argv, g_strdup("ssh"));
    g_ptr_array_add(argv,
                    g_strdup_printf("-p%u", state->ssh_port != 0 ? state->ssh_port : SSH_PORT));
    g_ptr_array_add(argv, g_strdup_printf("-oIdentityFile=%s", key));
    g_ptr_array_add(argv, g_strdup_printf("-oUserKnownHostsFile=%s", hosts));
    /* The first connection goes over loopback, or a bridge whose filter lets nobody else have that
     * address, to a guest that was just made: its key is believed then, and never again another. */
    g_ptr_array_add(argv, g_strdup("-oStrictHostKeyChecking=accept-new"));
    g_ptr_array_add(argv, g_strdup_printf("-oHostKeyAlias=%s", name));
    g_ptr_array_add(argv, g_strdup("-oCheckHostIP=no"));
    g_ptr_array_add(argv, g_strdup("-oLogLevel=ERROR"));
    /* QEMU itself takes the connection: only this ends the wait for a guest that says nothing. */
    g_ptr_array_add(argv, g_strdup_printf("-oConnectTimeout=%d", CONNECT_TIMEOUT_S));
    g_ptr_array_add(argv, g_strdup_printf("%s@%s", user != NULL ? user : guest->user, host));
    for (gsize i = 0; arguments != NULL && arguments[i] != NULL; i++) {
        g_ptr_array_add(argv, g_strdup(arguments[i]));
    }
    g_ptr_array_add(argv, NULL);
    return (char **)g_ptr_array_free(argv, FALSE);
}
