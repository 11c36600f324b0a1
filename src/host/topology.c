#include "config.h"

#include "host/topology.h"

#include "base/base.h"

enum { LIST_LIMIT_BYTES = 4096 };

GArray *
lodge_topology_online(const char *root, LodgeTopologyKind kind)
{
    static const char *const files[] = {
        [LODGE_TOPOLOGY_CPUS] = "cpu", [LODGE_TOPOLOGY_NODES] = "node"};
    g_autofree char *path = g_strdup_printf("%s/sys/devices/system/%s/online", root, files[kind]);
    g_autofree char *text = lodge_file_read(path, LIST_LIMIT_BYTES, NULL, NULL);
    GArray *numbers = text != NULL ? lodge_number_list_parse(g_strstrip(text), G_MAXINT, NULL)
                                   : NULL;
    return numbers != NULL ? numbers : lodge_number_list_parse("0", 0, NULL);
}

gboolean
lodge_topology_check(const char *root, LodgeTopologyKind kind, const char *list, GError **error)
{
    g_autoptr(GArray) wanted = lodge_number_list_parse(list, G_MAXINT, error);
    g_autoptr(GArray) online = lodge_topology_online(root, kind);
    for (guint i = 0; wanted != NULL && i < wanted->len; i++) {
        guint number = g_array_index(wanted, guint, i);
        if (!lodge_number_list_has(online, number)) {
            g_autofree char *text = lodge_number_list_format(online);
            return lodge_error_set(error, LODGE_ERROR_UNSUPPORTED, "this host has %s %s, not %u",
                                   kind == LODGE_TOPOLOGY_CPUS ? "CPUs" : "memory nodes", text,
                                   number);
        }
    }
    return wanted != NULL;
}
