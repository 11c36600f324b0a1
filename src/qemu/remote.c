/* Disks that are no files of this host: what their names mean. */
#include "config.h"

#include <string.h>

#include "base/base.h"
#include "qemu/disks.h"

enum {
    NBD_PORT = 10809,
    /* Requests wait that long for a server that went away. So does QEMU's monitor when it must
     * drain them, so it is shorter than what commands wait for QEMU. */
    NBD_RECONNECT_S = 3,
};

gboolean
lodge_disk_is_remote(const char *file)
{
    return g_str_has_prefix(file, "nbd:") || g_str_has_prefix(file, "rbd:");
}

static json_t *
parse_nbd(const char *file, GError **error)
{
    g_autoptr(GUri) uri = g_uri_parse(file, G_URI_FLAGS_NONE, NULL);
    const char *host = uri != NULL ? g_uri_get_host(uri) : NULL;
    if (host == NULL || *host == '\0' || g_uri_get_query(uri) != NULL ||
        g_uri_get_userinfo(uri) != NULL) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "“%s”: write nbd://HOST[:PORT][/EXPORT]", file);
        return NULL;
    }
    int port = g_uri_get_port(uri);
    const char *path = g_uri_get_path(uri);
    g_autofree char *port_text = g_strdup_printf("%d", port > 0 ? port : NBD_PORT);
    return json_pack("{s:s, s:{s:s, s:s, s:s}, s:s, s:i}", "driver", "nbd", "server", "type",
                     "inet", "host", host, "port", port_text, "export",
                     *path == '/' ? path + 1 : path, "reconnect-delay", (int)NBD_RECONNECT_S);
}

static json_t *
parse_rbd(const char *file, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(file + strlen("rbd:"), "/", -1);
    guint count = g_strv_length(parts);
    gboolean fine = (count == 2 || count == 3) && strpbrk(file + strlen("rbd:"), ":=@") == NULL;
    for (guint i = 0; i < count; i++) {
        fine = fine && *parts[i] != '\0';
    }
    if (!fine) {
        lodge_error_set(error, LODGE_ERROR_INVALID,
                        "“%s”: write rbd:POOL/IMAGE or "
                        "rbd:POOL/NAMESPACE/IMAGE",
                        file);
        return NULL;
    }
    json_t *node = json_pack("{s:s, s:s, s:s}", "driver", "rbd", "pool", parts[0], "image",
                             parts[count - 1]);
    if (count == 3) {
        json_object_set_new(node, "namespace", json_string(parts[1]));
    }
    return node;
}

json_t *
lodge_disk_remote(const char *file, GError **error)
{
    return g_str_has_prefix(file, "nbd:") ? parse_nbd(file, error) : parse_rbd(file, error);
}
