/* Gentoo's netifrc: /etc/conf.d/net, a shell's assignments, whose names end with the link's. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/persist/render.h"

#define FILE_PATH "/etc/conf.d/net"

/* What stays the uplink's; all other assignments become the bridge's. */
static const char *const port_names[] = {
    "mac",       "mtu",    "ethtool_change", "modules",        "slaves",  "mode",   "vlans",
    "ethtool_*", "rename", "associate",      "wpa_supplicant", "ifplugd", "tuntap", NULL};

/* "eth0.5" is eth0_5 in a variable's name. */
static char *
variable_of(const char *link)
{
    char *name = g_strdup(link);
    for (char *at = name; *at != '\0'; at++) {
        *at = g_ascii_isalnum(*at) ? *at : '_';
    }
    return name;
}

/* Is a quotation or parenthesis still open at the end of @text? */
static gboolean
is_open(const char *text)
{
    char quote = '\0';
    int depth = 0;
    for (const char *at = text; *at != '\0'; at++) {
        if (quote != '\0') {
            quote = *at == quote ? '\0' : quote;
        } else if (*at == '#' && (at == text || g_ascii_isspace(at[-1]))) {
            at += strcspn(at, "\n");
            if (*at == '\0') {
                break;
            }
        } else if (*at == '"' || *at == '\'') {
            quote = *at;
        } else {
            depth += *at == '(' ? 1 : *at == ')' ? -1 : 0;
        }
    }
    return quote != '\0' || depth > 0;
}

/* One assignment, which may be several lines. */
static gboolean
take_statement(const LodgeRender *render, const char *statement, GString *text, GError **error)
{
    g_autofree char *uplink = variable_of(render->link->uplink);
    g_autofree char *bridge = variable_of(render->link->bridge);
    g_autofree char *suffix = g_strconcat("_", uplink, NULL);
    g_autofree char *name = g_strstrip(g_strndup(statement, strcspn(statement, "=+")));
    if (!g_str_has_suffix(name, suffix) || *name == '#') {
        g_string_append_printf(text, "%s\n", statement);
        return TRUE;
    }
    g_autofree char *kind = g_strndup(name, strlen(name) - strlen(suffix));
    if (g_str_has_prefix(kind, "bridge") || g_str_equal(kind, "wpa_supplicant")) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "%s can't be told of a port", name);
    }
    gboolean stays = lodge_render_is_among(kind, port_names);
    if (stays) {
        g_string_append_printf(text, "%s\n", statement);
    }
    if (!stays || g_str_equal(kind, "mtu")) {
        const char *value = statement + strcspn(statement, "=+");
        g_autofree char *renamed = lodge_render_renamed(render, value);
        g_string_append_printf(text, "%s_%s%s\n", kind, bridge, renamed);
    }
    return TRUE;
}

static void
add_bridge(const LodgeRender *render, GString *text)
{
    const LodgeHostLink *link = render->link;
    g_autofree char *uplink = variable_of(link->uplink);
    g_autofree char *bridge = variable_of(link->bridge);
    g_string_append_printf(text,
                           "\n# The bridge that Lodge made.\nconfig_%s=\"null\"\n"
                           "bridge_%s=\"%s\"\nmac_%s=\"%s\"\nbridge_forward_delay_%s=0\n"
                           "bridge_stp_state_%s=0\nrc_net_%s_need=\"net.%s\"\n",
                           uplink, bridge, link->uplink, bridge, link->mac, bridge, bridge, bridge,
                           link->uplink);
}

gboolean
lodge_render_netifrc(const LodgeRender *render, GError **error)
{
    const char *old = lodge_render_text(render, FILE_PATH);
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *body = g_strdup(old);
    g_auto(GStrv) lines = g_strsplit(g_strchomp(body), "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        g_autofree char *statement = g_strdup(lines[i]);
        while (is_open(statement) && lines[i + 1] != NULL) {
            char *longer = g_strdup_printf("%s\n%s", statement, lines[++i]);
            g_free(statement);
            statement = longer;
        }
        if (!take_statement(render, statement, text, error)) {
            return lodge_error_prefix(error, FILE_PATH);
        }
    }
    add_bridge(render, text);
    lodge_render_change(render, FILE_PATH, 0644, g_string_free(g_steal_pointer(&text), FALSE));
    g_autofree char *service = g_strdup_printf("/etc/init.d/net.%s", render->link->bridge);
    g_autofree char *level = g_strdup_printf("/etc/runlevels/default/net.%s", render->link->bridge);
    lodge_render_link(render, service, "net.lo");
    lodge_render_link(render, level, service);
    return TRUE;
}
