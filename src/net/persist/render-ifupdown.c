/* /etc/network/interfaces, of Debian's ifupdown, ifupdown2 and ifupdown-ng.
 *
 * The uplink's stanzas become the bridge's; what is the hardware's own business stays with the
 * uplink, which is "manual" from then on. Where nothing understands `bridge_ports`, ip(8), on which
 * ifupdown depends, makes the bridge. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/persist/render.h"

/* Options that stay the uplink's. */
static const char *const hardware[] = {
    "hwaddress", "ethernet-*", "link-*",   "bond-*",     "bond_*",   "slaves",
    "offload-*", "gro-*",      "driver-*", "hardware-*", "ethtool*", NULL,
};
static const char *const methods[] = {"static", "dhcp",     "manual", "auto",
                                      "dhcpv6", "v4tunnel", NULL};
/* Whoever understands bridge_ports brings one of these. */
static const char *const bridge_tools[] = {"/etc/network/if-pre-up.d/bridge",
                                           "/etc/network/ifupdown2/ifupdown2.conf",
                                           "/usr/libexec/ifupdown-ng/bridge", NULL};

typedef struct {
    const LodgeRender *render;
    GString *text;
    GString *body;     /* of the stanza being read: the bridge's share */
    GString *kept;     /* the uplink's share */
    char *header;      /* "inet static"; NULL: no stanza of the uplink's is being read */
    gboolean has_made; /* the first stanza was written, which makes the bridge */
} Interfaces;

static gboolean
has_bridge_tools(const LodgeRender *render)
{
    for (gsize i = 0; bridge_tools[i] != NULL; i++) {
        if (lodge_render_text(render, bridge_tools[i]) != NULL) {
            return TRUE;
        }
    }
    return FALSE;
}

static void
add_making(Interfaces *out)
{
    const LodgeHostLink *link = out->render->link;
    if (has_bridge_tools(out->render)) {
        g_string_append_printf(out->text,
                               "    bridge_ports %s\n    bridge_hw %s\n    bridge_stp off\n"
                               "    bridge_fd 0\n    bridge_waitport 0\n",
                               link->uplink, link->mac);
        return;
    }
    g_string_append_printf(out->text,
                           "    pre-up ip link show dev %s >/dev/null 2>&1 || ip link add name %s "
                           "address %s type bridge stp_state 0 forward_delay 0\n"
                           "    pre-up ip link set dev %s up master %s\n"
                           "    post-down ip link del dev %s\n",
                           link->bridge, link->bridge, link->mac, link->uplink, link->bridge,
                           link->bridge);
}

static void
end_stanza(Interfaces *out)
{
    const LodgeHostLink *link = out->render->link;
    if (out->header == NULL) {
        return;
    }
    if (!out->has_made) {
        g_string_append_printf(out->text, "iface %s inet manual\n%s\n", link->uplink,
                               out->kept->str);
    }
    g_string_append_printf(out->text, "iface %s %s\n", link->bridge, out->header);
    if (!out->has_made) {
        add_making(out);
    }
    g_string_append(out->text, out->body->str);
    out->has_made = TRUE;
    g_string_truncate(out->body, 0);
    g_string_truncate(out->kept, 0);
    g_clear_pointer(&out->header, g_free);
}

/* "auto lo eth0": the bridge comes behind the uplink, also where that was brought up when it was
 * plugged in, as nobody plugs a bridge in. */
static void
take_auto(Interfaces *out, char **words)
{
    const LodgeHostLink *link = out->render->link;
    g_autoptr(GString) others = g_string_new(NULL);
    gboolean has_uplink = FALSE;
    for (gsize i = 1; words[i] != NULL; i++) {
        if (g_str_equal(words[i], link->uplink)) {
            has_uplink = TRUE;
        } else {
            g_autofree char *renamed = lodge_render_renamed(out->render, words[i]);
            g_string_append_printf(others, " %s", renamed);
        }
    }
    if (others->len > 0) {
        g_string_append_printf(out->text, "%s%s\n", words[0], others->str);
    }
    if (has_uplink) {
        g_string_append_printf(out->text, "auto %s %s\n", link->uplink, link->bridge);
    }
}

static gboolean
take_iface(Interfaces *out, char **words, const char *line, GError **error)
{
    const char *uplink = out->render->link->uplink;
    if (words[1] == NULL || !g_str_equal(words[1], uplink)) {
        g_autofree char *renamed = words[1] != NULL && g_str_has_prefix(words[1], uplink) &&
                                           words[1][strlen(uplink)] == ':'
                                       ? lodge_render_renamed(out->render, line)
                                       : g_strdup(line);
        g_string_append_printf(out->text, "%s\n", renamed);
        return TRUE;
    }
    if (g_strv_length(words) < 4 || !g_strv_contains(methods, words[3])) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "“%s” is no way to configure a bridge", line);
    }
    g_autofree char *header = g_strjoinv(" ", words + 2);
    out->header = g_steal_pointer(&header);
    return TRUE;
}

/* A line of the uplink's stanza. */
static gboolean
take_option(Interfaces *out, char **words, const char *line, GError **error)
{
    static const char *const wireless[] = {"wpa-*", "wireless-*", NULL};
    static const char *const bridged[] = {"bridge_*", "bridge-*", NULL};
    if (words[0] != NULL &&
        (lodge_render_is_among(words[0], wireless) || lodge_render_is_among(words[0], bridged))) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "“%s” can't be told of a port",
                               line);
    }
    if (words[0] != NULL &&
        (lodge_render_is_among(words[0], hardware) || strstr(line, "ethtool") != NULL)) {
        g_string_append_printf(out->kept, "%s\n", line);
        return TRUE;
    }
    if (words[0] != NULL && g_str_equal(words[0], "mtu")) {
        g_string_append_printf(out->kept, "%s\n", line);
    }
    g_autofree char *renamed = lodge_render_renamed(out->render, line);
    g_string_append_printf(out->body, "%s\n", renamed);
    return TRUE;
}

static char **
words_of(const char *line)
{
    g_auto(GStrv) parts = g_strsplit_set(line, " \t", -1);
    g_autoptr(GStrvBuilder) words = g_strv_builder_new();
    for (gsize i = 0; parts[i] != NULL; i++) {
        if (*parts[i] != '\0') {
            g_strv_builder_add(words, parts[i]);
        }
    }
    return g_strv_builder_end(words);
}

static gboolean
take_line(Interfaces *out, const char *line, GError **error)
{
    static const char *const keywords[] = {"iface", "auto",     "allow-*", "mapping", "source*",
                                           "no-*",  "template", "rename",  NULL};
    g_auto(GStrv) words = words_of(line);
    gboolean begins = words[0] != NULL && lodge_render_is_among(words[0], keywords);
    if (begins) {
        end_stanza(out);
    }
    if (begins && g_str_equal(words[0], "iface")) {
        return take_iface(out, words, line, error);
    }
    if (begins && (g_str_equal(words[0], "auto") || g_str_has_prefix(words[0], "allow-"))) {
        take_auto(out, words);
        return TRUE;
    }
    if (out->header != NULL) {
        return take_option(out, words, line, error);
    }
    g_string_append_printf(out->text, "%s\n", line);
    return TRUE;
}

static gboolean
render_file(const LodgeRender *render, const LodgeHostFile *file, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GString) body = g_string_new(NULL);
    g_autoptr(GString) kept = g_string_new(NULL);
    Interfaces out = {.render = render, .text = text, .body = body, .kept = kept};
    g_autofree char *joined = g_strdup(file->text);
    gsize length = strlen(joined);
    if (length > 0 && joined[length - 1] == '\n') {
        joined[length - 1] = '\0';
    }
    g_auto(GStrv) lines = g_strsplit(joined, "\n", -1);
    gboolean fine = TRUE;
    for (gsize i = 0; fine && lines[i] != NULL; i++) {
        g_autofree char *line = g_strdup(lines[i]);
        /* A backslash at the end goes on in the next line. */
        while (g_str_has_suffix(line, "\\") && lines[i + 1] != NULL) {
            char *longer = g_strdup_printf("%.*s%s", (int)strlen(line) - 1, line, lines[++i]);
            g_free(line);
            line = longer;
        }
        fine = take_line(&out, line, error);
    }
    if (fine) {
        end_stanza(&out);
        if (!g_str_equal(text->str, file->text)) {
            lodge_render_change(render, file->path, 0644, g_strdup(text->str));
        }
    }
    g_free(out.header);
    return fine || lodge_error_prefix(error, "%s", file->path);
}

gboolean
lodge_render_ifupdown(const LodgeRender *render, GError **error)
{
    for (guint i = 0; i < render->files->len; i++) {
        const LodgeHostFile *file = render->files->pdata[i];
        if (file->text != NULL && !g_strv_contains(bridge_tools, file->path) &&
            g_str_has_prefix(file->path, "/etc/network/") && !render_file(render, file, error)) {
            return FALSE;
        }
    }
    return TRUE;
}
