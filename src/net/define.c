#include "config.h"

#include "net/define.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "net/bridge.h"
#include "net/delegated.h"
#include "net/net-private.h"
#include "net/link.h"
#include "net/resolved.h"
#include "net/sharing.h"

enum {
    DEFINITION_LIMIT_BYTES = 256 << 10,
};

/* Put each "KEY=VALUE" into the file. */
static gboolean
apply(GKeyFile *file, const char *const *settings, GError **error)
{
    const LodgeSection *section = lodge_network_sections();
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (gsize i = 0; i < section->key_count; i++) {
        g_ptr_array_add(names, (gpointer)section->keys[i].name);
    }
    g_ptr_array_add(names, NULL);
    for (gsize i = 0; settings != NULL && settings[i] != NULL; i++) {
        g_auto(GStrv) parts = g_strsplit(settings[i], "=", 2);
        const LodgeKey *key = lodge_section_key(section, parts[0] != NULL ? parts[0] : "");
        if (g_strv_length(parts) != 2) {
            return lodge_error_set(error, LODGE_ERROR_USAGE, "“%s”: write KEY=VALUE", settings[i]);
        }
        if (key == NULL) {
            g_autofree char *hint = lodge_text_suggestion(parts[0],
                                                          (const char *const *)names->pdata);
            return lodge_error_set(error, LODGE_ERROR_USAGE, "a network has no key “%s”%s",
                                   parts[0], hint);
        }
        if (*parts[1] == '\0') {
            g_key_file_remove_key(file, section->name, key->name, NULL);
            continue;
        }
        g_autofree char *canonical = NULL;
        if (!lodge_schema_value(key, parts[1], &canonical, error)) {
            return FALSE;
        }
        g_key_file_set_string(file, section->name, key->name,
                              canonical != NULL ? canonical : parts[1]);
    }
    return TRUE;
}

/* What the file would be as a network; its text goes to @out_text. */
static LodgeNetwork *
network_of(const char *name, GKeyFile *file, char **out_text, GError **error)
{
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    LodgeNetwork *network = lodge_network_parse(name, text, strlen(text), error);
    if (network != NULL) {
        *out_text = g_steal_pointer(&text);
    }
    return network;
}

/* Write the definition if it is sound and overlaps nothing. */
static gboolean
write_definition(LodgeNet *net, const char *name, GKeyFile *file, GError **error)
{
    g_autofree char *text = NULL;
    g_autofree char *path = lodge_store_network_path(net->store, name);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autoptr(LodgeNetwork) network = network_of(name, file, &text, error);
    return network != NULL && lodge_net_check_overlap(net, network, error) &&
           lodge_dir_make(folder, 0755, error) &&
           lodge_file_write(path, text, strlen(text), 0644, LODGE_WRITE_DEFAULT, error);
}

/* One definition at a time: two networks made at once must not choose the same prefix. */
static int
lock_definitions(const LodgeStore *store, GError **error)
{
    g_autofree char *folder = g_build_filename(store->run, "networks", NULL);
    g_autofree char *path = g_build_filename(folder, ".define.lock", NULL);
    return lodge_dir_make(folder, 0755, error) ? lodge_lock_take_within(path, 10000, error) : -1;
}

static gboolean
create(const LodgeStore *store, const char *name, const char *const *settings, GError **error)
{
    g_autofree char *path = lodge_store_network_path(store, name);
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(LodgeNet) net = lodge_net_open(store, error);
    if (net == NULL) {
        return FALSE;
    }
    if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS, "network %s exists already", name);
    }
    g_key_file_set_string(file, "network", "mode", "nat");
    return apply(file, settings, error) && lodge_net_choose_prefixes(net, name, file, error) &&
           write_definition(net, name, file, error);
}

gboolean
lodge_network_create(const LodgeStore *store, const char *name, const char *const *settings,
                     GError **error)
{
    if (!lodge_name_check("network", name, error)) {
        return FALSE;
    }
    if (g_str_equal(name, LODGE_NETWORK_USER)) {
        return lodge_error_set(error, LODGE_ERROR_EXISTS,
                               "network user is QEMU's own, which every guest may use");
    }
    lodge_autofd lock = lock_definitions(store, error);
    return lock >= 0 && create(store, name, settings, error);
}

gboolean
lodge_network_set(const LodgeStore *store, const char *name, const char *const *settings,
                  GError **error)
{
    lodge_autofd lock = lock_definitions(store, error);
    g_autoptr(LodgeNetwork) old = lock >= 0 ? lodge_store_network(store, name, error) : NULL;
    g_autoptr(LodgeNet) net = old != NULL ? lodge_net_open(store, error) : NULL;
    if (net == NULL) {
        return FALSE;
    }
    /* GLib's key file, which keeps comments. */
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *path = lodge_store_network_path(store, name);
    return g_key_file_load_from_file(file, path, G_KEY_FILE_KEEP_COMMENTS, error) &&
           apply(file, settings, error) && write_definition(net, name, file, error);
}

gboolean
lodge_network_set_text(const LodgeStore *store, const char *name, const char *text,
                       gboolean *out_is_same, GError **error)
{
    g_autofree char *path = lodge_store_network_path(store, name);
    lodge_autofd lock = lock_definitions(store, error);
    g_autoptr(LodgeNetwork)
        network = lock >= 0 ? lodge_network_parse(name, text, strlen(text), error) : NULL;
    g_autoptr(LodgeNet) net = network != NULL ? lodge_net_open(store, error) : NULL;
    if (net == NULL || !lodge_net_check_overlap(net, network, error)) {
        return FALSE;
    }
    g_autofree char *old = lodge_file_read(path, DEFINITION_LIMIT_BYTES, NULL, error);
    *out_is_same = g_strcmp0(old, text) == 0;
    return old != NULL &&
           lodge_file_write(path, text, strlen(text), 0644, LODGE_WRITE_DEFAULT, error);
}

static gboolean
refuse_used(const LodgeStore *store, const char *name, char **users, GError **error)
{
    g_autofree char *list = g_strjoinv(", ", users);
    g_autoptr(LodgeGuest) guest = lodge_store_guest(store, users[0], NULL);
    const char *nic_name = "NIC";
    for (guint i = 0; guest != NULL && i < guest->nics->len; i++) {
        const LodgeNic *nic = guest->nics->pdata[i];
        nic_name = g_strcmp0(nic->network, name) == 0 ? nic->name : nic_name;
    }
    return lodge_error_set(error, LODGE_ERROR_BUSY,
                           "network %s is used by %s (`lodge set %s nic.%s.network=OTHER` moves a "
                           "guest to another, `lodge delete %s` deletes it)",
                           name, list, users[0], nic_name, users[0]);
}

static gboolean
refuse_shared(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(LodgeNetwork) network = lodge_store_network(store, name, NULL);
    g_auto(GStrv) sharers = network != NULL ? lodge_net_sharers(store, network, FALSE) : NULL;
    if (sharers == NULL || sharers[0] == NULL) {
        return TRUE;
    }
    g_autofree char *list = g_strjoinv(", ", sharers);
    return lodge_error_set(
        error, LODGE_ERROR_BUSY,
        "network %s makes the bridge %s, which is also that of %s (`lodge network "
        "delete %s` first)",
        name, network->bridge, list, sharers[0]);
}

gboolean
lodge_network_delete(const LodgeStore *store, const char *name, GError **error)
{
    g_autofree char *path = lodge_store_network_path(store, name);
    g_autofree char *leases_name = g_strconcat(name, ".leases", NULL);
    g_autofree char *leases = g_build_filename(store->root, "networks", leases_name, NULL);
    g_autofree char *run = lodge_store_network_run_path(store, name, NULL);
    lodge_autofd lock = lock_definitions(store, error);
    if (lock < 0 || !lodge_name_check("network", name, error)) {
        return FALSE;
    }
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_autoptr(LodgeNetwork) none = lodge_store_network(store, name, error);
        return FALSE;
    }
    g_auto(GStrv) users = lodge_store_network_users(store, name, error);
    if (users == NULL) {
        return FALSE;
    }
    if (users[0] != NULL) {
        return refuse_used(store, name, users, error);
    }
    if (!refuse_shared(store, name, error) || !lodge_network_stop(store, name, FALSE, error)) {
        return FALSE;
    }
    if (unlink(path) < 0) {
        return lodge_error_errno(error, errno, "Removing %s", path);
    }
    unlink(leases);
    lodge_net_forget_delegation(store, name);
    return lodge_tree_remove(run, error);
}

/* The default network comes into being when it is first wanted. */
LodgeNetwork *
lodge_network_find(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(GError) problem = NULL;
    LodgeNetwork *network = lodge_store_network(store, name, &problem);
    if (network == NULL && g_str_equal(name, LODGE_NETWORK_DEFAULT) &&
        g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_NOT_FOUND)) {
        g_clear_error(&problem);
        if (lodge_network_create(store, name, NULL, &problem) ||
            g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_EXISTS)) {
            g_clear_error(&problem);
            return lodge_store_network(store, name, error);
        }
    }
    if (network == NULL) {
        g_propagate_error(error, g_steal_pointer(&problem));
    }
    return network;
}

/* A network that is put on another's bridge needs that one. */
static gboolean
start_maker(const LodgeStore *store, const LodgeNetwork *network, GError **error)
{
    g_autofree char *maker = network->bridge != NULL && lodge_link_index(network->bridge) == 0
                                 ? lodge_net_bridge_maker(store, network)
                                 : NULL;
    return maker == NULL || lodge_network_start(store, maker, error);
}

gboolean
lodge_network_start(const LodgeStore *store, const char *name, GError **error)
{
    g_autoptr(LodgeNetwork) defined = lodge_network_find(store, name, error);
    if (defined == NULL) {
        return FALSE;
    }
    if (geteuid() != 0) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "network %s: only root can start networks (guests of an ordinary "
                               "user have network=user)",
                               name);
    }
    /* One that is up is mended as it was started. */
    g_autoptr(LodgeNetwork) running = lodge_net_running(store, name);
    const LodgeNetwork *network = running != NULL ? running : defined;
    g_autoptr(LodgeNet) net = lodge_net_open(store, error);
    if (net == NULL) {
        return FALSE;
    }
    lodge_bridge_recover(net);
    if (!start_maker(store, network, error) || !lodge_net_up(net, network, error) ||
        !lodge_net_serve(store, network, error)) {
        return FALSE;
    }
    lodge_resolved_tell(store, network);
    return TRUE;
}

gboolean
lodge_network_stop(const LodgeStore *store, const char *name, gboolean force, GError **error)
{
    if (lodge_net_state(store, name) == LODGE_NET_DOWN) {
        return TRUE;
    }
    g_autoptr(LodgeNet) net = lodge_net_open(store, error);
    return net != NULL && lodge_net_down(net, name, force, error);
}
