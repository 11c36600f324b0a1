/* cloud-init's files, rendered from a seed. Every value is quoted as JSON, which is YAML too.
 *
 * NICs are matched by MAC and named eth0, eth1 …, as cloud-init's own fallback does: of its
 * renderers only netplan's understands a name pattern. The user is given in full instead of as
 * "default": FreeBSD's nuageinit gives its default user a known password. */
#include "config.h"

#include <string.h>

#include "image/internal.h"

/* Append "<before>"JSON string"\n"; nothing for NULL. */
static gboolean
put(GString *text, const char *before, const char *value, GError **error)
{
    if (value == NULL) {
        return TRUE;
    }
    for (const char *c = value; *c != '\0'; c++) {
        if (g_ascii_iscntrl(*c) && *c != '\t') {
            return lodge_error_set(error, LODGE_ERROR_USAGE,
                                   "control characters and newlines don't belong into a name, "
                                   "key or password");
        }
    }
    g_autoptr(json_t) string = json_string(value);
    g_autofree char *quoted = string != NULL ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    if (quoted == NULL) {
        return lodge_error_set(error, LODGE_ERROR_USAGE, "a value is not UTF-8");
    }
    g_string_append_printf(text, "%s%s\n", before, quoted);
    return TRUE;
}

char *
lodge_cloud_meta_data(const LodgeSeed *seed, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    const char *host = seed->hostname != NULL ? seed->hostname : "lodge";
    const char *id = seed->instance_id != NULL ? seed->instance_id : host;
    if (!put(text, "instance-id: ", id, error) ||
        !put(text, "local-hostname: ", seed->hostname, error)) {
        return NULL;
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

char *
lodge_cloud_network_config(const LodgeSeed *seed, GError **error)
{
    g_autoptr(GString) text = g_string_new("version: 2\nethernets:\n");
    if (seed->macs == NULL) {
        g_string_append(text,
                        "  en:\n    match: {name: \"en*\"}\n    dhcp4: true\n    dhcp6: true\n"
                        "  eth:\n    match: {name: \"eth*\"}\n    dhcp4: true\n"
                        "    dhcp6: true\n");
        return g_string_free(g_steal_pointer(&text), FALSE);
    }
    for (guint i = 0; seed->macs[i] != NULL; i++) {
        g_string_append_printf(text, "  eth%u:\n    match:\n", i);
        if (!put(text, "      macaddress: ", seed->macs[i], error)) {
            return NULL;
        }
        g_string_append_printf(text, "    set-name: eth%u\n    dhcp4: true\n    dhcp6: true\n", i);
    }
    if (seed->macs[0] == NULL) {
        g_string_assign(text, "version: 2\nethernets: {}\n");
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static gboolean
put_user(GString *text, const LodgeSeed *seed, GError **error)
{
    const char *user = seed->user != NULL ? seed->user : "root";
    gboolean is_root = g_str_equal(user, "root");
    if (is_root) {
        g_string_append(text, "disable_root: false\n");
    }
    g_string_append(text, "users:\n");
    if (!put(text, "  - name: ", user, error) || !put(text, "    shell: ", seed->shell, error)) {
        return FALSE;
    }
    if (!is_root) {
        if (!put(text, "    groups: ", seed->groups, error)) {
            return FALSE;
        }
        g_string_append(text, "    sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n");
    }
    g_string_append_printf(text, "    lock_passwd: %s\n",
                           seed->password_hash != NULL ? "false" : "true");
    /* The first is for accounts that are made, the second for those that are there, like root. */
    if (!put(text, "    passwd: ", seed->password_hash, error) ||
        !put(text, "    hashed_passwd: ", seed->password_hash, error)) {
        return FALSE;
    }
    if (seed->authorized_keys != NULL && seed->authorized_keys[0] != NULL) {
        g_string_append(text, "    ssh_authorized_keys:\n");
    }
    for (gsize i = 0; seed->authorized_keys != NULL && seed->authorized_keys[i] != NULL; i++) {
        if (!put(text, "      - ", seed->authorized_keys[i], error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static char *
own_user_data(const LodgeSeed *seed, GError **error)
{
    g_autoptr(GString) text = g_string_new("#cloud-config\n");
    if (!put(text, "hostname: ", seed->hostname, error) || !put_user(text, seed, error)) {
        return NULL;
    }
    /* Three kinds of host keys and a locale cost a small guest seconds of its first boot. */
    g_string_append(text, "ssh_genkeytypes: [\"ed25519\"]\nlocale: false\n");
    if (seed->password_hash == NULL) {
        g_string_append(text, "ssh_pwauth: false\n");
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* A message of several parts already: it becomes one part, with the headers it has. */
static gboolean
is_mime(const char *text)
{
    return g_ascii_strncasecmp(text, "Content-Type:", 13) == 0 ||
           g_ascii_strncasecmp(text, "MIME-Version:", 13) == 0;
}

/* A line that stands in neither text. */
static char *
choose_boundary(const char *one, const char *other)
{
    for (guint i = 0;; i++) {
        g_autofree char *boundary = g_strdup_printf("==lodge-%u==", i);
        if (strstr(one, boundary) == NULL && strstr(other, boundary) == NULL) {
            return g_steal_pointer(&boundary);
        }
    }
}

char *
lodge_cloud_user_data(const LodgeSeed *seed, GError **error)
{
    g_autofree char *own = own_user_data(seed, error);
    if (own == NULL || seed->user_data == NULL) {
        return g_steal_pointer(&own);
    }
    g_autofree char *boundary = choose_boundary(own, seed->user_data);
    /* text/plain has cloud-init look at the first line. Of two values for one key the user's
     * counts; lists, like that of users, are joined. */
    const char *head =
        is_mime(seed->user_data)
            ? ""
            : "Content-Type: text/plain; charset=\"utf-8\"\n"
              "Merge-Type: list(append)+dict(replace,recurse_dict,recurse_list)+str()"
              "\n\n";
    return g_strdup_printf("Content-Type: multipart/mixed; boundary=\"%s\"\nMIME-Version: 1.0\n\n"
                           "--%s\nContent-Type: text/cloud-config; charset=\"utf-8\"\n\n%s"
                           "--%s\n%s%s%s--%s--\n",
                           boundary, boundary, own, boundary, head, seed->user_data,
                           g_str_has_suffix(seed->user_data, "\n") ? "" : "\n", boundary);
}
