/* Netplan's YAML, changed as text, so that comments and order stay: of the uplink's mapping, the
 * keys that are about addresses go to a bridge of the same file, line by line.
 *
 * What is written in one line between braces is refused: taking it apart would want a YAML parser.
 */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "net/persist/render-networkd.h"

/* Keys that stay the device's; all others move. */
static const char *const device_keys[] = {"match",
                                          "set-name",
                                          "wakeonlan",
                                          "emit-lldp",
                                          "*-offload",
                                          "macaddress",
                                          "virtual-function*",
                                          "embedded-switch-mode",
                                          "delay-virtual-*",
                                          "infiniband-mode",
                                          "auth",
                                          "interfaces",
                                          "parameters",
                                          "id",
                                          "link",
                                          "receive-*",
                                          "transmit-*",
                                          "tcp-*",
                                          "generic-*",
                                          "large-*",
                                          NULL};
static const char *const shared_keys[] = {"mtu", "optional", "renderer", NULL};

/* A key's line and those that belong to it, from @first to before @end. */
typedef struct {
    gsize first, end, indent;
} Block;

/* The key of a line "  'key': value", and where its value begins; NULL: there is none. */
static char *
key_of(const char *line, const char **out_value)
{
    const char *begin = line + lodge_render_indent(line);
    const char *colon = strchr(begin, ':');
    if (*begin == '#' || *begin == '-' || colon == NULL ||
        !(colon[1] == '\0' || colon[1] == ' ' || colon[1] == '\t')) {
        return NULL;
    }
    g_autofree char *key = g_strstrip(g_strndup(begin, (gsize)(colon - begin)));
    gsize length = strlen(key);
    gboolean quoted = length >= 2 && (*key == '"' || *key == '\'') && key[length - 1] == *key;
    *out_value = colon + 1 + lodge_render_indent(colon + 1);
    return quoted ? g_strndup(key + 1, length - 2) : g_steal_pointer(&key);
}

static gboolean
is_empty(const char *line)
{
    char first = line[lodge_render_indent(line)];
    return first == '\0' || first == '#';
}

/* Of the mapping in @within's lines, the block of @key (NULL: of the first key behind @from). */
static gboolean
find_block(char **lines, Block within, gsize from, const char *key, Block *out_block)
{
    gsize indent = 0;
    gboolean has_indent = FALSE;
    for (gsize i = MAX(from, within.first); i < within.end; i++) {
        const char *value = NULL;
        gsize here = lodge_render_indent(lines[i]);
        if (is_empty(lines[i]) || (has_indent && here != indent)) {
            continue;
        }
        has_indent = TRUE;
        indent = here;
        g_autofree char *found = key_of(lines[i], &value);
        if (found == NULL || (key != NULL && !g_str_equal(found, key))) {
            continue;
        }
        gsize end = i + 1;
        /* Items of a sequence may stand as far left as their key. */
        while (end < within.end &&
               (is_empty(lines[end]) || lodge_render_indent(lines[end]) > here ||
                (lodge_render_indent(lines[end]) == here && lines[end][here] == '-'))) {
            end++;
        }
        while (end > i + 1 && is_empty(lines[end - 1])) {
            end--;
        }
        *out_block = (Block){i, end, here};
        return TRUE;
    }
    return FALSE;
}

static Block
inside(Block block)
{
    return (Block){block.first + 1, block.end, block.indent};
}

/* Where in a file the uplink is defined. */
typedef struct {
    Block network;
    Block section; /* ethernets, bonds or vlans */
    Block device;
} Place;

/* The device's name in the files, told by what netplan generated of it. */
static char *
device_id(const LodgeRender *render)
{
    static const char mark[] = "10-netplan-";
    g_autofree char *path = lodge_networkd_file(render);
    g_autofree char *name = path != NULL ? g_path_get_basename(path) : NULL;
    if (name != NULL && g_str_has_prefix(name, mark)) {
        return g_strndup(name + strlen(mark), strlen(name) - strlen(mark) - strlen(".network"));
    }
    return g_strdup(render->link->uplink);
}

static gboolean
find_place(char **lines, const char *id, Place *out_place)
{
    static const char *const sections[] = {"ethernets", "bonds", "vlans"};
    Block all = {0, g_strv_length(lines), 0};
    if (!find_block(lines, all, 0, "network", &out_place->network)) {
        return FALSE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(sections); i++) {
        if (find_block(lines, inside(out_place->network), 0, sections[i], &out_place->section) &&
            find_block(lines, inside(out_place->section), 0, id, &out_place->device)) {
            return TRUE;
        }
    }
    return FALSE;
}

static void
add_lines(GString *text, char **lines, gsize from, gsize end)
{
    for (gsize i = from; i < end; i++) {
        g_string_append_printf(text, "%s\n", lines[i]);
    }
}

/* Divide the device's mapping. */
static void
divide(char **lines, const Place *place, GString *device, GString *bridge, gsize *out_indent)
{
    Block block;
    gsize at = place->device.first + 1;
    *out_indent = place->device.indent + (place->device.indent - place->section.indent);
    while (find_block(lines, place->device, at, NULL, &block)) {
        const char *value = NULL;
        g_autofree char *key = key_of(lines[block.first], &value);
        gboolean is_shared = g_strv_contains(shared_keys, key);
        gboolean stays = lodge_render_is_among(key, device_keys) ||
                         g_str_has_suffix(key, "-offload");
        *out_indent = block.indent;
        /* From where the last one ended: comments go with what follows them. */
        if (is_shared || stays) {
            add_lines(device, lines, at, block.end);
        }
        if (is_shared || !stays) {
            add_lines(bridge, lines, at, block.end);
        }
        at = block.end;
    }
}

static void
add_bridge(GString *text, const LodgeRender *render, const char *id, const Block *name_block,
           gsize indent, const char *moved)
{
    int name_indent = (int)name_block->indent;
    int inner = (int)indent;
    int step = inner - name_indent;
    g_string_append_printf(text, "%*s%s:\n", name_indent, "", render->link->bridge);
    g_string_append_printf(text, "%*sinterfaces: [%s]\n%*smacaddress: \"%s\"\n", inner, "", id,
                           inner, "", render->link->mac);
    g_string_append_printf(text, "%*sparameters:\n%*sstp: false\n%*sforward-delay: 0\n", inner, "",
                           inner + step, "", inner + step, "");
    g_string_append(text, moved);
}

static gboolean
render_place(const LodgeRender *render, const LodgeHostFile *file, char **lines, const char *id,
             GError **error)
{
    Place place;
    Block bridges;
    const char *value = NULL;
    gsize indent = 0;
    find_place(lines, id, &place);
    g_autofree char *key = key_of(lines[place.device.first], &value);
    if (*value != '\0' && *value != '#') {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "%s: write what is between the braces of %s on lines of its own",
                               file->path, key);
    }
    gboolean has_bridges = find_block(lines, inside(place.network), 0, "bridges", &bridges);
    g_autoptr(GString) device = g_string_new(NULL);
    g_autoptr(GString) moved = g_string_new(NULL);
    g_autoptr(GString) text = g_string_new(NULL);
    divide(lines, &place, device, moved, &indent);
    g_autoptr(GString) bridge = g_string_new(NULL);
    add_bridge(bridge, render, id, &place.device, indent, moved->str);
    gsize count = g_strv_length(lines);
    for (gsize i = 0; i < count; i++) {
        if (i == place.device.first) {
            g_string_append_printf(text, "%s\n%s%*sdhcp4: false\n%*sdhcp6: false\n", lines[i],
                                   device->str, (int)indent, "", (int)indent, "");
            i = place.device.end - 1;
        } else if (i + 1 < count || *lines[i] != '\0') {
            g_string_append_printf(text, "%s\n", lines[i]);
        }
        if (has_bridges && i == bridges.first) {
            g_string_append(text, bridge->str);
        } else if (!has_bridges && i + 1 == place.section.end) {
            g_string_append_printf(text, "%*sbridges:\n%s", (int)place.section.indent, "",
                                   bridge->str);
        }
    }
    lodge_render_change(render, file->path, 0600, g_string_free(g_steal_pointer(&text), FALSE));
    return TRUE;
}

/* networkd names a lease by the link; what netplan makes for the bridge is told the old name. */
static void
keep_lease(const LodgeRender *render, const char *text)
{
    guint32 iaid = lodge_networkd_iaid(render);
    if (iaid != 0 && strstr(text, "dhcp-identifier") == NULL) {
        g_autofree char *path = g_strdup_printf(
            "/etc/systemd/network/10-netplan-%s.network.d/lodge.conf", render->link->bridge);
        lodge_render_change(render, path, 0644,
                            g_strdup_printf("# Written by Lodge: the lease stays the one that %s "
                                            "had.\n[DHCPv4]\nIAID=%u\n\n[DHCPv6]\nIAID=%u\n",
                                            render->link->uplink, iaid, iaid));
    }
}

gboolean
lodge_render_netplan(const LodgeRender *render, GError **error)
{
    g_autofree char *id = device_id(render);
    const LodgeHostFile *found = NULL;
    for (guint i = 0; i < render->files->len; i++) {
        const LodgeHostFile *file = render->files->pdata[i];
        g_auto(GStrv) lines = g_strsplit(file->text != NULL ? file->text : "", "\n", -1);
        Place place;
        if (!g_str_has_suffix(file->path, ".yaml") || !find_place(lines, id, &place)) {
            continue;
        }
        if (found != NULL) {
            return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                                   "both %s and %s define %s: let one do so", found->path,
                                   file->path, id);
        }
        found = file;
    }
    if (found == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "no file in /etc/netplan defines %s",
                               id);
    }
    g_auto(GStrv) lines = g_strsplit(found->text, "\n", -1);
    if (!render_place(render, found, lines, id, error)) {
        return FALSE;
    }
    keep_lease(render, found->text);
    return TRUE;
}
