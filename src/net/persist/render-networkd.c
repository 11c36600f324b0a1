/* systemd-networkd: three files of our own, which stand before the one that configures the uplink,
 * so that the first match is theirs and nobody's file is touched. */
#include "config.h"

#include "net/persist/render-networkd.h"

#include <string.h>

#include "base/base.h"

/* [Network] keys, and sections, that stay the uplink's. */
static const char *const port_keys[] = {"VLAN", "MACVLAN",  "MACVTAP", "IPVLAN", "IPVTAP",
                                        "LLDP", "EmitLLDP", "Xfrm",    NULL};
static const char *const port_sections[] = {"[Link]",
                                            "[SR-IOV]",
                                            "[QDisc]",
                                            "[NetworkEmulator]",
                                            "[TokenBucketFilter]",
                                            "[PIE]",
                                            "[FlowQueuePIE]",
                                            "[StochasticFairBlue]",
                                            "[StochasticFairnessQueueing]",
                                            "[BFIFO]",
                                            "[PFIFO]",
                                            "[PFIFOHeadDrop]",
                                            "[PFIFOFast]",
                                            "[CAKE]",
                                            "[ControlledDelay]",
                                            "[HierarchyTokenBucket*",
                                            "[FairQueueing*",
                                            "[DeficitRoundRobin*",
                                            "[Enhanced*",
                                            "[Generic*",
                                            "[HeavyHitterFilter]",
                                            "[QuickFair*",
                                            "[TrivialLinkEqualizer]",
                                            NULL};
/* [Link] keys that the bridge wants too. */
static const char *const shared_keys[] = {"MTUBytes", "RequiredForOnline",
                                          "RequiredFamilyForOnline", NULL};

guint32
lodge_networkd_iaid(const LodgeRender *render)
{
    g_autofree char *path = g_strdup_printf("/run/systemd/netif/leases/%d", render->link->index);
    g_autofree char *id = lodge_render_value(lodge_render_text(render, path), "CLIENTID");
    /* Type 255 is RFC 4361's: four octets of IAID, then the DUID. */
    if (id == NULL || strlen(id) < 10 || g_ascii_strncasecmp(id, "ff", 2) != 0) {
        return 0;
    }
    g_autofree char *digits = g_strndup(id + 2, 8);
    return (guint32)g_ascii_strtoull(digits, NULL, 16);
}

char *
lodge_networkd_file(const LodgeRender *render)
{
    g_autofree char *path = g_strdup_printf("/run/systemd/netif/links/%d", render->link->index);
    return lodge_render_value(lodge_render_text(render, path), "NETWORK_FILE");
}

/* The file with its drop-ins, as networkd reads them. */
static char *
whole_text(const LodgeRender *render, const char *path)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *folder = g_strdup_printf("/%s.d/", name);
    GString *text = g_string_new(lodge_render_text(render, path));
    for (guint i = 0; i < render->files->len; i++) {
        const LodgeHostFile *file = render->files->pdata[i];
        if (file->text != NULL && strstr(file->path, folder) != NULL) {
            g_string_append_printf(text, "\n%s", file->text);
        }
    }
    return g_string_free(text, FALSE);
}

typedef struct {
    GString *bridge;
    GString *port_network; /* keys of [Network] */
    GString *port;         /* whole sections */
    GString *shared;       /* keys of the bridge's own [Link] */
    gboolean has_iaid;
} Split;

static gboolean
split_line(Split *split, const char *section, const char *line, GError **error)
{
    static const char *const refused[] = {"Bridge", "Bond", "VRF", NULL};
    g_autofree char *key = g_strstrip(g_strndup(line, strcspn(line, "=")));
    gboolean is_network = g_str_equal(section, "[Network]");
    if (is_network && g_strv_contains(refused, key)) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "“%s”: the uplink is part of something already", line);
    }
    split->has_iaid = split->has_iaid || g_str_equal(key, "IAID") ||
                      g_str_equal(key, "ClientIdentifier");
    if (is_network && g_strv_contains(port_keys, key)) {
        g_string_append_printf(split->port_network, "%s\n", line);
        return TRUE;
    }
    if (g_str_equal(section, "[Link]") && g_strv_contains(shared_keys, key)) {
        g_string_append_printf(split->shared, "%s\n", line);
    }
    gboolean is_port = lodge_render_is_among(section, port_sections);
    if (!g_str_equal(section, "[Match]")) {
        g_string_append_printf(is_port ? split->port : split->bridge, "%s\n", line);
    }
    return TRUE;
}

static gboolean
split_text(Split *split, const char *text, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *section = g_strdup("[Match]");
    for (gsize i = 0; lines[i] != NULL; i++) {
        char *line = g_strstrip(lines[i]);
        if (*line == '\0' || *line == '#' || *line == ';') {
            continue;
        }
        if (*line == '[') {
            g_free(section);
            section = g_strdup(line);
            if (!g_str_equal(line, "[Match]")) {
                g_string_append_printf(lodge_render_is_among(line, port_sections) ? split->port
                                                                                  : split->bridge,
                                       "\n%s\n", line);
            }
        } else if (!split_line(split, section, line, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Ours must come before the file that matches the uplink now. */
static const char *
choose_prefix(const char *path)
{
    static const char *const prefixes[] = {"05-lodge-", "00-lodge-", "00-00-lodge-"};
    g_autofree char *name = g_path_get_basename(path);
    for (gsize i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        if (strcmp(prefixes[i], name) < 0) {
            return prefixes[i];
        }
    }
    return NULL;
}

static void
write_files(const LodgeRender *render, const Split *split, const char *prefix)
{
    const LodgeHostLink *link = render->link;
    guint32 iaid = split->has_iaid ? 0 : lodge_networkd_iaid(render);
    g_autofree char *netdev = g_strdup_printf("/etc/systemd/network/%s%s.netdev", prefix,
                                              link->bridge);
    g_autofree char *bridge = g_strdup_printf("/etc/systemd/network/%s%s.network", prefix,
                                              link->bridge);
    g_autofree char *port = g_strdup_printf("/etc/systemd/network/%s%s.network", prefix,
                                            link->uplink);
    g_autofree char *id = iaid != 0 ? g_strdup_printf("\n# The lease stays the one that %s had.\n"
                                                      "[DHCPv4]\nIAID=%u\n\n[DHCPv6]\nIAID=%u\n",
                                                      link->uplink, iaid, iaid)
                                    : g_strdup("");
    lodge_render_change(render, netdev, 0644,
                        g_strdup_printf("# Written by Lodge.\n[NetDev]\nName=%s\nKind=bridge\n"
                                        "MACAddress=%s\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n",
                                        link->bridge, link->mac));
    lodge_render_change(render, bridge, 0644,
                        g_strdup_printf("# Written by Lodge.\n[Match]\nName=%s\n%s%s%s%s",
                                        link->bridge, split->shared->len > 0 ? "\n[Link]\n" : "",
                                        split->shared->str, split->bridge->str, id));
    lodge_render_change(render, port, 0644,
                        g_strdup_printf("# Written by Lodge.\n[Match]\nName=%s\n%s\n"
                                        "[Network]\nBridge=%s\n%s",
                                        link->uplink, split->port->str, link->bridge,
                                        split->port_network->str));
}

gboolean
lodge_render_networkd(const LodgeRender *render, GError **error)
{
    g_autofree char *path = lodge_networkd_file(render);
    const char *prefix = path != NULL ? choose_prefix(path) : NULL;
    if (prefix == NULL || lodge_render_text(render, path) == NULL) {
        return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED,
                               "the file %s of systemd-networkd can't be preceded by another",
                               path != NULL ? path : "");
    }
    g_autofree char *text = whole_text(render, path);
    g_autoptr(GString) bridge = g_string_new(NULL);
    g_autoptr(GString) port_network = g_string_new(NULL);
    g_autoptr(GString) port = g_string_new(NULL);
    g_autoptr(GString) shared = g_string_new(NULL);
    Split split = {bridge, port_network, port, shared, FALSE};
    if (!split_text(&split, text, error)) {
        return lodge_error_prefix(error, "%s", path);
    }
    write_files(render, &split, prefix);
    return TRUE;
}
