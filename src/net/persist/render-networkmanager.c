/* NetworkManager's keyfiles: a profile for the bridge with what the uplink's had, one that makes
 * the uplink its port, and the old one no longer connects by itself. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/persist/render.h"

#define FOLDER "/etc/NetworkManager/system-connections/"

/* Groups that describe hardware, or a bond or VLAN, which stay the uplink's. */
static const char *const port_groups[] = {
    "ethernet", "802-3-ethernet", "802-1x", "ethtool", "link",  "sriov", "dcb",
    "bond",     "vlan",           "team",   "match",   "vxlan", NULL};
/* Keys of [connection] that the bridge takes over. */
static const char *const bridge_keys[] = {"zone",
                                          "metered",
                                          "lldp",
                                          "mdns",
                                          "llmnr",
                                          "dns-over-tls",
                                          "autoconnect-priority",
                                          "autoconnect-retries",
                                          "wait-device-timeout",
                                          "permissions",
                                          NULL};

/* A name-based UUID: the same for the same names. */
static char *
uuid_of(const char *old, const char *what)
{
    g_autofree char *name = g_strdup_printf("lodge %s %s", old, what);
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA1, name, -1);
    sum[12] = '5';
    sum[16] = "89ab"[g_ascii_xdigit_value(sum[16]) & 3];
    return g_strdup_printf("%.8s-%.4s-%.4s-%.4s-%.12s", sum, sum + 8, sum + 12, sum + 16, sum + 20);
}

static const LodgeHostFile *
find_profile(const LodgeRender *render, GKeyFile *out_profile)
{
    g_autofree char *path = g_strdup_printf("/run/NetworkManager/devices/%d", render->link->index);
    g_autofree char *uuid = lodge_render_value(lodge_render_text(render, path), "connection-uuid");
    for (guint i = 0; uuid != NULL && i < render->files->len; i++) {
        const LodgeHostFile *file = render->files->pdata[i];
        g_autofree char *found = lodge_render_value(file->text, "uuid");
        if (g_strcmp0(found, uuid) == 0 && strstr(file->path, "/system-connections/") != NULL &&
            g_key_file_load_from_data(out_profile, file->text, strlen(file->text), G_KEY_FILE_NONE,
                                      NULL)) {
            return file;
        }
    }
    return NULL;
}

static void
copy_group(GKeyFile *from, GKeyFile *to, const char *group)
{
    g_auto(GStrv) keys = g_key_file_get_keys(from, group, NULL, NULL);
    /* An empty group means something too. */
    g_key_file_set_string(to, group, "x", "");
    g_key_file_remove_key(to, group, "x", NULL);
    for (gsize i = 0; keys != NULL && keys[i] != NULL; i++) {
        g_autofree char *value = g_key_file_get_value(from, group, keys[i], NULL);
        g_key_file_set_value(to, group, keys[i], value);
    }
}

static GKeyFile *
new_profile(const char *id, const char *uuid, const char *type, const char *interface)
{
    GKeyFile *file = g_key_file_new();
    g_key_file_set_string(file, "connection", "id", id);
    g_key_file_set_string(file, "connection", "uuid", uuid);
    g_key_file_set_string(file, "connection", "type", type);
    g_key_file_set_string(file, "connection", "interface-name", interface);
    return file;
}

static void
write_profile(const LodgeRender *render, const char *id, GKeyFile *profile)
{
    g_autofree char *path = g_strdup_printf(FOLDER "%s.nmconnection", id);
    g_autofree char *text = g_key_file_to_data(profile, NULL, NULL);
    lodge_render_change(render, path, 0600,
                        g_strdup_printf("# Written by Lodge.\n%s", g_strchug(text)));
}

static GKeyFile *
make_bridge(const LodgeRender *render, GKeyFile *old, const char *uuid)
{
    const LodgeHostLink *link = render->link;
    GKeyFile *bridge = new_profile(link->bridge, uuid, "bridge", link->bridge);
    for (gsize i = 0; bridge_keys[i] != NULL; i++) {
        g_autofree char *value = g_key_file_get_value(old, "connection", bridge_keys[i], NULL);
        if (value != NULL) {
            g_key_file_set_value(bridge, "connection", bridge_keys[i], value);
        }
    }
    /* Older versions bring a bridge up without its ports, unless told. */
    g_key_file_set_string(bridge, "connection", "autoconnect-slaves", "1");
    g_key_file_set_string(bridge, "bridge", "stp", "false");
    g_key_file_set_string(bridge, "bridge", "mac-address", link->mac);
    g_autofree char *mtu = g_key_file_get_value(old, "ethernet", "mtu", NULL);
    if (mtu != NULL) {
        g_key_file_set_value(bridge, "ethernet", "mtu", mtu);
    }
    g_auto(GStrv) groups = g_key_file_get_groups(old, NULL);
    for (gsize i = 0; groups[i] != NULL; i++) {
        /* ".nmmeta" is about the file. */
        if (!g_str_equal(groups[i], "connection") && *groups[i] != '.' &&
            !g_strv_contains(port_groups, groups[i])) {
            copy_group(old, bridge, groups[i]);
        }
    }
    return bridge;
}

static GKeyFile *
make_port(const LodgeRender *render, GKeyFile *old, const char *uuid, const char *type)
{
    const LodgeHostLink *link = render->link;
    g_autofree char *id = g_strdup_printf("%s-%s", link->bridge, link->uplink);
    g_autofree char *port_uuid = uuid_of(uuid, id);
    GKeyFile *port = new_profile(id, port_uuid, type, link->uplink);
    g_key_file_set_string(port, "connection", "master", uuid);
    g_key_file_set_string(port, "connection", "slave-type", "bridge");
    g_auto(GStrv) groups = g_key_file_get_groups(old, NULL);
    for (gsize i = 0; groups[i] != NULL; i++) {
        if (g_strv_contains(port_groups, groups[i])) {
            copy_group(old, port, groups[i]);
        }
    }
    return port;
}

gboolean
lodge_render_networkmanager(const LodgeRender *render, GError **error)
{
    static const char *const types[] = {"ethernet", "802-3-ethernet", "bond", "vlan", "team", NULL};
    g_autoptr(GKeyFile) old = g_key_file_new();
    const LodgeHostFile *file = find_profile(render, old);
    if (file == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "NetworkManager has no file with the profile that %s uses",
                               render->link->uplink);
    }
    g_autofree char *type = g_key_file_get_value(old, "connection", "type", NULL);
    g_autofree char *master = g_key_file_get_value(old, "connection", "master", NULL);
    if (type == NULL || !g_strv_contains(types, type) || master != NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s: a profile of type %s can't become a bridge's port", file->path,
                               master != NULL ? "port" : type);
    }
    g_autofree char *old_uuid = g_key_file_get_value(old, "connection", "uuid", NULL);
    g_autofree char *uuid = uuid_of(old_uuid, render->link->bridge);
    g_autofree char *port_id = g_strdup_printf("%s-%s", render->link->bridge, render->link->uplink);
    g_autoptr(GKeyFile) bridge = make_bridge(render, old, uuid);
    g_autoptr(GKeyFile) port = make_port(render, old, uuid, type);
    write_profile(render, render->link->bridge, bridge);
    write_profile(render, port_id, port);
    /* One that NetworkManager made up, below /run, is not there after a restart. */
    if (g_str_has_prefix(file->path, "/etc/")) {
        g_key_file_set_boolean(old, "connection", "autoconnect", FALSE);
        lodge_render_change(render, file->path, 0600, g_key_file_to_data(old, NULL, NULL));
    }
    return TRUE;
}
