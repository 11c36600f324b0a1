/* Theory of operation: making the bridge last.
 *
 * Who configures the uplink is told by what it leaves in /run (networkd and NetworkManager note the
 * file or profile they used for each link), else by which files mention the link. All files that it
 * reads are read, and its renderer, which is pure, makes those that change. Both versions of each
 * are kept by the caller: applying either is the same operation in two directions. */
#include "config.h"

#include "net/persist/host-files.h"

#include <errno.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "net/persist/render-networkd.h"
#include "net/persist/render.h"

enum {
    FILE_LIMIT_BYTES = 1 << 20,
    ANNOUNCE_TIMEOUT_MS = 15000,
};

/* Which files matter; %d is the link's number. */
static const char *const patterns[] = {
    "/run/systemd/netif/links/%d",
    "/run/systemd/netif/leases/%d",
    "/run/NetworkManager/devices/%d",
    "/etc/systemd/network/*.network",
    "/etc/systemd/network/*.network.d/*.conf",
    "/run/systemd/network/*.network",
    "/run/systemd/network/*.network.d/*.conf",
    "/usr/lib/systemd/network/*.network",
    "/lib/systemd/network/*.network",
    "/etc/NetworkManager/system-connections/*",
    "/run/NetworkManager/system-connections/*",
    "/usr/lib/NetworkManager/system-connections/*",
    "/etc/netplan/*.yaml",
    "/run/netplan/*.yaml",
    "/lib/netplan/*.yaml",
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/*",
    "/etc/network/if-pre-up.d/bridge",
    "/etc/network/ifupdown2/ifupdown2.conf",
    "/usr/libexec/ifupdown-ng/bridge",
    "/etc/conf.d/net",
    "/etc/sysconfig/network-scripts/ifcfg-*",
    "/etc/sysconfig/network-scripts/route*-*",
    "/etc/sysconfig/network-scripts/rule*-*",
};

#define CLOUD_FILE "/etc/cloud/cloud.cfg.d/99-lodge-network.cfg"

const char *
lodge_manager_word(LodgeManager manager)
{
    switch (manager) {
    case LODGE_MANAGER_UNKNOWN:
        break;
    case LODGE_MANAGER_IFUPDOWN:
        return "ifupdown";
    case LODGE_MANAGER_NETWORKD:
        return "systemd-networkd";
    case LODGE_MANAGER_NETWORKMANAGER:
        return "NetworkManager";
    case LODGE_MANAGER_NETPLAN:
        return "netplan";
    case LODGE_MANAGER_NETIFRC:
        return "netifrc";
    case LODGE_MANAGER_IFCFG:
        return "ifcfg";
    }
    return "unknown";
}

/* --- Reading -------------------------------------------------------------------------------------
 */

static LodgeHostFile *
read_state(const char *sysroot, const char *path)
{
    LodgeHostFile *file = g_new0(LodgeHostFile, 1);
    g_autofree char *full = g_strconcat(sysroot, path, NULL);
    struct stat info;
    file->path = g_strdup(path);
    if (lstat(full, &info) == 0 && S_ISLNK(info.st_mode)) {
        file->target = g_file_read_link(full, NULL);
    }
    /* One that is a link to a file is read like it, and then no link any more for whoever plans. */
    file->text = lodge_file_read(full, FILE_LIMIT_BYTES, NULL, NULL);
    file->mode = file->text != NULL && stat(full, &info) == 0 ? info.st_mode & 07777 : 0;
    return file;
}

static int
by_path(gconstpointer one, gconstpointer other)
{
    const LodgeHostFile *const *files[] = {one, other};
    return strcmp((*files[0])->path, (*files[1])->path);
}

static GPtrArray *
gather(const LodgeHostLink *link, const char *sysroot)
{
    GPtrArray *files = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_host_file_free);
    for (gsize i = 0; i < G_N_ELEMENTS(patterns); i++) {
        g_auto(GStrv) parts = g_strsplit(patterns[i], "%d", 2);
        g_autofree char *number = g_strdup_printf("%d", link->index);
        g_autofree char *pattern = g_strconcat(sysroot, parts[0], parts[1] != NULL ? number : NULL,
                                               NULL);
        glob_t found = {0};
        if (glob(pattern, 0, NULL, &found) == 0) {
            for (gsize n = 0; n < found.gl_pathc; n++) {
                LodgeHostFile *file = read_state(sysroot, found.gl_pathv[n] + strlen(sysroot));
                file->text != NULL ? g_ptr_array_add(files, file) : lodge_host_file_free(file);
            }
        }
        globfree(&found);
    }
    g_ptr_array_sort(files, by_path);
    return files;
}

static gboolean
any_has(const LodgeRender *render, const char *folder, const char *expression)
{
    g_autofree char *name = g_regex_escape_string(render->link->uplink, -1);
    g_auto(GStrv) parts = g_strsplit(expression, "%s", 2);
    g_autofree char *whole = g_strconcat(parts[0], name, parts[1], NULL);
    for (guint i = 0; i < render->files->len; i++) {
        const LodgeHostFile *file = render->files->pdata[i];
        if (g_str_has_prefix(file->path, folder) &&
            g_regex_match_simple(whole, file->text, G_REGEX_MULTILINE, 0)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* What NetworkManager notes of the link: is the link its own, and by which profile? */
static LodgeManager
judge_networkmanager(const LodgeRender *render)
{
    g_autofree char *path = g_strdup_printf("/run/NetworkManager/devices/%d", render->link->index);
    g_autofree char *uuid = lodge_render_value(lodge_render_text(render, path), "connection-uuid");
    for (guint i = 0; uuid != NULL && i < render->files->len; i++) {
        const LodgeHostFile *file = render->files->pdata[i];
        g_autofree char *name = g_path_get_basename(file->path);
        if (strstr(file->text, uuid) != NULL && g_str_has_prefix(name, "netplan-")) {
            return LODGE_MANAGER_NETPLAN;
        }
        if (strstr(file->text, uuid) != NULL && g_str_has_prefix(name, "ifcfg-")) {
            return LODGE_MANAGER_IFCFG;
        }
    }
    return uuid != NULL ? LODGE_MANAGER_NETWORKMANAGER : LODGE_MANAGER_UNKNOWN;
}

static LodgeManager
judge(const LodgeRender *render)
{
    g_autofree char *networkd = lodge_networkd_file(render);
    LodgeManager noted = judge_networkmanager(render);
    if (networkd != NULL && *networkd != '\0') {
        return strstr(networkd, "/10-netplan-") != NULL ? LODGE_MANAGER_NETPLAN
                                                        : LODGE_MANAGER_NETWORKD;
    }
    if (noted != LODGE_MANAGER_UNKNOWN) {
        return noted;
    }
    if (any_has(render, "/etc/network/interfaces", "^\\s*iface\\s+%s\\s")) {
        return LODGE_MANAGER_IFUPDOWN;
    }
    if (any_has(render, "/etc/conf.d/net", "^\\s*config_%s=")) {
        return LODGE_MANAGER_NETIFRC;
    }
    g_autofree char *ifcfg = g_strconcat("/etc/sysconfig/network-scripts/ifcfg-",
                                         render->link->uplink, NULL);
    return lodge_render_text(render, ifcfg) != NULL ? LODGE_MANAGER_IFCFG : LODGE_MANAGER_UNKNOWN;
}

/* --- Planning ------------------------------------------------------------------------------------
 */

/* What cloud-init wrote it would write again for a new instance, unless told to leave it. */
static void
add_cloud_rule(const LodgeRender *render)
{
    static const char *const folders[] = {"/etc/network/",         "/etc/netplan/",
                                          "/etc/systemd/network/", "/etc/NetworkManager/",
                                          "/etc/sysconfig/",       "/run/netplan/"};
    for (gsize i = 0; i < G_N_ELEMENTS(folders); i++) {
        if (any_has(render, folders[i], "^#.*cloud-init")) {
            lodge_render_change(render, CLOUD_FILE, 0644,
                                g_strdup("# Written by Lodge: what it changed must stay.\n"
                                         "network: {config: disabled}\n"));
            return;
        }
    }
}

static gboolean
render_all(const LodgeRender *render, LodgeManager manager, GError **error)
{
    static const LodgeRenderFunc renderers[] = {
        [LODGE_MANAGER_IFUPDOWN] = lodge_render_ifupdown,
        [LODGE_MANAGER_NETWORKD] = lodge_render_networkd,
        [LODGE_MANAGER_NETWORKMANAGER] = lodge_render_networkmanager,
        [LODGE_MANAGER_NETPLAN] = lodge_render_netplan,
        [LODGE_MANAGER_NETIFRC] = lodge_render_netifrc,
        [LODGE_MANAGER_IFCFG] = lodge_render_ifcfg,
    };
    if (manager == LODGE_MANAGER_UNKNOWN) {
        return lodge_error_set(
            error, LODGE_ERROR_UNSUPPORTED,
            "nothing that Lodge knows configures %s (ifupdown, systemd-networkd, NetworkManager, "
            "netplan, netifrc, ifcfg), so the bridge would be gone after a restart; --temporary "
            "makes it all the same, and a network of mode=routed uplink=%s needs none",
            render->link->uplink, render->link->uplink);
    }
    if (!renderers[manager](render, error)) {
        return lodge_error_prefix(error, "%s", lodge_manager_word(manager));
    }
    add_cloud_rule(render);
    return TRUE;
}

LodgeHostChange *
lodge_host_change_plan(const LodgeHostLink *link, GError **error)
{
    const char *sysroot = link->sysroot != NULL ? link->sysroot : "";
    g_autoptr(GPtrArray) files = gather(link, sysroot);
    g_autoptr(LodgeHostChange) change = g_new0(LodgeHostChange, 1);
    change->before = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_host_file_free);
    change->after = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_host_file_free);
    LodgeRender render = {link, files, change->after};
    change->manager = judge(&render);
    if (!render_all(&render, change->manager, error)) {
        return NULL;
    }
    for (guint i = 0; i < change->after->len; i++) {
        const LodgeHostFile *file = change->after->pdata[i];
        g_ptr_array_add(change->before, read_state(sysroot, file->path));
    }
    return g_steal_pointer(&change);
}

void
lodge_host_change_free(LodgeHostChange *change)
{
    if (change != NULL) {
        g_clear_pointer(&change->before, g_ptr_array_unref);
        g_clear_pointer(&change->after, g_ptr_array_unref);
        g_free(change);
    }
}

/* --- Keeping -------------------------------------------------------------------------------------
 */

static json_t *
list_json(const GPtrArray *files)
{
    json_t *list = json_array();
    for (guint i = 0; i < files->len; i++) {
        const LodgeHostFile *file = files->pdata[i];
        json_array_append_new(list, json_pack("{s:s, s:s?, s:s?, s:i}", "path", file->path, "text",
                                              file->text, "target", file->target, "mode",
                                              (int)file->mode));
    }
    return list;
}

static GPtrArray *
list_from_json(const json_t *list)
{
    GPtrArray *files = g_ptr_array_new_with_free_func((GDestroyNotify)lodge_host_file_free);
    for (gsize i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        LodgeHostFile *file = g_new0(LodgeHostFile, 1);
        file->path = g_strdup(lodge_json_string(value, "path", ""));
        file->text = g_strdup(lodge_json_string(value, "text", NULL));
        file->target = g_strdup(lodge_json_string(value, "target", NULL));
        file->mode = (guint)lodge_json_int(value, "mode", 0644);
        g_ptr_array_add(files, file);
    }
    return files;
}

json_t *
lodge_host_change_json(const LodgeHostChange *change)
{
    return json_pack("{s:i, s:s, s:o, s:o}", "manager", (int)change->manager, "manager-name",
                     lodge_manager_word(change->manager), "before", list_json(change->before),
                     "after", list_json(change->after));
}

LodgeHostChange *
lodge_host_change_from_json(const json_t *value, GError **error)
{
    g_autoptr(LodgeHostChange) change = g_new0(LodgeHostChange, 1);
    change->manager = (LodgeManager)lodge_json_int(value, "manager", LODGE_MANAGER_UNKNOWN);
    change->before = list_from_json(json_object_get(value, "before"));
    change->after = list_from_json(json_object_get(value, "after"));
    gboolean fine = change->before->len == change->after->len;
    for (guint i = 0; fine && i < change->before->len; i++) {
        const LodgeHostFile *files[] = {change->before->pdata[i], change->after->pdata[i]};
        fine = *files[0]->path == '/' && g_str_equal(files[0]->path, files[1]->path);
    }
    if (!fine) {
        lodge_error_set(error, LODGE_ERROR_INVALID, "not a change of the host's files");
        return NULL;
    }
    return g_steal_pointer(&change);
}

/* --- Writing -------------------------------------------------------------------------------------
 */

static gboolean
is_as(const LodgeHostFile *file, const char *sysroot)
{
    g_autoptr(LodgeHostFile) now = read_state(sysroot, file->path);
    if (file->text != NULL) {
        return g_strcmp0(now->text, file->text) == 0;
    }
    return g_strcmp0(now->target, file->target) == 0 && (file->target != NULL || now->text == NULL);
}

static gboolean
make_link(const char *full, const char *target, GError **error)
{
    return (symlink(target, full) == 0 || errno == EEXIST) ||
           lodge_error_errno(error, errno, "Making the link %s", full);
}

static gboolean
make_so(const LodgeHostFile *file, const char *sysroot, GError **error)
{
    g_autofree char *full = g_strconcat(sysroot, file->path, NULL);
    g_autofree char *folder = g_path_get_dirname(full);
    if (is_as(file, sysroot)) {
        return TRUE;
    }
    if (file->text == NULL && file->target == NULL) {
        return unlink(full) == 0 || errno == ENOENT ||
               lodge_error_errno(error, errno, "Removing %s", full);
    }
    if (!lodge_dir_make(folder, 0755, error)) {
        return FALSE;
    }
    if (file->text == NULL) {
        return make_link(full, file->target, error);
    }
    /* What is a link to a file stays one. */
    g_autofree char *real = realpath(full, NULL);
    return lodge_file_write(real != NULL ? real : full, file->text, strlen(file->text),
                            (mode_t)file->mode, LODGE_WRITE_DEFAULT, error);
}

gboolean
lodge_host_change_check(const LodgeHostChange *change, const char *sysroot, GError **error)
{
    const char *root = sysroot != NULL ? sysroot : "";
    for (guint i = 0; i < change->before->len; i++) {
        const LodgeHostFile *file = change->before->pdata[i];
        if (!is_as(file, root) && !is_as(change->after->pdata[i], root)) {
            return lodge_error_set(error, LODGE_ERROR_INVALID,
                                   "%s was changed by somebody else meanwhile (--temporary leaves "
                                   "all files as they are)",
                                   file->path);
        }
    }
    return TRUE;
}

gboolean
lodge_host_change_apply(const LodgeHostChange *change, const char *sysroot, gboolean forward,
                        GError **error)
{
    const GPtrArray *wanted = forward ? change->after : change->before;
    if (!lodge_host_change_check(change, sysroot, error)) {
        return FALSE;
    }
    for (guint i = 0; i < wanted->len; i++) {
        if (!make_so(wanted->pdata[i], sysroot != NULL ? sysroot : "", error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* --- Telling the manager -------------------------------------------------------------------------
 */

void
lodge_host_change_announce(const LodgeHostChange *change, const char *bridge, gboolean forward,
                           gboolean is_dynamic)
{
    static const char *const networkd[] = {"networkctl", "reload", NULL};
    static const char *const netplan[] = {"netplan", "generate", NULL};
    static const char *const nmcli[] = {"nmcli", "connection", "reload", NULL};
    const char *const take_over[] = {"nmcli", "connection", "up", bridge, NULL};
    const struct {
        LodgeManager manager;
        gboolean wanted;
        const char *const *argv;
    } commands[] = {
        {LODGE_MANAGER_NETPLAN, TRUE, netplan},
        {LODGE_MANAGER_NETPLAN, TRUE, networkd},
        {LODGE_MANAGER_NETPLAN, TRUE, nmcli},
        {LODGE_MANAGER_NETWORKD, TRUE, networkd},
        {LODGE_MANAGER_NETWORKMANAGER, TRUE, nmcli},
        {LODGE_MANAGER_NETWORKMANAGER, forward && is_dynamic, take_over},
        {LODGE_MANAGER_IFCFG, TRUE, nmcli},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *program = lodge_program_find(commands[i].argv[0]);
        if (commands[i].manager == change->manager && commands[i].wanted && program != NULL) {
            lodge_process_run_argv(commands[i].argv, ANNOUNCE_TIMEOUT_MS, NULL, NULL);
        }
    }
}
