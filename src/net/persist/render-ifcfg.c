/* Red Hat's ifcfg files, read by network-scripts and by NetworkManager's ifcfg-rh plug-in. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/persist/render.h"

#define FOLDER "/etc/sysconfig/network-scripts/"

/* What stays the uplink's. */
static const char *const port_keys[] = {
    "DEVICE",      "NAME",          "UUID",      "TYPE",      "HWADDR",         "MACADDR",
    "ONBOOT",      "NM_CONTROLLED", "USERCTL",   "BONDING_*", "BONDING_MASTER", "ETHTOOL_OPTS",
    "SUBCHANNELS", "NETTYPE",       "OPTIONS",   "VLAN",      "PHYSDEV",        "VLAN_*",
    "SLAVE",       "KEY_*",         "BOOTPROTO", NULL};
static const char *const shared_keys[] = {"MTU", "NM_CONTROLLED", "ZONE", NULL};
static const char *const refused[] = {"BRIDGE", "MASTER", "TEAM_MASTER", "ESSID", "MODE", NULL};

static gboolean
split(const LodgeRender *render, const char *text, GString *port, GString *bridge, GError **error)
{
    g_autofree char *body = g_strdup(text);
    g_auto(GStrv) lines = g_strsplit(g_strchomp(body), "\n", -1);
    g_autofree char *method = lodge_render_value(text, "BOOTPROTO");
    for (gsize i = 0; lines[i] != NULL; i++) {
        g_autofree char *key = g_strstrip(g_strndup(lines[i], strcspn(lines[i], "=")));
        gboolean is_setting = *key != '\0' && *key != '#';
        if (is_setting && g_strv_contains(refused, key)) {
            return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "“%s” can't be told of a port",
                                   lines[i]);
        }
        gboolean is_shared = g_strv_contains(shared_keys, key) && !g_str_equal(key, "ZONE");
        gboolean stays = !is_setting || lodge_render_is_among(key, port_keys);
        if ((stays || is_shared) && !g_str_equal(key, "BOOTPROTO")) {
            g_string_append_printf(port, "%s\n", lines[i]);
        }
        if (!stays || is_shared) {
            g_string_append_printf(bridge, "%s\n", lines[i]);
        }
    }
    g_string_append_printf(port, "BOOTPROTO=none\nBRIDGE=%s\n", render->link->bridge);
    g_string_append_printf(bridge, "BOOTPROTO=%s\n", method != NULL ? method : "none");
    return TRUE;
}

/* route-eth0 and its like have the link's name in their own. */
static void
rename_routes(const LodgeRender *render)
{
    static const char *const kinds[] = {"route-", "route6-", "rule-", "rule6-"};
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *from = g_strconcat(FOLDER, kinds[i], render->link->uplink, NULL);
        g_autofree char *to = g_strconcat(FOLDER, kinds[i], render->link->bridge, NULL);
        const char *text = lodge_render_text(render, from);
        if (text != NULL) {
            lodge_render_change(render, from, 0644, NULL);
            lodge_render_change(render, to, 0644, lodge_render_renamed(render, text));
        }
    }
}

gboolean
lodge_render_ifcfg(const LodgeRender *render, GError **error)
{
    const LodgeHostLink *link = render->link;
    g_autofree char *from = g_strconcat(FOLDER "ifcfg-", link->uplink, NULL);
    g_autofree char *to = g_strconcat(FOLDER "ifcfg-", link->bridge, NULL);
    const char *text = lodge_render_text(render, from);
    g_autoptr(GString) port = g_string_new(NULL);
    g_autoptr(GString) bridge = g_string_new(NULL);
    if (text == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "there is no %s", from);
    }
    if (!split(render, text, port, bridge, error)) {
        return lodge_error_prefix(error, "%s", from);
    }
    lodge_render_change(render, from, 0644, g_strdup(port->str));
    lodge_render_change(render, to, 0644,
                        g_strdup_printf("# Written by Lodge.\nDEVICE=%s\nNAME=%s\nTYPE=Bridge\n"
                                        "ONBOOT=yes\nSTP=no\nDELAY=0\nMACADDR=%s\n"
                                        "BRIDGE_MACADDR=%s\n%s",
                                        link->bridge, link->bridge, link->mac, link->mac,
                                        bridge->str));
    rename_routes(render);
    return TRUE;
}
